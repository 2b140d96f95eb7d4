#pragma once

#include <p2pdvm/overlay/placement.hpp>

#include <algorithm>
#include <utility>

namespace p2pdvm::overlay {

namespace detail {

/// What a pair that cannot reach each other directly counts for [s].
inline constexpr double placement_unreachable = coordinate_seconds_max;
/// Least gain of an exchange [s]: rounding must not make the search go in circles.
inline constexpr double placement_gain_min = 1e-7;
inline constexpr int placement_passes_max = 8;

/// Candidates nearest to `centre`, nearest first, that have `slots` together, or all there are.
inline std::vector<std::uint32_t> placement_ball(std::span<const placement_candidate> candidates,
                                                 std::size_t centre, std::uint64_t slots) {
  std::vector<std::pair<double, std::uint32_t>> order;
  for (std::uint32_t i = 0; i < candidates.size(); ++i) {
    if (candidates[i].slots == 0) continue;
    const double away = i == centre ? 0 : distance(candidates[centre].where, candidates[i].where);
    order.emplace_back(away, i);
  }
  const std::size_t most = std::min<std::uint64_t>(order.size(), slots);
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(most), order.end());
  std::vector<std::uint32_t> ball;
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < most && sum < slots; ++i) {
    ball.push_back(order[i].second);
    sum += candidates[order[i].second].slots;
  }
  return ball;
}

/// Sum over `slots` slots of the ball of the distance to its centre [s].
inline double placement_radius(std::span<const placement_candidate> candidates, std::size_t centre,
                               std::uint64_t slots) {
  double sum = 0;
  for (const std::uint32_t i : placement_ball(candidates, centre, slots)) {
    const std::uint64_t taken = std::min<std::uint64_t>(slots, candidates[i].slots);
    if (i != centre)
      sum += static_cast<double>(taken) * distance(candidates[centre].where, candidates[i].where);
    slots -= taken;
  }
  return sum;
}

/// Middles of tight balls, the tightest first, none among the nearest peers of another. Candidates
/// without slots are none.
inline std::vector<std::size_t> placement_centres(std::span<const placement_candidate> candidates,
                                                  std::uint32_t ranks) {
  std::vector<std::size_t> all;
  for (std::size_t i = 0; i < candidates.size(); ++i)
    if (candidates[i].slots > 0) all.push_back(i);
  const std::size_t stride = (all.size() + placement_centres_max - 1) / placement_centres_max;
  std::vector<std::pair<double, std::size_t>> order;
  for (std::size_t i = 0; i < all.size(); i += stride)
    order.emplace_back(placement_radius(candidates, all[i], ranks), all[i]);
  std::sort(order.begin(), order.end());
  std::vector<bool> taken(candidates.size());
  std::vector<std::size_t> centres;
  for (const auto& [radius, centre] : order) {
    if (taken[centre]) continue;
    centres.push_back(centre);
    if (centres.size() == placement_neighbourhoods) break;
    for (const std::uint32_t i : placement_ball(candidates, centre, ranks)) taken[i] = true;
  }
  return centres;
}

inline std::uint64_t placement_slots(std::span<const placement_candidate> candidates) {
  std::uint64_t sum = 0;
  for (const placement_candidate& c : candidates) sum += c.slots;
  return sum;
}

}  // namespace detail

P2PDVM_DECL double mean_round_trip(const round_trip_table& table,
                                   std::span<const std::uint32_t> hosts) {
  if (hosts.size() < 2) return 0;
  double sum = 0;
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) sum += table.at(hosts[i], hosts[j]);
  }
  const auto n = static_cast<double>(hosts.size());
  return sum / (n * (n - 1) / 2);
}

