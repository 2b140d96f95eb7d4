/// A hint to the processor: this memory will be used soon.
#pragma once

#include <cstddef>

namespace p2pdvm {

/// Begins to fetch `bytes` bytes from `from` on into the cache, without waiting for them. Any
/// address will do.
inline void prefetch(const void* from, std::size_t bytes = 1) noexcept {
  constexpr std::size_t line = 64;
  const auto* first = static_cast<const std::byte*>(from);
  for (std::size_t at = 0; at < bytes; at += line) __builtin_prefetch(first + at);
  if (bytes > 1) __builtin_prefetch(first + bytes - 1);
}

}  // namespace p2pdvm
