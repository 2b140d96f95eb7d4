/// Collectives of whole jobs, in virtual time, against what the network allows.
#include "runtime/cluster.hpp"

#include <p2pdvm/peal/bsp.hpp>
#include <p2pdvm/peal/mpi.hpp>

#include <algorithm>
#include <sstream>
#include <vector>

namespace p2pdvm::test {
namespace {

using namespace std::chrono_literals;

/// All begin at one moment, which the simulator's clocks agree on; the result says when the last was done.
task<> timed_allreduces(peal::rank& rank) {
  mpi::communicator world(rank);
  co_await rank.restore();
  const auto rounds = rank.option<int>("rounds");
  const auto count = rank.option<std::size_t>("count");
  co_await world.barrier();
  std::vector<double> values(count);
  std::string text;
  for (int i = 0; i < rounds; ++i) {
    std::fill(values.begin(), values.end(), rank.id());
    const double latest = co_await world.allreduce(rank.now(), mpi::maximum());
    const double start = latest + 2;
    co_await rank.sleep(from_seconds(start - rank.now()));
    co_await world.allreduce(std::span(values));
    const double took = co_await world.allreduce(rank.now() - start, mpi::maximum());
    CHECK(values.front() == rank.size() * (rank.size() - 1) / 2);
    if (rank.id() == 0) text += std::to_string(took) + "\n";
  }
  rank.result("times", text);
}

/// The same, of supersteps with eight bytes for each other rank.
task<> timed_supersteps(peal::rank& rank) {
  mpi::communicator world(rank);
  bsp::world steps(rank);
  co_await rank.restore();
  const auto rounds = rank.option<int>("rounds");
  std::string text;
  for (int i = 0; i < rounds; ++i) {
    const double latest = co_await world.allreduce(rank.now(), mpi::maximum());
    const double start = latest + 2;
    co_await rank.sleep(from_seconds(start - rank.now()));
    for (int r = 0; r < rank.size(); ++r) steps.send(r, i, rank.id());
    co_await steps.sync();
    const double took = co_await world.allreduce(rank.now() - start, mpi::maximum());
    CHECK(steps.messages().size() == static_cast<std::size_t>(rank.size()));
    if (rank.id() == 0) text += std::to_string(took) + "\n";
  }
  rank.result("times", text);
}

peal::program timed_program(task<> (*body)(peal::rank&)) {
  peal::program program("timed", body);
  program.option("rounds", "5", "how often").option("count", "1", "numbers of a rank");
  return program;
}

/// Over all pairs of ranks' hosts, the greatest of the best one-way paths over at most one other [s].
double relay_bound(observed_cluster& world) {
  const checkpoint::job_record& r = *world.record();
  std::vector<std::size_t> hosts;
  for (const std::uint32_t m : r.host_of_rank) hosts.push_back(*world->index_of(r.members[m].node));
  const auto one_way = [&](std::size_t i, std::size_t j) {
    return to_seconds(world->network().round_trip(world->machine(hosts[i]), world->machine(hosts[j]))) / 2;
  };
  double bound = 0;
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      double best = one_way(i, j);
      for (std::size_t k = 0; k < hosts.size(); ++k) {
        if (k != i && k != j) best = std::min(best, one_way(i, k) + one_way(k, j));
      }
      bound = std::max(bound, best);
    }
  }
  return bound;
}

struct outcome {
  double bound = 0;
  std::vector<double> times;
  std::vector<std::string> told;
};

