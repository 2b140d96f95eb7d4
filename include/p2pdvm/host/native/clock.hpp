/// The steady clock as `host::clock`, with all timers behind one Asio timer.
#pragma once

#include <p2pdvm/async/poll_group.hpp>
#include <p2pdvm/host/host.hpp>

#include <asio/io_context.hpp>

#include <memory>

namespace p2pdvm::native {

/// Timers live in a heap of our own, so that setting and cancelling one costs no system call
/// unless it becomes the earliest. What is due already does not enter it: a driver that polls the
/// group runs it in its next turn. Pending timers count as work of the `io_context`.
class clock final : public host::clock {
 public:
  clock(asio::io_context& io, poll_group& polled);
  clock(const clock&) = delete;
  clock& operator=(const clock&) = delete;
  ~clock() override;  ///< forgets all timers

  [[nodiscard]] time_point now() const override;
  [[nodiscard]] unix_seconds wall() const override;
  host::timer_id call_at(time_point when, std::function<void()> action) override;
  void cancel(host::timer_id timer) override;

 private:
  struct state;
  std::shared_ptr<state> state_;
};

}  // namespace p2pdvm::native

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/host/native/impl/clock.ipp>
#endif
