/// Which members should host ranks: those near each other, as far as one proposer knows.
///
/// The choice is the proposer's and travels in the record as an explicit placement, so others
/// need not know what it knew. How many ranks each member gets is decided without distances.
#pragma once

#include <p2pdvm/checkpoint/job_record.hpp>
#include <p2pdvm/overlay/coordinates.hpp>
#include <p2pdvm/overlay/placement.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <vector>

namespace p2pdvm::checkpoint {

/// Between members that have not measured each other and of whom one has no coordinate [s].
inline constexpr double member_distance_default = 0.15;
/// Members and ranks up to which hosts are looked for at the start of a job: the search takes
/// their product times the ranks.
inline constexpr std::size_t host_choice_members_max = 512;
inline constexpr std::size_t host_choice_ranks_max = 128;
/// Hosts up to which it matters for moved ranks how near they are: all pairs are looked at.
inline constexpr std::size_t host_choice_hosts_max = 2048;
/// Another choice than the plain one must promise this share less of mean round trip, and at
/// least so much less [s]: predictions err.
inline constexpr double host_choice_gain_min = 0.1;
inline constexpr double host_choice_gain_least = 0.003;

/// What one member knows of the round trips among the members of a record.
class member_distances {
 public:
  /// Knows what the record says: coordinates.
  explicit member_distances(const job_record& record);

  /// A member, by its index, has said since that it is here. Ignored unless plausible.
  void place(std::uint32_t of, const overlay::packed_coordinate& where);
  /// The knowing member is this one, and has measured this to another.
  void measured(std::uint32_t self, std::uint32_t other, duration round_trip);

  /// [s], 0 for a member and itself.
  [[nodiscard]] double between(std::uint32_t a, std::uint32_t b) const;

 private:
  struct known {
    std::optional<overlay::coordinate> where;
    std::optional<double> measured;  ///< from ourselves [s]
  };
  std::vector<known> members_;
  std::optional<std::uint32_t> self_;
};

/// For `start`: of the members that asked for ranks as many as there are ranks, near each other
/// and in an order in which neighbouring ranks are near, a rank each or else even blocks. Empty,
/// which stands for the plain placement, when that is about as good or there are too many.
[[nodiscard]] std::vector<std::uint32_t> near_placement(const job_record& record,
                                                        const member_distances& distances);

/// For `evict` and `move_ranks`: each rank on a member of `gone` goes to one of the members that
/// have fewest, and of those to the one nearest to all ranks. Empty while the job has no
/// placement, or when nobody is left who can host.
[[nodiscard]] std::vector<std::uint32_t> placement_without(const job_record& record,
                                                           const std::set<node_id>& gone,
                                                           const member_distances& distances);

/// For `spread_ranks`: no member that `may_take` ranks has two fewer than another member. Ranks go from who has most, those with the greatest
/// numbers, to who has fewest, and of those to the one nearest to all ranks. Empty when nothing would move.
[[nodiscard]] std::vector<std::uint32_t> even_placement_of(const job_record& record,
                                                           const std::function<bool(const node_id&)>& may_take,
                                                           const member_distances& distances);

/// Ranks of the member that has most.
[[nodiscard]] std::uint32_t busiest(const std::vector<std::uint32_t>& placement);

}  // namespace p2pdvm::checkpoint

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/checkpoint/impl/host_choice.ipp>
#endif
