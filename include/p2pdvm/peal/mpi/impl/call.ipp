#pragma once

#include <p2pdvm/peal/mpi/call.hpp>
#include <p2pdvm/peal/rank.hpp>
#include <p2pdvm/peal/waiting.hpp>

#include <array>
#include <string_view>

namespace p2pdvm::mpi::detail {

P2PDVM_DECL const char* name_of(operation op) noexcept {
  static constexpr std::array names{"a message", "barrier", "bcast",     "reduce",  "allreduce",
                                    "scan",      "exscan",  "gather",    "allgather", "scatter",
                                    "alltoall",  "split",   "dup",       "exchange"};
  const auto index = static_cast<std::size_t>(op);
  return index < names.size() ? names[index] : "an unknown operation";
}

inline std::string reduction_text(std::uint8_t code) {
  static constexpr std::array names{"an operation of its own", "plus",      "multiplies",
                                    "minimum",                 "maximum",   "logical_and",
                                    "logical_or",              "bit_and",   "bit_or",
                                    "bit_xor",                 "minimum_location",
                                    "maximum_location"};
  return code < names.size() ? names[code] : "an unknown reduction";
}

inline std::string described(const message_head& head, const std::string& place) {
  std::string text = name_of(head.op);
  const bool reduces = head.op == operation::reduce || head.op == operation::allreduce ||
                       head.op == operation::scan || head.op == operation::exscan;
  if (reduces) text += " with " + reduction_text(head.reduction);
  if (head.root >= 0) text += ", root " + std::to_string(head.root);
  return head.line == 0 ? text : text + " (" + place + ")";  // C programs have no places
}

P2PDVM_DECL std::string call::text() const {
  return described(head, std::string(peal::file_part(where.file_name())) + ":" + std::to_string(head.line));
}

P2PDVM_DECL std::string text_of(const message_head& head, const std::string& place) {
  return described(head, place);
}

P2PDVM_DECL std::string extent_of(const message_head& head, std::size_t bytes) {
  if (head.form == format::serialised)
    return "a serialised value of " + std::to_string(bytes) + " bytes";
  const std::size_t size = head.element_bytes > 0 ? head.element_bytes : 1;
  return std::to_string(bytes / size) + (bytes / size == 1 ? " element of " : " elements of ") +
         std::to_string(size) + (size == 1 ? " byte" : " bytes");
}

[[noreturn]] P2PDVM_DECL void refuse(const std::string& sentence) {
  peal::detail::throw_misuse(sentence);
}

[[noreturn]] P2PDVM_DECL void refuse_length(const std::string& sentence) {
  throw std::system_error(make_error_code(errc::too_large), sentence);
}

}  // namespace p2pdvm::mpi::detail
