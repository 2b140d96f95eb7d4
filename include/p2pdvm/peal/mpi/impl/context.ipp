#pragma once

#include <p2pdvm/peal/mpi/context.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>

namespace p2pdvm::mpi::detail {

/// What crosses a cut beside the messages.
struct saved_context {
  std::uint32_t next_id = 1;
  std::map<std::uint32_t, std::pair<std::uint32_t, std::int64_t>> groups;  ///< size, sequence
  std::map<context::ended, std::uint64_t> left_behind;
  template <class F>
  void fields(F&& f) {
    f(next_id), f(groups), f(left_behind);
  }
};

P2PDVM_DECL context::context(peal::rank& rank) : rank_(rank), port_(rank.open("mpi", *this)) {}

P2PDVM_DECL void context::take_id(std::uint32_t id) {
  if (id >= communicators_max) refuse("no more communicators can be made in this job");
  next_id_ = std::max(next_id_, id + 1);
}

P2PDVM_DECL void context::take_left_behind() {
  for (auto it = left_behind_.begin(); it != left_behind_.end();) {
    auto& [collective, messages] = *it;
    const std::uint32_t space = collective.communicator * 2 + 1;
    while (messages > 0 && port_.probe(peal::any_source, collective.tag, space)) {
      (void)port_.post_receive(peal::any_source, collective.tag, space).take();
      --messages;
    }
    it = messages == 0 ? left_behind_.erase(it) : std::next(it);
  }
}

P2PDVM_DECL std::optional<std::string> context::cannot_cut() const {
  if (running_ == 0) return std::nullopt;
  return "rank " + std::to_string(rank_.id()) + " is inside a collective (" + name_of(last_) + ")";
}

P2PDVM_DECL byte_vector context::save() const {
  saved_context saved;
  saved.next_id = next_id_;
  for (const auto& [id, g] : groups_)
    saved.groups[id] = {static_cast<std::uint32_t>(g->size()), g->sequence_};
  saved.left_behind = left_behind_;
  return wire::encode(saved);
}

P2PDVM_DECL void context::load(byte_view bytes) {
  const auto saved = wire::decode<saved_context>(bytes);
  if (!saved.ok())
    throw std::system_error(make_error_code(errc::corrupted),
                            "the snapshot's MPI communicators cannot be read");
  next_id_ = std::max(next_id_, saved->next_id);
  left_behind_ = saved->left_behind;
  for (const auto& [id, size_and_sequence] : saved->groups) {
    const auto found = groups_.find(id);
    if (found == groups_.end()) {  // made after restore(): the program makes it anew, with another id unless it is the first
      if (id == 0) first_sequence_ = size_and_sequence.second;
      continue;
    }
    if (static_cast<std::uint32_t>(found->second->size()) != size_and_sequence.first)
      throw std::system_error(make_error_code(errc::corrupted),
                              "communicator " + std::to_string(id) +
                                  " has another size than when the snapshot was taken; make the "
                                  "same communicators before restore()");
    found->second->sequence_ = size_and_sequence.second;
  }
}

}  // namespace p2pdvm::mpi::detail
