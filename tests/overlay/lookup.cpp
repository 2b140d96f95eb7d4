#include "overlay/swarm.hpp"
#include "support/test.hpp"

#include <algorithm>
#include <set>

using namespace p2pdvm;
using namespace p2pdvm::overlay;
using namespace p2pdvm::overlay::test;

namespace {

/// A static world of peers, each of which knows a few, and answers at once.
struct world {
  explicit world(std::size_t count, std::uint64_t seed) : random(seed) {
    for (std::size_t i = 0; i < count; ++i) {
      peers.push_back({make_identity(i).key(), make_address(i)});
      ids.push_back(crypto::node_id_of(peers.back().key));
    }
  }
  std::vector<contact> nearest(const node_id& target, std::size_t count,
                               const std::vector<std::size_t>& among) {
    std::vector<std::size_t> order = among;
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return nearer(target, ids[a], ids[b]);
    });
    std::vector<contact> out;
    for (std::size_t i = 0; i < std::min(count, order.size()); ++i) out.push_back(peers[order[i]]);
    return out;
  }
  std::vector<std::size_t> everybody() const {
    std::vector<std::size_t> all;
    for (std::size_t i = 0; i < peers.size(); ++i) all.push_back(i);
    return all;
  }
  std::vector<contact> peers;
  std::vector<node_id> ids;
  random_generator random;
};

const node_id self = crypto::node_id_of(make_identity(999'999).key());

}  // namespace

TEST_CASE("a lookup walks to the nearest peers and ends there") {
  world w(200, 1);
  const node_id target = random_id(w.random);
  iterative_lookup search(self, target, {}, {w.peers[0], w.peers[1], w.peers[2]});
  std::set<public_key> asked;
  std::size_t most = 0;
  for (auto named = search.next(); !named.empty(); named = search.next()) {
    most = std::max(most, named.size());
    for (const contact& c : named) {
      CHECK(asked.insert(c.key).second);
      std::vector<std::size_t> some;
      for (int i = 0; i < 40; ++i) some.push_back(w.random.below(200));
      std::sort(some.begin(), some.end());
      some.erase(std::unique(some.begin(), some.end()), some.end());
      search.replied(crypto::node_id_of(c.key), w.nearest(target, 16, some));
    }
  }
  CHECK(search.done());
  CHECK(most <= 3);
  CHECK(search.queries() == asked.size());
  CHECK(search.hops() >= 2);
  const auto found = search.closest();
  REQUIRE(found.size() == 16);
  const auto truth = w.nearest(target, 16, w.everybody());
  CHECK(found[0] == truth[0]);
}

TEST_CASE("a lookup asks somebody else while an answer is overdue, and still takes it") {
  world w(20, 2);
  iterative_lookup search(self, w.ids[7], {}, w.peers);
  const auto first = search.next();
  REQUIRE(first.size() == 3);
  CHECK(search.next().empty());
  search.slow(crypto::node_id_of(first[0].key));
  CHECK(search.next().size() == 1);
  search.replied(crypto::node_id_of(first[0].key), {});
  CHECK(search.closest().size() == 1);
  CHECK_FALSE(search.done());
}

TEST_CASE("a lookup goes around peers that fail and gives up when none is left") {
  world w(20, 3);
  iterative_lookup search(self, w.ids[7], {}, w.peers);
  for (auto named = search.next(); !named.empty(); named = search.next()) {
    for (const contact& c : named) search.failed(crypto::node_id_of(c.key));
  }
  CHECK(search.done());
  CHECK(search.queries() == 20);
  CHECK(search.closest().empty());
  CHECK(search.hops() == 0);
}

TEST_CASE("a value ends a lookup at once and tells how far it was") {
  world w(60, 4);
  iterative_lookup search(self, w.ids[7], {}, {w.peers[0]});
  REQUIRE(search.next().size() == 1);
  search.replied(w.ids[0], {w.peers[1], w.peers[2]});
  REQUIRE(search.next().size() == 2);
  search.replied(w.ids[1], {w.peers[3]});
  REQUIRE(search.next().size() == 1);
  search.found(w.ids[3]);
  CHECK(search.done());
  CHECK(search.next().empty());
  CHECK(search.hops() == 3);
}

TEST_CASE("answers of peers that were not asked change nothing") {
  world w(60, 5);
  iterative_lookup search(self, w.ids[7], {}, {w.peers[0]});
  search.replied(w.ids[0], {w.peers[1]});
  search.replied(w.ids[9], {w.peers[2]});
  const auto named = search.next();
  REQUIRE(named.size() == 1);
  CHECK(named[0] == w.peers[0]);
}

TEST_CASE("lying peers can make a lookup neither endless nor large") {
  world w(40, 6);
  iterative_lookup search(self, w.ids[7], {}, {w.peers[0]});
  std::uint64_t invented = 100'000;
  std::size_t rounds = 0;
  for (auto named = search.next(); !named.empty(); named = search.next()) {
    for (const contact& c : named) {
      std::vector<contact> told;
      for (int i = 0; i < 16; ++i, ++invented) {
        contact liar;
        const digest256 key = crypto::hash(bytes_of(invented));
        liar.key = public_key(key.bytes());
        liar.where = make_address(invented % 100'000);
        told.push_back(liar);
      }
      search.replied(crypto::node_id_of(c.key), told);
    }
    REQUIRE(++rounds < 1000);
  }
  CHECK(search.done());
  CHECK(search.queries() <= lookup_queries_max);
}

TEST_CASE("one network offers only so many candidates") {
  world w(60, 7);
  for (std::size_t i = 0; i < 60; ++i) {
    w.peers[i].where = address::v4(198, 51, 100, static_cast<std::uint8_t>(i + 1), 4000);
  }
  lookup_options options;
  options.width = 60;
  iterative_lookup search(self, w.ids[7], options, w.peers);
  std::size_t asked = 0;
  for (auto named = search.next(); !named.empty(); named = search.next()) {
    for (const contact& c : named) search.replied(crypto::node_id_of(c.key), {});
    asked += named.size();
  }
  CHECK(asked == lookup_per_network_max);
}

TEST_CASE("disjoint paths share no peer, so a liar spoils only its own") {
  world w(120, 8);
  const node_id target = random_id(w.random);
  lookup_options options;
  options.paths = 2;
  iterative_lookup search(self, target, options, {w.peers[0], w.peers[1]});
  // Peer 0 lies: it and its friends know only each other. Peer 1 is honest.
  const std::set<node_id> friends = {w.ids[0], w.ids[2], w.ids[3]};
  std::vector<std::size_t> honest;
  for (std::size_t i = 0; i < 120; ++i) {
    if (!friends.contains(w.ids[i])) honest.push_back(i);
  }
  for (auto named = search.next(); !named.empty(); named = search.next()) {
    for (const contact& c : named) {
      const node_id id = crypto::node_id_of(c.key);
      if (friends.contains(id)) {
        search.replied(id, {w.peers[2], w.peers[3]});
      } else {
        search.replied(id, w.nearest(target, 16, honest));
      }
    }
  }
  const auto truth = w.nearest(target, 8, honest);
  const auto found = search.closest();
  for (const contact& c : truth) CHECK(std::find(found.begin(), found.end(), c) != found.end());
}
