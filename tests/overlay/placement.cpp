#include "support/test.hpp"

#include <p2pdvm/overlay/placement.hpp>
#include <p2pdvm/sim/latency.hpp>

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

using namespace p2pdvm;
using namespace p2pdvm::overlay;
using namespace std::chrono_literals;

namespace {

placement_candidate at(double x, double y, std::uint32_t slots = 1) {
  placement_candidate c;
  c.where.position[0] = static_cast<float>(x);
  c.where.position[1] = static_cast<float>(y);
  c.slots = slots;
  return c;
}

/// Peers all over a second of the plane.
std::vector<placement_candidate> scattered(std::size_t count, std::uint64_t seed) {
  random_generator random(seed);
  std::vector<placement_candidate> all;
  for (std::size_t i = 0; i < count; ++i) {
    const double x = random.unit();
    const double y = random.unit();
    all.push_back(at(x, y));
  }
  return all;
}

round_trip_table table_of(const std::vector<placement_candidate>& peers) {
  round_trip_table table(peers.size());
  for (std::size_t i = 0; i < peers.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) table.set(i, j, distance(peers[i].where, peers[j].where));
  }
  return table;
}

template <class Truth>
std::size_t run(rank_placement& placement, const Truth& truth) {
  std::size_t probes = 0;
  while (const auto p = placement.next()) {
    ++probes;
    placement.measured(*p, truth(*p));
  }
  CHECK(placement.done());
  return probes;
}

using outcome = std::optional<duration>;

}  // namespace

TEST_CASE("after all exchanges no single one would gain anything") {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    INFO("seed " << seed);
    const auto table = table_of(scattered(40, seed));
    std::vector<std::uint32_t> hosts = {0, 1, 2, 3, 4, 5, 6, 7};
    const double before = mean_round_trip(table, hosts);
    tighten(table, std::vector<std::uint32_t>(40, 1), hosts);
    const double after = mean_round_trip(table, hosts);
    CHECK(after < before / 2);
    for (std::uint32_t& h : hosts) {
      for (std::uint32_t other = 0; other < 40; ++other) {
        if (std::find(hosts.begin(), hosts.end(), other) != hosts.end()) continue;
        const std::uint32_t old = std::exchange(h, other);
        CHECK(mean_round_trip(table, hosts) > after - 1e-6);
        h = old;
      }
    }
  }
}

TEST_CASE("ranks go to a tight cluster, though no candidate is told about it") {
  auto peers = scattered(300, 1);
  for (std::uint32_t i = 100; i < 120; ++i)
    peers[i] = at(0.5 + 0.0001 * i, 0.5);
  rank_placement placement(peers, 16);
  REQUIRE(placement.possible());
  for (const std::uint32_t h : placement.hosts()) {
    CHECK(h >= 100);
    CHECK(h < 120);
  }
}

TEST_CASE("measurements mend what coordinates get wrong, with a bounded number of them") {
  auto peers = scattered(200, 2);
  for (std::uint32_t i = 0; i < 24; ++i) peers[i] = at(0.5, 0.5 + 0.0001 * i);
  rank_placement placement(peers, 16);
  const auto predicted = placement.hosts();
  const std::set<std::uint32_t> bad(predicted.begin(), predicted.begin() + 6);
  const std::size_t probes = run(placement, [&](const auto& p) {
    return outcome(bad.count(p.from) + bad.count(p.to) > 0 ? 80ms : 2ms);
  });
  CHECK(probes >= 16 * 15 / 2);
  CHECK(probes <= 24 * 23 / 2);
  const auto hosts = placement.hosts();
  CHECK(hosts.size() == 16);
  for (const std::uint32_t h : hosts) CHECK(bad.count(h) == 0);
}

TEST_CASE("a peer never gets more ranks than it has slots, nor one without slots any") {
  std::vector<placement_candidate> peers;
  for (std::uint32_t i = 0; i < 12; ++i) peers.push_back(at(0.001 * i, 0, i % 4));
  rank_placement placement(peers, 17);
  REQUIRE(placement.possible());
  run(placement, [](const auto&) { return outcome(5ms); });
  std::map<std::uint32_t, std::uint32_t> load;
  for (const std::uint32_t h : placement.hosts()) ++load[h];
  std::uint32_t sum = 0;
  for (const auto& [peer, ranks] : load) {
    CHECK(ranks <= peers[peer].slots);
    sum += ranks;
  }
  CHECK(sum == 17);

  CHECK(rank_placement(peers, 18).possible());
  CHECK_FALSE(rank_placement(peers, 19).possible());
  CHECK_FALSE(rank_placement({}, 1).possible());
}

