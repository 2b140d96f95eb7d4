/// A hint to the processor: this memory will be used soon.
#pragma once

#include <cstddef>
#include <cstdint>

namespace p2pdvm {

/// Begins to fetch `bytes` bytes from `from` on into the cache, without waiting for them. Any
/// address will do, also null.
inline void prefetch(const void* from, std::size_t bytes = 1) noexcept {
  constexpr std::size_t line = 64;
  const auto first = reinterpret_cast<std::uintptr_t>(from);
  for (std::uintptr_t at = first / line * line; at < first + bytes; at += line) {
    __builtin_prefetch(reinterpret_cast<const void*>(at));
  }
}

}  // namespace p2pdvm
