#pragma once

#include <p2pdvm/runtime/native_process.hpp>
#include <p2pdvm/runtime/reporter.hpp>
#include <p2pdvm/runtime/simulated_cluster.hpp>
#include <p2pdvm/runtime/timeline.hpp>

#include <fmt/core.h>

#include <cmath>
#include <functional>

namespace p2pdvm::runtime {

namespace detail {

/// Peers die one by one after exponentially distributed times; never so many that no majority of
/// keepers is left, since a death is repaired before the next one is allowed.
class churn {
 public:
  using death_handler = std::function<void(std::size_t peer, time_point at)>;
  churn(simulated_cluster& cluster, double mean_lifetime, std::uint64_t seed, death_handler on_death)
      : cluster_(cluster), mean_(mean_lifetime), random_(seed), on_death_(std::move(on_death)) {
    if (mean_ > 0) next();
  }
  std::size_t deaths() const noexcept { return deaths_; }

 private:
  void next() {
    // As if all peers lived; `strike` leaves out those that do not, at the time of the strike.
    const double rate = static_cast<double>(cluster_.size()) / mean_;
    const double wait = -std::log(1 - random_.unit()) / rate;
    cluster_.network().call_at(cluster_.network().now() + from_seconds(wait), [this] {
      strike();
      next();
    });
  }
  void strike() {
    std::vector<std::size_t> alive;
    for (std::size_t i = 0; i < cluster_.size(); ++i) {
      if (cluster_.alive(i)) alive.push_back(i);
    }
    if (random_.below(cluster_.size()) >= alive.size() || alive.size() < 3) return;
    job* j = cluster_.at(alive[0]).current_job();
    if (j == nullptr || j->record().state != checkpoint::job_state::running ||
        j->record().live_count() != alive.size() || !j->now().whole)
      return;
    ++deaths_;
    const std::size_t victim = alive[random_.below(alive.size())];
    on_death_(victim, cluster_.network().now());
    cluster_.crash(victim);
  }

  simulated_cluster& cluster_;
  double mean_;
  random_generator random_;
  death_handler on_death_;
  std::size_t deaths_ = 0;
};

}  // namespace detail

P2PDVM_DECL int run_simulated(const peal::program& program, const command_line& how) {
  const auto fail = [&](const std::string& sentence) {
    fmt::print(stderr, "{}: {}\n", program.name(), sentence);
    return 1;
  };
  const std::uint32_t peers = how.peers > 0 ? how.peers : std::min(how.ranks, 16u);
  simulated_cluster::options o;
  o.network.seed = how.seed;
  if (!how.simulate.empty()) o.network.profile = *sim::latency_profile_of(how.simulate);
  if (!how.latency_matrix.empty()) {
    auto matrix = sim::latency_matrix::load(how.latency_matrix, how.matrix_in_seconds ? sim::latency_unit::seconds
                                                                                 : sim::latency_unit::milliseconds);
    if (!matrix.ok()) return fail(matrix.error().message());
    if (auto enough = matrix->has_rows_for(peers); !enough.ok()) return fail(enough.error().message());
    o.network.matrix = std::move(*matrix);
  }
  o.peers = peers;
  o.job.ranks = how.ranks;
  o.job.replicas = how.replicas;
  o.job.options = how.program_options;
  o.checkpoint_interval = how.checkpoint_interval();
  auto inputs = read_inputs(how.inputs);
  if (!inputs.ok()) return fail(inputs.error().message());
  o.job.inputs = std::move(*inputs);

  reporter report({how.quiet, how.json, how.trace, true});
  report.say(fmt::format("simulating {} peers, seed {}", o.peers, how.seed));
  timeline picture;
  simulated_cluster cluster(program, std::move(o), [&](std::size_t peer, const event& e) {
    if (!how.timeline.empty()) picture.on_event(peer, e);
    if (e.kind != event_kind::ticket) report.on_event(e, static_cast<int>(peer));
  });
  detail::churn deaths(cluster, how.churn, how.seed, [&](std::size_t peer, time_point at) {
    picture.on_fault(peer, at, "crash", false);
    picture.on_down(peer, at);
  });
  const bool ended = cluster.run(std::chrono::hours(24 * 365));
  report.finish();
  if (!how.timeline.empty()) {
    if (auto written = picture.write(how.timeline); !written.ok()) return fail(written.error().message());
  }
  const double seconds = to_seconds(cluster.network().now().time_since_epoch());
  if (!ended) return fail(fmt::format("the job has not ended after {:.0f} s of virtual time", seconds));
  for (std::size_t i = 0; i < cluster.size(); ++i) {
    const auto& outcome = cluster.outcome(i);
    if (!outcome) continue;
    if (!outcome->ok()) return fail(outcome->error().message());
    if (auto written = write_outputs(how.outputs, **outcome); !written.ok())
      return fail(written.error().message());
    break;
  }
  report.say(fmt::format("{:.3f} s of virtual time, {} events, {} death{}; replay with --seed {}", seconds,
                         cluster.network().events(), deaths.deaths(), deaths.deaths() == 1 ? "" : "s", how.seed));
  if (!how.json && !report.digest().empty()) fmt::print("digest: {}\n", report.digest());
  return 0;
}

}  // namespace p2pdvm::runtime
