#pragma once

#include <p2pdvm/base/assert.hpp>
#include <p2pdvm/peal/mpi/collective_choice.hpp>

#include <algorithm>
#include <array>
#include <bit>

namespace p2pdvm::mpi {

P2PDVM_DECL std::string_view name_of(way w) noexcept {
  static constexpr std::array<std::string_view, 6> names{"rounds", "halving", "exchange", "slices", "by peers", "hub"};
  return names[static_cast<std::size_t>(w)];
}

namespace detail {
/// One way to somewhere else.
inline constexpr duration wide_way = std::chrono::microseconds(2500);
}  // namespace detail

P2PDVM_DECL network_view::network_view(int members, std::vector<std::uint32_t> round_trips)
    : members_(members), round_trips_(std::move(round_trips)) {
  P2PDVM_ASSERT(members > 0 && members <= network_members_max);
  P2PDVM_ASSERT(round_trips_.size() == static_cast<std::size_t>(members) * static_cast<std::size_t>(members));
}

P2PDVM_DECL duration network_view::passing(int from, int to, std::size_t bytes) const noexcept {
  const duration there = one_way(from, to);
  std::int64_t picoseconds_per_byte = 500;  // 2 GB/s: one machine
  if (there >= std::chrono::microseconds(50)) picoseconds_per_byte = 8'000;  // 1 Gbit/s
  if (there >= detail::wide_way) {
    picoseconds_per_byte = knows_uplinks() ? 1'000'000'000'000 / uplinks_[static_cast<std::size_t>(from)] : 400'000;
  }
  constexpr std::size_t most = std::size_t{1} << 32;
  return duration(static_cast<std::int64_t>(std::min(bytes, most)) * picoseconds_per_byte / 1000);
}

P2PDVM_DECL network_view network_view::among(std::span<const int> members) const {
  std::vector<std::uint32_t> some;
  some.reserve(members.size() * members.size());
  for (const int a : members) {
    for (const int b : members) some.push_back(round_trips_[index(a, b)]);
  }
  network_view view(static_cast<int>(members.size()), std::move(some));
  if (knows_uplinks()) {
    std::vector<std::uint32_t> rates;
    for (const int m : members) rates.push_back(uplinks_[static_cast<std::size_t>(m)]);
    view.set_uplinks(std::move(rates));
  }
  view.cores_ = cores_;
  return view;
}

P2PDVM_DECL void network_view::set_uplinks(std::vector<std::uint32_t> rates) {
  P2PDVM_ASSERT(rates.size() == static_cast<std::size_t>(members_));
  P2PDVM_ASSERT(std::find(rates.begin(), rates.end(), 0u) == rates.end());
  uplinks_ = std::move(rates);
  weigh();
}

/// A member has to send all data once and what it combines to everybody else. Until the time t when all are done it can
/// combine as much as its uplink has left of t, and t is the shortest in which that is enough, but no shorter than the slowest
/// needs for its own.
P2PDVM_DECL void network_view::weigh() {
  constexpr std::uint64_t unit = std::uint64_t{1} << 24;  // all data
  const auto left = [&](std::size_t member, std::uint64_t t) {
    const std::uint64_t sent = (uplinks_[member] / 1000 + 1) * t;
    return sent < unit ? 0 : sent - unit;  // at most 2^47
  };
  const auto enough = [&](std::uint64_t t) {
    std::uint64_t sum = 0;
    for (std::size_t m = 0; m < uplinks_.size(); ++m) sum += left(m, t);
    return sum >= unit * (uplinks_.size() - 1) + 1;
  };
  const std::uint32_t slowest = *std::min_element(uplinks_.begin(), uplinks_.end());
  std::uint64_t low = unit / (slowest / 1000 + 1);  // the least possible
  std::uint64_t high = 2 * unit;                    // enough for any
  while (low < high) {
    const std::uint64_t middle = (low + high) / 2;
    if (enough(middle)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  weights_.clear();
  for (std::size_t m = 0; m < uplinks_.size(); ++m) weights_.push_back(left(m, low));
  const std::uint64_t heaviest = *std::max_element(weights_.begin(), weights_.end());
  constexpr std::uint64_t most = (std::uint64_t{1} << 32) / network_members_max;  // the square of the sum fits
  for (std::uint64_t& w : weights_) w = heaviest < most ? w : w / (heaviest / most + 1);
}

P2PDVM_DECL std::pair<std::size_t, std::size_t> network_view::slice(std::size_t count, int member) const {
  std::uint64_t below = 0;
  std::uint64_t own = 0;
  std::uint64_t all = 0;
  for (int m = 0; m < members_; ++m) {
    const std::uint64_t weight = weights_.empty() ? 1 : weights_[static_cast<std::size_t>(m)];
    all += weight;
    if (m < member) below += weight;
    if (m == member) own = weight;
  }
  const auto share = [&](std::uint64_t part) {
    return static_cast<std::size_t>(count / all * part + count % all * part / all);
  };
  return {share(below), share(below + own)};
}

P2PDVM_DECL bool network_view::crowded() const {
  std::uint32_t peers = 0;
  for (int a = 0; a < members_; ++a) {
    bool first = true;
    for (int b = 0; b < a; ++b) {
      if (!near(a, b)) return false;
      first = first && !together(a, b);
    }
    peers += first ? 1 : 0;
  }
  return cores_ != 0 && peers > cores_;
}

P2PDVM_DECL bool network_view::wide() const noexcept {
  for (int a = 0; a < members_; ++a) {
    for (int b = 0; b < a; ++b) {
      if (one_way(a, b) >= detail::wide_way) return true;
    }
  }
  return false;
}

// --- exchange ---

P2PDVM_DECL exchange_plan::exchange_plan(const network_view& network)
    : members_(network.members()),
      bundle_of_(static_cast<std::size_t>(members_) * static_cast<std::size_t>(members_), -1),
      load_(static_cast<std::size_t>(members_)),
      of_(static_cast<std::size_t>(members_)),
      tellers_(static_cast<std::size_t>(members_)),
      told_by_(static_cast<std::size_t>(members_)) {
  find_bound(network);
  for (int a = 0; a < members_; ++a) {
    for (int b = 0; b < members_; ++b) {
      if (network.one_way(a, b) > bound_) relay(network, a, b);
    }
  }
  for (bundle& b : bundles_) std::sort(b.sources.begin(), b.sources.end());
  for (int a = 0; a < members_; ++a) {
    for (int b = 0; b < members_; ++b) order_.emplace_back(-network.one_way(a, b).count(), b);
    const auto row = order_.end() - members_;
    std::sort(row, order_.end());
  }
  if (network.wide() && members_ >= telling_members_min) find_tellers();
}

/// The nearest, as long as they do not have twice as many to tell.
P2PDVM_DECL void exchange_plan::find_tellers() {
  for (int member = 0; member < members_; ++member) {
    auto& mine = tellers_[static_cast<std::size_t>(member)];
    const auto* row = order_.data() + static_cast<std::size_t>(member) * static_cast<std::size_t>(members_);
    for (int i = members_ - 1; i >= 0 && mine.size() < tellers_max; --i) {
      const int teller = row[i].second;
      auto& told = told_by_[static_cast<std::size_t>(teller)];
      if (teller == member || !direct(teller, member) || told.size() >= 2 * tellers_max) continue;
      mine.push_back(teller);
      told.push_back(member);
    }
  }
}

P2PDVM_DECL void exchange_plan::find_bound(const network_view& network) {
  for (int a = 0; a < members_; ++a) {
    for (int b = a + 1; b < members_; ++b) {
      duration best = network.one_way(a, b);
      for (int r = 0; r < members_ && best > bound_; ++r)
        best = std::min(best, network.one_way(a, r) + network.one_way(r, b));
      bound_ = std::max(bound_, best);
    }
  }
}

P2PDVM_DECL void exchange_plan::relay(const network_view& network, int from, int to) {
  int best = -1;
  std::int64_t best_cost = 0;
  for (int r = 0; r < members_; ++r) {
    if (r == from || r == to) continue;
    const duration path = network.one_way(from, r) + network.one_way(r, to);
    if (path > bound_) continue;
    // Each bundle counts as much as a sixteenth of the bound: short paths leave time for delays.
    const std::int64_t more = find(r, to) == nullptr ? 1 : 0;
    const std::int64_t cost =
        path.count() * 16 + (load_[static_cast<std::size_t>(r)] + more) * bound_.count();
    if (best >= 0 && cost >= best_cost) continue;
    best = r;
    best_cost = cost;
  }
  P2PDVM_ASSERT(best >= 0);
  auto& mine = of_[static_cast<std::size_t>(best)];
  auto found = std::find_if(mine.begin(), mine.end(), [&](int b) {
    return bundles_[static_cast<std::size_t>(b)].target == to;
  });
  if (found == mine.end()) {
    mine.push_back(static_cast<int>(bundles_.size()));
    found = mine.end() - 1;
    bundles_.push_back({best, to, {}});
    ++load_[static_cast<std::size_t>(best)];
  }
  bundles_[static_cast<std::size_t>(*found)].sources.push_back(from);
  slot(from, to) = *found;
  ++relayed_;
}

P2PDVM_DECL std::vector<int> exchange_plan::targets(int member) const {
  std::vector<int> all;
  const auto* row = order_.data() + static_cast<std::size_t>(member) * static_cast<std::size_t>(members_);
  for (int i = 0; i < members_; ++i) {
    const int to = row[i].second;
    if (to != member && direct(member, to)) all.push_back(to);
  }
  return all;
}

P2PDVM_DECL const exchange_plan::bundle* exchange_plan::find(int relay, int target) const noexcept {
  for (const int b : of_[static_cast<std::size_t>(relay)]) {
    const bundle& candidate = bundles_[static_cast<std::size_t>(b)];
    if (candidate.target == target) return &candidate;
  }
  return nullptr;
}

P2PDVM_DECL std::vector<const exchange_plan::bundle*> exchange_plan::bundles_of(int relay) const {
  std::vector<const bundle*> all;
  for (const int b : of_[static_cast<std::size_t>(relay)]) all.push_back(&bundles_[static_cast<std::size_t>(b)]);
  return all;
}

P2PDVM_DECL std::size_t exchange_plan::messages_from(int member) const {
  return targets(member).size() + of_[static_cast<std::size_t>(member)].size();
}

P2PDVM_DECL std::size_t exchange_plan::messages_to(int member) const {
  std::size_t count = 0;
  for (int from = 0; from < members_; ++from) count += from != member && direct(from, member) ? 1 : 0;
  for (const bundle& b : bundles_) count += b.target == member ? 1 : 0;
  return count;
}

// --- peers ---

P2PDVM_DECL peer_groups::peer_groups(const network_view& network)
    : group_of_(static_cast<std::size_t>(network.members())), plan_(find(network)) {}

P2PDVM_DECL exchange_plan peer_groups::find(const network_view& network) {
  for (int member = 0; member < network.members(); ++member) {
    const auto first = std::find_if(leaders_.begin(), leaders_.end(),
                                    [&](int leader) { return network.together(leader, member); });
    const auto group = static_cast<std::size_t>(first - leaders_.begin());
    if (first == leaders_.end()) {
      leaders_.push_back(member);
      groups_.emplace_back();
    }
    groups_[group].push_back(member);
    group_of_[static_cast<std::size_t>(member)] = group;
  }
  return exchange_plan(network.among(leaders_));
}

P2PDVM_DECL std::size_t peer_groups::largest() const noexcept {
  std::size_t most = 0;
  for (const auto& g : groups_) most = std::max(most, g.size());
  return most;
}

// --- predictions: the schedule of each way, message by message ---

namespace detail {

class schedule {
 public:
  explicit schedule(const network_view& network)
      : network_(network), size_(network.members()), at_(static_cast<std::size_t>(size_)), sent_(at_) {}

  [[nodiscard]] duration end() const { return *std::max_element(at_.begin(), at_.end()); }

  /// All at once: member i gets from `from(i)`, if that is a member.
  template <class From>
  void round(std::size_t bytes, From from) {
    std::vector<duration> next(at_);
    for (int i = 0; i < size_; ++i) {
      const int source = from(i);
      if (source >= 0 && source < size_ && source != i) next[place(i)] = std::max(at(i), arrival(source, i, bytes));
    }
    at_ = std::move(next);
  }
  /// Everybody to everybody, `bytes_of(sender)` altogether in so many blocks, one after the other through everybody's
  /// link, and as much back.
  template <class BytesOf>
  void flood(BytesOf bytes_of, std::size_t blocks) {
    const auto messages = static_cast<std::int64_t>(blocks) * (size_ - 1);
    duration sent{}, way{}, last_block{};
    for (int j = 0; j < size_; ++j) {
      const std::size_t bytes = bytes_of(j);
      for (int i = 0; i < size_; ++i) {
        if (i == j) continue;
        sent = std::max(sent, at(j) + network_.passing(j, i, bytes));
        last_block = std::max(last_block, network_.passing(j, i, bytes) / static_cast<std::int64_t>(2 * blocks));
        way = std::max(way, network_.one_way(j, i));
      }
    }
    std::fill(at_.begin(), at_.end(), sent + last_block + 2 * way + 2 * messages * message_cost);
  }
  void tree_to_first(std::size_t bytes) {
    for (int k = 1; k < size_; k *= 2) {
      for (int i = 0; i + k < size_; i += 2 * k) at(i) = std::max(at(i), arrival(i + k, i, bytes));
    }
  }
  void tree_from_first(std::size_t bytes) {
    int k = 1;
    while (k < size_) k *= 2;
    for (k /= 2; k > 0; k /= 2) {
      for (int i = 0; i + k < size_; i += 2 * k) {
        at(i + k) = arrival(i, i + k, bytes);
        at(i) += message_cost;
      }
    }
  }

 private:
  [[nodiscard]] static std::size_t place(int i) noexcept { return static_cast<std::size_t>(i); }
  [[nodiscard]] duration& at(int i) { return at_[place(i)]; }
  [[nodiscard]] duration arrival(int from, int to, std::size_t bytes) {
    duration& sent = sent_[place(from)];
    sent = std::max(sent, at(from)) + network_.passing(from, to, bytes);
    return sent + network_.one_way(from, to) + message_cost;
  }
  const network_view& network_;
  int size_;
  std::vector<duration> at_;
  std::vector<duration> sent_;  ///< when what was sent has left
};

inline bool doubles(int size) { return std::has_single_bit(static_cast<unsigned>(size)); }

inline duration time_of_rounds(const network_view& network, const collective_task& task) {
  const int n = network.members();
  schedule s(network);
  if (task.what == collective_task::kind::allreduce && !doubles(n)) {
    s.tree_to_first(task.bytes);
    s.tree_from_first(task.bytes);
    return s.end();
  }
  for (int k = 1; k < n; k *= 2) {
    if (task.what == collective_task::kind::allreduce) {
      s.round(task.bytes, [k](int i) { return i ^ k; });
    } else if (task.what == collective_task::kind::barrier) {
      s.round(0, [k, n](int i) { return (i - k + n) % n; });
    } else {
      const auto parts = static_cast<std::size_t>(std::min(k, n - k));
      s.round(task.bytes * parts, [k, n](int i) { return (i + k) % n; });
    }
  }
  return s.end();
}

inline duration time_of_halving(const network_view& network, std::size_t bytes) {
  const int n = network.members();
  schedule s(network);
  std::size_t part = bytes;
  for (int k = 1; k < n; k *= 2) s.round(part = part / 2, [k](int i) { return i ^ k; });
  for (int k = n / 2; k > 0; k /= 2, part *= 2) s.round(part, [k](int i) { return i ^ k; });
  return s.end();
}

inline duration time_of_exchange(const network_view& network, const exchange_plan& plan, std::size_t bytes) {
  duration passing{};
  for (int i = 0; i < network.members(); ++i)
    for (int j = 0; j < network.members(); ++j) {
      if (i != j) passing = std::max(passing, network.passing(i, j, bytes));
    }
  std::size_t most = 0;
  for (int i = 0; i < network.members(); ++i)
    most = std::max({most, plan.messages_from(i), plan.messages_to(i)});
  return plan.bound() + static_cast<std::int64_t>(most) * (message_cost + passing);
}

}  // namespace detail

P2PDVM_DECL bool wants_hub(const network_view& network, const collective_task& task) {
  return task.what != collective_task::kind::allgather && task.bytes <= hub_bytes_max &&
         network.members() <= hub_members_max && network.crowded();
}

P2PDVM_DECL std::vector<prediction> predictions(const network_view& network, const exchange_plan& plan,
                                                const collective_task& task, const peer_groups* groups) {
  using kind = collective_task::kind;
  const auto n = static_cast<std::size_t>(network.members());
  std::vector<prediction> all{{way::rounds, detail::time_of_rounds(network, task)}};
  if (task.what != kind::allreduce || task.bytes <= exchanged_bytes_max)
    all.push_back({way::exchange, detail::time_of_exchange(network, plan, task.bytes)});
  if (groups != nullptr && groups->any() && all.size() == 2) {
    const std::size_t most = groups->largest();
    const auto levels = static_cast<std::int64_t>(std::bit_width(most - 1));
    all.push_back({way::by_peers, 2 * levels * message_cost +
                                      detail::time_of_exchange(network.among(groups->leaders()), groups->plan(),
                                                               task.bytes * most)});
  }
  if (task.what != kind::allreduce) return all;
  if (detail::doubles(network.members()))
    all.push_back({way::halving, detail::time_of_halving(network, task.bytes)});
  detail::schedule s(network);
  const auto all_data_and_slice = [&](int member) {
    const auto [first, end] = network.slice(task.bytes, member);
    return task.bytes / n * (n - 1) + (end - first) * (n - 1);
  };
  s.flood(all_data_and_slice, blocks_of(task.bytes, network.members()));
  all.push_back({way::slices, s.end()});
  return all;
}

P2PDVM_DECL prediction chosen(std::span<const prediction> all) {
  const prediction& usual = all.front();
  prediction best = *std::min_element(
      all.begin(), all.end(), [](const prediction& a, const prediction& b) { return a.time < b.time; });
  if (best.which == way::exchange) {
    const auto peers = std::find_if(all.begin(), all.end(), [](const prediction& p) { return p.which == way::by_peers; });
    if (peers != all.end() && peers->time <= best.time / 20 * 21) best = *peers;
  }
  const bool gains = usual.time - best.time >= gain_min && best.time <= usual.time / 10 * 9;
  return gains ? best : usual;
}

}  // namespace p2pdvm::mpi
