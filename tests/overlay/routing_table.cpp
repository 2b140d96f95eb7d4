#include "overlay/swarm.hpp"
#include "support/test.hpp"

#include <algorithm>

using namespace p2pdvm;
using namespace p2pdvm::overlay;
using namespace p2pdvm::overlay::test;
using include = routing_table::include;

namespace {

contact peer(std::uint64_t number) {
  return {make_identity(number).key(), make_address(number)};
}

node_id id_of(const contact& c) { return crypto::node_id_of(c.key); }

time_point at(duration since_start) { return time_point(since_start); }

const node_id self = crypto::node_id_of(make_identity(0).key());

routing_options few() {
  routing_options o;
  o.bucket_size = 4;
  o.siblings = 4;
  o.replacements = 2;
  o.veterans = 2;
  o.full_view_max = 0;
  return o;
}

/// Peers that fall into bucket 0, whose first bit differs from ours.
std::vector<contact> far_peers(std::size_t count) {
  std::vector<contact> out;
  for (std::uint64_t i = 1; out.size() < count; ++i) {
    if (common_prefix(self, id_of(peer(i))) == 0) out.push_back(peer(i));
  }
  return out;
}

/// A table whose siblings are all nearer than bucket 0.
routing_table with_siblings() {
  routing_table table(self, few());
  std::size_t count = 0;
  for (std::uint64_t i = 5000; count < 4; ++i) {
    if (common_prefix(self, id_of(peer(i))) < 3) continue;
    table.proven(at(0s), peer(i), 1ms);
    ++count;
  }
  REQUIRE(table.siblings().size() == 4);
  return table;
}

}  // namespace

TEST_CASE("the metric counts common bits and orders by distance") {
  node_id a, b;
  CHECK(common_prefix(a, b) == 256);
  b.mutable_bytes()[9] = std::byte{0x10};
  CHECK(common_prefix(a, b) == 75);
  CHECK(nearer(a, a, b));
  CHECK_FALSE(nearer(a, b, b));
  CHECK(distance(a, b) == b);
}

TEST_CASE("public networks are told apart and private ones are not capped") {
  CHECK(network_of(address::v4(8, 8, 8, 1, 1)) == network_of(address::v4(8, 8, 8, 200, 2)));
  CHECK(network_of(address::v4(8, 8, 8, 1, 1)) != network_of(address::v4(8, 8, 9, 1, 1)));
  for (const char* local : {"127.0.0.1:1", "10.1.2.3:1", "192.168.7.7:1", "172.20.0.1:1", "[::1]:1",
                            "[fe80::1]:1", "[fd00::1]:1"}) {
    CHECK(network_of(*address::parse(local)) == network_prefix());
  }
  CHECK(network_of(*address::parse("[2001:db8:1::1]:1")) ==
        network_of(*address::parse("[2001:db8:1:9::2]:1")));
  CHECK(network_of(*address::parse("[2001:db8:1::1]:1")) !=
        network_of(*address::parse("[2001:db8:2::1]:1")));
}

TEST_CASE("addresses that nobody may make us send to are refused") {
  const address teller = address::v4(8, 8, 8, 8, 1);
  CHECK(acceptable(address::v4(9, 9, 9, 9, 4000), teller));
  CHECK_FALSE(acceptable(address::v4(9, 9, 9, 9, 0), teller));
  CHECK_FALSE(acceptable(address::v4(0, 0, 0, 0, 1), teller));
  CHECK_FALSE(acceptable(address::v4(224, 0, 0, 1, 1), teller));
  CHECK_FALSE(acceptable(address::v4(255, 255, 255, 255, 1), teller));
  CHECK_FALSE(acceptable(address::loopback(1), teller));
  CHECK(acceptable(address::loopback(1), address::loopback(2)));
  CHECK_FALSE(acceptable(*address::parse("[ff02::1]:9"), teller));
}

