/// What collectives would take on a network of known round trips and access links: bounds, and classic
/// algorithms in a model that is coarser than the simulator and kinder than it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace p2pdvm::bench {

/// Ranks, one to a machine. A packet takes half a round trip one way.
class far_network {
 public:
  struct access {
    double up;    ///< bytes per second, 0 for no limit
    double down;
  };
  /// `round_trips`: [s], row by row.
  far_network(std::vector<double> round_trips, std::vector<access> links);

  [[nodiscard]] std::size_t size() const noexcept { return links_.size(); }
  [[nodiscard]] double one_way(std::size_t i, std::size_t j) const { return times_[i * size() + j] / 2; }
  [[nodiscard]] const access& link(std::size_t i) const { return links_[i]; }

  /// Before this no rank can know of all: the slowest pair's best path over at most one relay.
  [[nodiscard]] double relay_bound() const;
  /// Everybody sends to everybody at once: the slowest pair.
  [[nodiscard]] double direct() const;

  // The size of the network is a power of two.
  [[nodiscard]] double dissemination() const;
  [[nodiscard]] double recursive_doubling(double bytes) const;
  /// To the first rank, and back.
  [[nodiscard]] double binomial(double bytes) const;
  /// Halving and doubling (Rabenseifner 2004).
  [[nodiscard]] double rabenseifner(double bytes) const;
  /// Around the ranks in their order, twice, in as many pieces as there are ranks.
  [[nodiscard]] double ring(double bytes) const;

 private:
  std::vector<double> times_;
  std::vector<access> links_;
};

}  // namespace p2pdvm::bench
