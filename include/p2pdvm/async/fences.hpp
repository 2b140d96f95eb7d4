/// Fences that one side of a protocol makes for both: the side that runs often needs none.
#pragma once

#include <p2pdvm/base/assert.hpp>

#include <atomic>

#if defined(__linux__)
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace p2pdvm {

namespace detail {

#if defined(__linux__)
inline bool membarrier(int command) noexcept { return ::syscall(SYS_membarrier, command, 0, 0) == 0; }
#endif

inline bool register_asymmetric_fence() noexcept {
#if defined(__linux__)
  return membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
#else
  return false;
#endif
}

inline bool register_fence_across() noexcept {
#if defined(__linux__)
  return membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED);
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
  const bool done = detail::membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
  P2PDVM_ASSERT(done);
#endif
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

/// Whether this process takes part in `fence_across`, its own and that of others.
[[nodiscard]] inline bool fence_across_available() noexcept {
  static const bool available = detail::register_fence_across();
  return available;
}

/// The same in every thread of all processes that take part. An ordinary fence where this process does not.
inline void fence_across() noexcept {
#if defined(__linux__)
  if (fence_across_available()) static_cast<void>(detail::membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED));
#endif
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

}  // namespace p2pdvm
