/// Assertions for bugs in p2pdvm itself; they stay on in every build.
#pragma once

#include <p2pdvm/base/config.hpp>

namespace p2pdvm::detail {

[[noreturn]] void assertion_failed(const char* condition, const char* file, int line) noexcept;

}  // namespace p2pdvm::detail

/// Ends the process with one line naming the condition and the place. Assert
/// one condition at a time; outcomes that a caller can handle are `result<T>`.
#define P2PDVM_ASSERT(condition)    \
  ((condition) ? static_cast<void>(0) \
               : ::p2pdvm::detail::assertion_failed(#condition, __FILE__, __LINE__))

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/base/impl/assert.ipp>
#endif
