/// The one thread that something is mostly used by, and how it can do without expensive atomics.
#pragma once

#include <p2pdvm/async/fences.hpp>

#include <atomic>
#include <chrono>
#include <thread>

namespace p2pdvm {

namespace detail {

/// Its address is this thread's own.
inline thread_local constinit char thread_mark = 0;

}  // namespace detail

/// Once more in a loop that waits for another thread: patient, then sleeping.
inline void pause_thread(int turn) {
  if (turn < 100) {
    std::this_thread::yield();
  } else {
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

/// Which thread is home; none at first.
class home_thread {
 public:
  [[nodiscard]] bool here() const noexcept {
    return mark_.load(std::memory_order_relaxed) == &detail::thread_mark;
  }
  [[nodiscard]] bool somewhere() const noexcept {
    return mark_.load(std::memory_order_relaxed) != nullptr;
  }
  /// This thread, unless there is one.
  void settle() noexcept {
    if (!somewhere()) mark_.store(&detail::thread_mark, std::memory_order_relaxed);
  }
  void leave() noexcept { mark_.store(nullptr, std::memory_order_relaxed); }

 private:
  std::atomic<const char*> mark_{nullptr};
};

}  // namespace p2pdvm
