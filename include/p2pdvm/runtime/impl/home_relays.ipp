#pragma once

#include <p2pdvm/overlay/failure_detector.hpp>
#include <p2pdvm/runtime/home_relays.hpp>

#include <algorithm>
#include <tuple>

namespace p2pdvm::runtime {

namespace detail {

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
inline std::uint64_t mixed_bits(std::uint64_t x) noexcept {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace detail

P2PDVM_DECL std::vector<node_id> home_relays(const checkpoint::job_record& record, const node_id& of) {
  struct candidate {
    std::uint64_t weight;
    const node_id* node;
  };
  const std::uint64_t own = detail::mixed_bits(overlay::detector_name_of(of));
  std::vector<candidate> candidates;
  for (const checkpoint::member& m : record.members) {
    if (!m.live() || m.is_hidden() || m.node == of) continue;
    candidates.push_back({detail::mixed_bits(own ^ overlay::detector_name_of(m.node)), &m.node});
  }
  const auto heavier = [](const candidate& a, const candidate& b) {
    return std::tie(b.weight, *b.node) < std::tie(a.weight, *a.node);
  };
  const std::size_t count = std::min(home_relays_max, candidates.size());
  std::partial_sort(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(count), candidates.end(),
                    heavier);
  std::vector<node_id> relays;
  for (std::size_t i = 0; i < count; ++i) relays.push_back(*candidates[i].node);
  return relays;
}

}  // namespace p2pdvm::runtime
