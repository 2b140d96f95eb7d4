/// What the project promises of whole jobs, each in one simulated run.
#include "runtime/cluster.hpp"

#include <map>
#include <stdexcept>

namespace p2pdvm::test {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t halo = 0, supersteps = 1;

/// Peers without the crashed and the left ones have all ended with the undisturbed digest.
void check_end(observed_cluster& world, const std::string& right) {
  const bool ended = world->run(20min);
  INFO(world.log());
  CHECK(ended);
  CHECK(world.endings() == std::set<std::string>{right});
}

/// A living keeper other than peer `spared`, without which a majority remains.
std::size_t some_keeper(observed_cluster& world, std::size_t spared) {
  for (const node_id& k : world.record()->keepers) {
    const auto index = world->index_of(k);
    if (index && *index != spared && world->alive(*index)) return *index;
  }
  return spared;
}

TEST_CASE("a peer that wished for a checkpoint is killed, and checkpoints go on", "[promises]") {
  const auto program = small_program(halo);
  const std::string right = undisturbed(program, 6, 100);
  observed_cluster world(program, cluster_of(4, 6, 100));
  std::optional<epoch_number> wished;
  world.watch = [&](std::size_t peer, const runtime::event& e) {
    if (e.kind != event_kind::wished || peer == 0 || wished) return;
    wished = e.epoch;
    world.crash(peer);
  };
  REQUIRE(world->run_until([&] { return wished.has_value(); }, 60s));
  REQUIRE(world.run_to(event_kind::committed));
  check_end(world, right);
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

task<> one_chunk_body(peal::rank& rank) {
  std::vector<std::uint64_t> cells = first_cells(rank);
  std::uint64_t done = 0;
  rank.state("done", done);
  rank.region("cells", cells);
  co_await rank.restore();
  while (done < 40) {
    cells[done] = mixed(cells[done], done);
    co_await rank.sleep(std::chrono::milliseconds(10));
    ++done;
    co_await rank.safe_point();
  }
  rank.result("output", hex_of(cells));
}

TEST_CASE("a changed chunk costs at most two, and the first snapshot its replicas",
          "[promises]") {
  peal::program program("one chunk", one_chunk_body);
  program.option("cells", "", "numbers of a rank");
  constexpr std::uint32_t cells = 8 * 64 * 1024;  // 4 MiB: 64 chunks of 64 KiB
  constexpr std::uint64_t bytes = cells * 8, chunk = 64 * 1024;
  auto how = cluster_of(8, 8, 0, cells);
  how.job.options = {{"cells", std::to_string(cells)}};
  how.network.conditions = sim::conditions_of(sim::latency_profile::lan);
  observed_cluster world(program, how);
  REQUIRE(world->run(5min));
  std::map<std::pair<epoch_number, std::uint32_t>, std::uint64_t> sent;
  epoch_number first(~std::uint64_t{0});
  for (const auto& s : world.events()) {
    if (s.what.kind != event_kind::drained) continue;
    sent[{s.what.epoch, s.what.rank->value()}] = s.what.count;
    first = std::min(first, s.what.epoch);
  }
  std::size_t later = 0;
  const std::uint64_t copies = 3;
  for (const auto& [key, count] : sent) {
    INFO("epoch " << key.first.value() << " rank " << key.second << " sent " << count);
    if (key.first == first) {
      CHECK(count <= copies * (bytes + bytes / 16));
      CHECK(count >= (copies - 1) * bytes);
    } else {
      ++later;
      CHECK(count <= copies * 2 * (chunk + 2048));
    }
  }
  CHECK(later >= 8);
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

TEST_CASE("a snapshot that rotted on one disk is healed from another", "[promises]") {
  const auto program = small_program(halo);
  const std::string right = undisturbed(program, 5, 100, 4096);
  observed_cluster world(program, cluster_of(5, 5, 100, 4096));
  REQUIRE(world.run_to(event_kind::committed, 60s, 10));
  auto files = world->machine(2).disk().list("store");
  REQUIRE(files.ok());
  for (const std::string& name : *files) {
    // Not all of it: what the peer needs itself is read from memory.
    for (int i = 0; i < 400; ++i) (void)world->machine(2).storage().rot("store/" + name);
  }
  world.crash(3);
  check_end(world, right);
}

TEST_CASE("a full disk does not stop the commits of the others", "[promises]") {
  const auto program = small_program(halo);
  const std::string right = undisturbed(program, 4, 200, 4096);
  auto how = cluster_of(5, 4, 200, 4096);
  observed_cluster world(program, how);
  REQUIRE(world.run_to(event_kind::committed, 60s, 5));
  // A peer without ranks: four ranks live on the first four members.
  std::size_t full = 0;
  for (std::size_t i = 0; i < 5; ++i) {
    if (world->at(i).current_job()->now().ranks_here == 0) full = i;
  }
  world->machine(full).storage().set_capacity(world->machine(full).storage().used());
  REQUIRE(world.run_to(event_kind::committed, 60s, 20));
  check_end(world, right);
}

TEST_CASE("a minority that was cut off waits while the majority goes on", "[promises]") {
  const auto program = small_program(supersteps);
  const std::string right = undisturbed(program, 6, 200);
  observed_cluster world(program, cluster_of(5, 6, 200));
  REQUIRE(world.run_to(event_kind::committed));
  const std::vector<const sim::machine*> minority = {&world->machine(1), &world->machine(4)};
  const std::vector<const sim::machine*> majority = {&world->machine(0), &world->machine(2),
                                                     &world->machine(3)};
  world->network().partition(minority, majority);
  const auto cut_off_done = [&] { return world->outcome(1) || world->outcome(4); };
  REQUIRE(world->run_until(
      [&] { return world->outcome(0) && world->outcome(2) && world->outcome(3); }, 5min));
  CHECK_FALSE(cut_off_done());
  if (world.count(event_kind::no_majority) == 0)
    CHECK(world.run_to(event_kind::no_majority, 60s));
  CHECK_FALSE(cut_off_done());
  for (const std::size_t i : {0u, 2u, 3u}) {
    REQUIRE(world->outcome(i)->ok());
    CHECK(runtime::digest_of(**world->outcome(i)).hex() == right);
  }
}

TEST_CASE("a partition that heals before the end leaves one job with the right digest",
          "[promises]") {
  const auto program = small_program(halo);
  const std::string right = undisturbed(program, 6, 200);
  observed_cluster world(program, cluster_of(5, 6, 200));
  REQUIRE(world.run_to(event_kind::committed));
  const auto cut = world->network().isolate(world->machine(1));
  REQUIRE(world.run_to(event_kind::recovered));
  world->network().heal(cut);
  REQUIRE(world->run_until(
      [&] { return world->outcome(0) && world->outcome(2) && world->outcome(3) && world->outcome(4); },
      5min));
  for (const std::size_t i : {0u, 2u, 3u, 4u}) {
    REQUIRE(world->outcome(i)->ok());
    CHECK(runtime::digest_of(**world->outcome(i)).hex() == right);
  }
  if (world->outcome(1) && world->outcome(1)->ok())
    CHECK(runtime::digest_of(**world->outcome(1)).hex() == right);
}

}  // namespace
}  // namespace p2pdvm::test
