#pragma once

#include <p2pdvm/runtime/joiner.hpp>

#include <algorithm>
#include <utility>

namespace p2pdvm::runtime {

namespace detail {

inline constexpr auto join_patience = std::chrono::seconds(10);
inline constexpr auto join_answer_time = std::chrono::seconds(2);
/// Datagrams, while nothing is heard.
inline constexpr auto join_hurry_pause = std::chrono::milliseconds(300);
inline constexpr int join_hurries = 5;
inline constexpr auto join_queue_time = std::chrono::seconds(5);

}  // namespace detail

P2PDVM_DECL joiner::joiner(joiner_owner& owner, host::clock& clock, ticket with)
    : owner_(owner), clock_(clock), with_(std::move(with)), timer_(clock), hurry_timer_(clock) {}

P2PDVM_DECL joiner::joiner(joiner_owner& owner, host::clock& clock)
    : owner_(owner), clock_(clock), timer_(clock), hurry_timer_(clock) {}

P2PDVM_DECL void joiner::add(const node_id& contact) {
  if (std::find(contacts_.begin(), contacts_.end(), contact) == contacts_.end())
    contacts_.push_back(contact);
}

P2PDVM_DECL void joiner::ask() {
  if (with_) deadline_ = clock_.now() + detail::join_patience;
  ask_next();
}

P2PDVM_DECL void joiner::ask_after(duration pause) {
  timer_.after(pause, [this] { ask(); });
}

P2PDVM_DECL void joiner::pause() {
  timer_.cancel();
  hurry_timer_.cancel();
  deadline_ = time_point_never;
}

P2PDVM_DECL void joiner::ask_again() {
  next_ = static_cast<std::size_t>(std::find(contacts_.begin(), contacts_.end(), asked_) - contacts_.begin());
  ask();
}

P2PDVM_DECL void joiner::wait_in_queue() {
  if (with_) deadline_ = clock_.now() + detail::join_patience;
  hurry_timer_.cancel();
  timer_.after(detail::join_queue_time, [this] { ask_again(); });
}

P2PDVM_DECL void joiner::ask_another(const error& why) {
  last_trouble_ = why.message();
  if (contacts_.size() > 1) ask_next();
}

P2PDVM_DECL void joiner::ask_next() {
  if (clock_.now() >= deadline_) return owner_.join_failed(nobody_answers());
  timer_.after(detail::join_answer_time, [this] { ask_next(); });
  if (next_ >= contacts_.size()) {
    next_ = 0;
    if (with_) owner_.look_for_members(*with_);
  }
  if (contacts_.empty()) return;
  asked_ = contacts_[next_++];
  owner_.ask_to_join(*asked_, with_);
  hurry(detail::join_hurries);
}

P2PDVM_DECL void joiner::hurry(int times) {
  hurry_timer_.cancel();
  if (!with_ || times == 0) return;
  owner_.ask_by_datagram(*asked_, *with_);
  hurry_timer_.after(detail::join_hurry_pause, [this, times] { hurry(times - 1); });
}

P2PDVM_DECL error joiner::nobody_answers() const {
  std::string places;
  for (const auto& c : with_->contacts) {
    for (const address& a : c.addresses) places += (places.empty() ? "" : ", ") + a.text();
  }
  return error(errc::unreachable,
               "no peer of this job answers at " + places +
                   (last_trouble_.empty() ? "" : " (" + last_trouble_ + ")") +
                   "; is a peer of the job running there, and reachable from here?");
}

P2PDVM_DECL bool joiner::is_meant(const job_spec& spec) const noexcept {
  return with_ && spec.id == with_->job && spec.issuer == with_->issuer;
}

P2PDVM_DECL void joiner::on_connection_lost(const node_id& node, const error& why) {
  if (asked_ != node || deadline_ == time_point_never) return;
  last_trouble_ = why.message();
  if (contacts_.size() > 1) timer_.after(std::chrono::milliseconds(50), [this] { ask_next(); });
}

}  // namespace p2pdvm::runtime
