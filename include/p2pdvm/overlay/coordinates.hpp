/// Network coordinates: an estimate of the round trip between two peers that never met.
///
/// The model is Vivaldi's (Dabek et al., 2004): eight dimensions plus a height. What moves a
/// coordinate is not one spring at a time but all recent neighbours at once, by stress
/// majorisation (SMACOF, de Leeuw, 1977): each neighbour points to the place at its measured
/// distance, and we go to the weighted mean of these places. The weights are those of the Cauchy
/// distribution, so that neighbours who contradict the others, liars among them, hardly count;
/// what a peer claims of its own certainty buys it nothing. It works best when at least half of
/// the neighbours are not chosen for being near.
///
/// Only + - * / and the square root are used, which IEEE 754 rounds exactly: coordinates are
/// equal on every platform.
#pragma once

#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/random.hpp>
#include <p2pdvm/base/result.hpp>
#include <p2pdvm/base/time.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace p2pdvm::overlay {

inline constexpr std::size_t coordinate_dimensions = 8;
/// Round trips above this, and coordinates that would predict such, are refused [s].
inline constexpr double coordinate_seconds_max = 10;
/// Heights stay above this, the least that an access link costs [s].
inline constexpr double coordinate_height_min = 1e-5;
/// Neighbours remembered; the one not measured for longest goes first. More: smaller errors,
/// by the square root, for 56 bytes and 0.1 µs per measurement each.
inline constexpr std::size_t coordinate_neighbours_max = 64;

struct coordinate {
  std::array<float, coordinate_dimensions> position{};  ///< [s]
  float height = static_cast<float>(coordinate_height_min);  ///< [s], both ways of the access link
  float error = 1;  ///< median relative error of its predictions, 0 … 1; 1: knows nothing
  friend bool operator==(const coordinate&, const coordinate&) = default;
};

/// Whether every number of a coordinate from outside is finite and in range.
[[nodiscard]] bool plausible(const coordinate& c) noexcept;
/// Predicted round trip [s].
[[nodiscard]] double distance(const coordinate& a, const coordinate& b) noexcept;
/// The same, as a duration.
[[nodiscard]] duration estimate(const coordinate& a, const coordinate& b) noexcept;

/// A coordinate in 20 bytes of a message. Numbers are multiples of a unit of 2^exponent µs, the
/// least with which all fit: 16 µs while everything is within ±0.5 s.
struct packed_coordinate {
  static constexpr std::uint8_t exponent_max = 9;
  static constexpr std::size_t bytes = 20;  ///< of its encoding
  std::array<std::int16_t, coordinate_dimensions> position{};
  std::uint16_t height = 0;
  std::uint8_t exponent = 0;
  std::uint8_t error = 255;  ///< in 255ths
  friend bool operator==(const packed_coordinate&, const packed_coordinate&) = default;
  template <class F>
  void fields(F&& f) {
    f(position), f(height), f(exponent), f(error);
  }
};

/// Precondition: `plausible(c)`.
[[nodiscard]] packed_coordinate pack(const coordinate& c) noexcept;
/// `errc::malformed` when it is out of range; what it gives is plausible.
[[nodiscard]] result<coordinate> unpack(const packed_coordinate& p);

/// One peer's own coordinate, moved by each measured round trip.
class coordinate_tracker {
 public:
  [[nodiscard]] const coordinate& own() const noexcept { return own_; }
  /// `peer` answered after `round_trip_time` and said that its coordinate is `remote`. False, and
  /// no change, when one of them is implausible. `random` gives a direction where two
  /// coordinates coincide.
  bool measured(const node_id& peer, const coordinate& remote, duration round_trip_time,
                random_generator& random);

 private:
  struct neighbour {
    std::uint64_t key = 0;  ///< the beginning of its id
    coordinate where;
    float round_trip = 0;  ///< [s], close to the lowest of the last ones
    std::uint32_t sample = 0;
  };
  struct spring;

  neighbour& entry_for(std::uint64_t key);
  [[nodiscard]] spring spring_to(const neighbour& n, random_generator& random) const;
  void relax(random_generator& random);
  void learn_error(std::span<double> residuals);
  void learn_scale();

  coordinate own_;
  std::vector<neighbour> neighbours_;
  std::uint32_t samples_ = 0;
  double far_ = 0;  ///< longer round trips are suspect [s]
};

}  // namespace p2pdvm::overlay

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/overlay/impl/coordinates.ipp>
#endif
