#pragma once

#include <p2pdvm/runtime/interval_experiment.hpp>

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

namespace p2pdvm::runtime {

namespace detail {

/// What is left of the life of somebody who is met at a random moment. Lives that are met are
/// longer than others, in proportion to their length.
inline duration met_life_left(const sim::session_model& lifetimes, random_generator& random) {
  const double mean = to_seconds(lifetimes.mean);
  // Of exponential lives those met are the sum of two; a heavy-tailed one is half of a square,
  // and those met are that of the sum of three.
  double x = sim::draw_exponential(random) + sim::draw_exponential(random);
  if (lifetimes.kind == sim::session_kind::heavy_tailed) {
    x += sim::draw_exponential(random);
    x = x * x / 2;
  }
  return from_seconds(mean * x * random.unit());
}

/// Mean and its standard error.
inline std::pair<double, double> mean_of(const std::vector<double>& values) {
  double sum = 0, squares = 0;
  const auto n = static_cast<double>(values.size());
  for (const double v : values) sum += v;
  for (const double v : values) squares += (v - sum / n) * (v - sum / n);
  return {sum / n, values.size() < 2 ? 0 : std::sqrt(squares / (n - 1) / n)};
}

/// Of all jobs.
struct job_outcomes {
  std::vector<double> utilisations;
  std::vector<double> intervals;
  void add(const job_outcome& one) {
    utilisations.push_back(one.utilisation);
    if (one.mean_interval > 0) intervals.push_back(one.mean_interval);
  }
};

inline interval_outcome compared(const job_outcomes& own, const job_outcomes& best) {
  interval_outcome o;
  std::tie(o.utilisation, o.error) = mean_of(own.utilisations);
  if (!own.intervals.empty()) o.mean_interval = mean_of(own.intervals).first;
  std::vector<double> less = best.utilisations;
  for (std::size_t i = 0; i < less.size(); ++i) less[i] -= own.utilisations[i];
  const double whole = mean_of(best.utilisations).first;
  if (!(whole > 0)) return o;
  std::tie(o.loss, o.loss_error) = mean_of(less);
  o.loss /= whole;
  o.loss_error /= whole;
  return o;
}

}  // namespace detail

P2PDVM_DECL std::vector<peer_death> draw_deaths(std::uint32_t places, const sim::session_model& lifetimes,
                                                duration job, std::uint64_t seed) {
  P2PDVM_ASSERT(lifetimes.kind == sim::session_kind::exponential ||
                lifetimes.kind == sim::session_kind::heavy_tailed);
  random_generator random(seed);
  std::vector<peer_death> deaths;
  for (std::uint32_t place = 0; place < places; ++place) {
    duration at = detail::met_life_left(lifetimes, random);
    while (at < job) {
      deaths.push_back({at, place});
      at += lifetimes.session(time_point(at), place, random);
    }
  }
  std::sort(deaths.begin(), deaths.end(), [](const peer_death& a, const peer_death& b) {
    return std::pair(a.at, a.place) < std::pair(b.at, b.place);
  });
  return deaths;
}

P2PDVM_DECL void adaptive_chooser::replaced(std::uint32_t place, duration now) {
  lifetimes_.died(now - since_[place]);
  since_[place] = now;
  living_[place].from_start = true;
}

P2PDVM_DECL duration adaptive_chooser::next(duration now) {
  for (std::size_t i = 0; i < since_.size(); ++i) living_[i].seen = now - since_[i];
  checkpoint::observation seen;
  seen.failures_per_second = checkpoint::failures_per_second(lifetimes_, living_);
  seen.blocking = costs_.blocking;
  seen.commit_latency = costs_.commit_latency;
  seen.recovery = costs_.recovery;
  return policy_.next(seen);
}

P2PDVM_DECL job_outcome simulate_job(const std::vector<peer_death>& deaths, duration job,
                                     const checkpoint_costs& costs, cut_chooser& chooser) {
  const duration wait = std::max({costs.blocking, costs.commit_latency, duration(1)});
  duration kept{}, committed{};
  std::uint64_t cuts = 0;
  duration begin{};  // of work: the last recovery's end
  std::size_t told = 0;
  for (std::size_t i = 0; begin < job; ++i) {
    const bool last = i == deaths.size();
    const duration end = last ? job : deaths[i].at;
    if (end > begin) {
      for (; told < i; ++told) chooser.replaced(deaths[told].place, begin);
      duration cut = begin;
      for (duration now = begin;;) {
        const duration next = cut + std::max(wait, std::min(chooser.next(now), job));
        now = next + costs.commit_latency;
        if (last ? next > end : now > end) break;
        committed += next - cut;
        ++cuts;
        cut = next;
      }
      kept += cut - begin;
      if (last) kept += end - cut;
    }
    if (last) break;
    begin = end + costs.recovery;
  }
  kept -= costs.blocking * static_cast<std::int64_t>(cuts);
  return {to_seconds(kept) / to_seconds(job), cuts == 0 ? 0 : to_seconds(committed) / static_cast<double>(cuts)};
}

P2PDVM_DECL interval_results run_interval_experiment(const interval_experiment& how) {
  interval_results r;
  const double shortest = std::max({to_seconds(how.costs.commit_latency), to_seconds(how.costs.blocking), 1e-3});
  for (double t = shortest; t < to_seconds(how.job) * how.step; t *= how.step) r.intervals.push_back(from_seconds(t));
  const double theta = how.ranks / to_seconds(how.lifetimes.mean);
  const double v = to_seconds(how.costs.blocking);
  const duration young = from_seconds(v + std::sqrt(2 * v / theta));

  std::vector<detail::job_outcomes> fixed(r.intervals.size()), shown(how.shown.size());
  detail::job_outcomes by_young, adaptive;
  random_generator seeds(how.seed);
  while (r.jobs < how.jobs_max) {
    const auto deaths = draw_deaths(how.ranks, how.lifetimes, how.job, seeds());
    r.deaths_per_job += static_cast<double>(deaths.size());
    const auto run = [&](detail::job_outcomes& into, cut_chooser&& chooser) {
      into.add(simulate_job(deaths, how.job, how.costs, chooser));
    };
    for (std::size_t i = 0; i < fixed.size(); ++i) run(fixed[i], fixed_chooser(r.intervals[i]));
    for (std::size_t i = 0; i < shown.size(); ++i) run(shown[i], fixed_chooser(how.shown[i]));
    run(by_young, fixed_chooser(young));
    run(adaptive, adaptive_chooser(how.ranks, how.costs));
    if (++r.jobs < how.jobs_min) continue;

    r.utilisations.clear();
    for (const auto& one : fixed) r.utilisations.push_back(detail::mean_of(one.utilisations).first);
    r.best = static_cast<std::size_t>(
        std::max_element(r.utilisations.begin(), r.utilisations.end()) - r.utilisations.begin());
    r.fixed = detail::compared(fixed[r.best], fixed[r.best]);
    r.young = detail::compared(by_young, fixed[r.best]);
    r.adaptive = detail::compared(adaptive, fixed[r.best]);
    r.shown.clear();
    for (const auto& one : shown) r.shown.push_back(detail::compared(one, fixed[r.best]));
    if (std::max(r.young.loss_error, r.adaptive.loss_error) <= how.error_max) break;
  }
  r.deaths_per_job /= r.jobs;
  return r;
}

}  // namespace p2pdvm::runtime