TEST_CASE("a round trip estimate follows its samples and refuses absurd ones") {
  round_trip rtt;
  CHECK_FALSE(rtt.known());
  for (int i = 0; i < 50; ++i) rtt.sample(100ms);
  CHECK(rtt.mean() == 100ms);
  CHECK(rtt.timeout() < 101ms);
  for (int i = 0; i < 50; ++i) rtt.sample(i % 2 == 0 ? 80ms : 120ms);
  CHECK(rtt.timeout() > 150ms);
  CHECK(rtt.timeout() < 200ms);
  round_trip absurd;
  absurd.sample(-5s);
  CHECK(absurd.mean() == 0s);
  absurd.sample(duration::max());
  CHECK(absurd.mean() <= 60s);
}

TEST_CASE("the nearest proven peers are found whatever bucket they are in") {
  routing_table table(self, {});
  std::vector<contact> in;
  for (std::uint64_t i = 1; i <= 400; ++i) {
    if (table.proven(at(0s), peer(i), 1ms)) in.push_back(peer(i));
  }
  // A sibling that a nearer one pushed out may have found its bucket full.
  std::erase_if(in, [&](const contact& c) { return table.find(id_of(c)) == nullptr; });
  CHECK(table.size() == in.size());
  CHECK(in.size() > 80);
  random_generator random(5);
  for (int i = 0; i < 50; ++i) {
    const node_id target = random_id(random);
    std::sort(in.begin(), in.end(), [&](const contact& a, const contact& b) {
      return nearer(target, id_of(a), id_of(b));
    });
    const auto found = table.closest(target, 16, include::all);
    REQUIRE(found.size() == 16);
    CHECK(std::equal(found.begin(), found.end(), in.begin()));
  }
}

TEST_CASE("the sibling list holds the very nearest") {
  routing_table table(self, {});
  std::vector<node_id> ids;
  for (std::uint64_t i = 1; i <= 600; ++i) {
    table.proven(at(0s), peer(i), 1ms);
    ids.push_back(id_of(peer(i)));
  }
  std::sort(ids.begin(), ids.end(),
            [](const node_id& a, const node_id& b) { return nearer(self, a, b); });
  REQUIRE(table.siblings().size() == 16);
  for (std::size_t i = 0; i < 16; ++i) CHECK(table.siblings()[i].id() == ids[i]);
  // A lost sibling is replaced by the next nearest that the buckets know.
  table.failed(ids[3]);
  CHECK(table.find(ids[3])->failures == 1);
  table.failed(ids[3]);
  CHECK(table.find(ids[3]) == nullptr);
  CHECK(table.siblings().size() == 16);
  CHECK(table.siblings()[15].id() == ids[16]);
}

TEST_CASE("a full bucket waits with a newcomer until a member fails") {
  routing_table table = with_siblings();
  const auto far = far_peers(8);
  for (std::size_t i = 0; i < 4; ++i) CHECK(table.proven(at(i * 1s), far[i], 100ms));
  CHECK(table.wants(far[4], at(0s)) == routing_table::wish::welcome);
  CHECK(table.wants(far[4], at(3s)) == routing_table::wish::needed);  // most are unheard since
  CHECK_FALSE(table.proven(at(2h), far[4], 80ms));  // hardly nearer than the others
  CHECK(table.find(id_of(far[4])) == nullptr);
  table.failed(id_of(far[1]));  // one failure suffices where somebody waits
  CHECK(table.find(id_of(far[1])) == nullptr);
  CHECK(table.find(id_of(far[4])) != nullptr);
  CHECK(table.wants(far[4], at(0s)) == routing_table::wish::none);
}

TEST_CASE("a clearly nearer peer displaces the farthest that is no veteran") {
  routing_table table = with_siblings();
  const auto far = far_peers(8);
  for (std::size_t i = 0; i < 4; ++i) table.proven(at(i * 1s), far[i], (5 - i) * 20ms);
  CHECK_FALSE(table.proven(at(5s), far[4], 50ms));  // hardly nearer than 60 ms
  CHECK(table.proven(at(5s), far[5], 30ms));
  CHECK(table.find(id_of(far[2])) == nullptr);
  CHECK(table.find(id_of(far[5])) != nullptr);
  CHECK(table.proven(at(6s), far[6], 10ms));
  CHECK(table.find(id_of(far[0])) != nullptr);  // 100 ms away, and known for longest
  CHECK(table.find(id_of(far[1])) != nullptr);
}

