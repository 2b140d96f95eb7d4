/// Network coordinates: an estimate of the round trip between two peers that never met.
///
/// Vivaldi (Dabek et al., 2004) in eight dimensions plus a height, with the clamps that keep
/// lying or broken peers from throwing ours about. Doubles and a square root are fine here
/// (both exact by IEEE 754): coordinates suggest whom to measure, no protocol decides by them.
#pragma once

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/base/time.hpp>

#include <array>
#include <cstddef>

namespace p2pdvm::overlay {

inline constexpr std::size_t coordinate_dimensions = 8;
/// Round trips above this, and coordinates that would predict such, are refused [s].
inline constexpr double coordinate_seconds_max = 10;
/// Share of the way to where a measurement points that one update may move (c_c of the paper),
/// and weight of a new error estimate (c_e). Higher: faster, more nervous.
inline constexpr double coordinate_gain = 0.25;
/// Longest single step [s]: bounds what one absurd measurement can do.
inline constexpr double coordinate_step_max = 0.05;
/// Nobody is believed to be surer than this: claiming certainty is how to pull others.
inline constexpr double coordinate_error_min = 0.1;
inline constexpr double coordinate_error_max = 1.5;
/// Heights stay above this, the least that an access link costs [s].
inline constexpr double coordinate_height_min = 1e-5;

struct coordinate {
  std::array<double, coordinate_dimensions> position{};  ///< [s]
  double height = coordinate_height_min;                 ///< [s], both ways of the access link
  double error = coordinate_error_max;                   ///< relative, 0 … 1.5
  template <class F>
  void fields(F&& f) {
    f(position), f(height), f(error);
  }
};

/// Whether every number of a coordinate from outside is finite and in range.
[[nodiscard]] bool plausible(const coordinate& c) noexcept;
/// Predicted round trip.
[[nodiscard]] duration estimate(const coordinate& a, const coordinate& b) noexcept;

/// One peer's own coordinate, moved by each measured round trip.
class coordinate_tracker {
 public:
  [[nodiscard]] const coordinate& own() const noexcept { return own_; }
  /// False, and no change, when the peer's coordinate or the round trip is implausible.
  /// `random` gives a direction where two coordinates coincide.
  bool measured(const coordinate& remote, duration round_trip_time, random_generator& random);

 private:
  coordinate own_;
};

}  // namespace p2pdvm::overlay

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/overlay/impl/coordinates.ipp>
#endif