P2PDVM_DECL void tighten(const round_trip_table& table, std::span<const std::uint32_t> slots,
                         std::vector<std::uint32_t>& hosts) {
  const std::size_t peers = table.size();
  std::vector<std::uint32_t> used(peers);
  std::vector<double> sum(peers);  // of round trips to all hosts
  for (const std::uint32_t h : hosts) {
    ++used[h];
    for (std::size_t x = 0; x < peers; ++x) sum[x] += table.at(x, h);
  }
  for (std::size_t exchanges = 0; exchanges < 4 * hosts.size(); ++exchanges) {
    double best = -detail::placement_gain_min;
    std::optional<std::pair<std::size_t, std::uint32_t>> exchange;
    for (std::uint32_t in = 0; in < peers; ++in) {
      if (used[in] >= slots[in]) continue;
      for (std::size_t out = 0; out < hosts.size(); ++out) {
        const double change = sum[in] - table.at(in, hosts[out]) - sum[hosts[out]];
        if (change >= best) continue;
        best = change;
        exchange.emplace(out, in);
      }
    }
    if (!exchange) return;
    const auto [out, in] = *exchange;
    const std::uint32_t old = std::exchange(hosts[out], in);
    --used[old];
    ++used[in];
    for (std::size_t x = 0; x < peers; ++x) sum[x] += table.at(x, in) - table.at(x, old);
  }
}

/// The nearest one next, then 2-opt (Croes, 1958) on the open path.
P2PDVM_DECL void line_up(const round_trip_table& table, std::vector<std::uint32_t>& hosts) {
  std::sort(hosts.begin(), hosts.end());
  for (std::size_t i = 1; i < hosts.size(); ++i) {
    const auto nearest = std::min_element(
        hosts.begin() + static_cast<std::ptrdiff_t>(i), hosts.end(),
        [&](std::uint32_t a, std::uint32_t b) {
          return table.at(hosts[i - 1], a) < table.at(hosts[i - 1], b);
        });
    std::swap(hosts[i], *nearest);
  }
  // What reversing i … j changes; an end of the path has no edge beyond it.
  const auto change = [&](std::size_t i, std::size_t j) {
    double c = 0;
    if (i > 0) c += table.at(hosts[i - 1], hosts[j]) - table.at(hosts[i - 1], hosts[i]);
    if (j + 1 < hosts.size())
      c += table.at(hosts[i], hosts[j + 1]) - table.at(hosts[j], hosts[j + 1]);
    return c;
  };
  bool better = true;
  for (int pass = 0; better && pass < detail::placement_passes_max; ++pass) {
    better = false;
    for (std::size_t i = 0; i < hosts.size(); ++i) {
      for (std::size_t j = i + 1; j < hosts.size(); ++j) {
        if (change(i, j) >= -detail::placement_gain_min) continue;
        std::reverse(hosts.begin() + static_cast<std::ptrdiff_t>(i),
                     hosts.begin() + static_cast<std::ptrdiff_t>(j) + 1);
        better = true;
      }
    }
  }
}

P2PDVM_DECL rank_placement::rank_placement(std::span<const placement_candidate> candidates,
                                           std::uint32_t ranks)
    : ranks_(ranks), possible_(detail::placement_slots(candidates) >= ranks) {
  P2PDVM_ASSERT(ranks > 0);
  if (!possible_) return;
  const auto spares = static_cast<std::uint64_t>(static_cast<double>(ranks) * placement_spares);
  const std::uint64_t wanted = std::max<std::uint64_t>(spares, ranks);
  for (const std::size_t centre : detail::placement_centres(candidates, ranks)) {
    const auto ball = detail::placement_ball(candidates, centre, wanted);
    if (!pool_.empty() && pool_.size() + ball.size() > placement_search_max) break;
    add_ball(ball, candidates);
  }
  searchable_ = pool_.size() <= placement_search_max && ranks <= placement_search_max;
  if (!searchable_) return;
  table_ = round_trip_table(pool_.size());
  pairs_.resize(pool_.size() * pool_.size());
  for (std::uint32_t i = 0; i < pool_.size(); ++i) {
    for (std::uint32_t j = 0; j < i; ++j)
      table_.set(i, j, distance(candidates[pool_[i]].where, candidates[pool_[j]].where));
  }
}