TEST_CASE("who is in doubt comes up to be checked, siblings first") {
  routing_table table = with_siblings();  // at 0 s
  const auto far = far_peers(6);
  for (std::size_t i = 0; i < 4; ++i) table.proven(at((i + 1) * 10s), far[i], 20ms);
  CHECK_FALSE(table.most_doubtful(at(0s)));
  const auto sibling = table.most_doubtful(at(1s));
  REQUIRE(sibling);
  CHECK(common_prefix(self, id_of(*sibling)) >= 3);
  for (const peer_entry& e : std::vector<peer_entry>(table.siblings())) {
    table.proven(at(50s), e.peer, 1ms);
  }
  // Of the others the one heard last: it is the likeliest to live.
  CHECK(*table.most_doubtful(at(45s)) == far[3]);
  CHECK(*table.most_doubtful(at(35s)) == far[2]);
  table.failed(id_of(far[2]));
  CHECK(table.closest(self, 99, include::healthy, at(15s)).size() == 6);
}

TEST_CASE("the bucket that needs members most comes up to be refreshed") {
  routing_table table = with_siblings();
  const std::size_t depth = table.depth();
  REQUIRE(depth >= 4);
  random_generator random(5);
  std::set<std::size_t> needy;
  for (std::size_t i = 0; i < depth; ++i) {
    const auto b = table.neediest_bucket(at(0s), at(100s));
    REQUIRE(b);
    needy.insert(*b);
    table.refreshed(at(100s), table.random_id_in(*b, random));
  }
  CHECK(needy.size() == depth);
  CHECK_FALSE(table.neediest_bucket(at(0s), at(100s)));
  for (const contact& c : far_peers(4)) table.proven(at(100s), c, 20ms);
  CHECK(*table.neediest_bucket(at(0s), at(200s)) != 0);
  CHECK(*table.neediest_bucket(at(150s), at(200s)) == 0);
}

TEST_CASE("peers that fail are not recommended but still tried") {
  routing_table table(self, few());
  table.proven(at(0s), peer(1), 1ms);
  table.proven(at(0s), peer(2), 1ms);
  table.failed(id_of(peer(1)));
  CHECK(table.closest(self, 9, include::all).size() == 2);
  CHECK(table.closest(self, 9, include::healthy).size() == 1);
  table.proven(at(1s), peer(1), std::nullopt);
  CHECK(table.closest(self, 9, include::healthy).size() == 2);
}

TEST_CASE("one public network cannot fill the table, a private one can") {
  routing_options options;
  routing_table table(self, options);
  routing_table local(self, options);
  for (std::uint64_t i = 1; i <= 300; ++i) {
    contact c = peer(i);
    c.where = address::v4(203, 0, 113, static_cast<std::uint8_t>(i % 250), 4000);
    table.proven(at(0s), c, 1ms);
    c.where = address::v4(10, 0, 0, static_cast<std::uint8_t>(i % 250), 4000);
    local.proven(at(0s), c, 1ms);
  }
  CHECK(table.size() <= options.per_network_max);
  CHECK(table.siblings().size() <= options.per_network_siblings_max);
  CHECK(local.size() > 80);
  for (std::uint64_t i = 301; i <= 500; ++i) table.proven(at(0s), peer(i), 1ms);
  CHECK(table.size() > 80);
}

TEST_CASE("a peer that moved is known at its new address only") {
  routing_table table(self, few());
  contact c = peer(1);
  CHECK(table.proven(at(0s), c, 5ms));
  c.where = address::v4(99, 1, 1, 1, 77);
  CHECK_FALSE(table.proven(at(9s), c, 5ms));
  REQUIRE(table.find(id_of(c)) != nullptr);
  CHECK(table.find(id_of(c))->peer.where == c.where);
  CHECK(table.find(id_of(c))->since == at(0s));
  CHECK(table.size() == 1);
}

