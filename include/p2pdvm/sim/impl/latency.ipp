#pragma once

#include <p2pdvm/sim/latency.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <span>
#include <utility>

namespace p2pdvm::sim {

namespace detail {

/// A point of a piecewise-linear function.
struct knot {
  double x;
  double y;
};

inline double interpolate(std::span<const knot> knots, double x) noexcept {
  if (x <= knots.front().x) return knots.front().y;
  for (std::size_t i = 1; i < knots.size(); ++i) {
    const knot& a = knots[i - 1];
    const knot& b = knots[i];
    if (x <= b.x) return a.y + (b.y - a.y) * (x - a.x) / (b.x - a.x);
  }
  return knots.back().y;
}

/// A cluster of machines; positions in milliseconds of round trip.
struct region {
  double weight;
  double x;
  double y;
  double spread;
};

struct latency_model {
  std::string_view name;
  std::span<const region> regions;  ///< weights add up to 1
  std::span<const knot> height;     ///< quantile function, ms
  double detour;                    ///< largest share that a pair's path is longer than straight
  std::span<const knot> map;        ///< raw ms to ms
  std::span<const knot> up;         ///< quantile functions, Mbit/s; empty: no limit
  std::span<const knot> down;
};

inline constexpr region one_place[] = {{1, 0, 0, 0}};
inline constexpr region one_city[] = {{1, 0, 0, 6}};
/// Eastern, western and central North America, Europe, its east, East Asia, Oceania, South America.
inline constexpr region planetlab_regions[] = {
    {.24, 0, 0, 28},     {.16, 62, 8, 18},   {.06, 30, 30, 20},     {.29, -95, 12, 24},
    {.06, -120, 45, 30}, {.13, 175, 20, 35}, {.03, 150, -120, 30}, {.03, -20, -130, 30}};
inline constexpr region continents[] = {{.20, 0, 0, 28},    {.06, 62, 8, 18},
                                        {.24, -95, 12, 24}, {.24, 175, 20, 35},
                                        {.13, 150, -120, 30}, {.13, -20, -130, 30}};
inline constexpr knot loopback_height[] = {{0, .01}, {1, .02}};
inline constexpr knot lan_height[] = {{0, .05}, {.9, .12}, {1, .3}};
inline constexpr knot wide_height[] = {{0, .3}, {.5, 3}, {.9, 14}, {1, 40}};
inline constexpr knot home_height[] = {{0, 2},     {.25, 15}, {.5, 50},
                                       {.75, 170}, {.9, 260}, {1, 700}};
inline constexpr knot identity_map[] = {{0, 0}, {1e6, 1e6}};
inline constexpr knot planetlab_map[] = {
    {1.4, .1},         {13.01, 2.54},    {20.79, 10.76},   {29.48, 19.31},   {40.39, 31.63},
    {56.8, 45.62},     {72.88, 59.28},   {91.22, 81.77},   {112.69, 108.4},  {138.89, 135.01},
    {163.64, 161.07},  {187.42, 188.24}, {217.14, 220.49}, {281.73, 290.72}, {323.28, 324.91},
    {379.5, 412.62},   {430.9, 650},     {535.86, 1500}};
inline constexpr knot residential_map[] = {
    {5.48, 4},     {16.63, 10},   {23.29, 20},   {31.93, 30},   {46.53, 40},    {68.66, 70},
    {93.27, 110},  {127.58, 140}, {168.97, 170}, {219.45, 210}, {270.51, 290},  {333.28, 400},
    {441.19, 450}, {649.46, 520}, {798.89, 680}, {1069.55, 1030}, {1466.83, 2510}, {2039.51, 4000}};
inline constexpr knot gigabit[] = {{0, 1000}, {1, 1000}};
inline constexpr knot campus[] = {{0, 100}, {1, 100}};
inline constexpr knot home_up[] = {{0, 4}, {.1, 10}, {.5, 20}, {.9, 95}, {1, 300}};
inline constexpr knot home_down[] = {{0, 6}, {.1, 15}, {.5, 36}, {.9, 126}, {1, 400}};

inline constexpr latency_model latency_models[] = {
    {"loopback", one_place, loopback_height, 0, identity_map, {}, {}},
    {"lan", one_place, lan_height, .2, identity_map, gigabit, gigabit},
    {"planetlab", planetlab_regions, wide_height, .3, planetlab_map, campus, campus},
    {"residential", one_city, home_height, .5, residential_map, home_up, home_down},
    {"intercontinental", continents, wide_height, .3, planetlab_map, campus, campus}};

inline const latency_model& model_of(latency_profile profile) noexcept {
  return latency_models[static_cast<std::size_t>(profile)];
}

inline duration from_ms(double ms) noexcept {
  return duration(static_cast<std::int64_t>(ms * 1e6));
}

inline error bad_matrix(std::string_view name, std::size_t line, const std::string& what) {
  return error(errc::malformed,
               std::string(name) + ", line " + std::to_string(line) + ": " + what);
}

/// Appends the numbers of one line; the error says what is wrong with it.
inline result<> parse_row(std::string_view line, double scale, std::string_view name,
                          std::size_t number, std::vector<std::int64_t>& out) {
  constexpr std::string_view blank = " \t\r";
  constexpr double nanoseconds_max = 1e15;
  for (;;) {
    const std::size_t begin = line.find_first_not_of(blank);
    if (begin == std::string_view::npos) return {};
    line.remove_prefix(begin);
    const std::string_view word = line.substr(0, line.find_first_of(blank));
    double value = 0;
    const auto [end, ec] = std::from_chars(word.data(), word.data() + word.size(), value);
    const bool numeric = ec == std::errc() && end == word.data() + word.size();
    if (!numeric || !(value * scale < nanoseconds_max))
      return bad_matrix(name, number, "'" + std::string(word.substr(0, 40)) + "' is not a time");
    if (value < 0)
      return bad_matrix(name, number, std::string(word.substr(0, 40)) + " is negative");
    out.push_back(static_cast<std::int64_t>(value * scale));
    line.remove_prefix(word.size());
  }
}

}  // namespace detail

P2PDVM_DECL std::optional<latency_profile> latency_profile_of(std::string_view name) {
  for (std::size_t i = 0; i < std::size(detail::latency_models); ++i)
    if (detail::latency_models[i].name == name) return static_cast<latency_profile>(i);
  return std::nullopt;
}

P2PDVM_DECL std::string_view name_of(latency_profile profile) {
  return detail::model_of(profile).name;
}

P2PDVM_DECL result<latency_matrix> latency_matrix::parse(std::string_view text, latency_unit unit,
                                                         std::string_view name) {
  const double scale = unit == latency_unit::seconds ? 1e9 : 1e6;
  latency_matrix matrix;
  std::size_t rows = 0;
  std::size_t number = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    const std::size_t before = matrix.values_.size();
    if (auto parsed = detail::parse_row(line, scale, name, number, matrix.values_); !parsed)
      return parsed.error();
    const std::size_t count = matrix.values_.size() - before;
    if (count == 0) continue;
    if (rows++ == 0) matrix.size_ = count;
    if (count > matrix_rows_max)
      return detail::bad_matrix(name, number, "more than " + std::to_string(matrix_rows_max) +
                                                  " columns");
    if (count != matrix.size_)
      return detail::bad_matrix(name, number, "has " + std::to_string(count) +
                                                  " numbers where the first row has " +
                                                  std::to_string(matrix.size_));
    if (rows > matrix.size_)
      return detail::bad_matrix(name, number, "is not square: more rows than the " +
                                                  std::to_string(matrix.size_) + " columns");
  }
  if (rows == 0) return detail::bad_matrix(name, std::max<std::size_t>(number, 1), "holds no row");
  if (rows != matrix.size_)
    return detail::bad_matrix(name, number, "is not square: " + std::to_string(rows) +
                                                " rows of " + std::to_string(matrix.size_) +
                                                " numbers");
  matrix.fill_missing();
  matrix.name_ = name;
  matrix.lines_ = number;
  return matrix;
}

