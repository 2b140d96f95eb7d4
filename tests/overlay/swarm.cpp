#include "overlay/swarm.hpp"
#include "support/test.hpp"

#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <map>

using namespace p2pdvm;
using namespace p2pdvm::overlay;
using namespace p2pdvm::overlay::test;

namespace {

record publish_at(swarm& s, std::size_t i, const node_id& target, std::uint64_t sequence,
                  unix_seconds lifetime, std::size_t& copies) {
  record r = make_record(s.at(i).who, target, sequence, s.wall() + lifetime,
                         to_vector(as_bytes("a value of some length")));
  s.node_at(i).publish(s.now(), r, [&copies](const result<std::size_t>& c) {
    if (c.ok()) copies = *c;
  });
  s.arm(i);
  return r;
}

struct outcome {
  bool done = false;
  bool found = false;
  unsigned hops = 0;
};

/// Searches from peer `i`, waiting for the end.
outcome find_from(swarm& s, std::size_t i, const record& wanted) {
  outcome out;
  s.node_at(i).find(s.now(), wanted.target, wanted.publisher, [&](const result<found_record>& r) {
    out.done = true;
    out.found = r.ok() && r->what == wanted;
    if (r.ok()) out.hops = r->hops;
  });
  s.arm(i);
  s.run_until([&] { return out.done; }, 60s);
  return out;
}

/// How many of the truly nearest 8 living peers each living peer has among its siblings, 0 … 1.
double sibling_quality(swarm& s) {
  std::size_t right = 0;
  std::size_t all = 0;
  for (std::size_t i = 0; i < s.size(); ++i) {
    if (!s.at(i).alive) continue;
    const node_id self = s.node_at(i).id();
    std::vector<node_id> others;
    for (std::size_t j = 0; j < s.size(); ++j) {
      if (j != i && s.at(j).alive) others.push_back(s.node_at(j).id());
    }
    std::partial_sort(others.begin(), others.begin() + 8, others.end(),
                      [&](const node_id& a, const node_id& b) { return nearer(self, a, b); });
    for (std::size_t k = 0; k < 8; ++k) {
      const auto* e = s.node_at(i).table().find(others[k]);
      right += e != nullptr ? 1 : 0;
      ++all;
    }
  }
  return static_cast<double>(right) / static_cast<double>(all);
}

}  // namespace

TEST_CASE("500 peers find records after their first peer died, some in three hops or more", "[heavy]") {
  swarm s(1);
  s.build(500);
  s.run_for(5s);
  s.kill(0);
  std::vector<record> records;
  std::vector<std::size_t> copies(60, 0);
  for (std::size_t r = 0; r < copies.size(); ++r) {
    const std::size_t i = 1 + s.random().below(499);
    const node_id target = random_id(s.random());
    records.push_back(publish_at(s, i, target, 1, 3600, copies[r]));
    s.run_for(100ms);
  }
  s.run_for(20s);
  for (const std::size_t c : copies) CHECK(c >= 14);
  std::map<unsigned, int> hops;
  int found = 0;
  for (int k = 0; k < 900; ++k) {
    const std::size_t i = 1 + s.random().below(499);
    const record& wanted = records[s.random().below(records.size())];
    s.node_at(i).find(s.now(), wanted.target, wanted.publisher,
                      [&](const result<found_record>& r) {
                        if (!r.ok() || r->what != wanted) return;
                        ++found;
                        ++hops[r->hops];
                      });
    s.arm(i);
    s.run_for(10ms);
  }
  s.run_for(10s);
  CHECK(found == 900);
  int far = 0;
  for (const auto& [h, count] : hops) {
    CHECK(h <= 6);
    if (h >= 3) far += count;
  }
  CHECK(far > 0);
  CHECK(hops[2] > 100);
}

TEST_CASE("lookups of a lossy swarm with small buckets go deep and still find everything") {
  node_options options;
  options.routing.bucket_size = 4;
  options.routing.siblings = 8;
  options.lookups.width = 8;
  swarm s(2, 0.05);
  s.build(300, options);
  s.run_for(60s);
  s.kill(0);
  std::size_t copies = 0;
  const record r = publish_at(s, 7, random_id(s.random()), 1, 3600, copies);
  s.run_for(20s);
  CHECK(copies >= 6);
  int far = 0;
  for (std::size_t i = 1; i < 300; ++i) {
    const outcome out = find_from(s, i, r);
    CHECK(out.found);
    far += out.hops >= 3 ? 1 : 0;
  }
  CHECK(far >= 10);
}

