/// The one thread that something is mostly used by, and how it can do without expensive atomics.
#pragma once

#include <p2pdvm/base/assert.hpp>

#include <atomic>
#include <chrono>
#include <thread>

#if defined(__linux__)
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace p2pdvm {

namespace detail {

/// Its address is this thread's own.
inline thread_local constinit char thread_mark = 0;

inline bool register_asymmetric_fence() noexcept {
#if defined(__linux__)
  return ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
#else
  return false;
#endif
}

}  // namespace detail

/// Whether `asymmetric_fence` does what it says here.
[[nodiscard]] inline bool asymmetric_fence_available() noexcept {
  static const bool available = detail::register_asymmetric_fence();
  return available;
}

/// A full memory fence in every thread of this process: where one side of a protocol runs often, a
/// compiler fence is enough for it when the other side uses this. Linux's membarrier, some microseconds.
inline void asymmetric_fence() noexcept {
#if defined(__linux__)
  const bool done = ::syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
  P2PDVM_ASSERT(done);
#endif
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

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