P2PDVM_DECL result<latency_matrix> latency_matrix::load(const std::string& path,
                                                        latency_unit unit) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) return error(errc::not_found, "cannot read the latency matrix " + path);
  const auto size = static_cast<std::int64_t>(in.tellg());
  if (size < 0) return error(errc::io, "cannot read the latency matrix " + path);
  if (static_cast<std::uint64_t>(size) > matrix_file_bytes_max)
    return error(errc::too_large, "the latency matrix " + path + " is too large");
  std::string text(static_cast<std::size_t>(size), '\0');
  in.seekg(0);
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!in) return error(errc::io, "cannot read the latency matrix " + path);
  return parse(text, unit, path);
}

P2PDVM_DECL result<> latency_matrix::has_rows_for(std::size_t machines) const {
  if (machines <= size_) return {};
  return detail::bad_matrix(name_, lines_, "ends after " + std::to_string(size_) +
                                               " rows, too few for " + std::to_string(machines) +
                                               " machines");
}

/// Makes it symmetric and puts the median where neither direction was measured.
P2PDVM_DECL void latency_matrix::fill_missing() {
  std::vector<std::int64_t> measured;
  for (const std::int64_t v : values_)
    if (v > 0) measured.push_back(v);
  std::sort(measured.begin(), measured.end());
  const std::int64_t median = measured.empty() ? 0 : measured[measured.size() / 2];
  for (std::size_t i = 0; i < size_; ++i) {
    values_[i * size_ + i] = 0;
    for (std::size_t j = 0; j < i; ++j) {
      std::int64_t& a = values_[i * size_ + j];
      std::int64_t& b = values_[j * size_ + i];
      const std::int64_t both = a > 0 && b > 0 ? (a + b) / 2 : std::max(a, b);
      a = b = both > 0 ? both : median;
    }
  }
}

