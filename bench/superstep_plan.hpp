/// What the bsp suite measures, as bspbench does (R. Bisseling, Parallel Scientific Computation, 2nd edition, 2020, section 1.5): every
/// process puts so many words of 8 bytes one by one into the others' memory, to each in turn, and a superstep ends. The same for
/// p2pdvm's ranks and for those of an MPI library.
#pragma once

#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

namespace p2pdvm::bench::supersteps {

/// Words that each process puts.
inline constexpr int words[] = {0, 1, 2, 4, 8, 16, 32, 64, 128, 256};
inline constexpr int words_max = 256;

struct effort {
  int samples, supersteps;  ///< of each sample; rank 0 times it as a whole
};
[[nodiscard]] constexpr effort effort_of(bool quick) noexcept { return quick ? effort{2, 2} : effort{25, 60}; }

/// Where the i-th word of `self` goes.
[[nodiscard]] constexpr int destination(int self, int ranks, int i) noexcept {
  return ranks == 1 ? 0 : (self + 1 + i % (ranks - 1)) % ranks;
}

/// T(h) = l + g h, by least squares over all that was measured.
struct machine {
  double l = 0;  ///< seconds of a superstep without words
  double g = 0;  ///< seconds a word
};
[[nodiscard]] inline machine fitted(const std::vector<std::pair<int, double>>& times) noexcept {
  double n = 0, h = 0, t = 0, hh = 0, ht = 0;
  for (const auto& [words_put, seconds] : times) {
    n += 1, h += words_put, t += seconds, hh += double(words_put) * words_put, ht += words_put * seconds;
  }
  const double g = (n * ht - h * t) / (n * hh - h * h);
  return {(t - g * h) / n, g};
}

}  // namespace p2pdvm::bench::supersteps
