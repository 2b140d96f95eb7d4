#include "support/test.hpp"

#include <p2pdvm/runtime/interval_experiment.hpp>

#include <algorithm>
#include <cmath>

namespace p2pdvm::test {
namespace {

using namespace runtime;
using namespace std::chrono_literals;

sim::session_model lifetimes(sim::session_kind kind, duration mean) {
  sim::session_model model;
  model.kind = kind;
  model.mean = mean;
  return model;
}

TEST_CASE("as many peers die as their mean lifetime says, from a job's begin to its end", "[interval]") {
  for (const auto kind : {sim::session_kind::exponential, sim::session_kind::heavy_tailed}) {
    // Heavy-tailed lifetimes come in bunches at one place, so there are many places.
    const auto deaths = draw_deaths(5000, lifetimes(kind, 2h), 10h, 1);
    CHECK(static_cast<double>(deaths.size()) == Approx(25000).epsilon(0.03));
    const auto early = std::count_if(deaths.begin(), deaths.end(), [](const peer_death& d) { return d.at < 1h; });
    CHECK(static_cast<double>(early) == Approx(2500).epsilon(0.06));
    CHECK(std::is_sorted(deaths.begin(), deaths.end(), [](const auto& a, const auto& b) { return a.at < b.at; }));
    const auto again = draw_deaths(5000, lifetimes(kind, 2h), 10h, 1);
    CHECK((again.size() == deaths.size() && again.back().at == deaths.back().at));
  }
}

TEST_CASE("kept is what was committed before a death, and what the last cut leaves", "[interval]") {
  const checkpoint_costs costs{1s, 2s, 5s};
  fixed_chooser every(10s);
  const auto kept_of = [&](const std::vector<peer_death>& deaths) {
    return simulate_job(deaths, 100s, costs, every).utilisation * 100;
  };
  CHECK(kept_of({}) == Approx(100 - 10));
  CHECK(kept_of({{32s, 0}}) == Approx(27 + 63 - 6));           // cuts at 10, 20, 30; then from 37 s on
  CHECK(kept_of({{31s, 0}}) == Approx(18 + 64 - 6));           // the cut at 30 was not committed
  CHECK(kept_of({{32s, 0}, {35s, 1}}) == Approx(27 + 60 - 6)); // recovery began again
  CHECK(kept_of({{98s, 0}}) == Approx(81));                    // no time to compute again
  fixed_chooser hasty(1s);
  CHECK(simulate_job({}, 100s, costs, hasty).mean_interval == Approx(2));  // each waits for the commit before
}

TEST_CASE("a chooser hears of a death when the ranks compute again, and no sooner", "[interval]") {
  class listener final : public cut_chooser {
   public:
    void replaced(std::uint32_t place, duration now) override { heard.push_back({now, place}); }
    duration next(duration) override { return 10s; }
    std::vector<peer_death> heard;
  } listener;
  (void)simulate_job({{32s, 4}, {35s, 7}}, 100s, {1s, 2s, 5s}, listener);
  REQUIRE(listener.heard.size() == 2);
  CHECK((listener.heard[0].at == 40s && listener.heard[0].place == 4));
  CHECK((listener.heard[1].at == 40s && listener.heard[1].place == 7));
}

TEST_CASE("fixed intervals keep as much as the formula says", "[interval]") {
  const checkpoint_costs costs{400ms, 3s, 6s};
  const std::uint32_t ranks = 64;
  const duration mean = 3h;
  const double theta = ranks / to_seconds(mean);
  for (const duration interval : {duration(5s), duration(12s), duration(60s)}) {
    double sum = 0;
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      const auto deaths = draw_deaths(ranks, lifetimes(sim::session_kind::exponential, mean), 24h, seed);
      fixed_chooser every(interval);
      sum += simulate_job(deaths, 24h, costs, every).utilisation;
    }
    // A recovery is begun again by another death, and a cut is lost by one before its commit.
    const double expected = checkpoint::predicted_utilisation(interval, theta, costs.blocking, duration::zero()) *
                            std::exp(-theta * to_seconds(costs.recovery + costs.commit_latency));
    CHECK(sum / 20 == Approx(expected).epsilon(0.01));
  }
}

TEST_CASE("the adaptive interval keeps nearly as much as the best fixed one, known in hindsight", "[interval]") {
  for (const auto kind : {sim::session_kind::exponential, sim::session_kind::heavy_tailed}) {
    for (const duration mean : {duration(30min), duration(12h), duration(168h)}) {
      for (const std::uint32_t ranks : {8u, 128u}) {
        interval_experiment x;
        x.lifetimes = lifetimes(kind, mean);
        x.ranks = ranks;
        x.costs = {400ms, 3s, 6s};
        x.jobs_min = x.jobs_max = 6;
        x.step = 1.3;
        x.shown = {10min};
        const auto r = run_interval_experiment(x);
        INFO(to_seconds(mean) << " s, " << ranks << " ranks, best " << r.fixed.utilisation << " every "
                              << to_seconds(r.intervals[r.best]) << " s");
        CHECK(r.fixed.utilisation > 0.2);
        CHECK(r.adaptive.loss < 0.015);
        CHECK(r.young.loss < 0.015);
        CHECK(r.adaptive.mean_interval == Approx(to_seconds(r.intervals[r.best])).epsilon(0.7));
        CHECK((mean > 12h || r.shown[0].loss > 0.02));  // or else there would be nothing to choose
      }
    }
  }
}

}  // namespace
}  // namespace p2pdvm::test
