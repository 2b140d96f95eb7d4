/// When a peer wishes for a checkpoint: the interval, from observed failures and measured costs.
///
/// Results here come from floating point and the platform's libm. They decide only when this
/// peer wishes, in whole milliseconds, never what a protocol does with a wish.
#pragma once

#include <p2pdvm/base/config.hpp>
#include <p2pdvm/base/time.hpp>

#include <chrono>
#include <cstdint>
#include <vector>

namespace p2pdvm::checkpoint {

inline constexpr duration interval_max = std::chrono::minutes(10);
/// Prior knowledge: one death in so many peer-hours.
inline constexpr duration prior_lifetime = std::chrono::hours(4);

/// What a peer has seen of others' lifetimes.
class lifetime_estimator {
 public:
  /// A peer died at this age.
  void died(duration age) noexcept;
  /// A peer went out of sight alive, for example left politely, at this age.
  void censored(duration age) noexcept;
  /// Deaths per second and peer: (deaths + 1) / (all lifetimes + `prior_lifetime`); `living`
  /// are the ages of peers that are still up.
  [[nodiscard]] double rate(const std::vector<duration>& living) const noexcept;

 private:
  std::uint64_t deaths_ = 0;
  double seconds_ = 0;
};

/// Deaths per second of one peer of this age: Weibull with shape 1/2 and mean 1/`rate`, as
/// desktop sessions have, but at most 2·`rate` for the very young.
[[nodiscard]] double hazard(double rate, duration age) noexcept;

/// The principal branch of Lambert's W for −1/e ≤ z ≤ 0, by Halley's iteration from the series
/// at the branch point; smaller z give −1.
[[nodiscard]] double lambert_w0(double z) noexcept;

/// T* = [1 + θV + W₀(−e^−(1+θV))]/θ: the time from cut to cut, blocking cost V included, that
/// wastes least when failures come at θ per second: the maximum of `predicted_utilisation`.
/// Not clamped; `duration::max()` when θ is 0.
[[nodiscard]] duration optimal_interval(double failures_per_second, duration blocking) noexcept;

/// Share of the time that goes into work which is kept: θ(T − V) / ((e^θT − 1)(1 + θR)), where
/// R is the time from a death until the ranks compute again.
[[nodiscard]] double predicted_utilisation(duration interval, double failures_per_second,
                                           duration blocking, duration recovery) noexcept;

/// What a policy may look at.
struct observation {
  double failures_per_second = 0;  ///< of the job: the sum of its members' hazards
  duration blocking{};             ///< measured: how long a cut keeps the ranks from computing
  duration commit_latency{};       ///< measured: from the cut to its commit
  duration recovery{};             ///< measured: from a death until the ranks compute again
};

/// The sum of hazards of members of these ages.
[[nodiscard]] double failures_per_second(const lifetime_estimator& estimator,
                                         const std::vector<duration>& ages) noexcept;

/// Users can bring their own.
class policy {
 public:
  virtual ~policy() = default;
  /// Time from the last cut to this peer's next wish; `duration::max()` means never.
  [[nodiscard]] virtual duration next(const observation& seen) = 0;
};

/// T*, in whole milliseconds, at least the commit latency and at most `interval_max`.
class adaptive_policy final : public policy {
 public:
  [[nodiscard]] duration next(const observation& seen) override;
};

class fixed_policy final : public policy {
 public:
  explicit fixed_policy(duration interval) noexcept : interval_(interval) {}
  [[nodiscard]] duration next(const observation&) override { return interval_; }

 private:
  duration interval_;
};

class no_checkpoints final : public policy {
 public:
  [[nodiscard]] duration next(const observation&) override { return duration::max(); }
};

/// Where a job's time went, for the printed comparison with the prediction.
class utilisation_meter {
 public:
  explicit utilisation_meter(time_point start) noexcept : start_(start), safe_(start) {}
  /// A cut kept the ranks from computing for so long.
  void blocked(duration time) noexcept { pending_blocked_ += time; }
  /// An epoch whose cut was taken at `cut` has committed: what came before is kept.
  void committed(time_point cut) noexcept;
  /// The ranks compute again after a rollback; the time since the last committed cut is lost.
  void recovered(time_point now) noexcept;
  /// Kept work (and work not lost so far) over all time until `now`; 1 for no time at all.
  [[nodiscard]] double achieved(time_point now) const noexcept;

 private:
  time_point start_;
  time_point safe_;  ///< cut of the last committed epoch, or the end of the last recovery
  duration blocked_{};
  duration pending_blocked_{};
  duration lost_{};
};

}  // namespace p2pdvm::checkpoint

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/checkpoint/impl/policy.ipp>
#endif