P2PDVM_DECL void rank_placement::add_ball(std::span<const std::uint32_t> ball,
                                          std::span<const placement_candidate> candidates) {
  host_list start;
  for (const std::uint32_t candidate : ball) {
    const std::uint32_t i = pool_index(candidate);
    if (i == pool_.size()) {
      pool_.push_back(candidate);
      slots_.push_back(candidates[candidate].slots);
    }
    start.insert(start.end(), std::min<std::size_t>(slots_[i], ranks_ - start.size()), i);
  }
  starts_.push_back(std::move(start));
}

/// The size of the pool for those who are not in it.
P2PDVM_DECL std::uint32_t rank_placement::pool_index(std::uint32_t candidate) {
  const auto found = std::find(pool_.begin(), pool_.end(), candidate);
  return static_cast<std::uint32_t>(found - pool_.begin());
}

P2PDVM_DECL std::size_t rank_placement::pair_of(std::size_t i, std::size_t j) const {
  return std::max(i, j) * pool_.size() + std::min(i, j);
}

P2PDVM_DECL round_trip_table rank_placement::table_with(double optimism) const {
  round_trip_table table = table_;
  for (std::size_t i = 0; i < pool_.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (!pairs_[pair_of(i, j)].known) table.set(i, j, optimism * table_.at(i, j));
    }
  }
  return table;
}

P2PDVM_DECL std::optional<rank_placement::probe> rank_placement::next() {
  if (queue_.empty() && outstanding_ == 0 && searchable_ && rounds_ < placement_rounds_max) {
    ++rounds_;
    last_ = search(table_with(placement_optimism));
    ask_for_pairs_of(last_);
  }
  if (queue_.empty()) return std::nullopt;
  const probe p = queue_.back();
  queue_.pop_back();
  pairs_[pair_of(p.from, p.to)].asked = true;
  ++outstanding_;
  return probe{pool_[p.from], pool_[p.to]};
}

P2PDVM_DECL void rank_placement::ask_for_pairs_of(const host_list& group) {
  host_list peers = group;
  std::sort(peers.begin(), peers.end());
  peers.erase(std::unique(peers.begin(), peers.end()), peers.end());
  for (const std::uint32_t i : peers) {
    for (const std::uint32_t j : peers) {
      if (j >= i || pairs_[pair_of(i, j)].known) continue;
      queue_.push_back((i + j) % 2 == 0 ? probe{i, j} : probe{j, i});  // shares the work
    }
  }
}

P2PDVM_DECL void rank_placement::measured(const probe& which, std::optional<duration> round_trip) {
  const std::uint32_t from = pool_index(which.from);
  const std::uint32_t to = pool_index(which.to);
  if (!searchable_ || std::max(from, to) >= pool_.size()) return;
  pair_state& pair = pairs_[pair_of(from, to)];
  if (!std::exchange(pair.asked, false)) return;
  --outstanding_;
  const double seconds = round_trip ? to_seconds(*round_trip) : 0;
  if (seconds > 0 && seconds <= coordinate_seconds_max) {
    pair.known = true;
    table_.set(from, to, seconds);
  } else if (pair.lost++ < placement_retries) {
    queue_.insert(queue_.begin(), {to, from});
  } else {
    pair.known = true;
    table_.set(from, to, detail::placement_unreachable);
  }
}

P2PDVM_DECL rank_placement::host_list rank_placement::search(const round_trip_table& table) const {
  std::vector<host_list> groups = starts_;
  if (!last_.empty()) groups.push_back(last_);
  std::vector<double> means;
  for (host_list& group : groups) {
    tighten(table, slots_, group);
    means.push_back(mean_round_trip(table, group));
  }
  const auto least = std::min_element(means.begin(), means.end()) - means.begin();
  return groups[static_cast<std::size_t>(least)];
}

P2PDVM_DECL std::vector<std::uint32_t> rank_placement::hosts() const {
  P2PDVM_ASSERT(possible_);
  host_list group = searchable_ ? search(table_) : starts_.front();
  if (searchable_) line_up(table_, group);
  for (std::uint32_t& h : group) h = pool_[h];
  return group;
}

}  // namespace p2pdvm::overlay
