#pragma once

#include <p2pdvm/overlay/coordinates.hpp>

#include <algorithm>
#include <cmath>

namespace p2pdvm::overlay {

namespace detail {

inline double flat_distance(const coordinate& a, const coordinate& b) noexcept {
  double sum = 0;
  for (std::size_t i = 0; i < coordinate_dimensions; ++i) {
    const double d = a.position[i] - b.position[i];
    sum += d * d;
  }
  return std::sqrt(sum);
}

/// Unit vector from `from` to `to`, or a random one where they coincide.
inline std::array<double, coordinate_dimensions> direction(const coordinate& from,
                                                           const coordinate& to,
                                                           random_generator& random) {
  std::array<double, coordinate_dimensions> v{};
  double length = flat_distance(from, to);
  if (length > 1e-9) {
    for (std::size_t i = 0; i < v.size(); ++i) v[i] = (to.position[i] - from.position[i]) / length;
    return v;
  }
  double sum = 0;
  for (double& x : v) {
    x = random.unit() - 0.5;
    sum += x * x;
  }
  length = std::sqrt(sum);
  if (length < 1e-9) {
    v = {};
    v[0] = 1;
    return v;
  }
  for (double& x : v) x /= length;
  return v;
}

inline bool in_range(double x, double low, double high) noexcept {
  return x >= low && x <= high;  // false for NaN
}

}  // namespace detail

P2PDVM_DECL bool plausible(const coordinate& c) noexcept {
  for (const double x : c.position) {
    if (!detail::in_range(x, -coordinate_seconds_max, coordinate_seconds_max)) return false;
  }
  return detail::in_range(c.height, 0, coordinate_seconds_max) &&
         detail::in_range(c.error, 0, coordinate_error_max);
}

P2PDVM_DECL duration estimate(const coordinate& a, const coordinate& b) noexcept {
  return from_seconds(detail::flat_distance(a, b) + a.height + b.height);
}

P2PDVM_DECL bool coordinate_tracker::measured(const coordinate& remote, duration round_trip_time,
                                              random_generator& random) {
  const double rtt = to_seconds(round_trip_time);
  if (!plausible(remote) || !detail::in_range(rtt, 1e-9, coordinate_seconds_max)) return false;
  const double flat = detail::flat_distance(own_, remote);
  const double predicted = flat + own_.height + remote.height;
  const double weight = own_.error / (own_.error + std::max(remote.error, coordinate_error_min));
  const double wrong = std::min(std::abs(predicted - rtt) / rtt, coordinate_error_max);
  const double share = coordinate_gain * weight;
  own_.error = std::clamp(wrong * share + own_.error * (1 - share), 1e-3, coordinate_error_max);

  // Positive: we are too near and move away from the remote.
  const double step =
      std::clamp(share * (rtt - predicted), -coordinate_step_max, coordinate_step_max);
  const auto away = detail::direction(remote, own_, random);
  for (std::size_t i = 0; i < coordinate_dimensions; ++i) {
    own_.position[i] = std::clamp(own_.position[i] + step * away[i], -coordinate_seconds_max,
                                  coordinate_seconds_max);
  }
  if (flat > 1e-9) {
    const double lift = std::clamp(step * (own_.height + remote.height) / flat,
                                   -coordinate_step_max, coordinate_step_max);
    own_.height =
        std::clamp(own_.height + lift, coordinate_height_min, coordinate_seconds_max);
  }
  return true;
}

}  // namespace p2pdvm::overlay
