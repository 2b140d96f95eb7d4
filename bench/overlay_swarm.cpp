#include "overlay_swarm.hpp"

#include <p2pdvm/runtime/swarm_experiment.hpp>
#include <p2pdvm/sim/large_pages.hpp>

#include <malloc.h>

#include <numbers>
#include <optional>
#include <stdexcept>
#include <string>

namespace p2pdvm::bench {

namespace {

using std::chrono::minutes;
using std::chrono::seconds;

/// What an idle peer may take.
constexpr std::size_t peer_bytes_max = 65'536;

class swarm_run {
 public:
  swarm_run(const settings& how, report& out) : how_(how), out_(out) {
    x.swarm.network.profile = sim::latency_profile::planetlab;
    sim::network_conditions weather = sim::conditions_of(sim::latency_profile::planetlab);
    weather.loss = 0.01;
    x.swarm.network.conditions = weather;
    if (how.latency_matrix.empty()) return;
    auto matrix = sim::latency_matrix::load(how.latency_matrix, how.matrix_in_seconds
                                                                    ? sim::latency_unit::seconds
                                                                    : sim::latency_unit::milliseconds);
    if (!matrix.ok()) throw std::runtime_error(matrix.error().message());
    x.swarm.network.matrix = std::move(*matrix);
    profile_ = how.latency_matrix.substr(how.latency_matrix.find_last_of('/') + 1);
  }

  runtime::swarm_experiment x;

  [[nodiscard]] bool quick() const noexcept { return how_.quick; }

  runtime::swarm_results run() {
    if (how_.quick) {
      x.swarm.peers = 30;
      x.settling = seconds(30);
      x.measured = seconds(20);
      x.records = x.records > 0 ? 4 : 0;
    }
    sim::use_large_pages(x.swarm.peers * peer_bytes_max);
    const std::size_t before = heap_bytes();
    std::optional<std::size_t> formed;
    std::chrono::steady_clock::time_point begin;
    x.progress = [&](double share) {
      if (!formed) {
        formed = heap_bytes();
        begin = std::chrono::steady_clock::now();
      }
      if (share >= 1) {
        const auto end = std::chrono::steady_clock::now();
        seconds_ = std::chrono::duration<double>(end - begin).count() / 0.99;
      }
    };
    auto results = runtime::run_swarm_experiment(x);
    peer_bytes_ = static_cast<double>(formed.value_or(before) - before) /
                  static_cast<double>(x.swarm.peers);
    return results;
  }

  void add(const char* metric, std::string_view unit, double value) { add("p2pdvm", metric, unit, value); }
  /// What was published of others, for comparison; docs/performance.md names the sources.
  void add_published(const char* system, const char* metric, std::string_view unit, double value) {
    add(system, metric, unit, value);
  }
  /// Seconds that the measured part took, and bytes of heap per peer when it began.
  [[nodiscard]] double real_seconds() const noexcept { return seconds_; }
  [[nodiscard]] double peer_bytes() const noexcept { return peer_bytes_; }

 private:
  static std::size_t heap_bytes() {
    const auto info = ::mallinfo2();
    return info.uordblks + info.hblkhd;
  }

  void add(const char* system, const char* metric, std::string_view unit, double value) {
    measurement m;
    m.benchmark = "overlay";
    m.system = system;
    m.profile = profile_;
    m.parameters["peers"] = x.swarm.peers;
    if (!sweep_.empty()) m.parameters["sweep"] = sweep_;
    m.parameters["mean_session"] = to_seconds(x.swarm.sessions.mean);
    m.parameters["stable"] = x.swarm.sessions.kind == sim::session_kind::stable;
    m.parameters["hostile"] = x.swarm.hostile;
    m.parameters["loss"] = x.swarm.network.conditions->loss;
    m.parameters["lookups"] = searched_.first;
    m.parameters["finds"] = searched_.second;
    m.parameters["seed"] = x.swarm.network.seed;
    m.parameters["processes"] = 1;
    m.metric = metric;
    m.unit = unit;
    m.value = value;
    out_.add(m);
  }

 public:
  /// What its figures belong to, besides their goals.
  void sweeps(const char* over) { sweep_ = over; }
  /// How many searches the figures that follow are made of.
  void searched(const runtime::swarm_results& r) { searched_ = {r.lookups.begun, r.finds.begun}; }

