/// Whole peers in a swarm without a job, as the overlay's experiments use them.
#include "support/test.hpp"

#include <p2pdvm/runtime/swarm_experiment.hpp>

namespace p2pdvm::runtime {
namespace {

using namespace std::chrono_literals;

swarm_experiment small_experiment(std::uint64_t seed) {
  INFO("seed " << seed);
  swarm_experiment x;
  x.swarm.peers = 40;
  x.swarm.network.seed = seed;
  x.swarm.network.profile = sim::latency_profile::planetlab;
  x.settling = 60s;
  x.measured = 60s;
  x.lookups_per_second = 2;
  x.finds_per_second = 2;
  x.records = 10;
  return x;
}

TEST_CASE("whole peers that come and go find each other and values, encrypted or not") {
  for (const bool clear : {false, true}) {
    swarm_experiment x = small_experiment(1);
    x.swarm.clear_datagrams = clear;
    x.swarm.sessions = {sim::session_kind::exponential, 5min};
    const swarm_results r = run_swarm_experiment(x);
    CHECK(r.sessions > 2);
    CHECK(r.lookups.begun > 80);
    CHECK(r.lookups.failed == 0);
    CHECK(r.finds.begun > 80);
    CHECK(r.finds.failed == 0);
    CHECK(r.finds.quantile(0.5) < 1);
    CHECK(r.statistics.malformed == 0);
  }
}

TEST_CASE("the same swarm experiment gives the same events, another seed others") {
  swarm_experiment x = small_experiment(2);
  x.swarm.sessions = {sim::session_kind::heavy_tailed, 2min};
  const swarm_results first = run_swarm_experiment(x);
  const swarm_results second = run_swarm_experiment(x);
  CHECK(first.digest == second.digest);
  CHECK(first.events == second.events);
  x.swarm.network.seed = 3;
  CHECK(run_swarm_experiment(x).digest != first.digest);
}

TEST_CASE("short sessions are noticed, and upkeep follows them") {
  swarm_experiment x = small_experiment(4);
  x.lookups_per_second = x.finds_per_second = 0;
  x.records = 0;
  const swarm_results calm = run_swarm_experiment(x);
  x.swarm.sessions = {sim::session_kind::exponential, 60s};
  const swarm_results busy = run_swarm_experiment(x);
  CHECK(busy.messages_per_second > 2 * calm.messages_per_second);
}

TEST_CASE("honest peers find values although a fifth of the others lies") {
  swarm_experiment x = small_experiment(5);
  x.swarm.peers = 100;
  x.swarm.clear_datagrams = true;
  x.swarm.hostile = 0.2;
  x.lookups_per_second = 0;
  const swarm_results r = run_swarm_experiment(x);
  CHECK(r.finds.begun > 80);
  CHECK(r.finds.failure_rate() < 0.01);
  CHECK(r.statistics.invalid_records > 0);  // lies were told, and seen through
}

TEST_CASE("liars that fill a region of a publisher's table do not keep its records alone", "[long]") {
  // With these seeds liars alone kept records, because they were all that publishers knew near them.
  for (const std::uint64_t seed : {2, 12, 15}) {
    INFO("seed " << seed);
    swarm_experiment x;
    x.swarm.peers = 1000;
    x.swarm.network.seed = seed;
    x.swarm.network.profile = sim::latency_profile::planetlab;
    x.swarm.hostile = 0.2;
    x.settling = 5min;
    x.measured = 1min;
    x.finds_per_second = 50;
    x.records = 200;
    const swarm_results r = run_swarm_experiment(x);
    CHECK(r.finds.begun > 2500);
    CHECK(r.finds.failure_rate() < 0.002);
  }
}

TEST_CASE("a peer that slept for hours is back in the swarm by itself") {
  simulated_swarm::options how;
  how.peers = 30;
  how.network.profile = sim::latency_profile::planetlab;
  simulated_swarm swarm(how);
  swarm.form(2min);
  swarm.network().at(7).stall(5h);
  swarm.run_for(5h);
  const auto known_to = [&] {
    std::size_t count = 0;
    for (std::size_t i = 0; i < swarm.size(); ++i) {
      count += swarm.at(i).swarm()->table().find(swarm.id(7)) != nullptr ? 1u : 0u;
    }
    return count;
  };
  CHECK(known_to() < 5);
  swarm.run_for(10min);
  CHECK(known_to() >= 12);  // all of its siblings
}

}  // namespace
}  // namespace p2pdvm::runtime
