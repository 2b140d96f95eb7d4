/// p2pdvm-sim interval: how much work checkpoints at fixed, Young's and this project's intervals keep.
#include "commands.hpp"

#include <p2pdvm/runtime/interval_experiment.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <stdexcept>

namespace p2pdvm::tools {
namespace {

using runtime::checkpoint_costs;
using runtime::interval_outcome;

struct cost_setting {
  std::string name;
  checkpoint_costs costs;
};

using std::chrono::milliseconds;

/// Where docs/performance.md has figures, they are from there.
const std::vector<cost_setting>& all_settings() {
  static const std::vector<cost_setting> all{
      // 16 MiB a rank copied once and a half; 64 ranks committed; 1024 agree on a crash, and replace it.
      {"lan", {milliseconds(5), milliseconds(120), milliseconds(2000)}},
      // The cut is agreed in two round trips; some MB go up desktops' links; 1024 agree, and some MB come back.
      {"planetlab", {milliseconds(400), milliseconds(3000), milliseconds(6000)}},
      // Nothing measured: ranks of several GiB.
      {"large", {milliseconds(5000), milliseconds(60000), milliseconds(60000)}}};
  return all;
}

struct interval_options {
  std::vector<std::string> settings;
  std::vector<std::string> churn;
  std::vector<std::uint32_t> ranks;
  std::optional<double> blocking, commit_latency, recovery;
  double job = 24 * 3600;
  double error = 0.0005;
  std::uint32_t jobs_max = 400;
  std::uint64_t seed = 1;
  std::uint32_t curves = 0;
  bool quick = false;
  bool json = false;
};

sim::session_model lifetimes_of(const std::string& text) {
  const auto model = sim::session_model::parse(text);
  if (!model.ok()) throw std::runtime_error(model.error().message());
  if (model->kind != sim::session_kind::exponential && model->kind != sim::session_kind::heavy_tailed)
    throw std::runtime_error("'" + text + "' has no mean lifetime; give exponential:TIME or heavy-tailed:TIME");
  return *model;
}

const char* name_of(sim::session_kind kind) {
  return kind == sim::session_kind::exponential ? "exponential" : "heavy-tailed";
}

/// The form of a line of scripts/bench --json.
class cell_report {
 public:
  cell_report(const interval_options& how, std::string setting) : how_(how), setting_(std::move(setting)) {}

  void print(const runtime::interval_experiment& x, const runtime::interval_results& r) {
    if (how_.json) {
      json(x, r);
    } else {
      table(x, r);
    }
    std::fflush(stdout);
  }

 private:
  void table(const runtime::interval_experiment& x, const runtime::interval_results& r) const {
    fmt::print("{:<10} {:<12} {:>9} {:>6} {:>9.4f} {:>9.3g}", setting_, name_of(x.lifetimes.kind),
               fmt::format("{:g} h", to_seconds(x.lifetimes.mean) / 3600), x.ranks, r.fixed.utilisation,
               to_seconds(r.intervals[r.best]));
    for (const interval_outcome* o : {&r.adaptive, &r.young})
      fmt::print("  {:>+7.2f} ± {:.2f}", 100 * o->loss, 100 * o->loss_error);
    for (const interval_outcome& o : r.shown) fmt::print(" {:>+7.2f}", 100 * o.loss);
    fmt::print("\n");
  }

  void json(const runtime::interval_experiment& x, const runtime::interval_results& r) const {
    const nlohmann::ordered_json cell{{"lifetimes", name_of(x.lifetimes.kind)},
                                      {"mean_lifetime", to_seconds(x.lifetimes.mean)},
                                      {"ranks", x.ranks},
                                      {"blocking", rounded(to_seconds(x.costs.blocking))},
                                      {"commit_latency", rounded(to_seconds(x.costs.commit_latency))},
                                      {"recovery", rounded(to_seconds(x.costs.recovery))},
                                      {"job", to_seconds(x.job)},
                                      {"jobs", r.jobs}};
    const auto line = [&](const char* system, const char* metric, double value, double interval, double error) {
      nlohmann::ordered_json parameters = cell;
      parameters["interval"] = rounded(interval);
      parameters["standard_error"] = rounded(error);
      const nlohmann::ordered_json whole{{"benchmark", "interval"}, {"system", system},     {"profile", setting_},
                                         {"parameters", parameters}, {"metric", metric},    {"unit", "fraction"},
                                         {"value", rounded(value)}};
      fmt::print("{}\n", whole.dump());
    };
    const auto both = [&](const char* system, const interval_outcome& o) {
      line(system, "utilisation", o.utilisation, o.mean_interval, o.error);
      line(system, "loss", o.loss, o.mean_interval, o.loss_error);
    };
    line("best_fixed", "utilisation", r.fixed.utilisation, to_seconds(r.intervals[r.best]), r.fixed.error);
    both("p2pdvm", r.adaptive);
    both("young", r.young);
    for (std::size_t i = 0; i < r.shown.size(); ++i)
      line("fixed", "utilisation", r.shown[i].utilisation, to_seconds(x.shown[i]), r.shown[i].error);
    if (x.ranks != how_.curves || x.lifetimes.kind != sim::session_kind::exponential) return;
    constexpr std::size_t thinned = 3;
    for (std::size_t i = 0; i < r.intervals.size(); i += thinned)
      line("curve", "utilisation", r.utilisations[i], to_seconds(r.intervals[i]), 0);
  }

  static double rounded(double value) { return std::stod(fmt::format("{:.5g}", value)); }

