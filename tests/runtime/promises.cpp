/// What the project promises of whole jobs, each in one simulated run.
#include "runtime/cluster.hpp"

#include <map>
#include <stdexcept>

namespace p2pdvm::test {
namespace {

using namespace std::chrono_literals;

/// A living keeper other than peer `spared`, without which a majority remains.
std::size_t some_keeper(observed_cluster& world, std::size_t spared) {
  for (const node_id& k : world.record()->keepers) {
    const auto index = world->index_of(k);
    if (index && *index != spared && world->alive(*index)) return *index;
  }
  return spared;
}

/// Of all `committed` events, each epoch's first, with the incarnation that committed it.
std::map<epoch_number, incarnation_number> commits_of(const observed_cluster& world) {
  std::map<epoch_number, incarnation_number> commits;
  for (const auto& s : world.events()) {
    if (s.what.kind == event_kind::committed) commits.try_emplace(s.what.epoch, s.what.incarnation);
  }
  return commits;
}

TEST_CASE("the wish of a peer that dies with ranks is given up, and the next checkpoint commits",
          "[promises]") {
  const auto program = small_program(halo);
  const std::string right = undisturbed(program, 6, 100);
  for (const auto mode : {sim::crash_mode::reset, sim::crash_mode::silent}) {
    observed_cluster world(program, cluster_of(4, 6, 100));
    REQUIRE(world.run_to(event_kind::committed, 60s, 4));
    // The first to tell of an epoch's wish is the one that wished.
    epoch_number wished;
    world.watch = [&](std::size_t peer, const runtime::event& e) {
      const bool first = e.kind == event_kind::wished && wished == epoch_number() &&
                         !commits_of(world).contains(e.epoch) && world.count_of(e) == 1;
      if (!first || world->at(peer).current_job()->now().ranks_here == 0) return;
      wished = e.epoch;
      world.crash(peer, mode);
    };
    REQUIRE(world->run_until([&] { return wished != epoch_number(); }, 60s));
    REQUIRE(world.run_to(event_kind::evicted));
    CHECK(world.record()->incarnation == incarnation_number(2));
    CHECK(world.record()->floor == wished);
    REQUIRE(world.run_to(event_kind::committed));
    CHECK(world.record()->state == checkpoint::job_state::running);
    check_end(world, right);
    const auto commits = commits_of(world);
    CHECK_FALSE(commits.contains(wished));
    REQUIRE(commits.contains(wished.next()));
    CHECK(commits.at(wished.next()) == incarnation_number(2));
    CHECK(commits.rbegin()->second == incarnation_number(2));
  }
}

TEST_CASE("one wish that one peer alone heard commits after the wisher's death", "[promises]") {
  const auto program = slow_program();
  const std::string right = undisturbed(program, 4, 100);
  auto how = cluster_of(4, 4, 100);
  how.spares = 1;
  how.checkpoint_interval = duration::zero();  // nobody else wishes
  observed_cluster world(program, how);
  constexpr std::size_t wisher = 4, hearer = 2;
  REQUIRE(world->run_until(
      [&] {
        const auto* job = world->alive(wisher) ? world->at(wisher).current_job() : nullptr;
        return job != nullptr && job->is_member();
      },
      60s));
  for (std::uint32_t deaf = 0; deaf < wisher; ++deaf) {
    sim::fault_rule silence;
    silence.from = world->machine(wisher).index();
    silence.to = world->machine(deaf).index();
    if (deaf != hearer) world->network().add_fault(silence);
  }
  std::vector<std::size_t> told;
  epoch_number wished;
  world.watch = [&](std::size_t peer, const runtime::event& e) {
    if (e.kind != event_kind::wished) return;
    told.push_back(peer);
    wished = e.epoch;
    if (told.size() == 2) world.crash(wisher);
  };
  world->wish(wisher);
  REQUIRE(world.run_to(event_kind::committed));
  INFO(world.log());
  REQUIRE(told.size() == 5);
  CHECK(told[0] == wisher);
  CHECK(told[1] == hearer);
  CHECK(commits_of(world) == std::map{std::pair(wished, incarnation_number(1))});
  CHECK(world.record()->state == checkpoint::job_state::running);
  CHECK(world.count(event_kind::abandoned) == 0);
  check_end(world, right);
  CHECK(world.count(event_kind::evicted) > 0);
  CHECK(world.count(event_kind::recovering) == 0);
}

TEST_CASE("of eight peers three keepers die one after another, and commits go on", "[promises]") {
  const auto program = small_program(supersteps);
  const std::string right = undisturbed(program, 8, 200);
  observed_cluster world(program, cluster_of(8, 8, 200));
  REQUIRE(world.run_to(event_kind::committed));
  for (int i = 0; i < 3; ++i) {
    const std::size_t victim = some_keeper(world, 8);
    REQUIRE(victim < 8);
    world.crash(victim, i == 1 ? sim::crash_mode::silent : sim::crash_mode::reset);
    INFO("keeper " << i << ": peer " << victim);
    REQUIRE(world.run_to(event_kind::recovered));
    REQUIRE(world.run_to(event_kind::committed));
    REQUIRE(world->run_until([&] { return !world.record()->needs_upkeep(); }, 60s));
  }
  CHECK(world.record()->keepers.size() == 5);
  check_end(world, right);
}

TEST_CASE("a process that stalls for half a second is not evicted", "[promises]") {
  const auto program = small_program(halo);
  const std::string right = undisturbed(program, 5, 100);
  observed_cluster world(program, cluster_of(5, 5, 100));
  REQUIRE(world.run_to(event_kind::committed));
  world->machine(2).stall(500ms);
  check_end(world, right);
  CHECK(world.count(event_kind::evicted) == 0);
}

TEST_CASE("a killed peer is replaced within ten seconds with the detector for wide areas",
          "[promises]") {
  const auto program = small_program(halo);
  const std::string right = undisturbed(program, 5, 100);
  for (const auto mode : {sim::crash_mode::reset, sim::crash_mode::silent}) {
    auto how = cluster_of(5, 5, 100);
    how.network.profile = sim::latency_profile::planetlab;
    how.checkpoint_interval = 2s;
    observed_cluster world(program, how);
    REQUIRE(world.run_to(event_kind::committed));
    const time_point died = world->network().now();
    world.crash(3, mode);
    REQUIRE(world.run_to(event_kind::recovered));
    CHECK(world->network().now() - died < 10s);
    check_end(world, right);
  }
}

TEST_CASE("a spare takes over the ranks of a dead peer", "[promises]") {
  const auto program = small_program(supersteps);
  const std::string right = undisturbed(program, 6, 100);
  auto how = cluster_of(3, 6, 100);
  how.spares = 1;
  observed_cluster world(program, how);
  REQUIRE(world->run_until(
      [&] { return world.record() != nullptr && world.record()->live_count() == 4; }, 60s));
  REQUIRE(world.run_to(event_kind::committed));
  world.crash(1);
  check_end(world, right);
  const bool took = std::any_of(world.events().begin(), world.events().end(), [](const auto& s) {
    return s.peer == 3 && s.what.kind == event_kind::rank_started;
  });
  CHECK(took);
}

TEST_CASE("a member that has its identity and nothing else left begins its ranks together with the others",
          "[promises]") {
  const auto program = small_program(halo);
  const std::string right = undisturbed(program, 4, 200);
  for (const bool keeper : {false, true}) {
    observed_cluster world(program, cluster_of(4, 4, 200));
    REQUIRE(world.run_to(event_kind::committed, 60s, 4));
    std::size_t who = 1;  // the ticket names peer 0
    while (world.record()->is_kept_by(world->at(who).identity().id()) != keeper) ++who;
    world->crash(who, sim::crash_mode::silent);
    REQUIRE(world->run_until([&] { return !world->alive(who); }, 1s));
    world->machine(who).restart();
    auto& disk = world->machine(who).disk();
    const auto files = disk.list("store");
    REQUIRE(files.ok());
    REQUIRE_FALSE(files->empty());
    for (const std::string& name : *files) REQUIRE(disk.remove("store/" + name).ok());
    world->rejoin(who);
    if (keeper) world.crashed.insert(who);  // what it promised is gone: it has to stay out
    check_end(world, right);
    CHECK(std::any_of(world.events().begin(), world.events().end(),
                      [](const auto& s) { return s.what.incarnation.value() > 1; }));
    const auto& end = world->outcome(who);
    INFO(world.log());
    if (keeper) CHECK(end->error().code() == errc::lost);
  }
}

TEST_CASE("a job of more peers than stand in one row survives losses in both rows", "[promises][heavy]") {
  const auto program = small_program(halo);
  const std::string right = undisturbed(program, 36, 30);
  observed_cluster world(program, cluster_of(36, 36, 30));
  REQUIRE(world.run_to(event_kind::committed));
  world.crash(34);
  REQUIRE(world.run_to(event_kind::recovered));
  REQUIRE(world.run_to(event_kind::committed));
  world.crash(3);
  check_end(world, right);
  CHECK(world.record()->incarnation.value() >= 3);
}

TEST_CASE("what a member should have passed on when it died is told again", "[promises][heavy]") {
  const auto program = small_program(halo);
  const std::string right = undisturbed(program, 39, 30);
  observed_cluster world(program, cluster_of(40, 39, 30));
  REQUIRE(world.run_to(event_kind::started, 60s, 40));
  const auto& members = world.record()->members;
  REQUIRE(members.size() == 40);
  // In the second row; the spare passes the words of the first to the column above itself.
  const std::size_t author = *world->index_of(members[33].node);
  const std::size_t spare = *world->index_of(members[39].node);
  REQUIRE(world.record()->ranks_of(members[39].node).empty());
  world.watch = [&](std::size_t peer, const runtime::event& e) {
    if (peer == author && e.kind == event_kind::wished && world.crashed.empty())
      world.crash(spare, sim::crash_mode::silent);
  };
  check_end(world, right);
  CHECK(world.crashed.size() == 1);
  CHECK(world.record()->incarnation.value() == 1);  // nothing was rolled back
}

TEST_CASE("more peers than writes may wait join at once", "[.][long]") {
  const auto program = small_program(supersteps);
  observed_cluster world(program, cluster_of(80, 80, 5));
  REQUIRE(world.run_to(event_kind::started, 60s));
  CHECK(world.record()->live_count() == 80);
  CHECK(world.count(event_kind::failed) == 0);
  // One write for each would have made as many rosters.
  CHECK(world.record()->roster.value() < 60);
}

TEST_CASE("a peer that leaves hands its ranks over", "[promises]") {
  const auto program = small_program(halo);
  const std::string right = undisturbed(program, 6, 100);
  for (const std::size_t who : {std::size_t{2}, std::size_t{0}}) {
    observed_cluster world(program, cluster_of(4, 6, 100));
    REQUIRE(world.run_to(event_kind::committed));
    world.leave(who);
    REQUIRE(world.run_to(event_kind::left));
    CHECK(world.count(event_kind::evicted) == 0);
    check_end(world, right);
  }
}

TEST_CASE("after everything was stopped the job resumes from its last checkpoint", "[promises]") {
  const auto program = small_program(supersteps);
  const std::string right = undisturbed(program, 5, 100);
  for (const std::uint32_t peers : {1u, 2u, 4u}) {
    INFO(peers << " peers");
    observed_cluster world(program, cluster_of(peers, 5, 100));
    REQUIRE(world.run_to(event_kind::committed, 60s, 2 * peers));
    const std::size_t before = world.events().size();
    for (std::size_t i = 0; i < peers; ++i) world->crash(i);
    (void)world->run_until([&] { return !world->alive(peers - 1); }, 1s);
    for (std::size_t i = 0; i < peers; ++i) REQUIRE_FALSE(world->alive(i));
    for (std::size_t i = 0; i < peers; ++i) world->restart(i);
    REQUIRE(world.run_to(event_kind::rank_started, 60s, 5));
    for (std::size_t i = before; i < world.events().size(); ++i) {
      const auto& e = world.events()[i].what;
      if (e.kind == event_kind::rank_started) CHECK(e.epoch > epoch_number());
    }
    check_end(world, right);
  }
}

task<> throwing_body(peal::rank& rank) {
  std::uint64_t done = 0;
  rank.state("done", done);
  co_await rank.restore();
  while (done < 20) {
    co_await rank.sleep(std::chrono::milliseconds(5));
    ++done;
    if (rank.id() == 2 && done == 10) throw std::runtime_error("the moon is not made of cheese");
    co_await rank.safe_point();
  }
}

TEST_CASE("an exception of a rank ends the job on every peer with its message", "[promises]") {
  const peal::program program("throwing", throwing_body);
  auto how = cluster_of(3, 4, 0);
  how.job.options.clear();
  observed_cluster world(program, how);
  REQUIRE(world->run(5min));
  for (std::size_t i = 0; i < 3; ++i) {
    REQUIRE(world->outcome(i).has_value());
    REQUIRE_FALSE(world->outcome(i)->ok());
    CHECK(world->outcome(i)->error().message() == "rank 2: the moon is not made of cheese");
  }
}

}  // namespace
}  // namespace p2pdvm::test
