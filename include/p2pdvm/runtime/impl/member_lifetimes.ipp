#pragma once

#include <p2pdvm/runtime/member_lifetimes.hpp>

#include <algorithm>

namespace p2pdvm::runtime {

P2PDVM_DECL void member_lifetimes::joined(const node_id& member, time_point now, bool newcomer) {
  living_[member] = {now, newcomer};
}

P2PDVM_DECL duration member_lifetimes::take(const node_id& member, time_point now) {
  const auto found = living_.extract(member);
  return found ? now - found.mapped().since : duration::zero();
}

P2PDVM_DECL void member_lifetimes::died(const node_id& member, time_point now) {
  estimator_.died(take(member, now));
}

P2PDVM_DECL void member_lifetimes::left(const node_id& member, time_point now) {
  estimator_.censored(take(member, now));
}

P2PDVM_DECL duration member_lifetimes::seen(const node_id& member, time_point now) const {
  const auto found = living_.find(member);
  return found == living_.end() ? duration::zero() : now - found->second.since;
}

P2PDVM_DECL lifetimes_told member_lifetimes::all(time_point now) const {
  double seconds = estimator_.seconds_lived();
  for (const auto& [node, seen] : living_) seconds += to_seconds(now - seen.since);
  constexpr auto most = static_cast<double>(lifetimes_told::seconds_max);
  return {std::min(estimator_.deaths(), lifetimes_told::deaths_max),
          static_cast<std::uint64_t>(std::clamp(seconds, 0.0, most))};
}

P2PDVM_DECL void member_lifetimes::learn(const lifetimes_told& told, time_point now) {
  if (told.seconds <= all(now).seconds) return;
  estimator_ = {};
  estimator_.learned(std::min(told.deaths, lifetimes_told::deaths_max),
                     static_cast<double>(std::min(told.seconds, lifetimes_told::seconds_max)));
  for (auto& [node, seen] : living_) seen = {now, false};
}

P2PDVM_DECL double member_lifetimes::failures_per_second(time_point now, const std::set<node_id>& hosts) const {
  std::vector<checkpoint::living_peer> living;
  living.reserve(living_.size());
  for (const auto& [node, seen] : living_) living.push_back({now - seen.since, seen.newcomer, hosts.contains(node)});
  return checkpoint::failures_per_second(estimator_, living);
}

}  // namespace p2pdvm::runtime
