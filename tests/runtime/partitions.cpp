/// What the project promises when peers cannot hear one another for a while, in simulated runs.
#include "runtime/cluster.hpp"

#include <map>
#include <stdexcept>

namespace p2pdvm::test {
namespace {

using namespace std::chrono_literals;

bool is_member(observed_cluster& world, std::size_t peer) {
  const auto& id = world->at(peer).identity().id();
  return world.record() != nullptr && world.record()->is_live(id);
}

/// The node that an event is about, by its peer's index.
std::set<std::size_t> nodes_told(observed_cluster& world, event_kind kind) {
  std::set<std::size_t> nodes;
  for (const auto& s : world.events()) {
    if (s.what.kind == kind && s.what.node) nodes.insert(world->index_of(*s.what.node).value());
  }
  return nodes;
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
  for (const std::size_t i : {1u, 4u}) {
    CHECK(world->run_until([&] { return world.count(event_kind::no_majority, i) > 0; }, 60s));
    CHECK(world.count(event_kind::recovering, i) == 0);
  }
  CHECK_FALSE(cut_off_done());
  for (const std::size_t i : {0u, 2u, 3u}) {
    REQUIRE(world->outcome(i)->ok());
    CHECK(runtime::digest_of(**world->outcome(i)).hex() == right);
  }
}

/// The cut-off ones are evicted, come back as members of the running job, and all end right.
void check_return(const std::vector<std::size_t>& cut_off) {
  const auto program = slow_program();
  const std::string right = undisturbed(program, 6, 300);
  observed_cluster world(program, cluster_of(5, 6, 300));
  REQUIRE(world.run_to(event_kind::committed));
  std::vector<const sim::machine*> minority, majority;
  for (std::size_t i = 0; i < 5; ++i) {
    const bool lonely = std::count(cut_off.begin(), cut_off.end(), i) > 0;
    (lonely ? minority : majority).push_back(&world->machine(i));
  }
  const auto all = [&](const auto& predicate) {
    return std::all_of(cut_off.begin(), cut_off.end(), predicate);
  };
  const auto cut = world->network().partition(minority, majority);
  const bool evicted_and_waiting = world->run_until(
      [&] {
        return all([&](std::size_t i) {
          return !is_member(world, i) && world.count(event_kind::no_majority, i) > 0;
        });
      },
      60s);
  INFO(world.log());
  REQUIRE(evicted_and_waiting);
  REQUIRE(world.run_to(event_kind::committed));  // the majority goes on
  std::vector<std::size_t> joined_before;
  for (const std::size_t i : cut_off) {
    CHECK(world.count(event_kind::recovering, i) == 0);
    joined_before.push_back(world.count(event_kind::joined, i));
  }
  world->network().heal(cut);
  const bool back = world->run_until(
      [&] { return all([&](std::size_t i) { return is_member(world, i); }); }, 30s);
  REQUIRE(back);
  // Each knows itself that it is a member again, while the job runs and commits.
  REQUIRE(world->run_until(
      [&] { return all([&](std::size_t i) { return world->at(i).current_job()->is_member(); }); },
      30s));
  REQUIRE(world.run_to(event_kind::committed));
  REQUIRE(world.record()->state == checkpoint::job_state::running);
  CHECK(world.record()->live_count() == 5);
  const std::set<std::size_t> expected(cut_off.begin(), cut_off.end());
  CHECK(nodes_told(world, event_kind::evicted) == expected);
  check_end(world, right);
  for (std::size_t i = 0; i < 5; ++i) CHECK(world->outcome(i));
  CHECK(nodes_told(world, event_kind::evicted) == expected);
}

TEST_CASE("a peer whose partition heals comes back to the running job and ends as all do",
          "[promises]") {
  check_return({1});
}

TEST_CASE("a minority of two whose partition heals comes back and ends as all do", "[promises]") {
  check_return({1, 4});
}

TEST_CASE("a peer that took the others for lost does not evict them when it is back",
          "[promises]") {
  const auto program = slow_program();
  const std::string right = undisturbed(program, 5, 400);
  // Healed as soon as it takes one for lost, or only after it gave up all four.
  for (const std::size_t lost_before : {1u, 4u}) {
    observed_cluster world(program, cluster_of(5, 5, 400));
    REQUIRE(world.run_to(event_kind::committed));
    constexpr std::size_t lonely = 3;
    const auto cut = world->network().isolate(world->machine(lonely));
    REQUIRE(world->run_until(
        [&] { return world.count(event_kind::lost, lonely) >= lost_before; }, 60s));
    REQUIRE(world->run_until(
        [&] { return world.count(event_kind::no_majority, lonely) > 0; }, 60s));
    world->network().heal(cut);
    check_end(world, right);
    INFO(world.log());
    for (const std::size_t node : nodes_told(world, event_kind::evicted)) CHECK(node == lonely);
    for (std::size_t i = 0; i < 5; ++i) CHECK(world->outcome(i));
  }
}

TEST_CASE("what a member says before its admission was heard of is not lost", "[promises]") {
  const auto program = small_program(supersteps);  // every rank sends to every other
  const std::string right = undisturbed(program, 4, 100);
  observed_cluster world(program, cluster_of(4, 4, 100));
  constexpr std::size_t behind = 2, last = 3;
  const auto delay = [&](std::size_t from, std::size_t to, duration by) {
    sim::fault_rule rule;
    rule.from = world->machine(from).index();
    rule.to = world->machine(to).index();
    rule.action = sim::fault_action::delay;
    rule.delay = by;
    return world->network().add_fault(rule);
  };
  const auto others_are_in = [&] {
    return world.count(event_kind::joined, behind) == 3;
  };
  // The last one comes when the three others are members, whose news to `behind` then take long.
  const auto late = delay(last, 0, 20ms);
  REQUIRE(world->run_until(others_are_in, 60s));
  constexpr auto slowness = 300ms;
  const time_point slow_since = world->network().now();
  for (const std::size_t from : {std::size_t{0}, std::size_t{1}}) delay(from, behind, slowness);
  delay(behind, last, 10ms);  // so that the new member has said more before it is asked
  world->network().heal(late);
  std::map<std::size_t, time_point> ready;
  std::optional<time_point> heard;
  world.watch = [&](std::size_t peer, const runtime::event& e) {
    if (e.kind == event_kind::rank_started) ready.try_emplace(peer, e.at);
    const bool news = e.kind == event_kind::joined && world->index_of(*e.node) == last;
    if (news && peer == behind) heard = e.at;
  };
  check_end(world, right);
  INFO(world.log());
  // It had its news from nobody but the new member, whose first words it did not understand.
  REQUIRE(heard);
  CHECK(*heard < slow_since + slowness);
  CHECK(ready.at(last) < *heard);
  CHECK(world.count(event_kind::evicted) == 0);
  CHECK(world.count(event_kind::recovering) == 0);
}

task<> failing_body(peal::rank& rank) {
  co_await rank.restore();
  co_await rank.sleep(50ms);
  if (rank.id() == 0) throw std::runtime_error("no more cheese");
  co_await rank.sleep(1h);
}

TEST_CASE("who ends a failed job waits until all members know of it", "[promises]") {
  const peal::program program("failing", failing_body);
  auto how = cluster_of(3, 3, 0);
  how.job.options.clear();
  how.checkpoint_interval = duration::zero();
  observed_cluster world(program, how);
  REQUIRE(world.run_to(event_kind::rank_started, 60s, 3));
  // Away when it fails, and back before anybody could miss it.
  const auto cut = world->network().isolate(world->machine(2));
  REQUIRE(world->run_until([&] { return world->outcome(0) && world->outcome(1); }, 60s));
  (void)world->run_until([] { return false; }, 1s);
  CHECK_FALSE(world->outcome(2));
  CHECK(world->alive(0));
  CHECK(world->alive(1));
  world->network().heal(cut);
  REQUIRE(world->run_until([&] { return world->outcome(2).has_value(); }, 20s));
  for (std::size_t i = 0; i < 3; ++i) {
    REQUIRE_FALSE(world->outcome(i)->ok());
    CHECK(world->outcome(i)->error().message() == "rank 0: no more cheese");
  }
  // And then they go: nobody waits for the longest time that they may linger.
  CHECK(world->run_until(
      [&] { return !world->alive(0) && !world->alive(1) && !world->alive(2); }, 5s));
}

}  // namespace
}  // namespace p2pdvm::test
