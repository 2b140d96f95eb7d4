#pragma once

#include <p2pdvm/store/placement.hpp>

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

namespace p2pdvm::store {

namespace detail {

/// The finaliser of splitmix64: a bijection that mixes well.
inline std::uint64_t placement_mix(std::uint64_t z) noexcept {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

inline std::uint64_t placement_word(byte_view bytes) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, bytes.data(), sizeof word);
  return word;
}

/// The best of `weight` draws: a member wins as often as its weight says, without logarithms.
inline std::uint64_t placement_score(std::uint64_t seed, const node_id& id, std::uint32_t weight) {
  std::uint64_t best = 0;
  std::uint64_t state = seed ^ placement_word(id.bytes());
  for (std::uint32_t i = 0; i < weight; ++i) {
    state += 0x9e3779b97f4a7c15ull;
    best = std::max(best, placement_mix(state));
  }
  return best;
}

struct placement_domain {
  std::vector<std::uint32_t> members;
  std::uint64_t weight = 0;
  std::uint64_t capacity = 0;  ///< stripes
  std::uint64_t load = 0;
};

inline std::uint32_t placement_weight(const member& m) {
  return std::clamp(m.weight, std::uint32_t{1}, weight_max);
}

inline std::vector<placement_domain> placement_domains(const std::vector<member>& members) {
  std::map<std::string_view, placement_domain> by_name;
  for (std::uint32_t i = 0; i < members.size(); ++i) {
    placement_domain& d = by_name[members[i].domain];
    d.members.push_back(i);
    d.weight += placement_weight(members[i]);
  }
  std::vector<placement_domain> domains;
  for (auto& [name, d] : by_name) domains.push_back(std::move(d));
  return domains;
}

inline void set_capacities(std::vector<placement_domain>& domains, std::uint64_t replicas) {
  std::uint64_t total = 0;
  for (const placement_domain& d : domains) total += d.weight;
  for (placement_domain& d : domains) {
    const std::uint64_t share = limits::stripes_per_rank * replicas * d.weight;  // times `total`
    const std::uint64_t generous = (5 * share + 4 * total - 1) / (4 * total);
    const std::uint64_t most = 3 * share / (2 * total);
    d.capacity = most * total > share ? std::min(generous, most) : generous;
  }
}

struct placement_choice {
  bool full;  ///< a domain that is full serves only if nobody else can
  std::uint64_t score;
  std::uint32_t member;
  std::size_t domain;
};

/// The best member of each domain for a stripe, best domain first.
inline std::vector<placement_choice> placement_order(const std::vector<member>& members,
                                                     const std::vector<placement_domain>& domains,
                                                     std::uint64_t stripe_seed) {
  const auto better = [&](const placement_choice& a, const placement_choice& b) {
    if (a.full != b.full) return b.full;
    if (a.score != b.score) return a.score > b.score;
    return members[a.member].id < members[b.member].id;
  };
  std::vector<placement_choice> order;
  for (std::size_t d = 0; d < domains.size(); ++d) {
    const bool full = domains[d].load >= domains[d].capacity;
    std::optional<placement_choice> best;
    for (const std::uint32_t m : domains[d].members) {
      const std::uint32_t weight = placement_weight(members[m]);
      const placement_choice c{full, placement_score(stripe_seed, members[m].id, weight), m, d};
      if (!best || better(c, *best)) best = c;
    }
    order.push_back(*best);
  }
  std::sort(order.begin(), order.end(), better);
  return order;
}

}  // namespace detail

P2PDVM_DECL placement::placement(const job_id& job, rank_number rank,
                                 const std::vector<member>& members, unsigned replicas) {
  std::vector<detail::placement_domain> domains = detail::placement_domains(members);
  replicas_ = std::min<std::size_t>(replicas, domains.size());
  detail::set_capacities(domains, replicas_);
  const std::uint64_t seed = detail::placement_mix(detail::placement_word(job.bytes()) ^
                                                   detail::placement_mix(rank.value() + 1));
  for (std::size_t s = 0; s < stripes_.size(); ++s) {
    const auto order = detail::placement_order(members, domains, detail::placement_mix(seed + s));
    for (std::size_t i = 0; i < order.size(); ++i) {
      if (i < replicas_) ++domains[order[i].domain].load;
      stripes_.at(s).push_back(order[i].member);
    }
  }
}

}  // namespace p2pdvm::store
