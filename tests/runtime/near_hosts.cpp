/// Where the ranks of a job go among members that are more than it needs.
#include "runtime/cluster.hpp"

#include <algorithm>
#include <iterator>
#include <vector>

namespace p2pdvm::test {
namespace {

using namespace std::chrono_literals;

simulated_cluster::options planetlab(std::uint32_t peers, std::uint32_t ranks, std::uint64_t seed) {
  auto how = cluster_of(peers, ranks, 4000);
  how.network.profile = sim::latency_profile::planetlab;
  how.network.seed = seed;
  how.checkpoint_interval = 2s;
  return how;
}

/// Mean real round trip [s] between different peers of these.
double mean_round_trip(simulated_cluster& world, const std::vector<std::size_t>& peers) {
  double sum = 0;
  std::size_t pairs = 0;
  for (std::size_t i = 0; i < peers.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j, ++pairs)
      sum += to_seconds(world.network().round_trip(world.machine(peers[i]), world.machine(peers[j])));
  }
  return pairs == 0 ? 0 : sum / static_cast<double>(pairs);
}

/// Peers of the record's members, or of those that host ranks.
std::vector<std::size_t> peers_of(observed_cluster& world, bool hosts_only) {
  const checkpoint::job_record& r = *world.record();
  std::vector<std::size_t> peers;
  for (const checkpoint::member& m : r.members) {
    if (m.live() && (!hosts_only || !r.ranks_of(m.node).empty()))
      peers.push_back(*world->index_of(m.node));
  }
  return peers;
}

bool is_running(observed_cluster& world) {
  const auto* r = world.record();
  return r != nullptr && r->state == checkpoint::job_state::running;
}

TEST_CASE("of more members than ranks those near each other run them") {
  const auto program = small_program(halo);
  double near = 0;
  double random = 0;  // a random choice has on average the mean of all members
  // Coordinates are seconds old when a job starts: in one of them they may mislead.
  for (const std::uint64_t seed : {1, 2, 3, 4, 5, 6}) {
    observed_cluster world(program, planetlab(24, 8, seed));
    REQUIRE(world->run_until([&] { return is_running(world); }, 60s));
    const auto hosts = peers_of(world, true);
    CHECK(hosts.size() == 8);
    const double of_hosts = mean_round_trip(*world, hosts);
    const double of_all = mean_round_trip(*world, peers_of(world, false));
    near += of_hosts;
    random += of_all;
  }
  INFO(near / 6 << " s among hosts, " << random / 6 << " s among all");
  CHECK(near < 0.75 * random);
}

TEST_CASE("the ranks of a lost peer go to a spare that is near the others") {
  const auto program = small_program(halo);
  double near = 0;
  double random = 0;
  for (const std::uint64_t seed : {5, 6, 7, 8}) {
    observed_cluster world(program, planetlab(16, 6, seed));
    REQUIRE(world->run_until([&] { return is_running(world); }, 60s));
    REQUIRE(world.run_to(event_kind::committed, 120s, 300));  // members have met by then
    const auto before = peers_of(world, true);
    std::size_t victim = before.back();
    if (victim == 0) victim = before.front();
    std::vector<std::size_t> others;
    std::copy_if(before.begin(), before.end(), std::back_inserter(others),
                 [&](std::size_t p) { return p != victim; });
    const auto from = [&](std::size_t peer) {  // mean round trip to the other hosts [s]
      double sum = 0;
      for (const std::size_t o : others)
        sum += to_seconds(world->network().round_trip(world->machine(peer), world->machine(o)));
      return sum / static_cast<double>(others.size());
    };
    double of_spares = 0;
    std::size_t spares = 0;
    for (const std::size_t p : peers_of(world, false)) {
      if (std::find(before.begin(), before.end(), p) != before.end()) continue;
      of_spares += from(p);
      ++spares;
    }
    REQUIRE(spares == 10);
    world.crash(victim);
    REQUIRE(world->run_until([&] { return world.record()->incarnation == incarnation_number(2); }, 60s));
    const auto after = peers_of(world, true);
    REQUIRE(after.size() == 6);  // still one rank on each
    for (const std::size_t p : after) {
      if (std::find(others.begin(), others.end(), p) == others.end()) near += from(p);
    }
    random += of_spares / static_cast<double>(spares);
  }
  INFO(near / 4 << " s to the new hosts, " << random / 4 << " s to all spares");
  CHECK(near < 0.7 * random);
}

}  // namespace
}  // namespace p2pdvm::test
