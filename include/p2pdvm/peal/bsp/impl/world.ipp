#pragma once

#include <p2pdvm/peal/bsp/world.hpp>
#include <p2pdvm/peal/rank.hpp>
#include <p2pdvm/peal/waiting.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <exception>
#include <numeric>
#include <string_view>

namespace p2pdvm::bsp {

namespace detail {

[[noreturn]] P2PDVM_DECL void refuse(const std::string& sentence) {
  peal::detail::throw_misuse(sentence);
}

inline world_setting members_of(const peal::rank& rank, const std::function<int(int)>& colour_of) {
  world_setting how;
  const int colour = colour_of(rank.id());
  for (int r = 0; r < rank.size(); ++r) {
    if (colour_of(r) == colour) how.members.push_back(r);
  }
  return how;
}

/// What crosses a cut: data lives in the program's own state.
struct saved_world {
  std::uint64_t superstep = 0;
  std::uint32_t registered = 0, slots = 0;
  std::uint64_t registrations = 0;
  std::vector<message> received;
  template <class F>
  void fields(F&& f) {
    f(superstep), f(registered), f(slots), f(registrations), f(received);
  }
};

}  // namespace detail

P2PDVM_DECL void message::check(std::size_t element_bytes) const {
  if (element_bytes == element_bytes_) return;
  detail::refuse("a message from rank " + std::to_string(source_) + " (tag " +
                 std::to_string(tag_) + ") has elements of " + std::to_string(element_bytes_) +
                 " bytes and is read as elements of " + std::to_string(element_bytes));
}

[[noreturn]] P2PDVM_DECL void message::refuse_count(std::size_t element_bytes) const {
  detail::refuse("a message from rank " + std::to_string(source_) + " (tag " +
                 std::to_string(tag_) + ") has " +
                 std::to_string(data_.size() / element_bytes) +
                 " elements and is read as a single one");
}

P2PDVM_DECL world::world(peal::rank& rank, detail::world_setting how)
    : rank_(rank),
      port_(rank.open("bsp", *this)),
      members_(std::move(how.members)),
      exceptions_(std::uncaught_exceptions()),
      part_bytes_(how.part_bytes) {
  P2PDVM_ASSERT(part_bytes_ >= detail::head_bytes);
  if (members_.empty()) {
    members_.resize(static_cast<std::size_t>(rank.size()));
    std::iota(members_.begin(), members_.end(), 0);
  }
  const auto here = std::find(members_.begin(), members_.end(), rank.id());
  P2PDVM_ASSERT(here != members_.end());
  self_ = static_cast<int>(here - members_.begin());
  out_.resize(members_.size());
  costs_ = detail::cost_meter(size());
  ended_at_ = rank.now();
}

P2PDVM_DECL world::world(peal::rank& rank, const std::function<int(int)>& colour_of)
    : world(rank, detail::members_of(rank, colour_of)) {}

P2PDVM_DECL world::~world() {
  if (self_ == 0 && !ending_ && std::uncaught_exceptions() == exceptions_) {
    for (std::string& sentence : costs_.explained()) rank_.explain(std::move(sentence));
  }
  if (!left_ && !ending_ && std::uncaught_exceptions() == exceptions_) leave();
}

P2PDVM_DECL void world::leave() noexcept {
  detail::superstep_head head;
  head.end = detail::ending::left;
  head.bytes = head.message_bytes = sizeof head;
  head.origin = static_cast<std::uint32_t>(self_);
  try {
    const payload whole = payload::copy_of(bytes_of(head));
    for (const int r : members_) {
      if (r != rank_.id()) port_.post_send(r, tag_of(false), whole);
    }
  } catch (const std::exception&) {
    return;  // the rank is being rolled back: nobody will read it
  }
}

P2PDVM_DECL std::uint32_t world::add_registration(detail::registered& memory) {
  slots_.push_back(&memory);
  ++registered_;
  // FNV-1a over the sizes of elements, in order.
  registrations_ = (registrations_ ^ (memory.element_bytes() + 1)) * 0x100000001b3ull;
  return static_cast<std::uint32_t>(slots_.size() - 1);
}

P2PDVM_DECL void world::remove_registration(std::uint32_t slot) {
  slots_[slot] = nullptr;
  registrations_ = (registrations_ ^ (slot + 0x10000u)) * 0x100000001b3ull;
  while (!slots_.empty() && slots_.back() == nullptr) slots_.pop_back();
}

P2PDVM_DECL detail::letter& world::out_to(int destination, const char* what,
                                          const detail::place& where) {
  if (destination < 0 || destination >= size())
    detail::refuse("rank " + std::to_string(rank()) + " " + what + " rank " +
                   std::to_string(destination) + " (" + detail::text_of(where) +
                   "), but there are ranks 0 to " + std::to_string(size() - 1));
  return out_[static_cast<std::size_t>(destination)];
}

P2PDVM_DECL void world::add_send(int destination, std::int64_t tag, byte_view data,
                                 std::size_t element_bytes, const detail::place& where, byte_view more) {
  detail::record_head head;
  head.kind = detail::record_kind::send;
  head.offset = tag;
  head.bytes = data.size() + more.size();
  head.file = rank_.file_number(where.file);
  head.line = where.line;
  head.element_bytes = static_cast<std::uint32_t>(element_bytes);
  out_to(destination, "sends to", where).add(head, data, more);
}

P2PDVM_DECL void world::add_put(int destination, std::uint32_t slot, std::size_t first,
                                byte_view data, std::size_t element_bytes,
                                const detail::place& where) {
  detail::record_head head;
  head.kind = detail::record_kind::put;
  head.slot = slot;
  head.offset = static_cast<std::int64_t>(first * element_bytes);
  head.bytes = data.size();
  head.file = rank_.file_number(where.file);
  head.line = where.line;
  head.element_bytes = static_cast<std::uint32_t>(element_bytes);
  out_to(destination, "puts to", where).add(head, data);
}

P2PDVM_DECL void world::add_get(int source, std::uint32_t slot, std::size_t first,
                                std::size_t count, std::size_t element_bytes,
                                std::unique_ptr<detail::pending_get> into,
                                const detail::place& where) {
  detail::record_head head;
  head.kind = detail::record_kind::get;
  head.slot = slot;
  head.offset = static_cast<std::int64_t>(first * element_bytes);
  head.bytes = count * element_bytes;
  head.file = rank_.file_number(where.file);
  head.line = where.line;
  head.element_bytes = static_cast<std::uint32_t>(element_bytes);
  out_to(source, "gets from", where).add(head, {});
  gets_.push_back({source, count * element_bytes, std::move(into)});
}

P2PDVM_DECL std::optional<std::string> world::cannot_cut() const {
  if (ending_) return "rank " + std::to_string(rank()) + " is at the end of a superstep";
  for (const detail::letter& out : out_) {
    if (!out.empty())
      return "rank " + std::to_string(rank()) +
             " has puts, gets or sends that wait for the end of the superstep";
  }
  if (!folds_.empty())
    return "rank " + std::to_string(rank()) + " has folds that wait for the end of the superstep";
  return std::nullopt;
}

P2PDVM_DECL byte_vector world::save() const {
  detail::saved_world saved;
  saved.superstep = superstep_;
  saved.registered = registered_;
  saved.slots = static_cast<std::uint32_t>(slots_.size());
  saved.registrations = registrations_;
  saved.received = received_;
  return wire::encode(saved);
}

P2PDVM_DECL void world::load(byte_view bytes) {
  auto saved = wire::decode<detail::saved_world>(bytes);
  if (!saved.ok())
    throw std::system_error(make_error_code(errc::corrupted),
                            "the snapshot's BSP superstep cannot be read");
  if (saved->registered < registered_ || saved->slots > saved->registered)
    throw std::system_error(make_error_code(errc::corrupted),
                            "the program registers more BSP variables and arrays before restore() "
                            "than when the snapshot was taken");
  superstep_ = saved->superstep;
  relays_.clear();  // ranks may be elsewhere
  ways_ = ways::unknown;
  // Those registered later, and gone, keep their numbers.
  slots_.resize(std::max<std::size_t>(saved->slots, slots_.size()), nullptr);
  registered_ = saved->registered;
  registrations_ = saved->registrations;
  received_ = std::move(saved->received);
}

}  // namespace p2pdvm::bsp
