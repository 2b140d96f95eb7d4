/// How long peers stay, learned from those that were found alive or dead.
#pragma once

#include <p2pdvm/base/time.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace p2pdvm::overlay {

/// Mean session of the peers that we know: observed time per death, as for exponentially
/// distributed sessions (MSPastry's self-tuning; Castro, Costa and Rowstron, 2004). Old
/// observations count half after each eight deaths.
class lifetime_estimate {
 public:
  static constexpr duration prior = std::chrono::minutes(1);
  static constexpr duration mean_min = std::chrono::seconds(30);
  static constexpr duration mean_max = std::chrono::hours(12);

  /// A peer last heard of `unheard` ago was found alive, or dead; then it died half-way.
  void survived(duration unheard) noexcept { observe(unheard); }
  void died(duration unheard) noexcept {
    observe(unheard / 2);
    if (++deaths_ < 16) return;
    deaths_ /= 2;
    observed_ /= 2;
  }
  [[nodiscard]] duration mean() const noexcept {
    return std::clamp<duration>(observed_ / deaths_, mean_min, mean_max);
  }
  /// Who was heard of within this time lives with a probability of about 0.7.
  [[nodiscard]] duration trust() const noexcept { return mean() / 5 * 2; }

 private:
  void observe(duration unheard) noexcept {
    unheard = std::clamp<duration>(unheard, duration::zero(), mean_max);
    observed_ = std::min<duration>(observed_ + unheard, deaths_ * mean_max);
  }

  std::int64_t deaths_ = 1;
  duration observed_ = prior;
};

}  // namespace p2pdvm::overlay
