#pragma once

#include <p2pdvm/runtime/native_process.hpp>
#include <p2pdvm/runtime/output_files.hpp>
#include <p2pdvm/runtime/reporter.hpp>
#include <p2pdvm/runtime/simulated_churn.hpp>
#include <p2pdvm/runtime/timeline.hpp>

#include <fmt/core.h>

#include <algorithm>
#include <optional>

namespace p2pdvm::runtime {

namespace detail {

/// For peers that come back while the others end, after the first end.
inline constexpr duration returners_wait = std::chrono::seconds(60);

/// Until all who are there have ended, or, once anybody has, for so long at most. Gives when the
/// first one ended; nothing when nobody does.
inline std::optional<time_point> run_to_end(simulated_cluster& cluster) {
  std::optional<time_point> first;
  const bool ended = cluster.run_until(
      [&] {
        bool any = false, all = true;
        for (std::size_t i = 0; i < cluster.size(); ++i) {
          any |= cluster.outcome(i).has_value();
          all &= cluster.outcome(i).has_value() || !cluster.alive(i);
        }
        if (any && !first) first = cluster.network().now();
        return any && (all || cluster.network().now() > *first + returners_wait);
      },
      std::chrono::hours(24 * 365));
  return ended ? first : std::nullopt;
}

/// The results, or the first error where nobody has any.
inline const result<job_results>* end_of(const simulated_cluster& cluster) {
  const result<job_results>* end = nullptr;
  for (std::size_t i = 0; i < cluster.size(); ++i) {
    const auto& outcome = cluster.outcome(i);
    if (outcome && (end == nullptr || (!end->ok() && outcome->ok()))) end = &*outcome;
  }
  return end;
}

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
  o.job.receipts = how.receipts == "memory" ? receipts_from::memory : receipts_from::disk;
  o.job.options = how.program_options;
  o.checkpoint_interval = how.checkpoint_interval();
  o.hang_after = how.hang_patience();
  for (std::uint32_t p = 0; p < peers && how.compression == "off"; ++p) o.uncompressed.insert(p);
  auto inputs = read_inputs(how.inputs);
  if (!inputs.ok()) return fail(inputs.error().message());
  o.job.inputs = std::move(*inputs);

  if (!how.outputs.empty()) o.outputs = [&how](std::size_t) { return std::make_unique<output_files>(how.outputs); };

  reporter report({how.quiet, how.json, how.trace, true, how.explain});
  report.say(fmt::format("simulating {} peers, seed {}", o.peers, how.seed));
  timeline picture;
  simulated_cluster cluster(program, std::move(o), [&](std::size_t peer, const event& e) {
    if (!how.timeline.empty()) picture.on_event(peer, e);
    if (e.kind != event_kind::ticket) report.on_event(e, static_cast<int>(peer));
  });
  sim::session_model sessions = how.churn;
  if (sessions.pause == duration::zero()) sessions.pause = sessions.mean;
  const simulated_churn churn(
      cluster, sessions, how.replicas, how.seed, [&](std::size_t peer, time_point at, bool begins) {
        if (begins) return picture.on_fault_over(peer, at, "away");
        picture.on_fault(peer, at, "away", true);
        picture.on_down(peer, at);
      });
  const auto ended = detail::run_to_end(cluster);
  report.finish();
  if (!how.timeline.empty()) {
    if (auto written = picture.write(how.timeline); !written.ok()) return fail(written.error().message());
  }
  const double seconds = to_seconds(ended.value_or(cluster.network().now()).time_since_epoch());
  if (!ended) return fail(fmt::format("the job has not ended after {:.0f} s of virtual time", seconds));
  const result<job_results>& end = *detail::end_of(cluster);
  if (!end.ok()) return fail(end.error().message());
  if (auto written = write_outputs(how.outputs, *end); !written.ok())
    return fail(written.error().message());
  cluster.kill_all();
  for (std::size_t i = 0; i < cluster.size(); ++i) {
    auto* const files = dynamic_cast<output_files*>(cluster.outputs(i));
    if (files == nullptr) continue;
    if (auto written = files->finish(); !written.ok()) return fail(written.error().message());
  }
  report.say(fmt::format("{:.3f} s of virtual time, {} events, {} departure{}, {} of them with a return; "
                         "replay with --seed {}",
                         seconds, cluster.network().events(), churn.departures(),
                         churn.departures() == 1 ? "" : "s", churn.returns(), how.seed));
  if (!how.json && !report.digest().empty()) fmt::print("digest: {}\n", report.digest());
  return 0;
}

}  // namespace p2pdvm::runtime