TEST_CASE("the last of several paths starts from all parts of the table, where liars fill one of them") {
  // The region of the target is full of peers who came together.
  routing_options options;
  options.full_view_max = 0;
  routing_table table(self, options);
  const node_id target = id_of(far_peers(1).front());
  for (const contact& c : far_peers(40)) table.proven(at(0s), c, 1ms);
  for (std::uint64_t i = 1000; i < 1400; ++i) {
    if (common_prefix(self, id_of(peer(i))) > 0) table.proven(at(1s), peer(i), 1ms);
  }
  REQUIRE(table.size() > 48);
  random_generator random(11);
  INFO("seed 11");
  constexpr std::size_t paths = 3, count = 48;
  const auto starts = table.starts(target, count, paths, random);
  REQUIRE(starts.size() == count);
  std::set<contact> all(starts.begin(), starts.end());
  CHECK(all.size() == count);
  const auto nearest = table.closest(target, count - count / paths, include::all);
  std::map<std::size_t, std::size_t> parts;  // of the last path, by common bits with us
  for (std::size_t i = 0; i < count; ++i) {
    const bool last = i % paths == paths - 1;
    CHECK((std::find(nearest.begin(), nearest.end(), starts[i]) != nearest.end()) == !last);
    if (last) ++parts[std::min<std::size_t>(common_prefix(self, id_of(starts[i])), 4)];
  }
  CHECK(parts[0] == 0);  // the liars are the nearest, and all on the other paths
  CHECK(parts.size() >= 4);
  CHECK(starts != table.starts(target, count, paths, random));
}

TEST_CASE("one path starts from the nearest, and all paths from everybody when there are few") {
  routing_table table(self, few());
  random_generator random(12);
  INFO("seed 12");
  CHECK(table.starts(self, 48, 3, random).empty());
  for (std::uint64_t i = 1; i <= 100; ++i) table.proven(at(0s), peer(i), 1ms);
  const node_id target = id_of(peer(7));
  CHECK(table.starts(target, 4, 1, random) == table.closest(target, 4, include::all));
  CHECK(table.starts(target, 48, 3, random) == table.closest(target, 48, include::all));
}

TEST_CASE("the quietest peer and the stalest bucket come up for upkeep") {
  routing_table table(self, {});
  for (std::uint64_t i = 1; i <= 200; ++i) table.proven(at(i * 1s), peer(i), 1ms);
  const auto quiet = table.quietest(at(100s));
  REQUIRE(quiet);
  CHECK(*quiet == peer(1));
  table.proven(at(300s), peer(1), 1ms);
  CHECK(*table.quietest(at(100s)) != peer(1));
  CHECK_FALSE(table.quietest(at(0s)));

  random_generator random(3);
  for (std::size_t b = 0; b < 20; ++b) {
    CHECK(common_prefix(self, table.random_id_in(b, random)) == b);
  }
  std::set<std::size_t> refreshed;
  for (int i = 1; i <= 4; ++i) {
    const std::size_t b = table.stalest_bucket();
    refreshed.insert(b);
    table.refreshed(at(i * 1000s), table.random_id_in(b, random));
  }
  CHECK(refreshed.size() == 4);
}

TEST_CASE("we are never our own peer") {
  routing_table table(self, {});
  CHECK_FALSE(table.proven(at(0s), peer(0), 1ms));
  CHECK(table.wants(peer(0), at(0s)) == routing_table::wish::none);
  CHECK(table.size() == 0);
  table.failed(self);
  table.refreshed(at(1s), self);
  CHECK(table.closest(self, 16, include::all).empty());
}

TEST_CASE("a lifetime estimate follows what is observed, both ways") {
  lifetime_estimate estimate;
  random_generator random(8);
  INFO("seed 8");
  const auto live = [&](std::uint64_t seconds, int checks) {
    for (int i = 0; i < checks; ++i) {
      const duration unheard = estimate.trust();
      const double dead = to_seconds(unheard) / (to_seconds(unheard) + static_cast<double>(seconds));
      if (random.chance(dead)) estimate.died(unheard);
      else estimate.survived(unheard);
    }
  };
  live(120, 200);
  CHECK(estimate.mean() > 60s);
  CHECK(estimate.mean() < 240s);
  live(10'000, 400);
  CHECK(estimate.mean() > 5000s);
  CHECK(estimate.mean() < 20'000s);
  live(120, 60);
  CHECK(estimate.mean() < 1000s);
  for (int i = 0; i < 10'000; ++i) estimate.survived(1h);
  CHECK(estimate.mean() <= lifetime_estimate::mean_max);
  for (int i = 0; i < 10'000; ++i) estimate.died(0s);
  CHECK(estimate.mean() == lifetime_estimate::mean_min);
}