 private:
  const settings& how_;
  report& out_;
  std::string profile_ = "planetlab";
  std::string sweep_;
  std::pair<std::uint64_t, std::uint64_t> searched_;
  double seconds_ = 0;
  double peer_bytes_ = 0;
};

void add_upkeep(swarm_run& run) {
  run.x.lookups_per_second = run.x.finds_per_second = 0;
  run.x.records = 0;
  const auto r = run.run();
  run.searched(r);
  run.add("upkeep_messages_per_s", rate_unit, r.messages_per_second);
  run.add("upkeep_bytes_per_s", byte_rate_unit, r.bytes_per_second);
}

}  // namespace

void measure_mild_churn(const settings& how, report& out) {
  swarm_run run(how, out);
  run.x.swarm.peers = 10'000;
  run.x.swarm.sessions = {sim::session_kind::exponential, from_seconds(2.9 * 3600)};
  run.x.settling = minutes(30);
  run.x.measured = minutes(5);
  run.x.lookups_per_second = 1000;
  run.x.finds_per_second = 200;
  run.x.records = 500;
  const auto r = run.run();
  run.searched(r);
  run.add("lookup_failure_rate", fraction_unit, r.lookups.failure_rate());
  run.add_published("MSPastry", "lookup_failure_rate", fraction_unit, 1.5e-5);
  run.add("find_failure_rate", fraction_unit, r.finds.failure_rate());
  run.add("lookup_time_p50", seconds_unit, r.finds.quantile(0.5));
  run.add("lookup_time_p99", seconds_unit, r.finds.quantile(0.99));
  run.add_published("mainline DHT", "lookup_time_p50", seconds_unit, 0.15);
  run.add("simulator_events_per_s", rate_unit, static_cast<double>(r.events) / run.real_seconds());
  run.add("simulator_speedup", fraction_unit, r.virtual_seconds / run.real_seconds());
  run.add("peer_bytes", "bytes", run.peer_bytes());
  add_upkeep(run);
}

void measure_harsh_churn(const settings& how, report& out) {
  for (const std::uint64_t seed : {1, 2, 3}) {
    swarm_run run(how, out);
    run.x.swarm.peers = 1000;
    run.x.swarm.network.seed = seed;
    run.x.swarm.sessions = {sim::session_kind::exponential,
                            from_seconds(84 / std::numbers::ln2)};
    run.x.settling = minutes(5);
    run.x.measured = minutes(5);
    run.x.lookups_per_second = 50;
    const auto r = run.run();
    run.searched(r);
    run.add("lookup_failure_rate", fraction_unit, r.lookups.failure_rate());
    add_upkeep(run);
    if (run.quick()) break;
    if (seed == 1) run.add_published("Bamboo", "upkeep_bytes_per_s", byte_rate_unit, 900);
  }
}

void measure_hostile(const settings& how, report& out) {
  for (const std::uint64_t seed : {1, 2, 3}) {
    swarm_run run(how, out);
    run.x.swarm.peers = 1000;
    run.x.swarm.network.seed = seed;
    run.x.swarm.hostile = 0.2;
    run.x.swarm.clear_datagrams = true;
    run.x.settling = minutes(5);
    run.x.measured = minutes(2);
    run.x.finds_per_second = 50;
    run.x.records = 200;
    const auto r = run.run();
    run.searched(r);
    run.add("hostile_lookup_success", fraction_unit, 1 - r.finds.failure_rate());
    if (run.quick()) break;
  }
}

void sweep_sessions(const settings& how, report& out) {
  for (const double median_session : {84.0, 300.0, 1200.0, 3600.0, 2.9 * 3600}) {
    swarm_run run(how, out);
    run.sweeps("sessions");
    run.x.swarm.peers = 500;
    run.x.swarm.sessions = {sim::session_kind::exponential,
                            from_seconds(median_session / std::numbers::ln2)};
    run.x.settling = minutes(5);
    run.x.measured = minutes(5);
    run.x.lookups_per_second = 40;
    const auto r = run.run();
    run.searched(r);
    run.add("lookup_failure_rate", fraction_unit, r.lookups.failure_rate());
    add_upkeep(run);
    if (run.quick()) break;
  }
}

}  // namespace p2pdvm::bench