TEST_CASE("few peers with slots are found among many without") {
  auto peers = scattered(1000, 6);
  for (placement_candidate& c : peers) c.slots = 0;
  for (const std::uint32_t i : {7u, 501u, 993u}) peers[i].slots = 1;
  rank_placement placement(peers, 2);
  REQUIRE(placement.possible());
  for (const std::uint32_t h : placement.hosts()) CHECK(peers[h].slots == 1);
}

TEST_CASE("the neighbourhood that is nearest by measurement wins, not the one that seemed to be") {
  auto peers = scattered(100, 7);
  for (std::uint32_t i = 0; i < 12; ++i) peers[i] = at(0.2, 0.0001 * i);
  for (std::uint32_t i = 20; i < 32; ++i) peers[i] = at(0.8, 0.0002 * i);
  rank_placement placement(peers, 8);
  for (const std::uint32_t h : placement.hosts()) CHECK(h < 12);
  run(placement, [](const auto& p) { return outcome(p.from < 20 ? 40ms : 20ms); });
  for (const std::uint32_t h : placement.hosts()) {
    CHECK(h >= 20);
    CHECK(h < 32);
  }
}

TEST_CASE("ranks with neighbouring numbers sit near each other") {
  std::vector<placement_candidate> peers;
  const std::uint64_t seed = 3;
  INFO("seed " << seed);
  random_generator random(seed);
  std::vector<std::uint32_t> order(32);
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  for (const std::uint32_t i : order) peers.push_back(at(0.01 * i, 0));
  const auto hosts = rank_placement(peers, 32).hosts();
  REQUIRE(hosts.size() == 32);
  double sum = 0;
  for (std::size_t i = 1; i < hosts.size(); ++i)
    sum += distance(peers[hosts[i - 1]].where, peers[hosts[i]].where);
  CHECK(sum < 0.311 + 31 * 2e-5);  // along the line and no way back
}

TEST_CASE("peers that cannot reach the others get no rank while there are others") {
  std::vector<placement_candidate> peers;
  for (std::uint32_t i = 0; i < 12; ++i) peers.push_back(at(0.001 * i, 0));
  rank_placement placement(peers, 8);
  std::map<std::pair<std::uint32_t, std::uint32_t>, int> asked;
  run(placement, [&](const auto& p) {
    ++asked[std::minmax(p.from, p.to)];
    return p.from == 4 || p.to == 4 ? outcome() : outcome(5ms);
  });
  for (const auto& [pair, times] : asked)
    CHECK(times == (pair.first == 4 || pair.second == 4 ? 1 + placement_retries : 1));
  for (const std::uint32_t h : placement.hosts()) CHECK(h != 4);
}

TEST_CASE("a placement ignores what it did not ask for, and absurd round trips") {
  std::vector<placement_candidate> peers;
  for (std::uint32_t i = 0; i < 6; ++i) peers.push_back(at(0.001 * i, 0));
  rank_placement placement(peers, 4);
  const auto before = placement.hosts();
  for (std::uint32_t i = 0; i < 6; ++i) placement.measured({0, i}, 9s);
  placement.measured({1000, 2000}, 1ms);
  CHECK(placement.hosts() == before);
  const auto p = placement.next();
  REQUIRE(p);
  placement.measured(*p, -1ms);
  placement.measured(*p, 1ms);  // no longer asked for
  CHECK(placement.hosts() == before);
}

TEST_CASE("a placement of very many ranks takes the nearest peers as they are") {
  const auto peers = scattered(2000, 4);
  rank_placement placement(peers, 1500);
  CHECK_FALSE(placement.next());
  const auto hosts = placement.hosts();
  CHECK(std::set<std::uint32_t>(hosts.begin(), hosts.end()).size() == 1500);
}

TEST_CASE("equal candidates and measurements give equal placements") {
  const auto peers = scattered(100, 5);
  const auto placed = [&] {
    rank_placement placement(peers, 16);
    run(placement, [](const auto& p) {
      return outcome(std::chrono::milliseconds((p.from + p.to) * 7 % 90 + 1));
    });
    return placement.hosts();
  };
  CHECK(placed() == placed());
}
