/// Peers that join, or come back, get ranks of others; and ranks that come to no safe point.
#include "runtime/cluster.hpp"

#include <p2pdvm/peal/mpi.hpp>

#include <map>
#include <set>
#include <string>

namespace p2pdvm::test {
namespace {

using namespace std::chrono_literals;

std::map<std::size_t, int> ranks_of_peers(observed_cluster& world) {
  std::map<std::size_t, int> count;
  for (std::uint32_t r = 0; r < world.record()->ranks; ++r)
    ++count[world->index_of(world.record()->host(rank_number(r))->node).value()];
  return count;
}

TEST_CASE("a peer that joins a running job gets ranks at a checkpoint, when that pays, and nothing is lost", "[newcomers]") {
  const peal::program program = slow_program();
  const std::string right = undisturbed(program, 6, 8000);
  auto how = cluster_of(2, 6, 8000);
  how.spares = 1;  // joins when the job has started
  how.checkpoint_interval = 500ms;
  observed_cluster world(program, how);
  REQUIRE(world->run_until([&] { return world.record() != nullptr && world.record()->state == checkpoint::job_state::running && world.record()->live_count() == 3; }, 60s));
  const auto began = world.record()->incarnation;
  CHECK(ranks_of_peers(world) == std::map<std::size_t, int>{{0, 3}, {1, 3}});
  REQUIRE(world.run_to(event_kind::moved, 120s, 2));
  REQUIRE(world.run_to(event_kind::recovered, 60s, 3));
  CHECK(world.record()->incarnation == began.next());
  CHECK(ranks_of_peers(world) == std::map<std::size_t, int>{{0, 2}, {1, 2}, {2, 2}});
  // From the checkpoint that had just committed: some milliseconds of work are done again.
  std::map<epoch_number, time_point> cuts;
  for (const auto& [peer, e] : world.events()) {
    if (e.kind == event_kind::cut) cuts[e.epoch] = e.at;
    if (e.kind == event_kind::recovering) CHECK(to_seconds(e.at - cuts.at(e.epoch)) < 0.5);
  }
  check_end(world, right);
  CHECK(world.count(event_kind::moved) == 2);  // and no more
}

TEST_CASE("a peer that was lost and comes back gets ranks again", "[newcomers]") {
  const peal::program program = slow_program();
  const std::string right = undisturbed(program, 4, 9000);
  auto how = cluster_of(4, 4, 9000);
  how.checkpoint_interval = 500ms;
  observed_cluster world(program, how);
  REQUIRE(world.run_to(event_kind::committed, 60s, 8));
  world->crash(2);
  REQUIRE(world.run_to(event_kind::recovered, 60s, 3));
  CHECK(ranks_of_peers(world).size() == 3);
  world->restart(2);
  REQUIRE(world->run_until([&] { return world->alive(2) && world.record()->state == checkpoint::job_state::running && ranks_of_peers(world).size() == 4; }, 300s));
  check_end(world, right);
}

TEST_CASE("in a job that has hardly begun no ranks move", "[newcomers]") {
  const peal::program program = slow_program();
  const std::string right = undisturbed(program, 6, 250);
  auto how = cluster_of(2, 6, 250);
  how.spares = 1;
  how.checkpoint_interval = 200ms;
  observed_cluster world(program, how);
  check_end(world, right);
  CHECK(world.count(event_kind::joined, 0) >= 2);
  CHECK(world.count(event_kind::moved) == 0);
}

/// Its last rank comes to no safe point in the first `busy` seconds, and nobody needs anything of it.
task<> uneven_body(peal::rank& rank) {
  std::uint64_t step = 0;
  rank.state("step", step);
  co_await rank.restore();
  const auto steps = rank.option<std::uint64_t>("steps");
  for (; step < steps; ++step) {
    const bool busy = rank.id() == rank.size() - 1 && step == 0;
    co_await rank.sleep(busy ? 40s : 10ms);
    co_await rank.safe_point();
  }
  rank.result("output", std::to_string(step));
}

TEST_CASE("a rank that comes to no safe point is named, the others go on, and it is in the end in the checkpoint", "[newcomers]") {
  peal::program program("uneven", uneven_body);
  program.option("steps", "6000", "to take").option("cells", "1", "ignored");
  auto how = cluster_of(3, 3, 6000);
  how.checkpoint_interval = 300ms;
  how.hang_after = 5s;
  observed_cluster world(program, how);
  const auto told = [&] {
    std::multiset<std::string> all;
    for (const auto& [peer, e] : world.events()) {
      if (e.kind == event_kind::warning) all.insert(e.text);
    }
    return all;
  };
  REQUIRE(world->run_until([&] { return !told().empty(); }, 30s));
  const auto text = *told().begin();
  INFO(text);
  CHECK(text.find("waits for rank 2, which has come to no safe point") != std::string::npos);
  CHECK(text.find("the job goes on without a new checkpoint") != std::string::npos);
  CHECK(world.count(event_kind::committed) == 0);
  // The two others cut and computed on; when the last one comes that very checkpoint commits.
  REQUIRE(world.run_to(event_kind::committed, 60s, 3));
  CHECK(told().size() <= 3);  // once from each peer
  REQUIRE(world->run(10min));
  CHECK(world.endings().size() == 1);
}

}  // namespace
}  // namespace p2pdvm::test
