/// What peers of whole jobs know when they decide how often to take checkpoints.
#include "runtime/cluster.hpp"

#include <p2pdvm/runtime/job.hpp>
#include <p2pdvm/runtime/peer.hpp>

#include <algorithm>
#include <map>

namespace p2pdvm::test {
namespace {

using namespace std::chrono_literals;

double failures_seen_by(observed_cluster& world, std::size_t peer) {
  return world->at(peer).current_job()->observe().failures_per_second;
}

/// With so many hosts of ranks and `deaths`, after little time.
double expected(double hosts, double deaths) {
  return hosts * (checkpoint::prior_deaths + deaths) / to_seconds(checkpoint::prior_lifetime);
}

TEST_CASE("a death counts for those who saw it and for a newcomer that is told; a leave does not", "[observations]") {
  const peal::program program = slow_program();
  auto how = cluster_of(5, 3, 4000);
  how.checkpoint_interval = 300ms;
  observed_cluster world(program, how);
  REQUIRE(world.run_to(event_kind::committed, 60s, 5));
  // Five peers, of which three have ranks.
  CHECK(failures_seen_by(world, 0) == Approx(expected(3, 0)).epsilon(0.05));

  const auto victim = world->index_of(world.record()->host(rank_number(1))->node);
  REQUIRE(victim);
  const std::size_t other = *victim == 0 ? 1 : 0;
  world->crash(*victim);
  REQUIRE(world.run_to(event_kind::recovered, 60s, 4));
  CHECK(failures_seen_by(world, other) == Approx(expected(3, 1)).epsilon(0.05));

  world->rejoin(*victim);  // a process that has seen nothing yet
  REQUIRE(world.run_to(event_kind::joined, 60s, 5));
  REQUIRE(world->run_until([&] { return failures_seen_by(world, *victim) > expected(3, 0.9); }, 10s));
  CHECK(failures_seen_by(world, *victim) == Approx(failures_seen_by(world, other)).epsilon(0.05));

  world.leave(other);
  REQUIRE(world.run_to(event_kind::left, 60s));
  CHECK(failures_seen_by(world, *victim) < expected(4, 1.1));
}

TEST_CASE("at the end each peer tells what deaths have cost, beside what was to be expected", "[observations]") {
  const peal::program program = slow_program();
  auto how = cluster_of(4, 4, 4000);
  how.checkpoint_interval = 300ms;
  observed_cluster world(program, how);
  REQUIRE(world.run_to(event_kind::committed, 60s, 8));
  world.crash(3);
  REQUIRE(world->run(20min));
  for (std::size_t peer = 0; peer < 3; ++peer) {
    REQUIRE(world.count(event_kind::utilised, peer) == 1);
    std::map<epoch_number, time_point> cuts;
    double lost = 0;
    for (const auto& [who, e] : world.events()) {
      if (who != peer) continue;
      if (e.kind == event_kind::cut) cuts[e.epoch] = e.at;
      if (e.kind == event_kind::recovered) lost += to_seconds(e.at - cuts.at(e.epoch));
      if (e.kind != event_kind::utilised) continue;
      CHECK(lost > 0);
      CHECK(e.count > 3);
      CHECK(e.achieved == Approx(1 - lost / e.seconds).epsilon(0.02));
      CHECK(e.predicted > e.achieved);  // nobody expects a death in so short a time
      CHECK(e.predicted < 1);
    }
  }
}

/// Steps that are much shorter than news takes, and nothing is said in them.
task<> hasty_body(peal::rank& rank) {
  std::uint64_t done = 0;
  rank.state("done", done);
  co_await rank.restore();
  const auto steps = rank.option<std::uint64_t>("steps");
  while (done < steps) {
    co_await rank.sleep(5ms);
    ++done;
    co_await rank.safe_point();
  }
}

TEST_CASE("far apart, what a cut costs is mostly the wait until all know where to cut", "[observations]") {
  peal::program program("hasty", hasty_body);
  program.option("steps", "100", "how many").option("cells", "1", "ignored");
  auto how = cluster_of(6, 6, 6000);
  how.checkpoint_interval = 2s;
  how.network.profile = sim::latency_profile::intercontinental;
  observed_cluster world(program, how);
  REQUIRE(world.run_to(event_kind::committed, 120s, 18));
  double longest = 0;
  for (const auto& seen : world.events()) {
    if (seen.what.kind == event_kind::cut) longest = std::max(longest, seen.what.seconds);
  }
  // Copying takes no virtual time, so this is all wait.
  CHECK(longest > 0.02);
  CHECK(longest < 2);
  double blocking = 0;
  for (std::size_t i = 0; i < 6; ++i)
    blocking = std::max(blocking, to_seconds(world->at(i).current_job()->observe().blocking));
  CHECK(blocking > 0.01);
  CHECK(blocking <= longest);
}

TEST_CASE("members without ranks do not make checkpoints more frequent", "[observations]") {
  const peal::program program = slow_program();
  auto how = cluster_of(6, 3, 4000);
  how.checkpoint_interval = 5s;
  observed_cluster world(program, how);
  REQUIRE(world.run_to(event_kind::committed, 60s));
  const std::size_t before = world.record()->committed.epoch.value();
  REQUIRE(world->run_until([] { return false; }, 60s) == false);
  const std::size_t more = world.record()->committed.epoch.value() - before;
  CHECK(more <= 12);
  CHECK(more >= 8);
}

TEST_CASE("after a recovery the time to the next checkpoint begins anew", "[observations]") {
  const peal::program program = slow_program();
  auto how = cluster_of(4, 4, 4000);
  how.checkpoint_interval = 3s;
  observed_cluster world(program, how);
  REQUIRE(world.run_to(event_kind::committed, 60s, 8));
  REQUIRE(world->run_until([] { return false; }, 2s) == false);
  world.crash(3);
  REQUIRE(world.run_to(event_kind::recovered, 60s));
  const time_point whole = world->network().now();
  const std::size_t before = world.events().size();
  REQUIRE(world.run_to(event_kind::wished, 60s));
  const auto first = std::find_if(world.events().begin() + static_cast<std::ptrdiff_t>(before), world.events().end(),
                                  [](const auto& seen) { return seen.what.kind == event_kind::wished; });
  CHECK(first->what.at - whole >= 2990ms);
  CHECK(first->what.at - whole < 4s);
}

}  // namespace
}  // namespace p2pdvm::test
