#include "support/test.hpp"

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/peal/mpi/collective_choice.hpp>
#include <p2pdvm/sim/latency.hpp>

#include <algorithm>
#include <chrono>

using namespace p2pdvm;
using namespace std::chrono_literals;
using mpi::collective_task;
using mpi::exchange_plan;
using mpi::network_view;
using mpi::way;
using kind = collective_task::kind;

namespace {

network_view drawn(int members, sim::latency_profile profile, std::uint64_t seed) {
  sim::latency_map map(profile, seed);
  for (int i = 0; i < members; ++i) map.add_machine();
  std::vector<std::uint32_t> all;
  for (int i = 0; i < members; ++i) {
    for (int j = 0; j < members; ++j) {
      const duration there = i == j ? duration::zero()
                                    : map.round_trip(static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(j));
      all.push_back(static_cast<std::uint32_t>(there.count() / network_view::unit_nanoseconds));
    }
  }
  return network_view(members, std::move(all));
}

network_view uniform(int members, duration round_trip) {
  std::vector<std::uint32_t> all(static_cast<std::size_t>(members * members),
                                 static_cast<std::uint32_t>(round_trip / 100ns));
  return network_view(members, std::move(all));
}

duration path(const network_view& n, int a, int r, int b) { return n.one_way(a, r) + n.one_way(r, b); }

/// The greatest over all pairs of the best path over at most one other member, found the long way.
duration relay_bound(const network_view& n) {
  duration bound{};
  for (int a = 0; a < n.members(); ++a) {
    for (int b = 0; b < n.members(); ++b) {
      if (a == b) continue;
      duration best = n.one_way(a, b);
      for (int r = 0; r < n.members(); ++r) {
        if (r != a && r != b) best = std::min(best, path(n, a, r, b));
      }
      bound = std::max(bound, best);
    }
  }
  return bound;
}

mpi::prediction of(const std::vector<mpi::prediction>& all, way w) {
  for (const auto& p : all) {
    if (p.which == w) return p;
  }
  FAIL("there is no such way");
  return {};
}

way best_way(const network_view& n, const collective_task& task) {
  return mpi::chosen(mpi::predictions(n, exchange_plan(n), task)).which;
}

}  // namespace

TEST_CASE("an exchange brings everybody's part to everybody once, within the relay bound") {
  for (const int members : {3, 4, 7, 16, 33, 64, 100}) {
    for (const auto profile : {sim::latency_profile::planetlab, sim::latency_profile::residential}) {
      const std::uint64_t seed = static_cast<std::uint64_t>(members);
      INFO(members << " members, seed " << seed);
      const network_view n = drawn(members, profile, seed);
      const exchange_plan plan(n);
      CHECK(plan.bound() == relay_bound(n));
      std::vector<int> got(static_cast<std::size_t>(members * members));
      for (int a = 0; a < members; ++a) {
        for (const int b : plan.targets(a)) {
          ++got[static_cast<std::size_t>(a * members + b)];
          CHECK(n.one_way(a, b) <= plan.bound());
        }
      }
      for (const auto& b : plan.bundles()) {
        CHECK(plan.direct(b.relay, b.target));  // the first message between them is the relay's own
        CHECK(plan.find(b.relay, b.target) == &b);
        for (const int source : b.sources) {
          ++got[static_cast<std::size_t>(source * members + b.target)];
          CHECK(plan.direct(source, b.relay));
          CHECK(path(n, source, b.relay, b.target) <= plan.bound());
        }
      }
      for (int a = 0; a < members; ++a) {
        for (int b = 0; b < members; ++b)
          CHECK(got[static_cast<std::size_t>(a * members + b)] == (a == b ? 0 : 1));
      }
    }
  }
}

TEST_CASE("no member of an exchange has more messages than one for each other, and a few that it passes on") {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    const network_view n = drawn(64, sim::latency_profile::planetlab, seed);
    const exchange_plan plan(n);
    INFO("seed " << seed << ", " << plan.relayed_pairs() << " relayed pairs");
    std::size_t sent = 0, received = 0;
    for (int i = 0; i < 64; ++i) {
      CHECK(plan.messages_from(i) <= 63 + 16);
      CHECK(plan.messages_to(i) <= 63);
      CHECK(plan.bundles_of(i).size() <= 16);
      sent += plan.messages_from(i);
      received += plan.messages_to(i);
    }
    CHECK(sent == received);
  }
}

