/// Round trips between simulated peers as a benchmark sees them: true ones, and measured ones.
#pragma once

#include "suites.hpp"

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/overlay/coordinates.hpp>
#include <p2pdvm/sim/options.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace p2pdvm::bench {

/// Where machines are: a built-in profile, or a matrix from a file.
struct place_source {
  std::string name;
  sim::latency_profile profile = sim::latency_profile::planetlab;
  std::optional<sim::latency_matrix> matrix;
};

/// The profile planetlab, and the matrix that the user gave. Throws when it cannot be read.
[[nodiscard]] std::vector<place_source> place_sources(const settings& how);
[[nodiscard]] std::vector<std::uint64_t> seeds(const settings& how);

class round_trips {
 public:
  round_trips(const place_source& source, std::size_t peers, std::uint64_t seed);

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// [s]; 0 from a peer to itself.
  [[nodiscard]] double at(std::size_t i, std::size_t j) const { return times_[i * size_ + j]; }
  /// One measurement: both ways with the jitter that the simulator gives packets of the profile.
  [[nodiscard]] double sample(std::size_t i, std::size_t j, random_generator& random) const;

 private:
  std::size_t size_;
  double jitter_;
  std::vector<double> times_;
};

/// Peers with coordinates that learn from measuring one another, as the overlay's traffic would
/// have them: three of four samples go to one of 48 neighbours that stay the same (contacts of
/// routing tables), the others to peers at random (lookups).
class coordinate_swarm {
 public:
  static constexpr std::size_t neighbours = 48;

  /// `world` must outlive it.
  coordinate_swarm(const round_trips& world, std::uint64_t seed);
  /// One sample by each peer, in random order.
  void round();
  [[nodiscard]] std::vector<overlay::coordinate> coordinates() const;
  /// Median over pairs of |predicted - actual| / actual.
  [[nodiscard]] double error() const;
  [[nodiscard]] static node_id id_of(std::size_t peer);

 private:
  [[nodiscard]] std::size_t whom_to_measure(std::size_t peer);

  const round_trips& world_;
  random_generator random_;
  std::vector<overlay::coordinate_tracker> peers_;
  std::vector<std::vector<std::size_t>> neighbours_;
};

}  // namespace p2pdvm::bench
