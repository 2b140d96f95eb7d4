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

/// The longest interval, but `blocking_times_max` times the blocking where that is longer: then
/// cuts cost at most 1 % of the time.
inline constexpr duration interval_max = std::chrono::minutes(10);
inline constexpr int blocking_times_max = 100;
/// Prior knowledge: one death in four peer-hours, which counts as much as half a death.
inline constexpr double prior_deaths = 0.5;
inline constexpr duration prior_lifetime = std::chrono::hours(2);

/// A peer that is up.
struct living_peer {
  duration seen{};         ///< for so long it has been known to be up
  bool from_start = false; ///< that is its whole age: it came under the eyes of whoever knows it
  bool hosts = true;       ///< its death would take ranks with it
};

/// What a peer has seen of others' lifetimes.
class lifetime_estimator {
 public:
  /// A peer died that had been seen for so long.
  void died(duration seen) noexcept;
  /// A peer went out of sight alive, for example left politely, after so long.
  void censored(duration seen) noexcept;
  /// Deaths and lifetimes that somebody else has seen; call it before others are seen here too.
  void learned(std::uint64_t deaths, double seconds_lived) noexcept;
  /// Deaths per second and peer: (deaths + `prior_deaths`) / (all lifetimes + `prior_lifetime`).
  [[nodiscard]] double rate(const std::vector<living_peer>& living) const noexcept;

  [[nodiscard]] std::uint64_t deaths() const noexcept { return deaths_; }
  /// Of all who died or went out of sight.
  [[nodiscard]] double seconds_lived() const noexcept { return seconds_; }

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

/// The sum of the hazards of those that host ranks. One whose age is not known has the hazard
/// `rate`: whatever the distribution of lifetimes, somebody met at a random moment dies with that.
[[nodiscard]] double failures_per_second(const lifetime_estimator& estimator,
                                         const std::vector<living_peer>& living) noexcept;

/// Users can bring their own.
class policy {
 public:
  virtual ~policy() = default;
  /// Time from the last cut to this peer's next wish; `duration::max()` means never.
  [[nodiscard]] virtual duration next(const observation& seen) = 0;
};

/// T*, in whole milliseconds, at least the commit latency and at most what `interval_max` says.
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

/// Ranks could be spread more evenly over those who would host them.
struct spread_prospect {
  std::uint32_t busiest = 0;       ///< ranks of the member with most, now
  std::uint32_t busiest_then = 0;  ///< and then
  duration elapsed{};              ///< since the job began
  duration cost{};                 ///< for which all ranks stand still
};
/// Whether that pays: the job takes the time of its busiest member, and goes on for about as long as it has taken so far, which is the best guess where nothing else is
/// known (Gott, Nature 363, 1993). What it gains must be four times what it costs, for all of that is rough.
[[nodiscard]] bool pays(const spread_prospect& what) noexcept;

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
  [[nodiscard]] duration elapsed(time_point now) const noexcept { return now - start_; }

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