TEST_CASE("one contact is enough to join, and the newcomer becomes known") {
  swarm s(3);
  s.build(80);
  s.run_for(60s);
  const std::size_t i = s.add();
  s.node_at(i).join(s.now(), {s.at(40).where});
  s.arm(i);
  s.run_for(60s);
  CHECK(s.node_at(i).table().size() >= 30);
  const node_id self = s.node_at(i).id();
  std::size_t knowing = 0;
  for (std::size_t j = 0; j < i; ++j) knowing += s.node_at(j).table().find(self) != nullptr;
  CHECK(knowing >= 16);
  std::vector<contact> found;
  s.node_at(5).lookup(s.now(), self, [&](const lookup_result& r) { found = r.nearest; });
  s.arm(5);
  s.run_for(10s);
  REQUIRE_FALSE(found.empty());
  CHECK(found[0] == s.at(i).where);
  CHECK(s.node_at(i).known_contacts(10).size() == 10);
}

TEST_CASE("a contact among dead ones is enough to join") {
  swarm s(4);
  s.build(30);
  const std::size_t i = s.add();
  s.kill(3);
  s.kill(4);
  s.node_at(i).join(s.now(), {s.at(3).where, s.at(4).where, s.at(9).where, s.at(i).where});
  s.arm(i);
  s.run_for(30s);
  CHECK(s.node_at(i).table().size() >= 20);
}

TEST_CASE("two swarms that one peer joins heal to one") {
  swarm s(5);
  s.build(60);
  const std::size_t second = s.size();
  s.build(60);
  s.run_for(5min);
  for (std::size_t i = 0; i < second; ++i) {
    REQUIRE(s.node_at(i).table().find(s.node_at(second).id()) == nullptr);
  }
  s.node_at(7).join(s.now(), {s.at(second + 20).where});
  s.arm(7);
  s.run_for(30min);
  CHECK(sibling_quality(s) > 0.97);
  std::size_t copies = 0;
  const record a = publish_at(s, 30, random_id(s.random()), 1, 36000, copies);
  const record b = publish_at(s, second + 30, random_id(s.random()), 1, 36000, copies);
  s.run_for(10s);
  for (std::size_t i = 0; i < s.size(); i += 3) {
    CHECK(find_from(s, i, a).found);
    CHECK(find_from(s, i, b).found);
  }
}

TEST_CASE("a swarm divided for an hour grows together again by itself") {
  swarm s(6);
  s.build(40);
  s.run_for(5min);
  s.passes = [](std::size_t from, std::size_t to) { return (from < 20) == (to < 20); };
  s.run_for(1h);
  for (std::size_t i = 0; i < 20; ++i) {
    for (std::size_t j = 20; j < 40; ++j) {
      CHECK(s.node_at(i).table().find(s.node_at(j).id()) == nullptr);
    }
  }
  s.passes = nullptr;
  s.run_for(1h);
  CHECK(sibling_quality(s) > 0.97);
}

TEST_CASE("a peer whose contacts all fell silent rejoins when they are back") {
  swarm s(7);
  s.build(25);
  s.run_for(2min);
  bool cut = true;
  s.passes = [&cut](std::size_t from, std::size_t to) { return !cut || (from != 5 && to != 5); };
  s.run_for(1h);
  CHECK(s.node_at(5).table().size() == 0);
  CHECK(s.node_at(5).statistics().rejoins > 5);
  CHECK(s.node_at(5).known_contacts(5).size() == 5);
  cut = false;
  s.run_for(3min);
  CHECK(s.node_at(5).table().size() >= 20);
}

