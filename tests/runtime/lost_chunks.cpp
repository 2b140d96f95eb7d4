/// Checkpoints of which chunks are lost: on one holder, on all, and the one before, too.
#include "runtime/cluster.hpp"

#include <algorithm>
#include <string>

namespace p2pdvm::test {
namespace {

using namespace std::chrono_literals;

/// Loses what only these snapshots have, as a disk that forgets it; says nothing to anybody.
template <class Which>
std::size_t wipe(observed_cluster& world, std::size_t peer, Which which) {
  store::chunk_log& log = world->at(peer).log();
  std::size_t gone = 0;
  for (const store::pin& p : log.pins()) {
    if (p.epoch == epoch_number() || !which(p.epoch)) continue;
    gone += log.pinned(p).size();
    REQUIRE(log.drop_pin(p).ok());
  }
  return gone;
}

/// Two checkpoints are committed, as all know, and there will be no third unless one is asked for.
struct committed_twice {
  static constexpr std::uint32_t peers = 4, steps = 200, cells = 4 * limits::chunk_bytes / 8;
  const peal::program program = slow_program();
  const std::string right = undisturbed(program, peers, steps, cells);
  observed_cluster world;
  epoch_number newest, before;

  explicit committed_twice(std::uint32_t replicas = 3) : world(program, setting(replicas)) {
    for (int i = 0; i < 2; ++i) {
      REQUIRE(world->run_until([&] { return world.record() != nullptr && world.record()->state == checkpoint::job_state::running; }, 60s));
      world->wish(0);
      REQUIRE(world.run_to(event_kind::committed, 60s, peers));
    }
    newest = world.record()->committed.epoch;
    before = world.record()->previous.epoch;
    REQUIRE(before > epoch_number());
  }
  static simulated_cluster::options setting(std::uint32_t replicas) {
    auto how = cluster_of(peers, peers, steps, cells);
    how.job.replicas = replicas;
    how.checkpoint_interval = duration::zero();
    return how;
  }
  [[nodiscard]] const std::string* warning(const std::string& part) const {
    for (const auto& s : world.events()) {
      if (s.what.kind == event_kind::warning && s.what.text.find(part) != std::string::npos) return &s.what.text;
    }
    return nullptr;
  }
  void check_never_from_the_beginning() const {
    for (const auto& s : world.events()) {
      if (s.what.kind == event_kind::recovering) CHECK(s.what.epoch > epoch_number());
    }
  }
};

TEST_CASE("a job whose newest checkpoint all have lost says so and goes back to the one before") {
  committed_twice job;
  constexpr std::size_t peers = committed_twice::peers;
  observed_cluster& world = job.world;
  for (std::size_t i = 0; i < peers; ++i) CHECK(wipe(world, i, [&](epoch_number e) { return e == job.newest; }) > 0);
  world.crash(peers - 1);
  REQUIRE(world.run_to(event_kind::recovering, 60s));
  const time_point began = world->network().now();
  CHECK(world.events().back().what.epoch == job.newest);
  const bool back = world->run_until([&] { return world.record()->committed.epoch == job.before; }, 200s);
  INFO(world.log());
  REQUIRE(back);
  CHECK(world->network().now() - began >= 60s);  // the one that died could have come back
  CHECK(world.record()->previous.epoch == epoch_number());
  CHECK(world.record()->floor > job.newest);
  const std::string newest = std::to_string(job.newest.value());
  const std::string* told = job.warning("goes back to the checkpoint before, " + std::to_string(job.before.value()));
  REQUIRE(told != nullptr);
  CHECK(told->find("checkpoint " + newest + " of rank ") == 0);
  CHECK(told->find("1 of 1 chunks of it are gone, no peer of the job has them any more") != std::string::npos);
  CHECK(told->find("p2pdvm fork --epoch " + newest) != std::string::npos);
  check_end(world, job.right);
  job.check_never_from_the_beginning();
  for (const auto& s : world.events()) {
    if (s.what.kind == event_kind::committed && s.what.epoch > job.newest) CHECK(s.what.epoch > job.newest.next());
  }
}

TEST_CASE("where the checkpoint before is lost, too, the job waits for who may have it, and then fails in one sentence") {
  committed_twice job;
  constexpr std::size_t peers = committed_twice::peers;
  observed_cluster& world = job.world;
  for (std::size_t i = 0; i < peers; ++i) (void)wipe(world, i, [](epoch_number) { return true; });
  world->crash(peers - 1);
  REQUIRE(world->run_until([&] { return world.record()->committed.epoch == job.before; }, 200s));
  (void)world->run_until([] { return false; }, 200s);
  CHECK(world.record()->committed.epoch == job.before);
  CHECK(world.record()->state == checkpoint::job_state::running);
  REQUIRE(job.warning("the job waits for the peers that have copies of it") != nullptr);
  world->restart(peers - 1);  // which has not got it either
  const bool ended = world->run(10min);
  INFO(world.log());
  REQUIRE(ended);
  for (std::size_t i = 0; i < peers; ++i) {
    REQUIRE(world->outcome(i));
    REQUIRE_FALSE(world->outcome(i)->ok());
    const std::string text = world->outcome(i)->error().message();
    CHECK(text.find("checkpoint " + std::to_string(job.before.value()) + " of rank ") != std::string::npos);
    CHECK(text.find("there is no checkpoint before it to go back to") != std::string::npos);
    CHECK(text.find("p2pdvm fork --epoch") != std::string::npos);
  }
  job.check_never_from_the_beginning();
}

TEST_CASE("the holder that was away brings back what all others have lost, before it is given up") {
  constexpr std::size_t peers = committed_twice::peers;
  committed_twice job(peers);
  observed_cluster& world = job.world;
  for (std::size_t i = 0; i + 1 < peers; ++i) (void)wipe(world, i, [&](epoch_number e) { return e == job.newest; });
  world->crash(peers - 1);
  REQUIRE(world.run_to(event_kind::recovering, 60s));
  (void)world->run_until([] { return false; }, 40s);
  CHECK(world.record()->committed.epoch == job.newest);
  world->restart(peers - 1);
  check_end(world, job.right);
  CHECK(job.warning("goes back to the checkpoint before") == nullptr);
}

TEST_CASE("holders that have lost chunks are given them by those who fetch") {
  committed_twice job;
  constexpr std::size_t peers = committed_twice::peers;
  observed_cluster& world = job.world;
  const std::size_t lost = wipe(world, 0, [&](epoch_number e) { return e == job.newest; });
  world.crash(peers - 1);
  REQUIRE(world.run_to(event_kind::recovered, 60s));
  const auto held = [&] {
    std::size_t count = 0;
    store::chunk_log& log = world->at(0).log();
    for (const store::pin& p : log.pins()) {
      if (p.epoch != job.newest) continue;
      for (const chunk_id& id : log.pinned(p)) count += log.get(id).ok() ? 1 : 0;
    }
    return count;
  };
  CHECK(world->run_until([&] { return held() > 0; }, 10s));
  CHECK(held() <= lost);
  check_end(world, job.right);
}

}  // namespace
}  // namespace p2pdvm::test
