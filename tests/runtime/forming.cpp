#include "runtime/cluster.hpp"

#include <chrono>

namespace p2pdvm::test {
namespace {

using namespace std::chrono_literals;

/// Far apart, with losses, so that newcomers are under way for a second.
simulated_cluster::options far_apart(std::uint32_t peers, std::uint64_t seed) {
  auto how = cluster_of(peers, peers, 3);
  how.network.seed = seed;
  how.network.profile = sim::latency_profile::planetlab;
  how.checkpoint_interval = duration::zero();
  return how;
}

TEST_CASE("when the one that admits dies while many join, another admits all who know of the job",
          "[forming][heavy]") {
  const auto program = small_program(supersteps);
  for (const std::uint64_t seed : {1, 2, 3}) {
    INFO("seed " << seed);
    constexpr std::uint32_t peers = 72;
    observed_cluster world(program, far_apart(peers, seed));
    std::set<std::size_t> members;
    world.watch = [&](std::size_t peer, const runtime::event& e) {
      if (e.kind != event_kind::joined || !world.crashed.empty()) return;
      if (world->at(peer).current_job() != nullptr && world->at(peer).current_job()->is_member()) members.insert(peer);
      if (members.size() > 20 + 10 * seed) world.crash(0);
    };
    REQUIRE(world->run_until([&] { return !world.crashed.empty(); }, 10s));
    REQUIRE(world->run_until([&] { return !world->alive(0); }, 1s));
    std::set<std::size_t> welcomed;
    for (std::size_t i = 1; i < peers; ++i) {
      if (world->alive(i) && world->at(i).current_job() != nullptr) welcomed.insert(i);
    }
    REQUIRE(welcomed.size() > members.size() - 1);
    const auto all_members = [&] {
      return std::all_of(welcomed.begin(), welcomed.end(), [&](std::size_t i) {
        return world->alive(i) && world->at(i).current_job()->is_member();
      });
    };
    CHECK(world->run_until(all_members, 60s));
    // All of them know of all of them, and the dead one is out.
    const auto agreed = [&] {
      return std::all_of(welcomed.begin(), welcomed.end(), [&](std::size_t i) {
        const auto& record = world->at(i).current_job()->record();
        return !record.members[0].live() && record.live_count() >= welcomed.size();
      });
    };
    CHECK(world->run_until(agreed, 120s));
    CHECK(world.count(event_kind::evicted, *welcomed.begin()) == 1);
  }
}

TEST_CASE("a job whose maker dies and comes back while many join begins with all of them",
          "[forming][heavy]") {
  const auto program = small_program(supersteps);
  const std::string right = undisturbed(program, 40, 3);
  auto how = far_apart(40, 4);
  observed_cluster world(program, how);
  bool died = false;
  std::size_t joined = 0;
  world.watch = [&](std::size_t peer, const runtime::event& e) {
    if (peer == 0 && e.kind == event_kind::joined && ++joined == 15 && !died) {
      died = true;
      world->crash(0);
    }
  };
  REQUIRE(world->run_until([&] { return died && !world->alive(0); }, 10s));
  world->network().run_for(1s);
  world->restart(0);
  check_end(world, right);
}

TEST_CASE("a guide that dies before it has told anything is replaced", "[forming][heavy]") {
  const auto program = small_program(supersteps);
  constexpr std::uint32_t peers = 72;
  observed_cluster world(program, far_apart(peers, 5));
  // The first members serve those that come after the first 32. The first five keep the record.
  std::size_t joined = 0;
  world.watch = [&](std::size_t peer, const runtime::event& e) {
    if (peer == 0 && e.kind == event_kind::joined && ++joined == 40) {
      const auto& record = world->at(0).current_job()->record();
      for (std::size_t i = 8; i < 13; ++i) world.crash(*world->index_of(record.members[i].node));
    }
  };
  REQUIRE(world->run_until([&] { return joined >= 40; }, 10s));
  const auto rest = [&] {
    for (std::size_t i = 0; i < peers; ++i) {
      if (world.crashed.contains(i)) continue;
      const auto* job = world->at(i).current_job();
      if (job == nullptr || !job->is_member() || job->record().live_count() + 5 != peers) return false;
    }
    return true;
  };
  CHECK(world->run_until(rest, 180s));
  CHECK(world.crashed.size() == 5);
}

}  // namespace
}  // namespace p2pdvm::test
