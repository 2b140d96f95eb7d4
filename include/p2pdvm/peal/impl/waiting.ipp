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

P2PDVM_DECL task<> waiting::wait() {
  co_await gate_.wait(rank_.services().token());
  if (rank_.cancelled()) throw_cancelled();
}

P2PDVM_DECL void waiting::begin() {
  rank_.throw_if_cancelled();
  place_ = rank_.waits_.insert(rank_.waits_.end(), this);
  linked_ = true;
}

P2PDVM_DECL void waiting::end() {
  if (std::exchange(linked_, false)) rank_.waits_.erase(place_);
}

P2PDVM_DECL void waiting::complete() {
  end();
  gate_.release();
}

P2PDVM_DECL void waiting::cancel() {
  withdraw();
  complete();
}

P2PDVM_DECL receive_wait::receive_wait(rank& owner, const messaging::pattern& wanted,
                                       bool only_probe, bool standing)
    : waiting(owner), standing_(standing) {
  pattern = wanted;
  probe = only_probe;
}

P2PDVM_DECL receive_wait::~receive_wait() {
  const std::lock_guard lock(rank_.services().token());
  if (!completed()) withdraw();
  end();
}

P2PDVM_DECL void receive_wait::post() {
  begin();
  if (standing_) rank_.services().stand(true);
  if (rank_.services().endpoint().post(*this)) on_message();
}

P2PDVM_DECL task<> receive_wait::run() {
  {
    const std::lock_guard lock(rank_.services().token());
    post();
    if (completed()) co_return;
  }
  co_await wait();
}

P2PDVM_DECL void receive_wait::on_message() {
  // From here on the message is no longer in the mailbox: a snapshot would miss it.
  if (standing_) rank_.services().stand(false);
  complete();
}

P2PDVM_DECL void receive_wait::withdraw() {
  if (completed()) return;
  rank_.services().endpoint().withdraw(*this);
  if (standing_) rank_.services().stand(false);
}

P2PDVM_DECL peal::message receive_wait::take() {
  return peal::message(static_cast<int>(message.source.value()), message.tag,
                       std::move(message.body));
}

P2PDVM_DECL room_wait::~room_wait() {
  const std::lock_guard lock(rank_.services().token());
  if (!completed()) withdraw();
  end();
}

P2PDVM_DECL void room_wait::post() {
  begin();
  rank_.services().endpoint().wait_for_room(destination_, *this);
}

P2PDVM_DECL void room_wait::withdraw() {
  if (!completed()) rank_.services().endpoint().stop_waiting(*this);
}

P2PDVM_DECL sleep_wait::~sleep_wait() {
  const std::lock_guard lock(rank_.services().token());
  if (!completed()) withdraw();
  end();
}

P2PDVM_DECL void sleep_wait::post(duration delay) {
  begin();
  rank_.services().release_after(delay, gate_);
}

P2PDVM_DECL void sleep_wait::withdraw() { rank_.services().forget_release(gate_); }

}  // namespace p2pdvm::peal::detail
