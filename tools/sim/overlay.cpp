/// p2pdvm-sim overlay: a swarm of whole peers under churn, and how well it finds things.
#include "commands.hpp"

#include <p2pdvm/runtime/swarm_experiment.hpp>
#include <p2pdvm/sim/large_pages.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <unistd.h>

#include <cstdio>
#include <memory>
#include <optional>
#include <stdexcept>

namespace p2pdvm::tools {
namespace {

struct overlay_options {
  std::size_t peers = 1000;
  std::uint64_t seed = 1;
  std::string profile = "planetlab";
  std::string matrix;
  bool matrix_in_seconds = false;
  std::string churn = "2.9h";
  std::optional<double> loss;
  double settling = 300;
  double measured = 300;
  double lookups = 20;
  double finds = 10;
  std::size_t records = 200;
  double hostile = 0;
  bool json = false;
};

template <class T>
T value_of(result<T> r) {
  if (!r.ok()) throw std::runtime_error(r.error().message());
  return *std::move(r);
}

runtime::swarm_experiment experiment_of(const overlay_options& how) {
  runtime::swarm_experiment x;
  x.swarm.peers = how.peers;
  x.swarm.network.seed = how.seed;
  x.swarm.network.profile = *sim::latency_profile_of(how.profile);
  if (!how.matrix.empty()) {
    x.swarm.network.matrix = value_of(sim::latency_matrix::load(
        how.matrix, how.matrix_in_seconds ? sim::latency_unit::seconds : sim::latency_unit::milliseconds));
  }
  if (how.loss) {
    x.swarm.network.conditions = sim::conditions_of(x.swarm.network.profile);
    x.swarm.network.conditions->loss = *how.loss;
  }
  x.swarm.sessions = value_of(sim::session_model::parse(how.churn));
  x.swarm.hostile = how.hostile;
  if (how.hostile > 0) x.swarm.clear_datagrams = true;
  x.settling = from_seconds(how.settling);
  x.measured = from_seconds(how.measured);
  x.lookups_per_second = how.lookups;
  x.finds_per_second = how.finds;
  x.records = how.records;
  return x;
}

void print_table(const runtime::swarm_results& r) {
  const auto line = [](const char* what, const runtime::search_outcomes& s) {
    fmt::print("{:<8} {:>8} begun, {:>6} failed ({:.2e}), p50 {:.3f} s, p99 {:.3f} s, {:.1f} hops, {:.1f} queries\n",
               what, s.begun, s.failed, s.failure_rate(), s.quantile(0.5), s.quantile(0.99), s.hops,
               s.queries);
  };
  line("lookups", r.lookups);
  line("finds", r.finds);
  fmt::print("traffic  {:.3f} messages/s and {:.1f} bytes/s per peer, searches included\n",
             r.messages_per_second, r.bytes_per_second);
  fmt::print("peers    {:.1f} living on average, {} sessions begun\n", r.mean_living, r.sessions);
  fmt::print("run      {:.0f} s of virtual time, {} events, digest {:016x}\n", r.virtual_seconds,
             r.events, r.digest);
}

void print_json(const overlay_options& how, const runtime::swarm_results& r) {
  const auto searches = [](const runtime::search_outcomes& s) {
    return nlohmann::ordered_json{{"begun", s.begun},
                                  {"failed", s.failed},
                                  {"seconds_p50", s.quantile(0.5)},
                                  {"seconds_p99", s.quantile(0.99)},
                                  {"hops", s.hops},
                                  {"queries", s.queries}};
  };
  const nlohmann::ordered_json line{{"peers", how.peers},
                                    {"seed", how.seed},
                                    {"churn", how.churn},
                                    {"hostile", how.hostile},
                                    {"lookups", searches(r.lookups)},
                                    {"finds", searches(r.finds)},
                                    {"messages_per_s", r.messages_per_second},
                                    {"bytes_per_s", r.bytes_per_second},
                                    {"mean_living", r.mean_living},
                                    {"sessions", r.sessions},
                                    {"virtual_seconds", r.virtual_seconds},
                                    {"events", r.events},
                                    {"digest", fmt::format("{:016x}", r.digest)}};
  fmt::print("{}\n", line.dump());
}

int run(const overlay_options& how) {
  runtime::swarm_experiment x = experiment_of(how);
  const bool live = !how.json && ::isatty(STDOUT_FILENO) == 1;
  if (!how.json) {
    const bool clear = x.swarm.clear_datagrams.value_or(how.peers >= runtime::clear_datagrams_from);
    fmt::print("{} peers, sessions {}, seed {}, datagrams {}\n", how.peers, how.churn, how.seed,
               clear ? "in clear (no cipher)" : "encrypted");
    std::fflush(stdout);
  }
  x.progress = [live](double share) {
    if (!live) return;
    fmt::print("\r\033[K{:.0f} % measured", share * 100);
    if (share >= 1) fmt::print("\r\033[K");
    std::fflush(stdout);
  };
  constexpr std::size_t peer_bytes = 64 * 1024;
  sim::use_large_pages(how.peers * peer_bytes);
  const auto results = runtime::run_swarm_experiment(x);
  if (how.json) {
    print_json(how, results);
  } else {
    print_table(results);
  }
  return 0;
}

}  // namespace

command overlay_command(CLI::App& app) {
  const auto how = std::make_shared<overlay_options>();
  CLI::App* own = app.add_subcommand("overlay", "peers that come and go, search for peers and values, and what that costs them");
  const auto positive = CLI::PositiveNumber;
  own->add_option("--peers", how->peers, "how many")->check(CLI::Range(2, 1'000'000))->capture_default_str();
  own->add_option("--churn", how->churn, "sessions: stable, diurnal, a mean time such as 84s or 2.9h, exponential:TIME, "
                                         "heavy-tailed:TIME, mixed:TIME")->capture_default_str();
  own->add_option("--seed", how->seed, "the same seed gives the same run")->capture_default_str();
  own->add_option("--profile", how->profile, "latencies and access links")
      ->check(CLI::IsMember({"loopback", "lan", "planetlab", "residential", "intercontinental"}))->capture_default_str();
  own->add_option("--latency-matrix", how->matrix, "round trips from this square matrix instead [ms]");
  own->add_flag("--matrix-in-seconds", how->matrix_in_seconds, "its numbers are seconds");
  own->add_option("--loss", how->loss, "share of datagrams lost; otherwise the profile's")->check(CLI::Range(0.0, 1.0));
  own->add_option("--settling", how->settling, "virtual time before the measurement [s]")->check(positive)->capture_default_str();
  own->add_option("--time", how->measured, "measured virtual time [s]")->check(positive)->capture_default_str();
  own->add_option("--lookups", how->lookups, "searches for nearest peers per second, of all peers")
      ->check(CLI::NonNegativeNumber)->capture_default_str();
  own->add_option("--finds", how->finds, "searches for values per second, of all peers")
      ->check(CLI::NonNegativeNumber)->capture_default_str();
  own->add_option("--records", how->records, "values published before")->capture_default_str();
  own->add_option("--hostile", how->hostile, "share of peers that lie")->check(CLI::Range(0.0, 0.9));
  own->add_flag("--json", how->json, "print one JSON object");
  return [how] { return run(*how); };
}

}  // namespace p2pdvm::tools
