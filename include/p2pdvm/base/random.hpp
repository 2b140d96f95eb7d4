/// Deterministic pseudo-random numbers with distributions of our own, equal on every platform.
#pragma once

#include <p2pdvm/base/assert.hpp>

#include <array>
#include <cstdint>

namespace p2pdvm {

/// xoshiro256** (Blackman and Vigna, 2018), seeded by splitmix64. Not for keys.
class random_generator {
 public:
  using result_type = std::uint64_t;
  explicit random_generator(std::uint64_t seed = 0) noexcept {
    for (auto& word : state_) {
      seed += 0x9e3779b97f4a7c15ull;
      std::uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
      word = z ^ (z >> 31);
    }
  }
  static constexpr std::uint64_t min() noexcept { return 0; }
  static constexpr std::uint64_t max() noexcept { return ~std::uint64_t{0}; }

  std::uint64_t operator()() noexcept {
    const auto rotate = [](std::uint64_t x, int k) { return (x << k) | (x >> (64 - k)); };
    const std::uint64_t value = rotate(state_[1] * 5, 7) * 9;
    const std::uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = rotate(state_[3], 45);
    return value;
  }

  /// Uniform in [0, bound); precondition: bound > 0. Lemire's method.
  std::uint64_t below(std::uint64_t bound) noexcept {
    P2PDVM_ASSERT(bound > 0);
    __extension__ using wide = unsigned __int128;
    for (;;) {
      const std::uint64_t draw = (*this)();
      const wide product = static_cast<wide>(draw) * bound;
      const auto low = static_cast<std::uint64_t>(product);
      if (low >= bound || low >= (0 - bound) % bound) return static_cast<std::uint64_t>(product >> 64);
    }
  }

  /// Uniform in [0, 1), 53 bits.
  double unit() noexcept { return static_cast<double>((*this)() >> 11) * 0x1p-53; }

  bool chance(double probability) noexcept { return unit() < probability; }

  using state_type = std::array<std::uint64_t, 4>;
  [[nodiscard]] const state_type& state() const noexcept { return state_; }
  void restore(const state_type& state) noexcept { state_ = state; }

 private:
  state_type state_{};
};

}  // namespace p2pdvm
