/// A re-armable timer that cancels itself when it is destroyed.
#pragma once

#include <p2pdvm/host/host.hpp>

#include <utility>

namespace p2pdvm::host {

class timer {
 public:
  explicit timer(clock& clock) : clock_(&clock) {}
  timer(const timer&) = delete;
  timer& operator=(const timer&) = delete;
  ~timer() { cancel(); }

  /// Replaces an earlier setting. `time_point_never` only cancels.
  void at(time_point when, std::function<void()> action) {
    cancel();
    if (when == time_point_never) return;
    action_ = std::move(action);
    // Small enough for the clock to keep without an allocation.
    id_ = clock_->call_at(when, [this] { fire(); });
  }
  void after(duration delay, std::function<void()> action) {
    at(clock_->now() + delay, std::move(action));
  }
  void cancel() {
    if (id_ == 0) return;
    clock_->cancel(std::exchange(id_, 0));
    action_ = nullptr;
  }
  [[nodiscard]] bool armed() const noexcept { return id_ != 0; }

 private:
  /// The action may set this timer again, or destroy it.
  void fire() {
    id_ = 0;
    const std::function<void()> action = std::exchange(action_, nullptr);
    action();
  }

  clock* clock_;
  timer_id id_ = 0;
  std::function<void()> action_;
};

}  // namespace p2pdvm::host