TEST_CASE("far apart small data are exchanged, over relays where that is shorter") {
  std::vector<double> ratios, shares;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const network_view n = drawn(64, sim::latency_profile::planetlab, seed);
    const exchange_plan plan(n);
    INFO("seed " << seed);
    for (const collective_task task : {collective_task{kind::barrier, 0}, collective_task{kind::allreduce, 8}}) {
      const auto all = mpi::predictions(n, plan, task);
      CHECK(mpi::chosen(all).which == way::exchange);
      CHECK(mpi::chosen(all).time <= plan.bound() * 105 / 100);
      CHECK(of(all, way::rounds).time >= plan.bound() * 2);
    }
    CHECK(best_way(n, {kind::allgather, 0}) == way::exchange);
  }
}

TEST_CASE("far apart large data are combined in slices") {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    const network_view n = drawn(64, sim::latency_profile::planetlab, seed);
    CHECK(best_way(n, {kind::allreduce, 1 << 20}) == way::slices);
  }
  const network_view near = uniform(64, 200us);
  const way large_nearby = best_way(near, {kind::allreduce, 16 << 20});
  CHECK((large_nearby == way::halving || large_nearby == way::slices));
}

TEST_CASE("on a LAN and on one machine small data keep the classic rounds") {
  for (const duration round_trip : {duration(20us), duration(100us), duration(300us)}) {
    for (const int members : {3, 8, 17, 64, 256}) {
      INFO(members << " members, " << round_trip.count() << " ns");
      const network_view n = uniform(members, round_trip);
      CHECK(best_way(n, {kind::barrier, 0}) == way::rounds);
      CHECK(best_way(n, {kind::allreduce, 8}) == way::rounds);
      CHECK(best_way(n, {kind::allreduce, 4096}) == way::rounds);
      CHECK(best_way(n, {kind::allgather, 0}) == way::rounds);
    }
  }
  for (std::uint64_t seed = 1; seed <= 5; ++seed)
    CHECK(best_way(drawn(32, sim::latency_profile::lan, seed), {kind::allreduce, 8}) == way::rounds);
}