/// Without losses.
outcome run(std::uint32_t ranks, int rounds, sim::latency_profile profile, task<> (*body)(peal::rank&) = timed_allreduces, std::uint64_t seed = 1) {
  const auto program = timed_program(body);
  auto how = cluster_of(ranks, ranks, 1);
  how.job.options = {{"rounds", std::to_string(rounds)}, {"count", "1"}};
  how.network.profile = profile;
  how.network.seed = seed;
  how.network.conditions = sim::conditions_of(profile);
  how.network.conditions->loss = how.network.conditions->shift_share = 0;
  how.checkpoint_interval = duration::zero();
  observed_cluster world(program, how);
  outcome o;
  REQUIRE(world->run_until([&] { return world.count(event_kind::started) > 0; }, 300s));
  o.bound = relay_bound(world);
  REQUIRE(world->run(3600s));
  const auto& end = world->outcome(0);
  REQUIRE(end.has_value());
  REQUIRE(end->ok());
  std::istringstream lines{std::string(as_text(byte_view((*end)->at("times"))))};
  for (double t = 0; lines >> t;) o.times.push_back(t);
  REQUIRE(o.times.size() == static_cast<std::size_t>(rounds));
  for (const auto& seen : world.events()) {
    if (seen.what.kind == event_kind::explained) o.told.push_back(seen.what.text);
  }
  return o;
}

double median(std::vector<double> all) {
  std::nth_element(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2), all.end());
  return all[all.size() / 2];
}

TEST_CASE("a small allreduce of 64 ranks across the world takes little more than the relay bound",
          "[heavy]") {
  const outcome o = run(64, 5, sim::latency_profile::planetlab);
  const double took = median(o.times);
  INFO("took " << took << " s, the relay bound is " << o.bound << " s");
  for (const auto& t : o.told) UNSCOPED_INFO(t);
  CHECK(took <= 1.5 * o.bound);
}

TEST_CASE("small supersteps across the world take the best ways over one other rank", "[heavy]") {
  // Seed 2 has pairs with round trips above the detector's first time-out.
  for (const std::uint64_t seed : {1, 2}) {
    outcome o = run(48, 5, sim::latency_profile::planetlab, timed_supersteps, seed);
    o.times.erase(o.times.begin(), o.times.begin() + 2);  // in which ranks learn who is far
    const double took = median(o.times);
    INFO("seed " << seed << " took " << took << " s, the relay bound is " << o.bound << " s");
    for (const auto& t : o.told) UNSCOPED_INFO(t);
    CHECK(took <= 1.15 * o.bound);
    CHECK(std::any_of(o.told.begin(), o.told.end(), [](const std::string& t) { return t.find("by way of others") != std::string::npos; }));
  }
}

/// Sums that round differently in every bracketing.
task<> large_sum(peal::rank& rank) {
  mpi::communicator world(rank);
  co_await rank.restore();
  std::vector<double> values(100'003);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = 1.0 / static_cast<double>(3 + rank.id() * 7 + static_cast<int>(i % 1000));
  co_await world.allreduce(std::span(values));
  if (rank.id() == rank.size() - 1) rank.result("sum", payload::copy_of(std::as_bytes(std::span(values))));
}

TEST_CASE("slices of different lengths give the bytes of one process") {
  const peal::program program("sum", large_sum);
  std::set<std::string> endings;
  std::vector<std::string> told;
  for (const std::uint32_t peers : {1u, 13u}) {
    auto how = cluster_of(peers, 13, 1);
    how.job.options.clear();
    how.network.profile = sim::latency_profile::residential;
    how.checkpoint_interval = duration::zero();
    observed_cluster world(program, how);
    REQUIRE(world->run(3600s));
    endings.merge(world.endings());
    for (const auto& seen : world.events()) {
      if (seen.what.kind == event_kind::explained) told.push_back(seen.what.text);
    }
  }
  CHECK(endings.size() == 1);
  REQUIRE(told.size() == 2);
  CHECK_THAT(told.front(), Catch::Matchers::Contains("all ranks are on one peer"));
  CHECK_THAT(told.back(), Catch::Matchers::Contains("slices, predicted"));
}

TEST_CASE("on a LAN a small allreduce keeps its rounds") {
  const outcome o = run(16, 1, sim::latency_profile::lan);
  REQUIRE_FALSE(o.told.empty());
  for (const std::string& t : o.told) CHECK_THAT(t, Catch::Matchers::Contains(": rounds, predicted"));
}

}  // namespace
}  // namespace p2pdvm::test
