/// Suspends one coroutine until somebody else releases it through a `ready_queue`.
#pragma once

#include <p2pdvm/base/config.hpp>

#include <p2pdvm/async/ready_queue.hpp>
#include <p2pdvm/async/task.hpp>

#include <asio/async_result.hpp>

#include <optional>
#include <utility>

namespace p2pdvm {

/// Lives in the frame of the waiting coroutine. `release()` may come before or after
/// `wait()`, from any thread that holds the lock given to `wait`, once.
class suspension final : public ready_queue::item {
 public:
  explicit suspension(ready_queue& queue) : queue_(queue) {}

  /// Call with the lock released before; it is taken to look at the state, and given back
  /// once the coroutine is suspended. The coroutine goes on from the ready queue.
  template <class Lock>
  task<> wait(Lock& lock) {
    return asio::async_initiate<const asio::use_awaitable_t<>&, void()>(
        [this, &lock](handler_type handler) {
          lock.lock();
          handler_.emplace(std::move(handler));
          const bool released = released_;
          lock.unlock();
          if (released) queue_.push(*this);
        },
        asio::use_awaitable);
  }

  /// Precondition: the lock is held.
  void release() {
    if (std::exchange(released_, true)) return;
    if (handler_) queue_.push(*this);
  }
  [[nodiscard]] bool released() const noexcept { return released_; }

  void resume() override {
    handler_type handler(std::move(*handler_));
    handler_.reset();
    handler();  // resumes the coroutine, which may destroy *this
  }

 private:
  using handler_type =
      typename asio::async_result<std::decay_t<const asio::use_awaitable_t<>&>, void()>::handler_type;

  ready_queue& queue_;
  std::optional<handler_type> handler_;
  bool released_ = false;
};

}  // namespace p2pdvm