P2PDVM_DECL latency_map::latency_map(latency_profile profile, std::uint64_t seed)
    : profile_(profile), seed_(seed), random_(seed) {}

P2PDVM_DECL latency_map::latency_map(latency_matrix matrix, std::uint64_t seed)
    : matrix_(std::move(matrix)), seed_(seed), random_(seed) {
  for (std::size_t i = 0; i < matrix_->size(); ++i) rows_.push_back(static_cast<std::uint32_t>(i));
  for (std::size_t i = rows_.size(); i > 1; --i)
    std::swap(rows_[i - 1], rows_[static_cast<std::size_t>(random_.below(i))]);
}

P2PDVM_DECL void latency_map::add_machine(std::optional<std::uint32_t> neighbour) {
  places_.push_back(neighbour ? place(places_[*neighbour]) : draw_place(places_.size()));
}

/// Regions and heights follow low-discrepancy sequences (Roberts' R2), so that even a few
/// machines are spread as the model says; the seed shifts them.
P2PDVM_DECL latency_map::place latency_map::draw_place(std::uint64_t index) {
  place p;
  if (matrix_) {
    p.site = rows_[index % rows_.size()];
    return p;
  }
  p.site = static_cast<std::uint32_t>(index);
  const detail::latency_model& model = detail::model_of(profile_);
  const auto sequence = [&](std::uint64_t step, std::uint64_t shift) {
    return static_cast<double>((seed_ * shift + index * step) >> 11) * 0x1p-53;
  };
  double pick = sequence(0xc13fa9a902a6328full, 0xd1342543de82ef95ull);
  const double height = sequence(0x91e10da5c79e7b1dull, 0xaf251af3b0f025b5ull);
  p.height = detail::interpolate(model.height, height);
  const detail::region* chosen = &model.regions.back();
  for (const detail::region& r : model.regions) {
    if (pick < r.weight) {
      chosen = &r;
      break;
    }
    pick -= r.weight;
  }
  const auto offset = [&] {
    const double a = random_.unit();
    const double b = random_.unit();
    return (a + b - 1) * 1.5 * chosen->spread;
  };
  p.x = chosen->x + offset();
  p.y = chosen->y + offset();
  return p;
}

P2PDVM_DECL latency_map::access latency_map::draw_access() {
  if (matrix_ && !access_profile_) return {0, 0};
  const detail::latency_model& model = detail::model_of(access_profile_.value_or(profile_));
  if (model.up.empty()) return {0, 0};
  const double quantile = random_.unit();  // who has a fast downlink has a fast uplink
  const double up = detail::interpolate(model.up, quantile);
  const double down = detail::interpolate(model.down, quantile);
  return {static_cast<std::uint64_t>(up * 1e6), static_cast<std::uint64_t>(down * 1e6)};
}

P2PDVM_DECL duration latency_map::round_trip(std::uint32_t a, std::uint32_t b) const {
  if (a == b) return same_machine;
  const place& from = places_[a];
  const place& to = places_[b];
  if (from.site == to.site) return same_site;
  if (matrix_) {
    const duration measured = matrix_->round_trip(from.site, to.site);
    return measured > duration::zero() ? measured : same_site;
  }
  const detail::latency_model& model = detail::model_of(profile_);
  const double dx = from.x - to.x;
  const double dy = from.y - to.y;
  // The square root is correctly rounded on every IEEE 754 machine: no other libm is used.
  const double straight = std::sqrt(dx * dx + dy * dy) + from.height + to.height;
  const double u = detail::pair_draw(seed_, from.site, to.site);
  return detail::from_ms(detail::interpolate(model.map, straight * (1 + model.detour * u * u)));
}

}  // namespace p2pdvm::sim
