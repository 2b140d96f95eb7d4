/// What supersteps cost, in the terms of BSP: T = W + g h + l (R. Bisseling, Parallel Scientific Computation, 2nd edition, 2020,
/// section 1.2). Measured from a program's own supersteps.
#pragma once

#include <p2pdvm/peal/bsp/record.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace p2pdvm::bsp {

/// A computer as BSP sees it.
struct machine {
  int ranks = 1;
  double l = 0;  ///< seconds of a superstep that does nothing
  double g = 0;  ///< seconds for a word of 8 bytes that a rank sends or receives
};

namespace detail {

/// One superstep, as all ranks know it at its end.
struct superstep_cost {
  double work = 0;   ///< seconds that the slowest rank computed
  double words = 0;  ///< of 8 bytes: as many as the rank with most sends, or this one receives
  double took = 0;   ///< seconds, from the end of the one before
};

/// A synchronous state machine: sums, so that it costs nothing to keep.
class cost_meter {
 public:
  explicit cost_meter(int ranks) : ranks_(ranks) {}
  void add(const place& where, const superstep_cost& cost);
  /// By least squares over all but the first supersteps, which make connections; nothing before there were some.
  [[nodiscard]] std::optional<machine> measured() const;
  /// A sentence for the machine, and one for each place where supersteps end, beginning with the one that took longest.
  [[nodiscard]] std::vector<std::string> explained() const;

 private:
  static constexpr std::size_t places_max = 64;
  static constexpr std::uint64_t first_ones = 2, needed = 3;
  struct sums {
    const char* file = "";
    std::uint32_t line = 0;
    std::uint64_t count = 0;
    superstep_cost total;
  };
  int ranks_;
  std::uint64_t count_ = 0;
  double words_ = 0, seconds_ = 0, words_squared_ = 0, products_ = 0;
  std::vector<sums> places_;
};

}  // namespace detail

}  // namespace p2pdvm::bsp

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/peal/bsp/impl/cost.ipp>
#endif
