/// Where the ranks of a job should run: on peers close to one another, and neighbouring ranks on
/// peers that are closest.
///
/// Coordinates find a few neighbourhoods: the tightest balls around candidates that have slots for
/// half as many ranks again. From each a local search looks for the group with the smallest mean
/// round trip among the peers of all, taking what is only predicted for shorter than predicted:
/// optimism, so that pairs that might be near are looked at. The pairs of the best group are then
/// measured, and the search is made again, until it ends with a group that is measured.
/// Deterministic: equal candidates and measurements give equal placements.
#pragma once

#include <p2pdvm/overlay/coordinates.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace p2pdvm::overlay {

/// Candidates tried as centres, evenly spread over their list.
inline constexpr std::size_t placement_centres_max = 256;
/// Above so many peers or ranks the ball is taken as it is: no measurements, no search.
inline constexpr std::size_t placement_search_max = 1024;
/// Balls looked at; none has its centre within another's ranks. Slots of each, over ranks.
inline constexpr std::size_t placement_neighbourhoods = 6;
inline constexpr double placement_spares = 1.5;
/// Rounds of measurements; what is not measured after them counts as predicted.
inline constexpr int placement_rounds_max = 16;
/// What a predicted round trip counts for while there is something to measure, over the prediction.
inline constexpr double placement_optimism = 0.6;
/// Times a lost measurement is made again.
inline constexpr std::uint8_t placement_retries = 2;

/// A peer that could run ranks.
struct placement_candidate {
  coordinate where;
  std::uint32_t slots = 1;  ///< ranks that it has room for
};

/// Round trips between numbered peers [s], the same both ways, 0 from a peer to itself.
class round_trip_table {
 public:
  explicit round_trip_table(std::size_t peers) : peers_(peers), times_(peers * peers) {}
  [[nodiscard]] std::size_t size() const noexcept { return peers_; }
  [[nodiscard]] double at(std::size_t i, std::size_t j) const { return times_[i * peers_ + j]; }
  void set(std::size_t i, std::size_t j, double seconds) {
    times_[i * peers_ + j] = times_[j * peers_ + i] = static_cast<float>(seconds);
  }

 private:
  std::size_t peers_;
  std::vector<float> times_;
};

/// Mean round trip between ranks on `hosts` [s]; ranks of one peer are 0 apart.
[[nodiscard]] double mean_round_trip(const round_trip_table& table,
                                     std::span<const std::uint32_t> hosts);
/// Exchanges one host after another for a peer with a free slot, always the exchange that gains
/// most, until none does. `hosts` may name a peer as often as it has slots.
void tighten(const round_trip_table& table, std::span<const std::uint32_t> slots,
             std::vector<std::uint32_t>& hosts);
/// Reorders hosts so that consecutive ones are near each other.
void line_up(const round_trip_table& table, std::vector<std::uint32_t>& hosts);

class rank_placement {
 public:
  /// Candidates without slots are never chosen. `ranks` must be positive.
  rank_placement(std::span<const placement_candidate> candidates, std::uint32_t ranks);

  /// Whether the candidates have slots for all ranks. Else there is nothing to measure or place.
  [[nodiscard]] bool possible() const noexcept { return possible_; }

  /// Peer `from` is to measure its round trip to `to` (indexes into the candidates).
  struct probe {
    std::uint32_t from = 0;
    std::uint32_t to = 0;
    friend bool operator==(const probe&, const probe&) = default;
  };
  /// The next measurement to ask for, or none for now: call again when outcomes are known. Each
  /// pair is named once, and again when it was lost.
  [[nodiscard]] std::optional<probe> next();
  /// Nothing is left to measure or to wait for. To be asked after `next` gave none.
  [[nodiscard]] bool done() const noexcept { return queue_.empty() && outstanding_ == 0; }
  /// What was measured, or nothing when it was lost or a peer did not answer. Reports that were
  /// not asked for are ignored, implausible ones count as lost. A pair whose measurements are all
  /// lost is taken to be out of reach of each other.
  void measured(const probe& which, std::optional<duration> round_trip);

  /// The candidate that is to host each rank, by what is known now: predictions stand for what
  /// is not measured. Precondition: `possible()`.
  [[nodiscard]] std::vector<std::uint32_t> hosts() const;

 private:
  struct pair_state {
    std::uint8_t lost = 0;
    bool asked = false;  ///< and the outcome not known
    bool known = false;
  };
  using host_list = std::vector<std::uint32_t>;  ///< of each rank, indexes into the pool

  void add_ball(std::span<const std::uint32_t> ball,
                std::span<const placement_candidate> candidates);
  [[nodiscard]] std::uint32_t pool_index(std::uint32_t candidate);
  [[nodiscard]] std::size_t pair_of(std::size_t i, std::size_t j) const;
  /// The best group by these round trips.
  [[nodiscard]] host_list search(const round_trip_table& table) const;
  /// Round trips where those that are not measured are optimistic by this factor.
  [[nodiscard]] round_trip_table table_with(double optimism) const;
  void ask_for_pairs_of(const host_list& group);

  std::uint32_t ranks_;
  bool possible_ = false;
  bool searchable_ = false;
  std::vector<std::uint32_t> pool_;   ///< candidates of all neighbourhoods
  std::vector<std::uint32_t> slots_;  ///< of the pool
  std::vector<host_list> starts_;     ///< one per neighbourhood
  host_list last_;                    ///< what the last search found, if there was one
  round_trip_table table_{0};         ///< of the pool, measured or predicted
  std::vector<pair_state> pairs_;     ///< of the pool, rows before columns
  std::vector<probe> queue_;          ///< of indexes into the pool, the next one last
  std::size_t outstanding_ = 0;
  int rounds_ = 0;
};

}  // namespace p2pdvm::overlay

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/overlay/impl/placement.ipp>
#endif
