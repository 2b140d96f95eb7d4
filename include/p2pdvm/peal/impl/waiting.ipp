#pragma once

#include <p2pdvm/peal/waiting.hpp>

#include <mutex>

namespace p2pdvm::peal::detail {

[[noreturn]] P2PDVM_DECL void throw_cancelled() {
  throw std::system_error(make_error_code(errc::cancelled), "the rank is being rolled back");
}

[[noreturn]] P2PDVM_DECL void throw_misuse(const std::string& sentence) {
  throw std::system_error(make_error_code(errc::misuse), sentence);
}

P2PDVM_DECL void waiting::cancel() {
  withdraw();
  complete();
}

P2PDVM_DECL wait_state waiting::state() const {
  wait_state s;
  s.number = number_;
  s.where = site_.where;
  if (site_.note != nullptr) s.note = *site_.note;
  describe(s);
  return s;
}

P2PDVM_DECL void receive_wait::describe(wait_state& s) const {
  s.why = probe ? wait_state::kind::probe : wait_state::kind::receive;
  s.partner = pattern.source;
  s.tag = pattern.tag;
}

P2PDVM_DECL void room_wait::describe(wait_state& s) const {
  s.why = wait_state::kind::room;
  s.partner = destination_;
  s.bytes = rank_.endpoint_.waiting_bytes(destination_);
}

P2PDVM_DECL void sleep_wait::describe(wait_state& s) const { s.why = wait_state::kind::sleep; }

P2PDVM_DECL void receive_wait::give_up() {
  const std::lock_guard lock(rank_.token_);
  withdraw();  // it may have been completed meanwhile
  end();
}

P2PDVM_DECL void receive_wait::withdraw() {
  if (completed()) return;
  rank_.endpoint_.withdraw(*this);
  if (standing_) rank_.services().stand(false);
}

P2PDVM_DECL bool timed_receive_wait::run(duration limit) {
  const std::lock_guard lock(rank_.token_);
  post();
  posted_ = true;
  if (completed() || limit <= duration::zero()) return true;
  rank_.services().release_after(limit, gate_);
  return false;
}

/// The clock releases the gate without more; until this is called a message may still come.
P2PDVM_DECL std::optional<peal::message> timed_receive_wait::finish() {
  const std::lock_guard lock(rank_.token_);
  withdraw();
  complete();
  if (!std::exchange(arrived_, false)) return std::nullopt;
  return take();
}

P2PDVM_DECL void timed_receive_wait::withdraw() {
  if (!std::exchange(posted_, false)) return;
  rank_.services().forget_release(gate_);
  if (arrived_) return;
  rank_.endpoint_.withdraw(*this);
  rank_.services().stand(false);
}

P2PDVM_DECL peal::message receive_wait::take() {
  return peal::message(static_cast<int>(message.source.value()), message.tag,
                       std::move(message.body));
}

P2PDVM_DECL void room_wait::suspend(rank& owner, rank_number destination,
                                    p2pdvm::detail::frame_pointer frame) {
  const std::lock_guard lock(owner.token_);
  std::erase_if(owner.room_waits_, [](const room_wait& w) { return w.gate_.spent(); });
  if (owner.cancelled()) return;
  room_wait& wait = owner.room_waits_.emplace_back(owner, destination, site_of(owner, destination));
  if (!owner.endpoint_.wait_for_room(destination, wait)) return owner.room_waits_.pop_back();
  wait.begin();
  wait.gate_.hold(frame);
}

P2PDVM_DECL void room_wait::suspend(rank& owner, rank_number destination, std::uint64_t loan,
                                    p2pdvm::detail::frame_pointer frame) {
  const std::lock_guard lock(owner.token_);
  std::erase_if(owner.room_waits_, [](const room_wait& w) { return w.gate_.spent(); });
  if (owner.cancelled()) return owner.endpoint_.take_back(destination, loan);
  room_wait& wait = owner.room_waits_.emplace_back(owner, destination, loan, site_of(owner, destination));
  if (!owner.endpoint_.wait_for_return(destination, loan, wait)) return owner.room_waits_.pop_back();
  wait.begin();
  wait.gate_.hold(frame);
}

P2PDVM_DECL call_site room_wait::site_of(rank& owner, rank_number destination) {
  const auto sent = owner.full_.find(destination);
  return {sent == owner.full_.end() ? std::source_location() : sent->second};
}

P2PDVM_DECL void room_wait::withdraw() {
  if (completed()) return;
  if (loan_) return rank_.endpoint_.take_back(destination_, *loan_);
  rank_.endpoint_.stop_waiting(*this);
}

P2PDVM_DECL sleep_wait::~sleep_wait() {
  const std::lock_guard lock(rank_.token_);
  if (!completed()) withdraw();
  end();
}

P2PDVM_DECL void sleep_wait::post(duration delay) {
  begin();
  rank_.services().release_after(delay, gate_);
}

P2PDVM_DECL void sleep_wait::withdraw() { rank_.services().forget_release(gate_); }

}  // namespace p2pdvm::peal::detail
