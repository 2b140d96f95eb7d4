/// Time as protocols see it: points on a monotonic clock that `host` reads.
#pragma once

#include <chrono>
#include <cstdint>

namespace p2pdvm {

using duration = std::chrono::nanoseconds;

/// The monotonic clock of one host. It has no `now()`: only `host::clock` reads time.
struct monotonic {
  using rep = std::int64_t;
  using period = std::nano;
  using duration = std::chrono::nanoseconds;
  using time_point = std::chrono::time_point<monotonic, duration>;
  static constexpr bool is_steady = true;
};

using time_point = monotonic::time_point;

/// Seconds since 1970 UTC, for what must be compared between machines
/// (expiry of tickets and records), never for protocol timeouts.
using unix_seconds = std::int64_t;

inline constexpr time_point time_point_never = time_point::max();

[[nodiscard]] constexpr double to_seconds(duration d) noexcept {
  return static_cast<double>(d.count()) * 1e-9;
}

/// Saturates instead of overflowing; NaN and negative values give zero.
[[nodiscard]] constexpr duration from_seconds(double seconds) noexcept {
  if (!(seconds > 0)) return duration::zero();
  if (seconds > 9e9) return duration::max();
  return duration(static_cast<std::int64_t>(seconds * 1e9));
}

}  // namespace p2pdvm
