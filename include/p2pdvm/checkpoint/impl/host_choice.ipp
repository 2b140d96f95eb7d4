#pragma once

#include <p2pdvm/checkpoint/host_choice.hpp>

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>
#include <utility>

namespace p2pdvm::checkpoint {

namespace detail {

/// Starts of the search, spread evenly over the members.
inline constexpr std::size_t host_choice_starts = 16;

/// Round trips between members of `group`, numbered by their place in it.
inline overlay::round_trip_table table_of(const std::vector<std::uint32_t>& group,
                                          const member_distances& distances) {
  overlay::round_trip_table table(group.size());
  for (std::size_t i = 0; i < group.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) table.set(i, j, distances.between(group[i], group[j]));
  }
  return table;
}

/// The `count` nearest to `centre`, itself among them.
inline std::vector<std::uint32_t> ball_around(const overlay::round_trip_table& table,
                                              std::size_t centre, std::size_t count) {
  std::vector<std::uint32_t> all(table.size());
  std::iota(all.begin(), all.end(), std::uint32_t{0});
  std::sort(all.begin(), all.end(), [&](std::uint32_t a, std::uint32_t b) {
    return std::pair(table.at(centre, a), a) < std::pair(table.at(centre, b), b);
  });
  all.resize(count);
  return all;
}

/// The group of `count` with the least mean round trip that the search finds.
inline std::vector<std::uint32_t> near_group(const overlay::round_trip_table& table,
                                             std::size_t count) {
  const std::vector<std::uint32_t> slots(table.size(), 1);
  std::vector<std::uint32_t> best;
  double least = 0;
  const std::size_t stride = (table.size() + host_choice_starts - 1) / host_choice_starts;
  for (std::size_t centre = 0; centre < table.size(); centre += stride) {
    std::vector<std::uint32_t> group = ball_around(table, centre, count);
    overlay::tighten(table, slots, group);
    const double mean = overlay::mean_round_trip(table, group);
    if (!best.empty() && mean >= least) continue;
    best = std::move(group);
    least = mean;
  }
  return best;
}

/// Sum of round trips from each host to the next [s].
inline double length_of(const overlay::round_trip_table& table,
                        const std::vector<std::uint32_t>& hosts) {
  double sum = 0;
  for (std::size_t i = 1; i < hosts.size(); ++i) sum += table.at(hosts[i - 1], hosts[i]);
  return sum;
}

inline bool clearly_less(double other, double plain, double times) {
  return other <= plain * (1 - host_choice_gain_min) &&
         other <= plain - host_choice_gain_least * times;
}

}  // namespace detail

P2PDVM_DECL member_distances::member_distances(const job_record& record)
    : members_(record.members.size()) {
  for (std::uint32_t i = 0; i < members_.size(); ++i) place(i, record.members[i].place);
}

P2PDVM_DECL void member_distances::place(std::uint32_t of, const overlay::packed_coordinate& where) {
  if (where == overlay::packed_coordinate()) return;  // it knew nothing
  const auto found = overlay::unpack(where);
  if (found.ok()) members_[of].where = *found;
}

P2PDVM_DECL void member_distances::measured(std::uint32_t self, std::uint32_t other,
                                            duration round_trip) {
  self_ = self;
  members_[other].measured = to_seconds(round_trip);
}

P2PDVM_DECL double member_distances::between(std::uint32_t a, std::uint32_t b) const {
  if (a == b) return 0;
  if (b == self_) std::swap(a, b);
  if (a == self_ && members_[b].measured) return *members_[b].measured;
  if (!members_[a].where || !members_[b].where) return member_distance_default;
  return overlay::distance(*members_[a].where, *members_[b].where);
}

P2PDVM_DECL std::vector<std::uint32_t> near_placement(const job_record& record,
                                                      const member_distances& distances) {
  std::vector<std::uint32_t> willing;
  for (std::uint32_t i = 0; i < record.members.size(); ++i) {
    const member& m = record.members[i];
    if (m.can_host() && (m.flags & member::spare) == 0) willing.push_back(i);
  }
  const std::size_t count = std::min<std::size_t>(willing.size(), record.ranks);
  if (count < 2 || count > host_choice_ranks_max || willing.size() > host_choice_members_max)
    return {};
  const overlay::round_trip_table table = detail::table_of(willing, distances);
  std::vector<std::uint32_t> plain(count);
  std::iota(plain.begin(), plain.end(), std::uint32_t{0});
  std::vector<std::uint32_t> hosts = plain;
  bool better = false;
  if (count < willing.size()) {
    hosts = detail::near_group(table, count);
    better = detail::clearly_less(overlay::mean_round_trip(table, hosts),
                                  overlay::mean_round_trip(table, plain), 1);
    if (!better) hosts = plain;
  }
  std::vector<std::uint32_t> line = hosts;
  overlay::line_up(table, line);
  const auto steps = static_cast<double>(count - 1);
  if (better || detail::clearly_less(detail::length_of(table, line),
                                     detail::length_of(table, hosts), steps)) {
    hosts = std::move(line);
    better = true;
  }
  if (!better) return {};
  std::vector<std::uint32_t> placement(record.ranks);
  for (std::uint64_t rank = 0; rank < record.ranks; ++rank)
    placement[rank] = willing[hosts[rank * count / record.ranks]];
  return placement;
}

