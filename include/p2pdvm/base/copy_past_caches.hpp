/// A copy that neither reads the memory that it overwrites nor takes the caches from others.
#pragma once

#include <p2pdvm/base/bytes.hpp>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace p2pdvm {

/// `memcpy` for much more than the caches hold, of which `from` is a part: libraries do the same, but only for what is as long as that by itself.
inline void copy_past_caches(std::byte* to, byte_view from) noexcept {
  const std::byte* at = from.data();
  std::size_t left = from.size();
#if defined(__SSE2__)
  constexpr std::size_t word = sizeof(__m128i), line = 64;
  if (left < 4 * line) {
    std::memcpy(to, at, left);
    return;
  }
  const std::size_t front = (line - reinterpret_cast<std::uintptr_t>(to) % line) % line;
  std::memcpy(to, at, front);
  to += front, at += front, left -= front;
  for (; left >= line; to += line, at += line, left -= line) {
    for (std::size_t i = 0; i < line; i += word)
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + i), _mm_loadu_si128(reinterpret_cast<const __m128i*>(at + i)));
  }
  _mm_sfence();  // whoever is given these bytes finds them
#endif
  std::memcpy(to, at, left);
}

}  // namespace p2pdvm
