#pragma once

#include <p2pdvm/peal/mpi/context.hpp>
#include <p2pdvm/peal/waiting.hpp>

#include <algorithm>

namespace p2pdvm::mpi::detail {

P2PDVM_DECL group::group(std::shared_ptr<context> owner, std::uint32_t id,
                         std::vector<int> members, int self)
    : owner_(std::move(owner)),
      id_(id),
      members_(std::move(members)),
      self_(self),
      size_(members_.empty() ? owner_->rank().size() : static_cast<int>(members_.size())) {
  owner_->groups_[id_] = this;
  if (id_ == 0) sequence_ = std::exchange(owner_->first_sequence_, 0);
}

P2PDVM_DECL group::~group() { owner_->groups_.erase(id_); }

P2PDVM_DECL int group::place_of(int job_rank) const {
  const auto found = std::find(members_.begin(), members_.end(), job_rank);
  P2PDVM_ASSERT(found != members_.end());
  return static_cast<int>(found - members_.begin());
}

P2PDVM_DECL std::string group::text_of_self() const {
  return rank_text(self_, owner_->rank().id());
}

P2PDVM_DECL std::string group::text_of_all() const {
  return id_ == 0 ? "the job has ranks 0 to " + std::to_string(size_ - 1)
                  : "its communicator has ranks 0 to " + std::to_string(size_ - 1);
}

P2PDVM_DECL void group::check_send(const call& c, int destination, int tag) const {
  if (destination != no_rank && (destination < 0 || destination >= size_))
    refuse(text_of_self() + " sends to rank " + std::to_string(destination) + " in " + c.text() +
           ", but " + text_of_all());
  if (tag < 0)
    refuse(text_of_self() + " sends with tag " + std::to_string(tag) + " in " + c.text() +
           "; tags are 0 or more");
}

P2PDVM_DECL void group::check_receive(const call& c, int source, int tag) const {
  if (source != no_rank && source != any_source && (source < 0 || source >= size_))
    refuse(text_of_self() + " receives from rank " + std::to_string(source) + " in " + c.text() +
           ", but " + text_of_all());
  if (tag < 0 && tag != any_tag)
    refuse(text_of_self() + " receives with tag " + std::to_string(tag) + " in " + c.text() +
           "; tags are 0 or more, or any_tag");
}

P2PDVM_DECL void group::check_root(const call& c) const {
  if (c.head.root >= 0 && c.head.root < size_) return;
  call plain(c);
  plain.head.root = -1;
  refuse(text_of_self() + " names rank " + std::to_string(c.head.root) + " as root of " +
         plain.text() + ", but " + text_of_all());
}

/// Whether so many bytes are elements as they are wanted: the common case.
inline bool fits(const message_head& head, const target_type& type, std::size_t bytes,
                 std::size_t capacity) {
  return head.op == operation::message && head.form == type.form &&
         head.element_bytes == type.element_bytes &&
         (bytes == capacity || (!type.exact && bytes % type.element_bytes == 0));
}

inline std::int64_t pattern_tag(int tag) { return tag == any_tag ? peal::any_tag : tag; }

inline constexpr peal::call_note receive_note{"recv"}, posted_note{"irecv"}, probe_note{"probe"};

P2PDVM_DECL peal::operation group::post_receive(const call& c, int source, int tag) {
  const int from = source == any_source ? peal::any_source : job_rank(source);
  return owner_->port().post_receive(from, pattern_tag(tag), id_ * 2, peal::call_site(c.where, &posted_note));
}

P2PDVM_DECL bool value_receiving::begin() {
  if (source_ == no_rank) [[unlikely]]
    return true;
  const int from = source_ == any_source ? peal::any_source : in_->job_rank(source_);
  const peal::port& port = in_->owner_->port();
  peal::detail::receive_wait& wait = wait_.emplace(port.rank(), peal::call_site(where_, &receive_note));
  port.fill(wait.pattern, from, pattern_tag(tag_), in_->id_ * 2);
  if (type_->flat) {
    wait.place.head = std::as_writable_bytes(std::span(&head_, 1));
    wait.place.body = memory();
  }
  return wait.run();
}

P2PDVM_DECL status value_receiving::end() {
  if (!wait_) [[unlikely]]
    return {no_rank, any_tag, 0};
  wait_->resumed();
  const messaging::rank_message& m = wait_->message;
  const int source = in_->member_of(static_cast<int>(m.source.value()));
  const auto tag = static_cast<int>(m.tag);
  const target_type& type = *type_;
  const std::size_t capacity = memory().size();
  if (wait_->place.done) {
    const std::size_t bytes = wait_->place.bytes;
    if (fits(head_, type, bytes, capacity)) return status::of(source, tag, bytes);
  } else if (type.flat && m.body.size() >= head_bytes) {
    const std::size_t bytes = m.body.size() - head_bytes;
    std::memcpy(&head_, m.body.data(), head_bytes);
    if (bytes <= capacity && fits(head_, type, bytes, capacity)) {
      copy_few(static_cast<std::byte*>(object_), m.body.data() + head_bytes, bytes);
      return status::of(source, tag, bytes);
    }
  }
  return explain(source, tag);
}

/// All other ways to receive, and what is wrong.
[[gnu::noinline]] P2PDVM_DECL status value_receiving::explain(int source, int tag) {
  const call c = call(operation::message, where_).with_data(type_->form, type_->element_bytes);
  const auto job_source = static_cast<int>(wait_->message.source.value());
  incoming got;
  if (wait_->place.done) {
    got = {head_, memory().first(wait_->place.bytes), source, job_source, &in_->owner_->rank()};
  } else {
    got = in_->opened(c, job_source, wait_->message.body.view());
  }
  target{object_, capacity_, type_}.place(c, got, false);
  return {got.source, tag, got.data.size()};
}

P2PDVM_DECL incoming group::opened(const call& c, int job_source, byte_view body) const {
  incoming got;
  got.at = &owner_->rank();
  got.job_source = job_source;
  got.source = member_of(job_source);
  if (body.size() < head_bytes)
    refuse(c.text() + " got from " + got.from() + " something that is no MPI message");
  std::memcpy(&got.head, body.data(), head_bytes);
  got.data = body.subspan(head_bytes);
  return got;
}

P2PDVM_DECL status group::deliver(const call& c, const target& into,
                                  const peal::message& m) const {
  const incoming got = opened(c, m);
  into.place(into.describe(c), got, false);
  return status_of(m.head());
}

P2PDVM_DECL status group::status_of(const peal::envelope& head) const {
  return {member_of(head.source), static_cast<int>(head.tag),
          head.bytes < head_bytes ? 0 : head.bytes - head_bytes};
}

P2PDVM_DECL std::optional<status> group::iprobe(int source, int tag) {
  if (source == no_rank) return status{no_rank, any_tag, 0};
  const int from = source == any_source ? peal::any_source : job_rank(source);
  const auto found = owner_->port().probe(from, pattern_tag(tag), id_ * 2);
  if (!found) return std::nullopt;
  return status_of(*found);
}

P2PDVM_DECL task<status> group::probe(int source, int tag, std::source_location where) {
  if (source == no_rank) co_return status{no_rank, any_tag, 0};
  const int from = source == any_source ? peal::any_source : job_rank(source);
  const peal::call_site at(where, &probe_note);
  co_return status_of(co_await owner_->port().wait_probe(from, pattern_tag(tag), id_ * 2, at));
}

}  // namespace p2pdvm::mpi::detail