namespace detail {

/// How many ranks each member has, and how far it is from all ranks.
class rank_loads {
 public:
  rank_loads(const job_record& record, const std::vector<std::uint32_t>& hosts, const member_distances& distances)
      : hosts_(hosts), distances_(distances), load_(record.members.size()), away_(record.members.size()) {}

  void put(std::uint32_t on, std::uint32_t ranks) {
    load_[on] += ranks;
    add_distance(on, ranks);
  }
  void take(std::uint32_t from) {
    --load_[from];
    add_distance(from, -1);
  }
  [[nodiscard]] std::uint32_t of(std::uint32_t member) const { return load_[member]; }
  /// Of `among` the one with the fewest ranks, and of those the one nearest to all. Precondition: not empty.
  [[nodiscard]] std::uint32_t idlest(const std::vector<std::uint32_t>& among) const {
    return *std::min_element(among.begin(), among.end(), [this](std::uint32_t a, std::uint32_t b) {
      return std::tuple(load_[a], away_[a], a) < std::tuple(load_[b], away_[b], b);
    });
  }

 private:
  void add_distance(std::uint32_t at, double ranks) {
    if (hosts_.size() > host_choice_hosts_max) return;
    for (const std::uint32_t h : hosts_) away_[h] += ranks * distances_.between(h, at);
  }

  const std::vector<std::uint32_t>& hosts_;
  const member_distances& distances_;
  std::vector<std::uint32_t> load_;
  std::vector<double> away_;  ///< sum of round trips to all ranks
};

}  // namespace detail

P2PDVM_DECL std::vector<std::uint32_t> placement_without(const job_record& record,
                                                         const std::set<node_id>& gone,
                                                         const member_distances& distances) {
  std::vector<std::uint32_t> placement = record.host_of_rank;
  const auto stays = [&](std::uint32_t m) {
    return record.members[m].live() && !gone.contains(record.members[m].node);
  };
  std::vector<std::uint32_t> hosts;
  for (std::uint32_t m = 0; m < record.members.size(); ++m) {
    if (record.members[m].can_host() && stays(m)) hosts.push_back(m);
  }
  if (hosts.empty()) return {};
  detail::rank_loads loads(record, hosts, distances);
  std::vector<std::uint32_t> present(record.members.size());
  for (const std::uint32_t host : placement) ++present[host];
  for (const std::uint32_t h : hosts) {
    if (present[h] > 0) loads.put(h, present[h]);
  }
  for (std::uint32_t& host : placement) {
    if (stays(host)) continue;
    host = loads.idlest(hosts);
    loads.put(host, 1);
  }
  return placement;
}

P2PDVM_DECL std::vector<std::uint32_t> even_placement_of(const job_record& record,
                                                         const std::function<bool(const node_id&)>& may_take,
                                                         const member_distances& distances) {
  std::vector<std::uint32_t> placement = record.host_of_rank;
  std::vector<std::uint32_t> hosts, takers;
  for (std::uint32_t m = 0; m < record.members.size(); ++m) {
    if (!record.members[m].can_host()) continue;
    hosts.push_back(m);
    const bool wants = (record.members[m].flags & member::spare) == 0;
    if (wants && may_take(record.members[m].node)) takers.push_back(m);
  }
  if (takers.empty()) return {};
  detail::rank_loads loads(record, hosts, distances);
  for (const std::uint32_t host : placement) loads.put(host, 1);
  bool moved = false;
  for (;;) {
    const std::uint32_t from = *std::max_element(hosts.begin(), hosts.end(), [&](std::uint32_t a, std::uint32_t b) {
      return std::tuple(loads.of(a), b) < std::tuple(loads.of(b), a);  // of equals the first
    });
    const std::uint32_t to = loads.idlest(takers);
    if (loads.of(from) < loads.of(to) + 2) break;
    *std::find(placement.rbegin(), placement.rend(), from) = to;
    loads.take(from);
    loads.put(to, 1);
    moved = true;
  }
  return moved ? placement : std::vector<std::uint32_t>();
}

P2PDVM_DECL std::uint32_t busiest(const std::vector<std::uint32_t>& placement) {
  std::map<std::uint32_t, std::uint32_t> loads;
  std::uint32_t most = 0;
  for (const std::uint32_t host : placement) most = std::max(most, ++loads[host]);
  return most;
}

}  // namespace p2pdvm::checkpoint
