#pragma once

#include <p2pdvm/peal/mpi/data.hpp>

namespace p2pdvm::mpi::detail {

P2PDVM_DECL std::string rank_text(int rank, int job_rank) {
  std::string text = "rank " + std::to_string(rank);
  if (rank != job_rank) text += " (rank " + std::to_string(job_rank) + " of the job)";
  return text;
}

P2PDVM_DECL std::string incoming::from() const { return rank_text(source, job_source); }

P2PDVM_DECL std::string incoming::call_text(const call& mine) const {
  if (at == nullptr) return text_of(head, "line " + std::to_string(head.line));
  (void)at->file_number(mine.where.file_name());  // most often theirs too
  return text_of(head, at->place_text(job_source, head.file(), head.line));
}

P2PDVM_DECL void check_format(const call& mine, const incoming& got) {
  if (got.head.form == mine.head.form && got.head.element_bytes == mine.head.element_bytes) return;
  const std::string wanted = mine.head.form == format::serialised
                                 ? "a serialised value"
                                 : "elements of " + std::to_string(mine.head.element_bytes) +
                                       (mine.head.element_bytes == 1 ? " byte" : " bytes");
  refuse(mine.text() + " expects " + wanted + ", but " + got.from() + " sent " +
         extent_of(got.head, got.data.size()) + " in " + got.call_text(mine));
}

P2PDVM_DECL void check_elements(const call& mine, const incoming& got, std::size_t capacity,
                                bool exact) {
  check_format(mine, got);
  const std::size_t size = mine.head.element_bytes;
  const std::size_t count = got.data.size() / size;
  const bool whole = count * size == got.data.size();
  if (whole && count <= capacity && (!exact || count == capacity)) return;
  refuse_length(mine.text() + (exact ? " expects " : " has room for ") +
                extent_of(mine.head, capacity * size) + ", but " + got.from() + " sent " +
                extent_of(got.head, got.data.size()) + " in " + got.call_text(mine));
}

[[noreturn]] P2PDVM_DECL void refuse_serialised(const call& mine, const incoming& got,
                                                const error& why) {
  refuse(mine.text() + " got from " + got.from() + " a value of another type (sent in " +
         got.call_text(mine) + "): " + why.message());
}

}  // namespace p2pdvm::mpi::detail
