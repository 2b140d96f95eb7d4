/// How long packets take between simulated machines: fitted models and measured matrices.
///
/// A model places each machine in a plane whose unit is a millisecond of round trip, gives it a
/// height (its share of access delay), and multiplies the distance of each pair by a detour of
/// its own, so that relays can help as they do on the Internet. A piecewise-linear map, fitted
/// so that the quantiles agree with those of measured pairs, turns that into round trips.
/// `planetlab`: fitted to one slice of the PlanetLab matrices in NetLatency-Data (R. Zhu, B. Liu,
/// D. Niu, Z. Li, H. V. Zhao, IEEE/ACM Transactions on Networking 25, 2017); p10 32, p50 135,
/// mean 147, p90 291, p99 413 ms. `residential`: to one slice of its Seattle matrices of personal
/// devices; 40, 210, 280, 520, 1030 ms; access links of 10/20/95 up and 15/36/126 Mbit/s down
/// (p10, p50, p90). `intercontinental`: the PlanetLab map with machines spread over five
/// continents (39, 183, 186, 319, 470 ms); `lan` and `loopback` are typical figures.
#pragma once

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/base/result.hpp>
#include <p2pdvm/base/time.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace p2pdvm::sim {

enum class latency_profile : std::uint8_t {
  loopback,
  lan,
  planetlab,
  residential,
  intercontinental
};

[[nodiscard]] std::optional<latency_profile> latency_profile_of(std::string_view name);
[[nodiscard]] std::string_view name_of(latency_profile profile);

/// Rows of a matrix file; a larger one would hardly fit into memory twice.
inline constexpr std::size_t matrix_rows_max = 4096;
inline constexpr std::size_t matrix_file_bytes_max = std::size_t{1} << 28;

enum class latency_unit : std::uint8_t { milliseconds, seconds };

/// A square matrix of round-trip times, one row per line, separated by white space. Zeros off
/// the diagonal are missing and stand for the median. A round trip between i and j is the mean
/// of both directions where both were measured.
class latency_matrix {
 public:
  /// `name` is what errors call it. `errc::malformed` names the line.
  [[nodiscard]] static result<latency_matrix> parse(std::string_view text, latency_unit unit,
                                                    std::string_view name);
  [[nodiscard]] static result<latency_matrix> load(const std::string& path, latency_unit unit);

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// An error that names the last line when there are fewer rows than `machines`, for those who
  /// do not want rows to be taken again and again.
  [[nodiscard]] result<> has_rows_for(std::size_t machines) const;
  [[nodiscard]] duration round_trip(std::size_t i, std::size_t j) const {
    return duration(values_[i * size_ + j]);
  }

 private:
  void fill_missing();

  std::size_t size_ = 0;
  std::vector<std::int64_t> values_;  ///< nanoseconds, row by row
  std::string name_;
  std::size_t lines_ = 0;
};

/// Round trips without jitter and queues, equal in both directions.
class latency_map {
 public:
  latency_map(latency_profile profile, std::uint64_t seed);
  /// Machines take the rows in an order given by the seed, again and again. Machines of the same
  /// site are `same_site` apart.
  latency_map(latency_matrix matrix, std::uint64_t seed);

  static constexpr duration same_site = std::chrono::microseconds(300);
  static constexpr duration same_machine = std::chrono::microseconds(20);

  /// Where the next machine is: beside `neighbour`, or on a site of its own.
  void add_machine(std::optional<std::uint32_t> neighbour = {});
  [[nodiscard]] duration round_trip(std::uint32_t a, std::uint32_t b) const;

  /// Access links are from now on drawn as this profile says, also with a matrix.
  void access_of(latency_profile profile) { access_profile_ = profile; }
  /// What the profile says about access links [bit/s], 0 for no limit.
  struct access {
    std::uint64_t up;
    std::uint64_t down;
  };
  [[nodiscard]] access draw_access();

 private:
  struct place {
    double x = 0;
    double y = 0;
    double height = 0;
    std::uint32_t site = 0;  ///< row of the matrix, or the first machine there
  };
  [[nodiscard]] place draw_place(std::uint64_t index);

  latency_profile profile_ = latency_profile::planetlab;
  std::optional<latency_profile> access_profile_;
  std::optional<latency_matrix> matrix_;
  std::vector<std::uint32_t> rows_;
  std::uint64_t seed_;
  random_generator random_;
  std::vector<place> places_;
};

namespace detail {

/// Uniform in [0, 1), the same for (a, b) and (b, a).
inline double pair_draw(std::uint64_t seed, std::uint32_t a, std::uint32_t b) noexcept {
  const std::uint64_t low = std::min(a, b);
  const std::uint64_t high = std::max(a, b);
  std::uint64_t z = seed + (low << 32 | high) * 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

}  // namespace detail

}  // namespace p2pdvm::sim

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/sim/impl/latency.ipp>
#endif