TEST_CASE("records outlive their holders by replication and their publisher not at all") {
  node_options options;
  options.replicate_interval = 4min;
  swarm s(8);
  s.build(80, options);
  s.run_for(1min);
  std::size_t copies = 0;
  const record r = publish_at(s, 3, random_id(s.random()), 1, 3600, copies);
  s.run_for(10s);
  REQUIRE(copies >= 14);
  s.kill(3);
  // Every eight minutes some of the holders die, more than half of them in all.
  std::size_t killed = 0;
  for (int round = 0; round < 5; ++round) {
    std::size_t now_killed = 0;
    for (std::size_t i = 10; i < s.size() && now_killed < 3; ++i) {
      if (!s.at(i).alive || s.node_at(i).records().size() == 0) continue;
      s.kill(i);
      ++killed;
      ++now_killed;
    }
    s.run_for(8min);
  }
  CHECK(killed >= 12);
  CHECK(find_from(s, 1, r).found);
  s.run_for(30min);  // expired by now
  CHECK_FALSE(find_from(s, 1, r).found);
  for (std::size_t i = 0; i < s.size(); ++i) {
    if (s.at(i).alive) CHECK(s.node_at(i).records().size() == 0);
  }
}

TEST_CASE("a newer record replaces the older one at its holders") {
  swarm s(9);
  s.build(60);
  s.run_for(3min);
  std::size_t copies = 0;
  const node_id target = random_id(s.random());
  publish_at(s, 3, target, 1, 3600, copies);
  s.run_for(10s);
  const record newer = publish_at(s, 3, target, 2, 3600, copies);
  s.run_for(10s);
  CHECK(copies >= 14);
  for (std::size_t i = 10; i < 60; i += 7) CHECK(find_from(s, i, newer).found);
}

TEST_CASE("in a whole swarm no unproven address gets more than it sent") {
  swarm s(10, 0.02);
  // Bytes that went from one to another, as long as the way back is not proven.
  std::map<std::pair<public_key, public_key>, std::int64_t> balance;
  std::map<std::pair<public_key, public_key>, std::set<address_token>> given;
  std::set<std::pair<public_key, public_key>> proven;
  std::set<std::pair<public_key, public_key>> asked;
  std::size_t violations = 0;
  s.tap = [&](const contact& from, const contact& to, byte_view bytes) {
    const auto kind = static_cast<message_kind>(bytes[1]);
    const bool reply = kind >= message_kind::pong;
    balance[{to.key, from.key}] += static_cast<std::int64_t>(bytes.size());
    const auto m = wire::decode<message>(bytes);
    REQUIRE(m.ok());
    if (!reply) {
      asked.insert({from.key, to.key});
      if (given[{to.key, from.key}].contains(m->token)) proven.insert({to.key, from.key});
      return;
    }
    given[{from.key, to.key}].insert(m->token);
    if (proven.contains({from.key, to.key})) return;
    // What the replier owes: never more than came from there, unless it asked that one itself.
    std::int64_t& received = balance[{from.key, to.key}];
    received -= static_cast<std::int64_t>(bytes.size());
    if (received < 0 && !asked.contains({from.key, to.key})) ++violations;
  };
  s.build(60);
  s.run_for(1min);
  CHECK(violations == 0);
  CHECK(asked.size() > 500);
  CHECK(proven.size() > 100);
}

TEST_CASE("the same seed gives the same swarm, event by event") {
  const auto run = [](std::uint64_t seed) {
    swarm s(seed, 0.03);
    crypto::hasher digest;
    s.tap = [&](const contact&, const contact& to, byte_view bytes) {
      digest.add(to.key.bytes()).add(bytes);
    };
    s.build(30);
    s.run_for(60s);
    return digest.finish();
  };
  const digest256 first = run(11);
  CHECK(run(11) == first);
  CHECK(run(12) != first);
}

TEST_CASE("a quiet swarm costs little") {
  swarm s(13);
  s.build(100);
  s.run_for(30min);
  std::uint64_t before = 0;
  for (std::size_t i = 0; i < 100; ++i) before += s.node_at(i).statistics().bytes_out;
  s.run_for(30min);
  std::uint64_t after = 0;
  for (std::size_t i = 0; i < 100; ++i) after += s.node_at(i).statistics().bytes_out;
  const double rate = static_cast<double>(after - before) / 100 / 1800;
  CHECK(rate < 150);  // bytes per second and peer
}
