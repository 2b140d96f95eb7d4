/// The peers nearest to one or several others: shortlist by coordinates, then measure.
#pragma once

#include <p2pdvm/overlay/coordinates.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace p2pdvm::overlay {

inline constexpr std::size_t nearest_shortlist_max = 64;
inline constexpr std::size_t nearest_targets_max = 64;

struct nearest_options {
  std::size_t wanted = 1;
  /// Candidates measured, at most `nearest_shortlist_max`. What coordinates rank behind these is
  /// not looked at; four per wanted one rarely miss the best.
  std::size_t shortlist = 8;
  std::uint8_t attempts = 2;  ///< per measurement, until its candidate is given up
};

/// A synchronous state machine: the owner measures what `next` names, and reports.
class nearest_query {
 public:
  /// Looks for the candidates with the least mean round trip to `targets`: where the asking peer
  /// is, or the peers of a set, of whom the first `nearest_targets_max` count. At least one.
  nearest_query(std::span<const coordinate> candidates, std::span<const coordinate> targets,
                const nearest_options& options);

  /// The round trip between a candidate and a target, by their indexes.
  struct probe {
    std::uint32_t candidate = 0;
    std::uint32_t target = 0;
    friend bool operator==(const probe&, const probe&) = default;
  };
  /// The next measurement to make, or none for now.
  [[nodiscard]] std::optional<probe> next();
  /// The outcome of a measurement, or nothing when there was no answer in time. What was not
  /// asked for is ignored; an implausible round trip counts as lost.
  void measured(const probe& which, std::optional<duration> round_trip);
  /// Nothing is left to measure or to wait for.
  [[nodiscard]] bool done() const noexcept { return queue_.empty() && outstanding_.empty(); }

  /// A candidate by index, and its mean round trip to the targets.
  struct found {
    std::uint32_t candidate = 0;
    duration round_trip{};
  };
  /// The nearest of those measured to all targets, nearest first, at most as many as wanted.
  [[nodiscard]] std::vector<found> best() const;

 private:
  struct entry {
    std::uint32_t candidate = 0;
    std::size_t measured = 0;
    double seconds = 0;  ///< sum over targets
    bool lost = false;
  };
  struct attempt {
    probe what;
    std::uint8_t number = 1;
  };

  [[nodiscard]] entry& entry_of(std::uint32_t candidate);
  void give_up(entry& e);

  nearest_options options_;
  std::size_t targets_;
  std::vector<entry> shortlist_;
  std::vector<attempt> queue_;  ///< the next one last
  std::vector<attempt> outstanding_;
};

}  // namespace p2pdvm::overlay

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/overlay/impl/nearest.ipp>
#endif
