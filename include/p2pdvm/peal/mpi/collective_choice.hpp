/// Which way a collective takes, chosen from the round trips between the members, the size of the data and the
/// number of members.
///
/// Everything is in whole nanoseconds, so that members that know the same numbers choose the same.
/// No choice changes how a reduction is bracketed, only how its data travel.
#pragma once

#include <p2pdvm/base/time.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace p2pdvm::mpi {

/// Larger communicators use rounds: with an exchange everybody sends to everybody.
inline constexpr int network_members_max = 256;
/// Contributions are exchanged whole up to this length.
inline constexpr std::size_t exchanged_bytes_max = 16 * 1024;
/// Data that go in slices are so many blocks at most: while the results of one are on their way, others' parts are.
inline constexpr std::size_t slice_blocks_max = 8;
/// Of a slice of one block, if they are alike. What is shorter is not worth a message more.
inline constexpr std::size_t slice_bytes_min = 1024;
[[nodiscard]] constexpr std::size_t blocks_of(std::size_t bytes, int members) noexcept {
  const std::size_t most = bytes / (slice_bytes_min * static_cast<std::size_t>(members));
  return most < 1 ? 1 : most > slice_blocks_max ? slice_blocks_max : most;
}
/// Of a hub: what it has to do grows with both.
inline constexpr int hub_members_max = 16;
inline constexpr std::size_t hub_bytes_max = 4 * 1024;
/// What a message costs its sender and its receiver together beside its way.
inline constexpr duration message_cost = std::chrono::microseconds(4);
/// The rounds stay unless another way promises so much less, and a tenth.
inline constexpr duration gain_min = std::chrono::milliseconds(3);

/// Fewer members far apart do not tell each other results.
inline constexpr int telling_members_min = 8;
/// Of a member. One of three nearly always has the result in time.
inline constexpr std::size_t tellers_max = 3;

/// What moves data among all members.
enum class way : std::uint8_t {
  rounds,    ///< with distances 1, 2, 4, …: dissemination, recursive doubling or trees, Bruck
  halving,   ///< Rabenseifner: halves of the data with distances 1, 2, 4, …, and back
  exchange,  ///< everybody's own to everybody, over at most one other member
  slices,    ///< everybody combines one slice of all data and gives it to everybody, block after block
  by_peers,  ///< the members of a peer gather at the first of them, and these exchange
  hub,       ///< everybody's own to the first member, and from it what all of them make
};
[[nodiscard]] std::string_view name_of(way w) noexcept;

/// The paths between the members of a communicator, the same on every member.
class network_view {
 public:
  /// `round_trips`: members × members, symmetric, in units of 100 ns.
  network_view(int members, std::vector<std::uint32_t> round_trips);

  static constexpr std::int64_t unit_nanoseconds = 100;
  [[nodiscard]] int members() const noexcept { return members_; }
  [[nodiscard]] duration one_way(int from, int to) const noexcept {
    return duration(std::int64_t{round_trips_[index(from, to)]} * (unit_nanoseconds / 2));
  }
  /// The time that so many bytes take to pass, once the first has arrived. While uplinks are unknown it is
  /// guessed from the distance: far apart are access links of 20 Mbit/s.
  [[nodiscard]] duration passing(int from, int to, std::size_t bytes) const noexcept;
  /// Bytes per second that each member can send, none of them 0; see mpi/uplink_agreement.hpp.
  void set_uplinks(std::vector<std::uint32_t> rates);
  [[nodiscard]] bool knows_uplinks() const noexcept { return !uplinks_.empty(); }
  /// Of `count` elements, what member `member` combines: more of them the sooner it has sent all of its own data, and can
  /// send them on.
  [[nodiscard]] std::pair<std::size_t, std::size_t> slice(std::size_t count, int member) const;  // first, end
  /// Whether both are on one peer.
  [[nodiscard]] bool together(int a, int b) const noexcept { return a == b || round_trips_[index(a, b)] <= 1; }
  /// Whether both are on one computer, and share memory.
  [[nodiscard]] bool near(int a, int b) const noexcept { return one_way(a, b) <= near_way_max; }
  /// How many members run at once, should all of them be on one computer; 0 when that is not known.
  void set_cores(std::uint32_t cores) noexcept { cores_ = cores; }
  [[nodiscard]] std::uint32_t cores() const noexcept { return cores_; }
  /// Whether all are on one computer, in more processes than it has cores.
  [[nodiscard]] bool crowded() const;
  /// Whether some are so far apart that access links may be between them.
  [[nodiscard]] bool wide() const noexcept;
  /// What a choice among some of the members goes by.
  [[nodiscard]] network_view among(std::span<const int> members) const;

 private:
  [[nodiscard]] std::size_t index(int from, int to) const noexcept {
    return static_cast<std::size_t>(from) * static_cast<std::size_t>(members_) + static_cast<std::size_t>(to);
  }
  void weigh();
  /// No network is so fast.
  static constexpr duration near_way_max = std::chrono::nanoseconds(500);
  int members_;
  std::vector<std::uint32_t> round_trips_;
  std::vector<std::uint32_t> uplinks_;  ///< empty: unknown
  std::vector<std::uint64_t> weights_;  ///< of slices
  std::uint32_t cores_ = 0;
};

