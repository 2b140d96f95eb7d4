/// Whole jobs whose ranks are at unusual places when a checkpoint is taken or gone back to.
#include "runtime/cluster.hpp"

#include <cstring>
#include <stdexcept>
#include <vector>

namespace p2pdvm::test {
namespace {

using namespace std::chrono_literals;

byte_view view_of(const std::uint64_t& value) { return std::as_bytes(std::span(&value, 1)); }

std::uint64_t value_of(const peal::message& m) {
  std::uint64_t value = 0;
  REQUIRE(m.body().size() == sizeof value);
  std::memcpy(&value, m.body().data(), sizeof value);
  return value;
}

std::string outcome_of(const peal::program& program, observed_cluster& world, std::uint32_t ranks) {
  const std::string right = undisturbed(program, ranks, 60);
  const bool ended = world->run(20min);
  if (!ended) return "it does not end\n" + world.log();
  const auto ends = world.endings();
  return ends == std::set<std::string>{right} ? "right" : "wrong: " + *ends.begin();
}

peal::program program_of(const char* name, peal::program::body_type body) {
  peal::program program(name, body);
  program.option("steps", "60", "how many").option("cells", "1", "ignored");
  return program;
}

/// Rank 0 hands out work; the others know no end and stand at safe waits.
task<> workers_body(peal::rank& rank) {
  peal::adapter none;
  peal::port port = rank.open("work", none);
  std::uint64_t done = 0;
  std::uint64_t sum = static_cast<std::uint64_t>(rank.id());
  rank.state("done", done);
  rank.state("sum", sum);
  co_await rank.restore();
  const auto steps = rank.option<std::uint64_t>("steps");
  if (rank.id() != 0) {
    while (done < steps) {
      const peal::message work = co_await rank.safe_wait(port, 0, 1);
      sum = mixed(sum, value_of(work));
      ++done;
      co_await port.send(0, 2, view_of(sum));
    }
  }
  while (done < steps) {
    for (int w = 1; w < rank.size(); ++w) co_await port.send(w, 1, view_of(sum));
    for (int w = 1; w < rank.size(); ++w) {
      const peal::message answer = co_await port.receive(w, 2);
      sum = mixed(sum, value_of(answer));
    }
    co_await rank.sleep(10ms);
    ++done;
    co_await rank.safe_point();
  }
  rank.result("output", std::to_string(sum) + "\n");
}

TEST_CASE("ranks that stand at a safe wait survive a rollback", "[cuts]") {
  const auto program = program_of("workers", workers_body);
  for (const std::size_t victim : {std::size_t{1}, std::size_t{0}}) {
    observed_cluster world(program, cluster_of(4, 6, 60));
    REQUIRE(world.run_to(event_kind::committed, 60s, 8));
    world.crash(victim);
    CHECK(outcome_of(program, world, 6) == "right");
    CHECK(world.count(event_kind::recovered) > 0);
  }
}

/// Every rank has a receive open when it comes to its safe point.
task<> open_receives_body(peal::rank& rank) {
  peal::adapter none;
  peal::port port = rank.open("ring", none);
  std::uint64_t done = 0;
  std::uint64_t sum = static_cast<std::uint64_t>(rank.id());
  bool sent = false;
  rank.state("done", done);
  rank.state("sum", sum);
  rank.state("sent", sent);
  co_await rank.restore();
  const int right = (rank.id() + 1) % rank.size();
  const int left = (rank.id() + rank.size() - 1) % rank.size();
  const auto steps = rank.option<std::uint64_t>("steps");
  while (done < steps) {
    peal::operation from_left = port.post_receive(left, 1);
    if (!sent) {
      co_await port.send(right, 1, view_of(sum));
      sent = true;
      if ((done + static_cast<std::uint64_t>(rank.id())) % 3 == 0) co_await rank.sleep(5ms);
      co_await rank.safe_point();
    }
    const peal::message m = co_await from_left.wait();
    sum = mixed(sum, value_of(m));
    sent = false;
    ++done;
  }
  rank.result("output", std::to_string(sum) + "\n");
}

TEST_CASE("a message that matched a receive before its rank was cut is not lost", "[cuts]") {
  const auto program = program_of("open receives", open_receives_body);
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    auto how = cluster_of(4, 5, 60);
    how.network.seed = seed;
    how.checkpoint_interval = 20ms;
    observed_cluster world(program, how);
    REQUIRE(world.run_to(event_kind::committed, 60s, 8));
    world.crash(seed % 4);
    INFO("seed " << seed);
    CHECK(outcome_of(program, world, 5) == "right");
  }
}

/// One message in all from rank 0, long on its way when the checkpoint is taken.
task<> one_large_body(peal::rank& rank) {
  peal::adapter none;
  peal::port port = rank.open("large", none);
  bool sent = false;
  rank.state("sent", sent);
  co_await rank.restore();
  if (rank.id() == 0) {
    if (!sent) {
      const byte_vector large(3'000'000, std::byte{7});
      co_await port.send(1, 1, large);
      sent = true;
    }
    co_await rank.safe_point();
    const peal::message answer = co_await rank.safe_wait(port, 1, 2);
    rank.result("output", std::to_string(value_of(answer)) + "\n");
  } else if (rank.id() == 1) {
    const peal::message m = co_await rank.safe_wait(port, 0, 1);
    co_await port.send(0, 2, view_of(m.body().size()));
  }
}

TEST_CASE("what a rank had sent is sent again when it starts after all others", "[cuts]") {
  const auto program = program_of("one large", one_large_body);
  auto how = cluster_of(5, 5, 60);
  how.network.profile = sim::latency_profile::residential;
  how.checkpoint_interval = 300ms;
  observed_cluster world(program, how);
  REQUIRE(world.run_to(event_kind::committed));
  const auto& record = *world.record();
  const auto sender = world->index_of(record.host(rank_number(0))->node);
  const auto receiver = world->index_of(record.host(rank_number(1))->node);
  REQUIRE((sender && receiver && sender != receiver));
  world.crash(*sender);
  CHECK(outcome_of(program, world, 5) == "right");
  CHECK(world.count(event_kind::recovered) > 0);
}

TEST_CASE("a process that comes back at once begins no incarnation that it may have run", "[cuts]") {
  const auto program = small_program(halo);
  const std::string right = undisturbed(program, 8, 100);
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    auto how = cluster_of(8, 8, 100);
    how.network.seed = seed;
    how.checkpoint_interval = duration::zero();  // no later snapshot makes the record durable
    observed_cluster world(program, how);
    REQUIRE(world.run_to(event_kind::rank_started, 60s, 8));
    world->wish(0);
    REQUIRE(world.run_to(event_kind::committed, 60s, 8));
    world.crash(seed % 3);
    REQUIRE(world.run_to(event_kind::recovered, 60s, 7));
    // Nor is it a keeper, whose promises would.
    std::size_t back = 8;
    for (std::size_t i = 0; i < 8; ++i) {
      const auto& keepers = world.record()->keepers;
      const bool keeper = std::any_of(keepers.begin(), keepers.end(),
                                      [&](const node_id& k) { return world->index_of(k) == i; });
      if (world->alive(i) && !keeper) back = i;
    }
    REQUIRE(back < 8);
    (void)world->run_until([] { return false; }, 30ms);
    world->crash(back);
    (void)world->run_until([] { return false; }, 50ms);
    world->restart(back);
    const bool ended = world->run(20min);
    INFO("seed " << seed << "\n" << world.log());
    CHECK(ended);
    CHECK(world.endings() == std::set<std::string>{right});
  }
}

struct unsaveable {
  template <class Archive>
  void save(Archive&) const {
    throw std::runtime_error("this cannot be written down");
  }
  template <class Archive>
  void load(Archive&) {}
};

task<> unsaveable_body(peal::rank& rank) {
  unsaveable state;
  std::uint64_t done = 0;
  rank.state("done", done);
  if (rank.id() == 1) rank.state("state", state);
  co_await rank.restore();
  while (done < 100) {
    co_await rank.sleep(10ms);
    ++done;
    co_await rank.safe_point();
  }
}

TEST_CASE("state that cannot be saved ends the job with its message, on every peer", "[cuts]") {
  const auto program = program_of("unsaveable", unsaveable_body);
  observed_cluster world(program, cluster_of(3, 4, 60));
  REQUIRE(world->run(5min));
  for (std::size_t i = 0; i < 3; ++i) {
    REQUIRE(world->outcome(i).has_value());
    REQUIRE_FALSE(world->outcome(i)->ok());
    CHECK(world->outcome(i)->error().message() == "rank 1: this cannot be written down");
  }
}

}  // namespace
}  // namespace p2pdvm::test
