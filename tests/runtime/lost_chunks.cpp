/// Checkpoints of which chunks are lost: on one holder, on all, and the one before, too.
#include "runtime/cluster.hpp"

#include <algorithm>
#include <map>
#include <set>
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

// --- anti-entropy ---

/// A second of rest in each step: nothing is committed but what is asked for, and nothing is read.
task<> idle_body(peal::rank& rank) {
  auto numbers = first_cells(rank);
  const auto count = rank.option<std::uint64_t>("steps");
  std::uint64_t done = 0;
  rank.state("done", done);
  rank.region("cells", numbers);
  co_await rank.restore();
  while (done < count) {
    numbers[done] = mixed(numbers[done], done);
    co_await rank.sleep(std::chrono::seconds(1));
    ++done;
    co_await rank.safe_point();
  }
  rank.result("output", hex_of(numbers));
}

peal::program idle_program() {
  peal::program program("idle", idle_body);
  program.option("steps", "100", "how many").option("cells", "64", "numbers of a rank");
  return program;
}

/// For each chunk that some holder was given for this epoch: how many can read it.
std::map<chunk_id, std::size_t> copies_of(observed_cluster& world, epoch_number epoch) {
  std::map<chunk_id, std::size_t> copies;
  for (std::size_t i = 0; i < world->size(); ++i) {
    if (!world->alive(i)) continue;
    store::chunk_log& log = world->at(i).log();
    std::set<chunk_id> here;
    for (const store::pin& p : log.pins()) {
      if (p.epoch != epoch) continue;
      for (const chunk_id& id : log.pinned(p)) here.insert(id);
    }
    for (const chunk_id& id : here) copies[id] += log.contains(id) ? 1 : 0;
  }
  return copies;
}

std::size_t least_of(const std::map<chunk_id, std::size_t>& copies) {
  std::size_t least = copies.empty() ? 0 : copies.begin()->second;
  for (const auto& [id, count] : copies) least = std::min(least, count);
  return least;
}

struct idle_job {
  const peal::program program = idle_program();
  static constexpr std::uint32_t ranks = 3, size = 5, length = 16 * limits::chunk_bytes / 8;
  const std::string right;
  observed_cluster world;
  epoch_number newest;

  explicit idle_job(std::uint32_t count)
      : right(undisturbed(program, ranks, count, length)), world(program, setting(count)) {
    REQUIRE(world->run_until([&] { return world.record() != nullptr && world.record()->state == checkpoint::job_state::running; }, 60s));
    world->wish(0);
    REQUIRE(world.run_to(event_kind::committed, 60s, size));
    newest = world.record()->committed.epoch;
    REQUIRE(least_of(copies_of(world, newest)) == 3);
  }
  static simulated_cluster::options setting(std::uint32_t count) {
    auto how = cluster_of(size, ranks, count, length);
    how.checkpoint_interval = duration::zero();
    how.hang_after = duration::zero();
    return how;
  }
};

TEST_CASE("chunks that rot on a disk while nobody reads them are found and given back before they are needed") {
  idle_job job(900);
  observed_cluster& world = job.world;
  constexpr std::size_t rotten = 1;
  const auto files = world->machine(rotten).disk().list("store");
  REQUIRE(files.ok());
  std::size_t bits = 0;
  for (const std::string& name : *files) {
    if (!name.ends_with(".seg")) continue;
    // A third of what it has.
    for (std::uint64_t at = 4096; world->machine(rotten).storage().rot("store/" + name, at, 3).ok(); at += 3 * limits::chunk_bytes) ++bits;
  }
  REQUIRE(bits > 3);
  REQUIRE(world->run_until([&] { return world.count(event_kind::damaged) >= 3; }, 10min));
  CHECK(least_of(copies_of(world, job.newest)) == 2);
  REQUIRE(world->run_until([&] { return least_of(copies_of(world, job.newest)) == 3; }, 10min));
  for (const auto& s : world.events()) {
    if (s.what.kind == event_kind::damaged) CHECK(s.peer == rotten);
  }
  CHECK(world.count(event_kind::healed, rotten) == world.count(event_kind::damaged));
  CHECK(world.record()->committed.epoch == job.newest);  // all of that without a checkpoint
  // Now the two others that have most of it may die.
  const std::size_t before = world.count(event_kind::damaged);
  world.crash(0);
  REQUIRE(world.run_to(event_kind::recovered, 120s));
  CHECK(world.count(event_kind::damaged) == before);
  check_end(world, job.right);
}

TEST_CASE("when a holder is lost its copies are made anew, and who comes back is sent nothing that it has") {
  idle_job job(1200);
  observed_cluster& world = job.world;
  constexpr std::size_t without_ranks = 4;  // three ranks are on the first three
  REQUIRE(world->at(without_ranks).current_job()->now().ranks_here == 0);
  const auto incarnation = world.record()->incarnation;
  world->crash(without_ranks);
  REQUIRE(world.run_to(event_kind::evicted, 60s));
  CHECK(least_of(copies_of(world, job.newest)) == 2);
  REQUIRE(world->run_until([&] { return least_of(copies_of(world, job.newest)) == 3; }, 60s));
  CHECK(world.record()->incarnation == incarnation);
  std::uint64_t held = 0;
  for (std::size_t i = 0; i < without_ranks; ++i) held += world->at(i).held().chunk_bytes;
  world->restart(without_ranks);
  REQUIRE(world->run_until([&] { return world.record()->live_count() == 5; }, 60s));
  (void)world->run_until([] { return false; }, 40s);
  std::uint64_t after = 0;
  for (std::size_t i = 0; i < without_ranks; ++i) after += world->at(i).held().chunk_bytes;
  CHECK(after == held);
  check_end(world, job.right);
}

TEST_CASE("chunks that no peer has any more are replaced by a new checkpoint while their rank lives") {
  idle_job job(1200);
  observed_cluster& world = job.world;
  for (std::size_t i = 0; i < idle_job::size; ++i) (void)wipe(world, i, [&](epoch_number e) { return e == job.newest; });
  REQUIRE(world->run_until([&] { return world.record()->committed.epoch > job.newest; }, 10min));
  bool told = false;
  for (const auto& s : world.events())
    told = told || (s.what.kind == event_kind::warning && s.what.text.find("on no peer any more; a new checkpoint is taken at once") != std::string::npos);
  CHECK(told);
  CHECK(least_of(copies_of(world, world.record()->committed.epoch)) == 3);
  check_end(world, job.right);
}

TEST_CASE("quiet holders say little to each other: a question and an answer for each rank and holder in five minutes") {
  idle_job job(1000);
  observed_cluster& world = job.world;
  const auto sent = [&] {
    std::uint64_t all = 0;
    for (std::size_t i = 0; i < idle_job::size; ++i) all += world->at(i).current_job()->survey_messages();
    return all;
  };
  const std::uint64_t before = sent();
  (void)world->run_until([] { return false; }, 15min);
  // Three ranks, at most five holders of each, one checkpoint: three times in a quarter of an hour.
  CHECK(sent() - before > 0);
  CHECK(sent() - before <= 3 * 3 * 5);
  CHECK(world.count(event_kind::damaged) == 0);
  check_end(world, job.right);
}

}  // namespace
}  // namespace p2pdvm::test
