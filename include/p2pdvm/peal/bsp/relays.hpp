/// Which letters of a superstep go through another rank, because that is the shorter way.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace p2pdvm::bsp::detail {

/// Round trips between all ranks, row by row [s]; negative: unknown. A superstep ends when the slowest pair has heard of each other, so
/// only pairs need a relay that are slower than the slowest of all best ways: few, and the relays have little to carry.
class relays {
 public:
  explicit relays(std::size_t ranks) : ranks_(ranks), times_(ranks * ranks, -1.0f) {}
  void set_row(std::size_t rank, std::span<const float> times);
  /// For each destination of `self` the rank that passes its letters on; -1: none.
  [[nodiscard]] std::vector<int> of(std::size_t self) const;
  /// The slowest pair's best way over at most one relay, there and back [s]; 0 when nothing is known.
  [[nodiscard]] double slowest() const;

 private:
  struct way {
    float time;
    int relay;
  };
  [[nodiscard]] float at(std::size_t from, std::size_t to) const { return times_[from * ranks_ + to]; }
  [[nodiscard]] way best(std::size_t from, std::size_t to) const;

  std::size_t ranks_;
  std::vector<float> times_;
};

}  // namespace p2pdvm::bsp::detail

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/peal/bsp/impl/relays.ipp>
#endif
