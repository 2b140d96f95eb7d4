/// A fingerprint of a whole simulated run.
#pragma once

#include <p2pdvm/base/bytes.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace p2pdvm::sim::detail {

/// A running 64-bit digest of everything that happened. Not cryptographic.
class event_digest {
 public:
  void add(std::uint64_t word) noexcept {
    value_ = (value_ ^ word) * 0x9fb21c651e98df25ull;
    value_ ^= value_ >> 32;
  }
  [[nodiscard]] std::uint64_t value() const noexcept { return value_; }

  /// Four lanes of multiply and shift: about as fast as memory.
  [[nodiscard]] static std::uint64_t of(byte_view bytes) noexcept {
    std::uint64_t lane[4] = {0x9e3779b97f4a7c15ull, 0xc2b2ae3d27d4eb4full, 0x165667b19e3779f9ull,
                             0x27d4eb2f165667c5ull};
    const std::size_t size = bytes.size();
    std::size_t at = 0;
    for (; at + 32 <= size; at += 32)
      for (std::size_t i = 0; i < 4; ++i) mix(lane[i], word(bytes.data() + at + i * 8, 8));
    for (std::size_t i = 0; at < size; at += 8, i = (i + 1) % 4)
      mix(lane[i], word(bytes.data() + at, std::min<std::size_t>(8, size - at)));
    std::uint64_t all = size;
    for (const std::uint64_t l : lane) mix(all, l);
    return all;
  }

 private:
  static std::uint64_t word(const std::byte* from, std::size_t count) noexcept {
    std::uint64_t w = 0;
    std::memcpy(&w, from, count);
    return w;
  }
  static void mix(std::uint64_t& lane, std::uint64_t w) noexcept {
    lane = (lane ^ w) * 0x9fb21c651e98df25ull;
    lane ^= lane >> 29;
  }

  std::uint64_t value_ = 0x6a09e667f3bcc908ull;
};

}  // namespace p2pdvm::sim::detail
