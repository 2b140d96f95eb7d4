/// What a swarm under churn costs its peers, and how well it finds things.
#pragma once

#include <p2pdvm/runtime/simulated_swarm.hpp>

#include <cstdint>
#include <functional>
#include <vector>

namespace p2pdvm::runtime {

struct swarm_experiment {
  simulated_swarm::options swarm;
  /// Before anything is measured: the tables fill, sessions begin to end.
  duration settling = std::chrono::minutes(5);
  duration measured = std::chrono::minutes(10);
  /// Searches for the peers nearest to a random target, by random peers, per second of all.
  double lookups_per_second = 0;
  /// Searches for the value of a random record of those published before the measurement.
  double finds_per_second = 0;
  std::size_t records = 0;
  /// A peer takes part in searches and may be their right answer from this age on.
  duration grown_up = std::chrono::seconds(10);
  /// Called now and then with the share done, 0 … 1.
  std::function<void(double)> progress;
};

struct search_outcomes {
  std::uint64_t begun = 0;
  std::uint64_t failed = 0;
  std::vector<double> seconds;  ///< of those that succeeded, sorted
  double hops = 0;              ///< means of those
  double queries = 0;
  [[nodiscard]] double failure_rate() const noexcept {
    return begun == 0 ? 0 : static_cast<double>(failed) / static_cast<double>(begun);
  }
  /// `share` in 0 … 1; 0 when there is none.
  [[nodiscard]] double quantile(double share) const noexcept;
};

struct swarm_results {
  /// Failed: the nearest of the peers that lived all the while is not the first of the answer.
  search_outcomes lookups;
  /// Failed: no valid value, while at least one peer that was given it lives.
  search_outcomes finds;
  /// Of all that the overlay sends, replies and searches included, each datagram counted once,
  /// as UDP payload (seal included, IP and UDP headers not), per living peer.
  double messages_per_second = 0;
  double bytes_per_second = 0;
  double mean_living = 0;
  std::uint64_t sessions = 0;
  std::uint64_t events = 0;
  double virtual_seconds = 0;
  std::uint64_t digest = 0;
  overlay::node_statistics statistics;  ///< of the measured time
};

/// Deterministic: the same experiment gives the same results, digest included.
[[nodiscard]] swarm_results run_swarm_experiment(const swarm_experiment& how);

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/swarm_experiment.ipp>
#endif
