/// Running estimate of a round trip and of the time after which an answer is overdue.
#pragma once

#include <p2pdvm/base/time.hpp>

#include <algorithm>

namespace p2pdvm::overlay {

/// Mean + 4 mean deviations (Jacobson, 1988; RFC 6298), in integers.
class round_trip {
 public:
  /// Values outside 0 … 60 s are clamped: they come from clocks and remote peers.
  void sample(duration measured) noexcept {
    measured = std::clamp<duration>(measured, duration::zero(), std::chrono::seconds(60));
    if (!known()) {
      mean_ = measured;
      deviation_ = measured / 2;
      return;
    }
    const duration off = measured > mean_ ? measured - mean_ : mean_ - measured;
    deviation_ += (off - deviation_) / 4;
    mean_ += (measured - mean_) / 8;
  }
  [[nodiscard]] bool known() const noexcept { return mean_ >= duration::zero(); }
  /// Precondition: `known()`.
  [[nodiscard]] duration mean() const noexcept { return mean_; }
  /// Precondition: `known()`.
  [[nodiscard]] duration timeout() const noexcept { return mean_ + 4 * deviation_; }

 private:
  duration mean_{-1};
  duration deviation_{};
};

}  // namespace p2pdvm::overlay
