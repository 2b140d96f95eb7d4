/// Suspends one coroutine until somebody else releases it through a `ready_queue`.
#pragma once

#include <p2pdvm/base/config.hpp>

#include <p2pdvm/async/frame.hpp>
#include <p2pdvm/async/ready_queue.hpp>

#include <atomic>
#include <optional>

namespace p2pdvm {

/// Lives in the frame of the waiting coroutine. `release()` may come before or after
/// `wait()`, from any thread that holds the lock given to `wait`, once.
class suspension final : public ready_queue::item {
 public:
  explicit suspension(ready_queue& queue) : queue_(queue) {}

  /// `co_await gate.wait(lock)`. The lock must not be held; it is taken to look at the state, and given
  /// back once the coroutine is suspended, which then goes on from the ready queue. Does not suspend
  /// when it has been released.
  template <class Lock>
  [[nodiscard]] auto wait(Lock& lock) {
    return detail::frame_hook([this, &lock](detail::frame_pointer frame) {
      lock.lock();
      if (!released()) hold(frame);
      lock.unlock();  // from here on this may be gone
    });
  }
  /// The same for a coroutine that is suspended already, in a function that `co_await` called with its
  /// frame. Precondition: the lock is held, and it has not been released.
  void hold(detail::frame_pointer frame) { coroutine_.emplace(frame); }

  /// Precondition: the lock is held.
  void release() {
    if (released()) return;
    released_.store(true, std::memory_order_release);
    if (coroutine_) queue_.push(*this);
  }
  [[nodiscard]] bool released() const noexcept { return released_.load(std::memory_order_acquire); }

  /// A coroutine waits for the release. Precondition: the lock is held.
  [[nodiscard]] bool holds() const noexcept { return !released() && coroutine_.has_value(); }

  /// The coroutine has gone on.
  [[nodiscard]] bool spent() const noexcept { return released() && !coroutine_; }

  void resume() override {
    detail::suspended_coroutine coroutine(std::move(*coroutine_));
    coroutine_.reset();
    coroutine.resume();  // may destroy *this
  }

 private:
  ready_queue& queue_;
  std::optional<detail::suspended_coroutine> coroutine_;
  std::atomic<bool> released_{false};
};

}  // namespace p2pdvm
