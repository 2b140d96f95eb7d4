#pragma once

#include <p2pdvm/sim/sessions.hpp>

#include <charconv>
#include <string>

namespace p2pdvm::sim {

namespace detail {

inline constexpr duration day = std::chrono::hours(24);

/// When the day of a machine begins: machines lie all around the world.
inline duration morning_of(std::uint32_t machine) noexcept {
  const std::uint64_t mixed = (std::uint64_t{machine} + 1) * 0x9e3779b97f4a7c15ull;
  return day / 24 * static_cast<std::int64_t>((mixed >> 32) % 24);
}
/// Time since the machine's last morning.
inline duration hour_of(time_point now, std::uint32_t machine) noexcept {
  return (now.time_since_epoch() + day - morning_of(machine)) % day;
}

inline double unit_of(std::string_view name) noexcept {
  if (name == "s") return 1;
  if (name == "min" || name == "m") return 60;
  if (name == "h") return 3600;
  if (name == "d") return 86400;
  return name.empty() ? 1 : 0;
}

}  // namespace detail

P2PDVM_DECL double draw_exponential(random_generator& random) noexcept {
  // The first draw of a run that falls an odd number of times is the fraction; each run that
  // falls an even number of times adds one.
  for (double whole = 0;; ++whole) {
    const double first = random.unit();
    double last = first;
    bool odd = true;
    for (double next = random.unit(); next < last; next = random.unit()) {
      last = next;
      odd = !odd;
    }
    if (odd) return whole + first;
  }
}

P2PDVM_DECL session_kind session_model::kind_of(std::uint32_t machine) const noexcept {
  if (kind != session_kind::mixed) return kind;
  const std::uint64_t mixed = (std::uint64_t{machine} + 1) * 0xc2b2ae3d27d4eb4full;
  const std::uint64_t share = (mixed >> 32) % 15;
  if (share < 3) return session_kind::stable;
  return share < 8 ? session_kind::diurnal : session_kind::heavy_tailed;
}

P2PDVM_DECL duration session_model::session(time_point now, std::uint32_t machine,
                                            random_generator& random) const {
  switch (kind_of(machine)) {
    case session_kind::stable: return duration::max();
    case session_kind::diurnal: {
      const duration evening = detail::day / 3;
      const duration at = detail::hour_of(now, machine);
      const duration spread = detail::day / 24;
      const auto late = static_cast<std::int64_t>(
          random.below(static_cast<std::uint64_t>(spread.count())));
      return (at < evening ? evening - at : duration::zero()) + duration(late);
    }
    case session_kind::heavy_tailed: {
      const double x = draw_exponential(random);
      return from_seconds(to_seconds(mean) / 2 * x * x);
    }
    case session_kind::exponential:
    case session_kind::mixed: break;
  }
  return from_seconds(to_seconds(mean) * draw_exponential(random));
}

P2PDVM_DECL duration session_model::absence(time_point now, std::uint32_t machine,
                                            random_generator& random) const {
  if (kind_of(machine) == session_kind::diurnal)
    return detail::day - detail::hour_of(now, machine);
  return pause == duration::zero() ? pause
                                   : from_seconds(to_seconds(pause) * draw_exponential(random));
}

P2PDVM_DECL result<session_model> session_model::parse(std::string_view text) {
  const auto bad = [&] {
    return error(errc::invalid_argument,
                 "'" + std::string(text) + "' is no session model; give a mean time such as 84s, 30min "
                 "or 2.9h, or stable, diurnal, exponential:TIME, heavy-tailed:TIME or mixed:TIME");
  };
  session_model model;
  if (text == "0") return model;
  const std::size_t colon = text.find(':');
  std::string_view name = text.substr(0, colon);
  std::string_view time = colon == std::string_view::npos ? "" : text.substr(colon + 1);
  if (colon == std::string_view::npos && name != "stable" && name != "diurnal") {
    time = name;
    name = "exponential";
  }
  const bool timed = name != "stable" && name != "diurnal";
  if (name == "stable") model.kind = session_kind::stable;
  else if (name == "diurnal") model.kind = session_kind::diurnal;
  else if (name == "exponential") model.kind = session_kind::exponential;
  else if (name == "heavy-tailed") model.kind = session_kind::heavy_tailed;
  else if (name == "mixed") model.kind = session_kind::mixed;
  else return bad();
  if (timed == time.empty()) return bad();
  if (!timed) return model;
  double value = 0;
  const auto [end, ec] = std::from_chars(time.data(), time.data() + time.size(), value);
  const double unit = detail::unit_of(time.substr(static_cast<std::size_t>(end - time.data())));
  constexpr double seconds_max = 1e9;
  if (ec != std::errc() || !(value > 0) || unit == 0 || !(value * unit < seconds_max)) return bad();
  model.mean = from_seconds(value * unit);
  return model;
}

}  // namespace p2pdvm::sim
