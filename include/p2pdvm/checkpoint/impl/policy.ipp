#pragma once

#include <p2pdvm/checkpoint/policy.hpp>

#include <algorithm>
#include <cmath>
#include <utility>

namespace p2pdvm::checkpoint {

P2PDVM_DECL void lifetime_estimator::died(duration seen) noexcept {
  ++deaths_;
  censored(seen);
}

P2PDVM_DECL void lifetime_estimator::censored(duration seen) noexcept {
  seconds_ += std::max(0.0, to_seconds(seen));
}

P2PDVM_DECL void lifetime_estimator::learned(std::uint64_t deaths, double seconds_lived) noexcept {
  deaths_ += deaths;
  seconds_ += std::max(0.0, seconds_lived);
}

P2PDVM_DECL double lifetime_estimator::rate(const std::vector<living_peer>& living) const noexcept {
  double seconds = seconds_ + to_seconds(prior_lifetime);
  for (const living_peer& peer : living) seconds += std::max(0.0, to_seconds(peer.seen));
  return (static_cast<double>(deaths_) + prior_deaths) / seconds;
}

P2PDVM_DECL double hazard(double rate, duration age) noexcept {
  const double seconds = to_seconds(age);
  if (!(seconds > 0)) return 2 * rate;
  return std::min(2 * rate, std::sqrt(rate / (2 * seconds)));
}

P2PDVM_DECL double lambert_w0(double z) noexcept {
  constexpr double e = 2.718281828459045235;
  constexpr int steps_max = 64;
  if (z == 0) return 0;
  const double distance = 1 + e * z;  // from the branch point
  if (!(distance > 0)) return -1;
  const double p = std::sqrt(2 * distance);
  double w = -1 + p * (1 - p * (1.0 / 3 - p * (11.0 / 72)));
  for (int step = 0; step < steps_max; ++step) {
    const double power = std::exp(w);
    const double miss = w * power - z;
    const double slope = power * (w + 1);
    if (slope == 0) break;
    const double change = miss / (slope - (w + 2) * miss / (2 * w + 2));
    const double better = w - change;
    if (!(better > -1)) break;
    if (better == w) break;
    w = better;
    if (std::abs(change) <= 1e-15 * std::abs(w)) break;
  }
  return w;
}

P2PDVM_DECL duration optimal_interval(double failures_per_second, duration blocking) noexcept {
  const double theta = failures_per_second;
  const double v = std::max(0.0, to_seconds(blocking));
  if (!(theta > 0)) return duration::max();
  const double x = theta * v;
  // Below, the sum would cancel nearly all its digits; the first order is exact enough there.
  if (x < 1e-8) return from_seconds(v + std::sqrt(2 * v / theta));
  return from_seconds((1 + x + lambert_w0(-std::exp(-(1 + x)))) / theta);
}

P2PDVM_DECL double predicted_utilisation(duration interval, double failures_per_second,
                                         duration blocking, duration recovery) noexcept {
  const double theta = failures_per_second;
  const double t = to_seconds(interval);
  const double useful = t - to_seconds(blocking);
  if (!(useful > 0)) return 0;
  if (!(theta > 0)) return useful / t;
  return theta * useful / (std::expm1(theta * t) * (1 + theta * to_seconds(recovery)));
}

P2PDVM_DECL double failures_per_second(const lifetime_estimator& estimator,
                                       const std::vector<living_peer>& living) noexcept {
  const double rate = estimator.rate(living);
  double sum = 0;
  for (const living_peer& peer : living) {
    if (peer.hosts) sum += peer.from_start ? hazard(rate, peer.seen) : rate;
  }
  return sum;
}

P2PDVM_DECL duration adaptive_policy::next(const observation& seen) {
  const duration high = std::max(interval_max, from_seconds(to_seconds(seen.blocking) * blocking_times_max));
  const duration low = std::clamp(seen.commit_latency, duration(std::chrono::milliseconds(1)), high);
  const duration best = optimal_interval(seen.failures_per_second, seen.blocking);
  const duration clamped = std::clamp(best, low, high);
  return std::chrono::ceil<std::chrono::milliseconds>(clamped);
}

P2PDVM_DECL bool pays(const spread_prospect& what) noexcept {
  constexpr double margin = 4;
  if (what.busiest_then >= what.busiest) return false;
  const double gain = 1 - static_cast<double>(what.busiest_then) / what.busiest;
  return gain * to_seconds(what.elapsed) >= margin * to_seconds(what.cost);
}

P2PDVM_DECL void utilisation_meter::committed(time_point cut) noexcept {
  safe_ = std::max(safe_, cut);
  blocked_ += std::exchange(pending_blocked_, duration::zero());
}

P2PDVM_DECL void utilisation_meter::recovered(time_point now) noexcept {
  lost_ += now - safe_;
  safe_ = now;
  pending_blocked_ = duration::zero();  // part of what was lost
}

P2PDVM_DECL double utilisation_meter::achieved(time_point now) const noexcept {
  const duration total = now - start_;
  if (total <= duration::zero()) return 1;
  const duration kept = total - lost_ - blocked_ - pending_blocked_;
  return std::max(0.0, to_seconds(kept) / to_seconds(total));
}

}  // namespace p2pdvm::checkpoint
