/// How much of a job's time checkpoints leave for work that is kept: intervals against each other.
///
/// One job in virtual time, reduced to what an interval is about: peers with one rank each live,
/// die and are replaced; a cut keeps the ranks from computing and commits later; a death takes
/// all back to the last committed cut. All intervals meet the same deaths.
#pragma once

#include <p2pdvm/checkpoint/policy.hpp>
#include <p2pdvm/sim/sessions.hpp>

#include <cstdint>
#include <vector>

namespace p2pdvm::runtime {

struct checkpoint_costs {
  duration blocking{};        ///< a cut keeps the ranks from computing for so long
  duration commit_latency{};  ///< from a cut to its commit; the next one waits for it
  duration recovery{};        ///< from a death, unless another follows, until the ranks compute again
};

struct peer_death {
  duration at{};  ///< since the job's begin
  std::uint32_t place = 0;
};

/// The deaths of peers at `places` places during `job`, in the order of time. Who dies is
/// replaced at once by a peer whose life begins then. When the job begins, peers have ages as in
/// a swarm that has been there for long. Precondition: lifetimes are `exponential` or
/// `heavy_tailed`.
[[nodiscard]] std::vector<peer_death> draw_deaths(std::uint32_t places, const sim::session_model& lifetimes,
                                                  duration job, std::uint64_t seed);

/// Decides about cuts, and hears no more than a peer of the job does.
class cut_chooser {
 public:
  virtual ~cut_chooser() = default;
  /// The peer at this place died, and another one has taken its ranks over.
  virtual void replaced(std::uint32_t place, duration now) = 0;
  /// From the last cut, or the end of a recovery, to the next cut: at a commit or that end.
  [[nodiscard]] virtual duration next(duration now) = 0;
};

/// The same interval all the time.
class fixed_chooser final : public cut_chooser {
 public:
  explicit fixed_chooser(duration interval) noexcept : interval_(interval) {}
  void replaced(std::uint32_t, duration) override {}
  [[nodiscard]] duration next(duration) override { return interval_; }

 private:
  duration interval_;
};

/// `checkpoint::adaptive_policy` fed as `job` feeds it: all are members from the job's begin on,
/// how long they had been there before nobody knows.
class adaptive_chooser final : public cut_chooser {
 public:
  adaptive_chooser(std::uint32_t places, const checkpoint_costs& costs)
      : since_(places, duration::zero()), living_(places), costs_(costs) {}
  void replaced(std::uint32_t place, duration now) override;
  [[nodiscard]] duration next(duration now) override;

 private:
  std::vector<duration> since_;
  std::vector<checkpoint::living_peer> living_;
  checkpoint_costs costs_;
  checkpoint::lifetime_estimator lifetimes_;
  checkpoint::adaptive_policy policy_;
};

struct job_outcome {
  double utilisation = 0;   ///< share of the time that went into work which is kept, the last bit of it included
  double mean_interval = 0; ///< of cuts that were committed [s]; 0 without any
};

[[nodiscard]] job_outcome simulate_job(const std::vector<peer_death>& deaths, duration job,
                                       const checkpoint_costs& costs, cut_chooser& chooser);

struct interval_experiment {
  std::uint32_t ranks = 8;
  sim::session_model lifetimes;
  checkpoint_costs costs;
  duration job = std::chrono::hours(24);
  std::uint64_t seed = 1;
  /// Jobs with other deaths, until the standard errors of the differences from the best fixed
  /// interval are at most this share of its utilisation.
  double error_max = 0.0005;
  std::uint32_t jobs_min = 10;
  std::uint32_t jobs_max = 400;
  /// Fixed intervals grow by this factor, from the commit latency to the job's length.
  double step = 1.09;
  /// Fixed intervals of which all figures are wanted.
  std::vector<duration> shown;
};

/// A figure over all jobs, and its standard error.
struct interval_outcome {
  double utilisation = 0;
  double error = 0;
  /// Against the best fixed interval, as a share of its utilisation; negative: better than it.
  double loss = 0;
  double loss_error = 0;
  double mean_interval = 0;  ///< [s]
};

struct interval_results {
  std::uint32_t jobs = 0;
  double deaths_per_job = 0;
  std::vector<duration> intervals;
  std::vector<double> utilisations;  ///< of each fixed interval, over all jobs
  std::size_t best = 0;              ///< among them, in hindsight
  interval_outcome fixed;            ///< the best
  std::vector<interval_outcome> shown;
  interval_outcome young;            ///< V + sqrt(2V/θ) by the true mean lifetime
  interval_outcome adaptive;         ///< this project's
};

/// Deterministic. Young's interval, like all, waits for the commit before.
[[nodiscard]] interval_results run_interval_experiment(const interval_experiment& how);

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/interval_experiment.ipp>
#endif