/// Who sends what to whom in an exchange: in one step everybody's own part to all that it reaches in time, and in a
/// second one what those parts are passed on for.
///
/// In time: within the relay bound, the greatest over all pairs of the best path over at most one other member.
/// Only pairs that are farther apart need a relay. A relay gives a target one message for all the sources it
/// passes on, and none waits beyond the bound for that. Relays are those with the least to pass on.
///
/// Where members are far apart and only the parts' combination is wanted, each is told the result by a few near it
/// that have it, so that a part that is lost on its way, and sent again, holds up nobody.
class exchange_plan {
 public:
  /// What `relay` passes on to `target`.
  struct bundle {
    int relay;
    int target;
    std::vector<int> sources;  ///< ascending
  };
  explicit exchange_plan(const network_view& network);

  [[nodiscard]] int members() const noexcept { return members_; }
  [[nodiscard]] duration bound() const noexcept { return bound_; }
  [[nodiscard]] bool direct(int from, int to) const noexcept { return bundle_of(from, to) < 0; }
  /// Whom a member sends its own part, the farthest first.
  [[nodiscard]] std::vector<int> targets(int member) const;
  [[nodiscard]] const std::vector<bundle>& bundles() const noexcept { return bundles_; }
  /// Null when there is none.
  [[nodiscard]] const bundle* find(int relay, int target) const noexcept;
  /// What a member passes on.
  [[nodiscard]] std::vector<const bundle*> bundles_of(int relay) const;
  [[nodiscard]] std::size_t messages_from(int member) const;
  [[nodiscard]] std::size_t messages_to(int member) const;
  [[nodiscard]] std::size_t relayed_pairs() const noexcept { return relayed_; }
  /// By whom a member is told a result.
  [[nodiscard]] const std::vector<int>& tellers(int member) const { return tellers_[static_cast<std::size_t>(member)]; }
  /// Whom it tells.
  [[nodiscard]] const std::vector<int>& told_by(int member) const { return told_by_[static_cast<std::size_t>(member)]; }

 private:
  [[nodiscard]] std::int32_t& slot(int from, int to) noexcept {
    return bundle_of_[static_cast<std::size_t>(from) * static_cast<std::size_t>(members_) +
                      static_cast<std::size_t>(to)];
  }
  [[nodiscard]] std::int32_t bundle_of(int from, int to) const noexcept {
    return const_cast<exchange_plan&>(*this).slot(from, to);
  }
  void find_bound(const network_view& network);
  void relay(const network_view& network, int from, int to);
  void find_tellers();

  int members_;
  duration bound_{};
  std::size_t relayed_ = 0;
  std::vector<std::int32_t> bundle_of_;  ///< of each pair that is relayed; -1: direct
  std::vector<bundle> bundles_;
  std::vector<int> load_;             ///< bundles of each relay
  std::vector<std::vector<int>> of_;  ///< a relay's bundles
  std::vector<std::pair<std::int64_t, int>> order_;
  std::vector<std::vector<int>> tellers_, told_by_;
};

/// Which members are on one peer. Their first member speaks for them: between peers goes one message instead of one
/// for every two members, so that fewer can be lost, and links and cores carry less.
class peer_groups {
 public:
  explicit peer_groups(const network_view& network);

  /// Whether some members share a peer.
  [[nodiscard]] bool any() const noexcept { return groups_.size() < group_of_.size(); }
  /// First members, ascending; as many as there are peers.
  [[nodiscard]] const std::vector<int>& leaders() const noexcept { return leaders_; }
  [[nodiscard]] const std::vector<int>& members(std::size_t group) const { return groups_[group]; }  ///< ascending
  [[nodiscard]] std::size_t group_of(int member) const { return group_of_[static_cast<std::size_t>(member)]; }
  [[nodiscard]] std::size_t largest() const noexcept;
  /// How the leaders exchange, by their places among the leaders.
  [[nodiscard]] const exchange_plan& plan() const noexcept { return plan_; }

 private:
  [[nodiscard]] exchange_plan find(const network_view& network);
  std::vector<std::size_t> group_of_;
  std::vector<std::vector<int>> groups_;
  std::vector<int> leaders_;
  exchange_plan plan_;
};

/// What is to be done.
struct collective_task {
  /// An allreduce is one by elements: data that cannot be cut take the rounds.
  enum class kind : std::uint8_t { barrier, allreduce, allgather };
  kind what = kind::barrier;
  /// Of each member's contribution, if all know it; else 0.
  std::size_t bytes = 0;
};

struct prediction {
  way which = way::rounds;
  duration time{};
};

/// Whether a hub is the fastest. In rounds everybody waits for somebody in each of them, and has to be given a core for each; a hub
/// lets everybody run once. Where cores are shared that is what takes the time.
[[nodiscard]] bool wants_hub(const network_view& network, const collective_task& task);

/// One per possible way; the rounds first. `groups`: of the same network, or null.
[[nodiscard]] std::vector<prediction> predictions(const network_view& network, const exchange_plan& plan,
                                                  const collective_task& task, const peer_groups* groups = nullptr);
/// The fastest, or the rounds where that gains little; by peers rather than by an exchange that is hardly faster.
[[nodiscard]] prediction chosen(std::span<const prediction> all);

}  // namespace p2pdvm::mpi

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/peal/mpi/impl/collective_choice.ipp>
#endif
