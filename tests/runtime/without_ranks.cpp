/// Peers that hold and keep and run nothing; and quotas of all kinds, in whole simulated jobs.
#include "runtime/cluster.hpp"

#include <map>
#include <set>

namespace p2pdvm::test {
namespace {

using namespace std::chrono_literals;

/// `hosts` peers with ranks, and others that come later, have another program and no ranks.
simulated_cluster::options with_holders(std::uint32_t hosts, std::uint32_t holders, std::uint32_t ranks,
                                        std::uint32_t steps, std::uint32_t cells = 64) {
  auto how = cluster_of(hosts, ranks, steps, cells);
  how.spares = holders;
  how.job.replicas = 2;
  how.adjust = [hosts](std::size_t peer, runtime::peer_setting& setting) {
    if (peer < hosts) return;
    setting.storage_only = true;
    setting.executable = crypto::hash(as_bytes("another program"));
    setting.platform = 99;
  };
  return how;
}

[[nodiscard]] bool has_joined(observed_cluster& world, std::size_t members) {
  return world->run_until([&] { return world.record() != nullptr && world.record()->live_count() == members; }, 60s);
}

void check_no_ranks_on(observed_cluster& world, std::size_t first_holder) {
  for (const auto& s : world.events()) {
    if (s.what.kind == event_kind::rank_started) CHECK(s.peer < first_holder);
  }
}

/// A holder has nothing to tell of results.
std::set<std::string> endings_of_hosts(observed_cluster& world, std::size_t hosts) {
  std::set<std::string> all;
  for (std::size_t i = 0; i < hosts; ++i) {
    if (world.crashed.contains(i)) continue;
    const auto& end = world->outcome(i);
    all.insert(!end ? "no end" : end->ok() ? runtime::digest_of(**end).hex() : end->error().message());
  }
  return all;
}

TEST_CASE("a peer without ranks holds what dies with others, keeps the record and is given no ranks") {
  const auto program = small_program(halo);
  constexpr std::uint32_t cells = 8 * limits::chunk_bytes / 8;
  const std::string right = undisturbed(program, 4, 300, cells);
  observed_cluster world(program, with_holders(2, 1, 4, 300, cells));
  REQUIRE(has_joined(world, 3));
  REQUIRE(world.run_to(event_kind::committed, 60s, 6));  // with copies on all three
  CHECK(world.record()->keepers.size() == 3);
  REQUIRE(world.record()->find(world->at(2).identity().id())->is_storage_only());
  world.crash(1);
  REQUIRE(world.run_to(event_kind::recovered));
  const auto given = world->at(2).held().given_bytes;
  CHECK(given > 0);
  CHECK(world->at(2).held().chunk_bytes > 8 * limits::chunk_bytes);
  const bool ended = world->run(20min);
  INFO(world.log());
  CHECK(ended);
  CHECK(endings_of_hosts(world, 2) == std::set<std::string>{right});
  REQUIRE(world->outcome(2));
  REQUIRE(world->outcome(2)->ok());
  CHECK((**world->outcome(2)).empty());
  check_no_ranks_on(world, 2);
}

TEST_CASE("where only peers without ranks are left, the job waits for a host and goes on from its copies") {
  const auto program = small_program(halo);
  const std::string right = undisturbed(program, 3, 300);
  observed_cluster world(program, with_holders(1, 2, 3, 300));
  REQUIRE(has_joined(world, 3));
  REQUIRE(world.run_to(event_kind::committed, 60s, 6));
  const epoch_number committed = world.record()->committed.epoch;
  world->crash(0);
  (void)world->run_until([] { return false; }, 60s);
  CHECK(world.record()->state == checkpoint::job_state::running);
  CHECK(world.count(event_kind::warning) > 0);  // that nobody is left who can run the ranks
  world->restart(0);
  const bool ended = world->run(20min);
  INFO(world.log());
  CHECK(ended);
  CHECK(endings_of_hosts(world, 1) == std::set<std::string>{right});
  check_no_ranks_on(world, 1);
  for (const auto& s : world.events()) {
    if (s.what.kind == event_kind::rank_started && s.what.incarnation.value() > 1) CHECK(s.what.epoch >= committed);
  }
}

TEST_CASE("a holder that comes back after a kill has what it had, and rolls nobody back") {
  const auto program = small_program(halo);
  const std::string right = undisturbed(program, 4, 400);
  observed_cluster world(program, with_holders(2, 1, 4, 400));
  REQUIRE(has_joined(world, 3));
  REQUIRE(world.run_to(event_kind::committed, 60s, 6));
  const auto incarnation = world.record()->incarnation;
  const auto held = world->at(2).held().chunk_bytes;
  world->crash(2);
  REQUIRE(world->run_until([&] { return !world->alive(2); }, 1s));
  world->restart(2);
  REQUIRE(world->run_until([&] { return world->alive(2) && world->at(2).current_job() != nullptr && world->at(2).current_job()->is_member(); }, 60s));
  CHECK(world->at(2).held().chunk_bytes >= held / 2);
  REQUIRE(world.run_to(event_kind::committed, 60s, 6));
  CHECK(world.record(2)->incarnation == incarnation);
  CHECK(world->run(20min));
  CHECK(endings_of_hosts(world, 2) == std::set<std::string>{right});
}

TEST_CASE("a folder of a peer with ranks is not taken for one without, nor the other way round") {
  const auto program = small_program(halo);
  auto how = with_holders(2, 1, 2, 400);
  std::set<std::size_t> changed;
  how.adjust = [&changed](std::size_t peer, runtime::peer_setting& setting) {
    setting.storage_only = (peer == 2) != changed.contains(peer);
  };
  observed_cluster world(program, how);
  REQUIRE(has_joined(world, 3));
  REQUIRE(world.run_to(event_kind::committed, 60s, 6));  // its folder knows of that, too
  for (const std::size_t peer : {std::size_t{2}, std::size_t{1}}) {
    world->crash(peer);
    REQUIRE(world->run_until([&] { return !world->alive(peer); }, 1s));
    changed.insert(peer);
    world->restart(peer);
    REQUIRE(world->run_until([&] { return world->outcome(peer).has_value(); }, 1s));
    REQUIRE_FALSE(world->outcome(peer)->ok());
    CHECK(world->outcome(peer)->error().code() == errc::wrong_job);
  }
}

/// What the folder of a peer takes.
std::uint64_t disk_of(observed_cluster& world, std::size_t peer) { return world->machine(peer).storage().used(); }

TEST_CASE("a peer whose quota is full is left out, the others keep all copies, and it stays within it") {
  const auto program = small_program(halo);
  constexpr std::uint32_t cells = 48 * limits::chunk_bytes / 8;
  constexpr std::uint64_t quota = store::segment_log::quota_bytes_min;
  constexpr std::size_t small = 3;
  const std::string right = undisturbed(program, 4, 60, cells);
  auto how = cluster_of(5, 4, 60, cells);
  how.adjust = [](std::size_t peer, runtime::peer_setting& setting) {
    if (peer == small) setting.store_bytes_max = quota;
  };
  observed_cluster world(program, how);
  std::uint64_t most = 0;
  world.watch = [&](std::size_t peer, const runtime::event&) {
    if (peer == small) most = std::max(most, disk_of(world, small));
  };
  const bool ended = world->run(20min);
  INFO(world.log());
  REQUIRE(ended);
  CHECK(world.endings() == std::set<std::string>{right});
  CHECK(most > quota / 2);
  CHECK(most <= quota + (64 << 10));  // identity and the like
  std::size_t refused = 0;
  for (const auto& s : world.events()) {
    if (s.what.kind == event_kind::committed && s.what.count > 0) CHECK(s.what.count == 3);
    const bool full = s.what.kind == event_kind::warning && s.what.text.find("used its quota of 4.2 MB") != std::string::npos;
    refused += full ? 1 : 0;
    if (full) CHECK(s.peer == small);
  }
  CHECK(refused > 0);
}

TEST_CASE("where all quotas are too small for all copies, users are told how many there are and why") {
  const auto program = small_program(halo);
  constexpr std::uint32_t cells = 48 * limits::chunk_bytes / 8;
  const std::string right = undisturbed(program, 2, 60, cells);
  auto how = cluster_of(3, 2, 60, cells);  // 6 MiB that are wanted three times
  how.adjust = [](std::size_t peer, runtime::peer_setting& setting) {
    if (peer > 0) setting.store_bytes_max = store::segment_log::quota_bytes_min;
  };
  observed_cluster world(program, how);
  const bool ended = world->run(20min);
  INFO(world.log());
  REQUIRE(ended);
  CHECK(world.endings() == std::set<std::string>{right});
  std::map<std::size_t, std::size_t> told;
  std::size_t fewer = 0;
  for (const auto& s : world.events()) {
    if (s.what.kind == event_kind::committed && s.what.count > 0 && s.what.count < 3) ++fewer;
    if (s.what.kind != event_kind::warning || s.what.text.find("instead of 3") == std::string::npos) continue;
    CHECK(s.what.text.find("--quota") != std::string::npos);
    ++told[s.peer];
  }
  CHECK(fewer > 0);
  CHECK(told.size() > 0);
  for (const auto& [peer, times] : told) CHECK(times <= 3);  // not at each checkpoint
}

TEST_CASE("what does not fit into a lone peer's quota is said in a sentence that says what to do") {
  const auto program = slow_program();
  auto how = cluster_of(1, 1, 60, 160 * limits::chunk_bytes / 8);
  how.adjust = [](std::size_t, runtime::peer_setting& setting) { setting.store_bytes_max = store::segment_log::quota_bytes_min; };
  observed_cluster world(program, how);
  REQUIRE(world.run_to(event_kind::abandoned));
  const std::string text = world.events().back().what.text;
  INFO(text);
  CHECK(text.find("the snapshot of rank 0 cannot be stored") != std::string::npos);
  CHECK(text.find("--quota") != std::string::npos);
  CHECK(world->run(20min));
  REQUIRE(world->outcome(0));
  CHECK(world->outcome(0)->ok());  // it has computed on, and gives its results
}

TEST_CASE("a job commits and recovers however slowly its peers may send chunks") {
  const auto program = slow_program();
  constexpr std::uint32_t cells = 8 * limits::chunk_bytes / 8;
  const auto steps = std::uint32_t{600};
  const std::string right = undisturbed(program, 3, steps, cells);
  auto how = cluster_of(3, 3, steps, cells);
  how.checkpoint_interval = 2s;
  how.adjust = [](std::size_t, runtime::peer_setting& setting) { setting.upload_rate = 128 * 1024; };
  observed_cluster world(program, how);
  // 3 ranks of 512 KiB, two copies of each elsewhere: 8 s of every uplink.
  REQUIRE(world.run_to(event_kind::committed, 60s, 3));
  CHECK(to_seconds(world->network().now() - time_point()) > 4);
  world.crash(1);
  REQUIRE(world.run_to(event_kind::recovered, 120s));
  check_end(world, right);
  for (const auto& s : world.events()) {
    if (s.what.kind == event_kind::committed && s.what.count > 0) CHECK(s.what.count >= 2);
  }
  CHECK(world.count(event_kind::hung) == 0);
}

}  // namespace
}  // namespace p2pdvm::test
