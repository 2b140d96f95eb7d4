/// How long peers stay and how long they are away: models of desktops that come and go.
#pragma once

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/base/result.hpp>
#include <p2pdvm/base/time.hpp>

#include <chrono>
#include <cstdint>
#include <string_view>

namespace p2pdvm::sim {

/// Draws with mean 1. By comparisons alone (von Neumann, 1951): no logarithm that another
/// library would round differently.
[[nodiscard]] double draw_exponential(random_generator& random) noexcept;

enum class session_kind : std::uint8_t {
  stable,       ///< nobody leaves
  exponential,  ///< who has stayed long leaves as soon as anybody
  heavy_tailed, ///< Weibull with shape 1/2: who has stayed long will stay longer
  diurnal,      ///< present in the working hours of the machine's longitude
  mixed,        ///< a fifth stable, a third diurnal, the others heavy-tailed
};

struct session_model {
  session_kind kind = session_kind::stable;
  /// Of a session; diurnal ones last a third of a day.
  duration mean = std::chrono::hours(3);
  /// Mean pause after a session; zero: the next one begins at once. Diurnal peers come back the
  /// next morning.
  duration pause = duration::zero();

  /// From a session's begin at `now` to its end; `duration::max()`: it has none.
  [[nodiscard]] duration session(time_point now, std::uint32_t machine,
                                 random_generator& random) const;
  /// From a session's end at `now` to the next begin.
  [[nodiscard]] duration absence(time_point now, std::uint32_t machine,
                                 random_generator& random) const;

  /// `stable`, `diurnal`, or a kind with a mean: `exponential:2.9h`, `heavy-tailed:84s`,
  /// `mixed:1h`. A time alone is an exponential mean, 0 alone is stable. Errors: `invalid_argument`, a sentence.
  [[nodiscard]] static result<session_model> parse(std::string_view text);

 private:
  [[nodiscard]] session_kind kind_of(std::uint32_t machine) const noexcept;
};

}  // namespace p2pdvm::sim

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/sim/impl/sessions.ipp>
#endif