TEST_CASE("slices cover all elements once, and are longer where the uplink is faster") {
  for (const int members : {3, 5, 64, 256}) {
    network_view n = uniform(members, 100ms);
    for (const bool known : {false, true}) {
      if (known) {
        std::vector<std::uint32_t> rates;
        for (int i = 0; i < members; ++i) rates.push_back(i % 5 == 0 ? 1'000'000 : 4'000'000'000);
        n.set_uplinks(rates);
      }
      for (const std::size_t count : {std::size_t{0}, std::size_t{1}, std::size_t{100}, std::size_t{131072}, std::size_t{1} << 36}) {
        std::size_t next = 0;
        for (int i = 0; i < members; ++i) {
          const auto [first, end] = n.slice(count, i);
          CHECK(first == next);
          CHECK(end >= first);
          next = end;
        }
        CHECK(next == count);
      }
      const auto [a, b] = n.slice(1 << 20, 0);
      const auto [c, d] = n.slice(1 << 20, 1);
      if (known) CHECK((b - a) * 1000 < d - c);
      if (!known) CHECK(d - c <= b - a + 1);
    }
  }
}

TEST_CASE("slices are such that all uplinks are done together, unless one is slower") {
  network_view n = uniform(8, 100ms);
  const auto length = [&](int member) {
    const auto [first, end] = n.slice(1'000'000, member);
    return static_cast<double>(end - first);
  };
  n.set_uplinks(std::vector<std::uint32_t>(8, 3'000'000));
  for (int m = 0; m < 8; ++m) CHECK(std::abs(length(m) - 125'000) <= 1);
  n.set_uplinks({1'000'000, 8'000'000, 8'000'000, 8'000'000, 8'000'000, 8'000'000, 8'000'000, 8'000'000});
  CHECK(length(0) == 0);  // it has enough to do with its own data
  for (int m = 1; m < 8; ++m) CHECK(std::abs(length(m) - 1e6 / 7) <= 1);
  n.set_uplinks({1'500'000, 2'000'000, 2'000'000, 2'000'000, 2'000'000, 2'000'000, 2'000'000, 2'500'000});
  const double time = (1e6 + 7 * length(1)) / 2e6;
  CHECK(std::abs((1e6 + 7 * length(0)) / 1.5e6 - time) < time / 100);
  CHECK(std::abs((1e6 + 7 * length(7)) / 2.5e6 - time) < time / 100);
}

TEST_CASE("large data far apart go in slices once the uplinks are known") {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    network_view n = drawn(64, sim::latency_profile::planetlab, seed);
    std::vector<std::uint32_t> rates;
    for (int i = 0; i < 64; ++i) rates.push_back(600'000 + static_cast<std::uint32_t>(i * i) * 3'000);
    n.set_uplinks(rates);
    const std::size_t bytes = 1 << 20;
    CHECK(best_way(n, {kind::allreduce, bytes}) == way::slices);
    // The slowest sends all once, with halving twice.
    const auto all = mpi::predictions(n, exchange_plan(n), {kind::allreduce, bytes});
    const double once = static_cast<double>(bytes) / 600'000;
    CHECK(to_seconds(of(all, way::slices).time) > once);
    CHECK(to_seconds(of(all, way::slices).time) < 1.7 * once);  // and two ways
    CHECK(to_seconds(of(all, way::halving).time) > 2 * once * 0.95);
  }
  CHECK(mpi::blocks_of(1 << 20, 64) == 8);
  CHECK(mpi::blocks_of(100'000, 64) == 1);
  CHECK(mpi::blocks_of(0, 64) == 1);
}

TEST_CASE("a view among some members has their round trips") {
  const network_view n = drawn(10, sim::latency_profile::planetlab, 3);
  const std::vector<int> some{7, 2, 5};
  const network_view part = n.among(some);
  REQUIRE(part.members() == 3);
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j)
      CHECK(part.one_way(i, j) == n.one_way(some[static_cast<std::size_t>(i)], some[static_cast<std::size_t>(j)]));
  }
}

TEST_CASE("members of one peer are one group, and small data far apart go by peers") {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    const network_view peers = drawn(16, sim::latency_profile::planetlab, seed);
    std::vector<std::uint32_t> round_trips;
    for (int a = 0; a < 64; ++a) {
      for (int b = 0; b < 64; ++b) {
        const auto units = peers.one_way(a / 4, b / 4).count() * 2 / network_view::unit_nanoseconds;
        round_trips.push_back(a == b ? 0 : a / 4 == b / 4 ? 1 : static_cast<std::uint32_t>(units));
      }
    }
    const network_view n(64, round_trips);
    const mpi::peer_groups groups(n);
    REQUIRE(groups.any());
    CHECK(groups.largest() == 4);
    REQUIRE(groups.leaders().size() == 16);
    for (int m = 0; m < 64; ++m) {
      CHECK(groups.group_of(m) == static_cast<std::size_t>(m / 4));
      CHECK(groups.leaders()[static_cast<std::size_t>(m / 4)] == m / 4 * 4);
    }
    CHECK(groups.plan().bound() == relay_bound(peers));
    // A leader has two tree messages and those of 16 peers; an exchange of all would have 63.
    for (int g = 0; g < 16; ++g) CHECK(groups.plan().messages_from(g) <= 15 + 15);
    for (const collective_task task : {collective_task{kind::barrier, 0}, collective_task{kind::allreduce, 8},
                                       collective_task{kind::allgather, 0}})
      CHECK(mpi::chosen(mpi::predictions(n, exchange_plan(n), task, &groups)).which == way::by_peers);
    CHECK_FALSE(mpi::peer_groups(peers).any());
  }
}

TEST_CASE("processes of one computer meet at a hub when they are more than its cores") {
  const auto wants = [](int members, duration round_trip, std::uint32_t cores, const collective_task& task) {
    network_view n = uniform(members, round_trip);
    n.set_cores(cores);
    return mpi::wants_hub(n, task);
  };
  const collective_task barrier{kind::barrier, 0}, small{kind::allreduce, 8};
  CHECK(wants(8, 300ns, 2, barrier));
  CHECK(wants(8, 300ns, 7, small));
  CHECK(wants(mpi::hub_members_max, 300ns, 1, small));
  CHECK_FALSE(wants(8, 300ns, 8, barrier));  // each has a core
  CHECK_FALSE(wants(8, 300ns, 0, barrier));
  CHECK_FALSE(wants(8, 20us, 2, barrier));  // a network, if a fast one
  CHECK_FALSE(wants(mpi::hub_members_max + 1, 300ns, 1, barrier));
  CHECK_FALSE(wants(8, 300ns, 2, {kind::allreduce, mpi::hub_bytes_max + 1}));
  CHECK_FALSE(wants(8, 300ns, 2, {kind::allgather, 0}));

  // Members of one peer take turns anyway: its processes count.
  std::vector<std::uint32_t> round_trips;
  for (int a = 0; a < 8; ++a) {
    for (int b = 0; b < 8; ++b) round_trips.push_back(a == b ? 0 : a / 4 == b / 4 ? 1 : 3);
  }
  network_view two_peers(8, round_trips);
  two_peers.set_cores(2);
  CHECK_FALSE(two_peers.crowded());
  two_peers.set_cores(1);
  CHECK(two_peers.crowded());
  const std::vector<int> of_one{0, 1, 2};
  CHECK_FALSE(two_peers.among(of_one).crowded());
  const std::vector<int> of_both{0, 1, 4};
  CHECK(two_peers.among(of_both).crowded());
}