  const interval_options& how_;
  std::string setting_;
};

std::vector<cost_setting> settings_of(const interval_options& how) {
  if (how.blocking || how.commit_latency || how.recovery) {
    if (!how.blocking || !how.commit_latency || !how.recovery)
      throw std::runtime_error("--blocking, --commit-latency and --recovery belong together");
    return {{"own", {from_seconds(*how.blocking), from_seconds(*how.commit_latency), from_seconds(*how.recovery)}}};
  }
  std::vector<cost_setting> chosen;
  for (const cost_setting& s : all_settings()) {
    const auto& names = how.settings;
    if (names.empty() || std::find(names.begin(), names.end(), s.name) != names.end()) chosen.push_back(s);
  }
  return chosen;
}

void fill_in(interval_options& how) {
  if (how.churn.empty()) {
    const std::vector<std::string> means =
        how.quick ? std::vector<std::string>{"30min", "12h"}
                  : std::vector<std::string>{"30min", "1h", "3h", "12h", "48h", "168h"};
    for (const char* kind : {"exponential:", "heavy-tailed:"})
      for (const std::string& mean : means) how.churn.push_back(kind + mean);
  }
  if (how.ranks.empty()) how.ranks = how.quick ? std::vector<std::uint32_t>{8, 128}
                                               : std::vector<std::uint32_t>{8, 32, 128, 1024};
}

int run(interval_options how) {
  fill_in(how);
  const std::vector<duration> shown{std::chrono::seconds(10), std::chrono::minutes(1), std::chrono::minutes(10)};
  if (!how.json) {
    fmt::print("jobs of {:g} h; loss: of utilisation against the best fixed interval, ± its standard error [%]\n"
               "{:<10} {:<12} {:>9} {:>6} {:>9} {:>9}  {:>14}  {:>14} {:>7} {:>7} {:>7}\n",
               how.job / 3600, "costs", "lifetimes", "mean", "ranks", "best kept", "every [s]", "p2pdvm", "Young",
               "10 s", "1 min", "10 min");
  }
  std::size_t cells = 0;
  double worst = -1, worst_error = 0, largest_error = 0;
  for (const cost_setting& setting : settings_of(how)) {
    cell_report report(how, setting.name);
    if (!how.json)
      fmt::print("{}: a cut blocks for {:g} s, commits after {:g} s; a death costs {:g} s and what was not committed\n",
                 setting.name, to_seconds(setting.costs.blocking), to_seconds(setting.costs.commit_latency),
                 to_seconds(setting.costs.recovery));
    for (const std::string& churn : how.churn) {
      for (const std::uint32_t ranks : how.ranks) {
        runtime::interval_experiment x;
        x.ranks = ranks;
        x.lifetimes = lifetimes_of(churn);
        x.costs = setting.costs;
        x.job = from_seconds(how.job);
        x.seed = how.seed;
        x.error_max = how.error;
        x.jobs_max = how.jobs_max;
        x.jobs_min = std::min(how.quick ? 5u : 10u, how.jobs_max);
        x.shown = shown;
        const auto r = run_interval_experiment(x);
        report.print(x, r);
        ++cells;
        largest_error = std::max(largest_error, r.adaptive.loss_error);
        if (r.adaptive.loss <= worst) continue;
        worst = r.adaptive.loss;
        worst_error = r.adaptive.loss_error;
      }
    }
  }
  if (!how.json)
    fmt::print("{} cells; p2pdvm loses at most {:.2f} ± {:.2f} %; the largest standard error of its losses is {:.2f} %\n",
               cells, 100 * worst, 100 * worst_error, 100 * largest_error);
  return 0;
}

}  // namespace

command interval_command(CLI::App& app) {
  const auto how = std::make_shared<interval_options>();
  CLI::App* own = app.add_subcommand("interval", "checkpoints at fixed, Young's and this project's intervals, in jobs whose peers die");
  const auto positive = CLI::PositiveNumber;
  const auto cost = CLI::Range(0.001, 86400.0);
  own->add_option("--costs", how->settings, "of lan, planetlab and large; otherwise all")->delimiter(',')
      ->check(CLI::IsMember({"lan", "planetlab", "large"}));
  own->add_option("--blocking", how->blocking, "with the next two, instead of --costs: how long a cut keeps the ranks from computing [s]")->check(cost);
  own->add_option("--commit-latency", how->commit_latency, "from a cut to its commit [s]")->check(cost);
  own->add_option("--recovery", how->recovery, "from a death until the ranks compute again [s]")->check(cost);
  own->add_option("--churn", how->churn, "lifetimes of peers, exponential:TIME or heavy-tailed:TIME; otherwise both with means from 30 min to a week")
      ->delimiter(',');
  own->add_option("--ranks", how->ranks, "one on each peer; otherwise 8, 32, 128 and 1024")->delimiter(',')
      ->check(CLI::Range(1, 65536));
  own->add_option("--job", how->job, "length of a job [s]")->check(CLI::Range(60.0, 1e8))->capture_default_str();
  own->add_option("--error", how->error, "jobs are added until the standard errors of losses are at most this")->check(positive)->capture_default_str();
  own->add_option("--jobs", how->jobs_max, "but no more than so many of a kind")->check(CLI::Range(1, 1'000'000))->capture_default_str();
  own->add_option("--seed", how->seed, "the same seed gives the same figures")->capture_default_str();
  own->add_option("--curves", how->curves, "with --json: for so many ranks and exponential lifetimes every third of the fixed intervals");
  own->add_flag("--quick", how->quick, "a few cells and jobs");
  own->add_flag("--json", how->json, "print one JSON object for each figure");
  return [how] { return run(*how); };
}

}  // namespace p2pdvm::tools
