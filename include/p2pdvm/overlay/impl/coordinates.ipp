#pragma once

#include <p2pdvm/overlay/coordinates.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

namespace p2pdvm::overlay {

namespace detail {

using coordinate_vector = std::array<double, coordinate_dimensions>;

/// A neighbour whose prediction is wrong by this share counts half as much as one that fits.
inline constexpr double coordinate_tolerance_min = 0.1;
/// Above this error the coordinate is being unfolded: absolute mistakes count, heights do not
/// move. Below it is refined: relative mistakes count.
inline constexpr double coordinate_error_rough = 0.25;
/// A neighbour's weight is halved after 1 / this many further samples: it has moved since.
inline constexpr double coordinate_ageing = 0.1;
/// Steps of majorisation per sample that is worked on: every one of the first ones, then some.
inline constexpr int coordinate_steps = 3;
inline constexpr std::uint32_t coordinate_samples_eager = 64;
inline constexpr std::uint32_t coordinate_samples_per_update = 4;
/// Until there are more neighbours than this their agreement proves little.
inline constexpr double coordinate_prior_neighbours = 4;

/// Round trips over this many medians are suspect: a mistake in one counts as if in that one.
inline constexpr double coordinate_far_medians = 4;

/// Reorders `values`, which must not be empty.
template <class T>
T median_of(std::span<T> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

inline double offset(const coordinate& a, const coordinate& b, std::size_t dimension) noexcept {
  return static_cast<double>(a.position[dimension]) - static_cast<double>(b.position[dimension]);
}

inline double flat_distance(const coordinate& a, const coordinate& b) noexcept {
  double sum = 0;
  for (std::size_t i = 0; i < coordinate_dimensions; ++i) {
    const double d = offset(a, b, i);
    sum += d * d;
  }
  return std::sqrt(sum);
}

inline coordinate_vector random_direction(random_generator& random) {
  coordinate_vector v{};
  double sum = 0;
  for (double& x : v) {
    x = random.unit() - 0.5;
    sum += x * x;
  }
  const double length = std::sqrt(sum);
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

inline double coordinate_unit(std::uint8_t exponent) noexcept {
  return 1e-6 * static_cast<double>(1u << exponent);
}

inline std::uint8_t exponent_for(const coordinate& c) noexcept {
  double largest = static_cast<double>(c.height) / 2;
  for (const float x : c.position) largest = std::max(largest, std::abs(static_cast<double>(x)));
  std::uint8_t exponent = 0;
  while (largest > 32767 * coordinate_unit(exponent) && exponent < packed_coordinate::exponent_max)
    ++exponent;
  return exponent;
}

/// To the nearest integer.
template <class Integer>
Integer rounded(double x) noexcept {
  return static_cast<Integer>(x < 0 ? x - 0.5 : x + 0.5);
}

}  // namespace detail

P2PDVM_DECL bool plausible(const coordinate& c) noexcept {
  for (const float x : c.position) {
    if (!detail::in_range(x, -coordinate_seconds_max, coordinate_seconds_max)) return false;
  }
  return detail::in_range(c.height, 0, coordinate_seconds_max) && detail::in_range(c.error, 0, 1);
}

P2PDVM_DECL double distance(const coordinate& a, const coordinate& b) noexcept {
  return detail::flat_distance(a, b) + static_cast<double>(a.height) +
         static_cast<double>(b.height);
}

P2PDVM_DECL duration estimate(const coordinate& a, const coordinate& b) noexcept {
  return from_seconds(distance(a, b));
}

P2PDVM_DECL packed_coordinate pack(const coordinate& c) noexcept {
  packed_coordinate p;
  p.exponent = detail::exponent_for(c);
  const double unit = detail::coordinate_unit(p.exponent);
  for (std::size_t i = 0; i < coordinate_dimensions; ++i)
    p.position[i] = detail::rounded<std::int16_t>(static_cast<double>(c.position[i]) / unit);
  p.height = detail::rounded<std::uint16_t>(static_cast<double>(c.height) / unit);
  p.error = detail::rounded<std::uint8_t>(static_cast<double>(c.error) * 255);
  return p;
}

P2PDVM_DECL result<coordinate> unpack(const packed_coordinate& p) {
  if (p.exponent > packed_coordinate::exponent_max) return error(errc::malformed);
  coordinate c;
  const double unit = detail::coordinate_unit(p.exponent);
  for (std::size_t i = 0; i < coordinate_dimensions; ++i)
    c.position[i] = static_cast<float>(p.position[i] * unit);
  c.height = static_cast<float>(p.height * unit);
  c.error = static_cast<float>(p.error / 255.0);
  if (!plausible(c)) return error(errc::malformed);
  return c;
}

/// What one neighbour says of where we are.
struct coordinate_tracker::spring {
  detail::coordinate_vector place;  ///< at the measured distance, in our present direction [s]
  double height = 0;                ///< that would explain the rest [s], perhaps negative
  double residual = 0;              ///< relative error of the present prediction
  double weight = 0;
};

P2PDVM_DECL coordinate_tracker::spring coordinate_tracker::spring_to(
    const neighbour& n, random_generator& random) const {
  const double round_trip = n.round_trip;
  const double heights = static_cast<double>(own_.height) + static_cast<double>(n.where.height);
  const double flat = detail::flat_distance(own_, n.where);
  const double length = std::max(round_trip - heights, 0.0);
  detail::coordinate_vector away{};
  if (flat > 1e-9) {
    for (std::size_t i = 0; i < away.size(); ++i)
      away[i] = detail::offset(own_, n.where, i) / flat;
  } else {
    away = detail::random_direction(random);
  }
  spring s{};
  for (std::size_t i = 0; i < away.size(); ++i)
    s.place[i] = static_cast<double>(n.where.position[i]) + away[i] * length;
  s.height = round_trip - static_cast<double>(n.where.height) - flat;
  s.residual = std::abs(flat + heights - round_trip) / std::min(round_trip, far_);

  const double own_error = own_.error;
  const double tolerance = std::max(own_error, detail::coordinate_tolerance_min);
  const double age = static_cast<double>(samples_ - n.sample);
  const bool rough = own_error > detail::coordinate_error_rough;
  s.weight = 1 / ((tolerance * tolerance + s.residual * s.residual) *
                  (1 + detail::coordinate_ageing * age) * round_trip * (rough ? 1 : round_trip));
  return s;
}

/// One step of majorisation.
P2PDVM_DECL void coordinate_tracker::relax(random_generator& random) {
  detail::coordinate_vector places{};
  double heights = 0;
  double weights = 0;
  std::array<double, coordinate_neighbours_max> residuals{};
  for (std::size_t n = 0; n < neighbours_.size(); ++n) {
    const spring s = spring_to(neighbours_[n], random);
    for (std::size_t i = 0; i < places.size(); ++i) places[i] += s.weight * s.place[i];
    heights += s.weight * s.height;
    weights += s.weight;
    residuals[n] = s.residual;
  }
  for (std::size_t i = 0; i < places.size(); ++i)
    own_.position[i] = static_cast<float>(
        std::clamp(places[i] / weights, -coordinate_seconds_max, coordinate_seconds_max));
  if (static_cast<double>(own_.error) <= detail::coordinate_error_rough)
    own_.height = static_cast<float>(
        std::clamp(heights / weights, coordinate_height_min, coordinate_seconds_max));
  learn_error(std::span(residuals).first(neighbours_.size()));
}

/// The median, so that a minority of liars cannot make us doubt ourselves.
P2PDVM_DECL void coordinate_tracker::learn_error(std::span<double> residuals) {
  const auto count = static_cast<double>(residuals.size());
  const double error = std::min(detail::median_of(residuals), 1.0);
  own_.error = static_cast<float>((error * count + detail::coordinate_prior_neighbours) /
                                  (count + detail::coordinate_prior_neighbours));
}

P2PDVM_DECL void coordinate_tracker::learn_scale() {
  std::array<float, coordinate_neighbours_max> times{};
  for (std::size_t n = 0; n < neighbours_.size(); ++n) times[n] = neighbours_[n].round_trip;
  const double median = detail::median_of(std::span(times).first(neighbours_.size()));
  far_ = detail::coordinate_far_medians * median;
}

P2PDVM_DECL coordinate_tracker::neighbour& coordinate_tracker::entry_for(std::uint64_t key) {
  const auto found = std::find_if(neighbours_.begin(), neighbours_.end(),
                                  [key](const neighbour& n) { return n.key == key; });
  if (found != neighbours_.end()) return *found;
  if (neighbours_.size() < coordinate_neighbours_max) {
    neighbours_.emplace_back();
  } else {
    const auto oldest = std::max_element(
        neighbours_.begin(), neighbours_.end(), [this](const neighbour& a, const neighbour& b) {
          return samples_ - a.sample < samples_ - b.sample;
        });
    *oldest = std::exchange(neighbours_.back(), neighbour());
  }
  neighbours_.back().key = key;
  return neighbours_.back();
}

P2PDVM_DECL bool coordinate_tracker::measured(const node_id& peer, const coordinate& remote,
                                              duration round_trip_time, random_generator& random) {
  const double round_trip = to_seconds(round_trip_time);
  if (!plausible(remote) || !detail::in_range(round_trip, 1e-9, coordinate_seconds_max))
    return false;
  std::uint64_t key = 0;
  std::memcpy(&key, peer.bytes().data(), sizeof key);
  ++samples_;
  neighbour& n = entry_for(key);
  // Queues only ever add: a lower time is believed at once, a higher one slowly.
  const double last = n.round_trip;
  const bool lower = last <= 0 || round_trip < last;
  n.round_trip = static_cast<float>(lower ? round_trip : last + (round_trip - last) / 8);
  n.where = remote;
  n.sample = samples_;
  if (samples_ > detail::coordinate_samples_eager &&
      samples_ % detail::coordinate_samples_per_update != 0)
    return true;
  learn_scale();
  for (int i = 0; i < detail::coordinate_steps; ++i) relax(random);
  return true;
}

}  // namespace p2pdvm::overlay
