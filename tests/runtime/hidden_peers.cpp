/// Jobs of peers that no address leads to: behind NATs, they reach each other through the others.
#include "runtime/cluster.hpp"

namespace p2pdvm::test {
namespace {

using namespace std::chrono_literals;

simulated_cluster::options hidden_cluster(std::set<std::uint32_t> hidden, std::uint32_t steps) {
  auto how = cluster_of(5, 10, steps);
  how.hidden = std::move(hidden);
  return how;
}

TEST_CASE("peers behind NATs take part in a job, reached through those that are not") {
  const auto program = slow_program();
  const std::string right = undisturbed(program, 10, 150);
  auto how = hidden_cluster({1, 3, 4}, 150);
  SECTION("of the usual kind") {}
  SECTION("that map each remote to another port") {
    how.nat.mapping = sim::nat_dependence::address_and_port_dependent;
  }
  SECTION("that forget quickly") { how.nat.mapping_timeout = 20s; }
  observed_cluster world(program, how);
  REQUIRE(world->run(10min));
  CHECK(world.endings() == std::set{right});
  CHECK(world.count(event_kind::relayed) >= 6);  // three pairs, told by both
  CHECK(world.count(event_kind::suspected) == 0);
  CHECK(world.count(event_kind::evicted) == 0);
}

TEST_CASE("when the peer that others are reached through dies, they are reached through another") {
  const auto program = slow_program();
  const std::string right = undisturbed(program, 10, 150);
  const auto mode = GENERATE(sim::crash_mode::reset, sim::crash_mode::silent);
  observed_cluster world(program, hidden_cluster({1, 3, 4}, 150));
  REQUIRE(world.run_to(event_kind::committed));
  const auto relay = [&](std::size_t i) {
    for (const auto& s : world.events())
      if (s.what.kind == event_kind::relayed && s.what.text == world->at(i).identity().id().brief()) return true;
    return false;
  };
  const std::size_t victim = relay(0) ? 0 : 2;
  REQUIRE(relay(victim));
  world.crash(victim, mode);
  REQUIRE(world->run(10min));
  CHECK(world.endings() == std::set{right});
  CHECK(world.count(event_kind::recovered) > 0);
}

TEST_CASE("a peer that loses its direct way to another is reached through a third, and directly again later") {
  const auto program = slow_program();
  const std::string right = undisturbed(program, 10, 450);
  observed_cluster world(program, hidden_cluster({}, 450));
  REQUIRE(world.run_to(event_kind::committed));
  const sim::fault_id cut = world->network().partition({&world->machine(1)}, {&world->machine(3)});
  REQUIRE(world.run_to(event_kind::relayed, 60s, 2));
  CHECK(world.count(event_kind::direct) == 0);
  world->network().heal(cut);
  REQUIRE(world.run_to(event_kind::direct, 60s, 2));
  REQUIRE(world->run(10min));
  CHECK(world.endings() == std::set{right});
  CHECK(world.count(event_kind::evicted) == 0);
}

TEST_CASE("a job in which most of many peers are behind NATs ends as any other", "[heavy]") {
  const auto program = slow_program();
  const std::string right = undisturbed(program, 48, 40);
  auto how = cluster_of(48, 48, 40);
  how.checkpoint_interval = 500ms;
  how.network.profile = sim::latency_profile::planetlab;
  for (std::uint32_t i = 0; i < how.peers; ++i) {
    if (i % 6 != 0) how.hidden.insert(i);
  }
  observed_cluster world(program, how);
  REQUIRE(world->run(10min));
  CHECK(world.endings() == std::set{right});
  CHECK(world.count(event_kind::evicted) == 0);
  CHECK(world.count(event_kind::committed) > 0);
}

}  // namespace
}  // namespace p2pdvm::test
