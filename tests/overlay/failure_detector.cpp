#include "overlay/group.hpp"
#include "support/test.hpp"

#include <p2pdvm/wire/codec.hpp>

#include <set>

using namespace p2pdvm;
using namespace p2pdvm::overlay;
using namespace p2pdvm::overlay::test;

namespace {

group::settings lan(std::size_t members, std::uint64_t seed, double loss = 0) {
  group::settings s;
  s.members = members;
  s.seed = seed;
  s.loss = loss;
  return s;
}

group::settings wan(std::size_t members, std::uint64_t seed, double loss = 0) {
  group::settings s = lan(members, seed, loss);
  s.options = detector_options::wan();
  s.latency_min = 20ms;
  s.latency_max = 150ms;
  return s;
}

/// Kills member 0 after a while; the time until all others agreed, and nothing else happened.
duration time_to_agree(const group::settings& s, bool hinted) {
  group g(s);
  g.run_for(5s + std::chrono::milliseconds(37 * s.seed));
  REQUIRE(g.agreements == 0);
  g.kill(0);
  const time_point death = g.now();
  if (hinted) g.hint(1, 0);
  g.run_for(15s);
  const auto took = g.agreed_by_all(0, death);
  REQUIRE(took.has_value());
  CHECK(g.agreements == s.members - 1);
  for (std::size_t i = 1; i < s.members; ++i) {
    CHECK(g.at(i).observer_count >= std::min<std::size_t>(3, s.members - 1));
  }
  return *took;
}

detector_message claim_message(const node_id& node, const node_id& observer,
                               std::uint64_t incarnation,
                               detector_claim::kind kind = detector_claim::kind::suspect) {
  detector_message m;
  m.what = detector_message::kind::gossip;
  detector_claim c;
  c.what = kind;
  c.node = detector_name_of(node);
  if (kind == detector_claim::kind::suspect) c.observers.push_back(detector_name_of(observer));
  c.incarnation = incarnation;
  m.claims.push_back(c);
  return m;
}

}  // namespace

TEST_CASE("a dead member is agreed dead by all in time, with and without loss") {
  for (const std::size_t members : {2, 3, 5, 32, 64}) {
    for (const double loss : {0.0, 0.05}) {
      for (std::uint64_t seed = 1; seed <= 4; ++seed) {
        CHECK(time_to_agree(lan(members, seed, loss), false) < 3s);
        CHECK(time_to_agree(wan(members, seed, loss), false) < 8s);
      }
    }
  }
}

TEST_CASE("a death is agreed in time in a large group, too") {
  CHECK(time_to_agree(lan(256, 1), false) < 3s);
  CHECK(time_to_agree(wan(256, 1, 0.05), false) < 8s);
}

TEST_CASE("a refused connection shortens the agreement to about a second") {
  for (const std::size_t members : {2, 3, 5, 32, 64}) {
    for (const double loss : {0.0, 0.05}) {
      for (std::uint64_t seed = 1; seed <= 4; ++seed) {
        CHECK(time_to_agree(lan(members, seed, loss), true) < 1s);
        CHECK(time_to_agree(wan(members, seed, loss), true) < 2s);
      }
    }
  }
}

TEST_CASE("a wrong hint does no harm") {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    group g(lan(5, seed, 0.05));
    g.run_for(2s);
    for (int i = 0; i < 20; ++i) {
      g.hint(1 + i % 4, 0);
      g.run_for(300ms);
    }
    g.run_for(5s);
    CHECK(g.agreements == 0);
  }
}

TEST_CASE("a stall of one second evicts nobody, in any preset") {
  for (const detector_options& options :
       {detector_options::lan(), detector_options::wan(), detector_options::local()}) {
    for (const std::size_t members : {2, 3, 5, 32}) {
      for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        group::settings s = lan(members, seed, 0.02);
        s.options = options;
        group g(s);
        random_generator random(seed);
        g.run_for(2s);
        for (int i = 0; i < 10; ++i) {
          g.stall(random.below(members), 1s);
          g.run_for(1s + std::chrono::milliseconds(random.below(2500)));
        }
        CHECK(g.agreements == 0);
      }
    }
  }
}

TEST_CASE("a member that stalled for seconds does not take the others for dead") {
  for (const std::size_t members : {2, 3, 5, 32}) {
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
      group g(lan(members, seed, seed % 2 == 0 ? 0.05 : 0.0));
      g.run_for(3s);
      g.stall(0, 4s);
      g.run_for(3900ms);
      CHECK(g.agreed_by_all(0, time_point()).has_value());  // it did look dead
      g.run_for(10s);
      CHECK(g.at(0).agreed.empty());
      CHECK(g.at(0).detector.statistics().stalls > 0);
      for (std::size_t i = 1; i < members; ++i) {
        // Nobody suspects anybody any more, and nobody but the staller ever looked dead.
        CHECK(g.at(i).agreed.empty());
        CHECK_FALSE(g.at(i).detector.is_suspected(g.id(0)));
        CHECK(g.at(i).refutations[0] > 0);
      }
      CHECK(g.agreements == members - 1);
    }
  }
}

TEST_CASE("five percent loss leads to no false agreement in long runs", "[heavy]") {
  for (const std::size_t members : {2, 5, 32}) {
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
      group g(lan(members, seed, 0.05));
      g.run_for(members == 32 ? 120s : 1800s);
      CHECK(g.agreements == 0);
    }
  }
}

TEST_CASE("several members that die together are all agreed dead") {
  group g(lan(16, 3, 0.02));
  g.run_for(3s);
  for (std::size_t i = 0; i < 7; ++i) g.kill(i);
  const time_point death = g.now();
  g.run_for(8s);
  for (std::size_t i = 0; i < 7; ++i) {
    const auto took = g.agreed_by_all(i, death);
    REQUIRE(took);
    CHECK(*took < 5s);
  }
  CHECK(g.agreements == 9 * 7);
}

TEST_CASE("observers that die themselves make room for living ones") {
  group g(lan(16, 13));
  g.run_for(2s);
  detector_message m = claim_message(g.id(0), g.id(1), 0);
  m.claims[0].observers.clear();
  for (std::size_t i = 1; i <= detector_observers_max; ++i) {
    m.claims[0].observers.push_back(detector_name_of(g.id(i)));
    g.kill(i);
  }
  g.kill(0);
  const time_point death = g.now();
  for (std::size_t i = 8; i < 16; ++i) g.inject(i, g.id(7), wire::encode(m));
  g.run_for(10s);
  const auto took = g.agreed_by_all(0, death);
  REQUIRE(took.has_value());
  CHECK(*took < 6s);
}

TEST_CASE("members that stall one after another cost the others few datagrams") {
  group g(wan(64, 14));
  random_generator random(14);
  g.run_for(5s);
  const std::uint64_t before = g.datagrams;
  for (int i = 0; i < 60; ++i) {
    g.stall(random.below(20), 5s);
    g.run_for(500ms);
  }
  // Quick rounds alone would be 30 per second and member.
  CHECK(static_cast<double>(g.datagrams - before) / 64 / 30 < 22);
  for (std::size_t i = 20; i < 64; ++i) CHECK_FALSE(g.agreed_by_all(i, time_point()).has_value());
  g.run_for(15s);
  for (std::size_t i = 0; i < 64; ++i) {
    for (std::size_t k = 0; k < 64; ++k) CHECK_FALSE(g.at(i).detector.is_suspected(g.id(k)));
  }
}

TEST_CASE("evicting from inside the event is safe, and the rest goes on") {
  group g(lan(6, 4));
  for (std::size_t i = 0; i < 6; ++i) g.at(i).evict_at_once = true;
  g.run_for(2s);
  g.kill(0);
  g.run_for(5s);
  g.kill(1);
  g.run_for(6s);
  for (std::size_t i = 2; i < 6; ++i) {
    CHECK(g.at(i).agreed.contains(0));
    CHECK(g.at(i).agreed.contains(1));
    CHECK(g.at(i).agreed.size() == 2);
  }
}

TEST_CASE("a suspected member refutes with a higher incarnation and everybody learns it") {
  group g(lan(8, 5));
  g.run_for(2s);
  const byte_vector lie = wire::encode(claim_message(g.id(0), g.id(2), 0));
  for (std::size_t i = 3; i < 8; ++i) g.inject(i, g.id(2), lie);
  for (std::size_t i = 3; i < 8; ++i) CHECK(g.at(i).detector.is_suspected(g.id(0)));
  g.run_for(3s);
  CHECK(g.at(0).detector.incarnation() == 1);
  CHECK(g.at(0).detector.statistics().refutations == 1);
  for (std::size_t i = 1; i < 8; ++i) {
    CHECK_FALSE(g.at(i).detector.is_suspected(g.id(0)));
  }
  CHECK(g.agreements == 0);
  // The old claim is stale now.
  g.inject(4, g.id(2), lie);
  CHECK_FALSE(g.at(4).detector.is_suspected(g.id(0)));
}

TEST_CASE("one observer alone does not make a death while others see the member alive") {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    group g(lan(5, seed));
    g.run_for(2s);
    // Member 2 keeps saying that 0 is dead, whatever incarnation 0 shows.
    for (int i = 0; i < 60; ++i) {
      const std::uint64_t incarnation = g.at(0).detector.incarnation();
      for (std::size_t to : {1, 3, 4}) {
        g.inject(to, g.id(2), wire::encode(claim_message(g.id(0), g.id(2), incarnation)));
      }
      g.run_for(100ms);
    }
    CHECK(g.agreements == 0);
  }
}

TEST_CASE("words about strangers, by strangers, or with absurd incarnations change nothing") {
  group g(lan(4, 6));
  g.run_for(1s);
  const node_id stranger(crypto::hash(as_bytes("stranger")).bytes());
  const std::uint64_t absurd = std::uint64_t{1} << 60;
  g.inject(1, stranger, wire::encode(claim_message(g.id(0), g.id(2), 0)));
  g.inject(1, g.id(2), wire::encode(claim_message(stranger, g.id(2), 0)));
  g.inject(1, g.id(2), wire::encode(claim_message(g.id(0), stranger, 0)));
  g.inject(1, g.id(2), wire::encode(claim_message(g.id(0), g.id(0), 0)));
  g.inject(1, g.id(2), wire::encode(claim_message(g.id(0), g.id(1), 0)));
  g.inject(1, g.id(2), wire::encode(claim_message(g.id(0), g.id(2), absurd)));
  g.inject(1, g.id(2), wire::encode(claim_message(g.id(1), g.id(2), absurd)));
  g.inject(1, g.id(2),
           wire::encode(claim_message(g.id(0), {}, absurd, detector_claim::kind::alive)));
  CHECK_FALSE(g.at(1).detector.is_suspected(g.id(0)));
  CHECK(g.at(1).detector.incarnation() == 0);
  CHECK(g.at(1).detector.statistics().strangers == 1);
  g.kill(0);
  g.run_for(4s);
  CHECK(g.agreed_by_all(0, time_point()).has_value());
}

TEST_CASE("malformed detector messages are counted and do nothing") {
  group g(lan(4, 7));
  g.run_for(1s);
  detector_message m = claim_message(g.id(3), g.id(2), 0);
  m.target = detector_name_of(g.id(3));
  const byte_vector good = wire::encode(m);
  for (std::size_t n = 0; n < good.size(); ++n) {
    g.inject(1, g.id(2), byte_view(good).first(n));
  }
  CHECK(g.at(1).detector.statistics().malformed == good.size());
  random_generator random(8);
  for (int i = 0; i < 20'000; ++i) {
    byte_vector bytes = good;
    if (i % 2 == 0) bytes.resize(random.below(200));
    for (std::uint64_t k = 1 + random.below(5); k-- > 0 && !bytes.empty();) {
      const std::size_t at = random.below(bytes.size());
      bytes[at] = static_cast<std::byte>(random.below(256));
    }
    g.inject(1, g.id(2), bytes);
  }
  m.claims.resize(detector_claims_max + 2, m.claims[0]);
  const std::uint64_t before = g.at(1).detector.statistics().malformed;
  g.inject(1, g.id(2), wire::encode(m));
  detector_message no_target;
  no_target.what = detector_message::kind::ping_request;
  g.inject(1, g.id(2), wire::encode(no_target));
  CHECK(g.at(1).detector.statistics().malformed == before + 2);
  g.run_for(10s);
  CHECK(g.agreements == 0);
}

TEST_CASE("members that are probed say where they are, and nobody believes the impossible") {
  group g(lan(4, 12));
  for (std::size_t i = 1; i < 3; ++i) {
    coordinate c;
    c.position[0] = static_cast<float>(i) * 0.01f;
    g.at(i).own_place = pack(c);
  }
  packed_coordinate absurd;
  absurd.exponent = 77;
  g.at(3).own_place = absurd;
  g.run_for(10s);
  const failure_detector& own = g.at(0).detector;
  for (std::size_t i = 1; i < 3; ++i) {
    CHECK(own.place_of(g.id(i)) == g.at(i).own_place);
    REQUIRE(own.round_trip_to(g.id(i)));
    CHECK(*own.round_trip_to(g.id(i)) <= 2ms);
  }
  CHECK_FALSE(own.place_of(g.id(3)));
  CHECK(own.round_trip_to(g.id(3)));
  CHECK(own.statistics().malformed > 0);
  CHECK(g.at(0).samples.size() > 10);
  for (const auto& s : g.at(0).samples) {
    CHECK(s.from != 3);
    CHECK(s.where == *g.at(s.from).own_place);
    CHECK(s.took > duration::zero());
    CHECK(s.took <= 2ms);
  }
  CHECK_FALSE(own.place_of(g.id(0)));
  CHECK_FALSE(own.round_trip_to(g.id(0)));
}

TEST_CASE("a member that is farther away than the first time-out is measured, and not asked again and again") {
  group::settings s = wan(4, 3);
  s.latency_min = s.latency_max = 350ms;
  REQUIRE(2 * s.latency_min > s.options.probe_timeout);
  group g(s);
  g.run_for(60s);
  CHECK(g.agreements == 0);
  for (std::size_t i = 1; i < 4; ++i) {
    REQUIRE(g.at(0).detector.round_trip_to(g.id(i)));
    CHECK(*g.at(0).detector.round_trip_to(g.id(i)) == 2 * s.latency_min);
  }
}

TEST_CASE("an answer that others passed on measures nothing") {
  group g(lan(2, 12));
  failure_detector& own = g.at(0).detector;
  std::uint32_t asked = 0;
  g.kill(1);
  g.on_datagram = [&](std::size_t from, byte_view datagram) {
    const auto m = wire::decode<detector_message>(datagram);
    if (from == 0 && m.ok() && m->what == detector_message::kind::ping && asked == 0) asked = m->sequence;
  };
  while (asked == 0) g.run_for(1ms);
  detector_message answer;
  answer.what = detector_message::kind::ack;
  answer.sequence = asked;
  own.on_message(g.now(), g.id(1), wire::encode(answer), true);
  CHECK_FALSE(own.round_trip_to(g.id(1)));
}

TEST_CASE("answers that an earlier process of ours got do not answer the next one") {
  struct probing final : detector_owner {
    explicit probing(std::uint64_t seed) : self(me, {}, random_generator(seed), *this) {
      self.set_members(time_point(), {me, other});
      while (probes.size() < 5) self.on_timer(self.next_timer());
    }
    void send(const node_id&, byte_view bytes) override {
      const auto m = wire::decode<detector_message>(bytes);
      REQUIRE(m.ok());
      if (m->what == detector_message::kind::ping && m->sequence != 0) probes.insert(m->sequence);
    }
    void suspected(const node_id&, const std::vector<node_id>&) override {}
    void refuted(const node_id&) override {}
    void agreed_dead(const node_id&, const std::vector<node_id>&) override {}
    node_id me{crypto::hash(as_bytes("me")).bytes()};
    node_id other{crypto::hash(as_bytes("other")).bytes()};
    std::set<std::uint32_t> probes;
    failure_detector self;
  };
  const probing before(1), after(2);
  for (const std::uint32_t sequence : before.probes) CHECK_FALSE(after.probes.contains(sequence));
}

TEST_CASE("a message on its session clears a suspicion of our own") {
  group g(lan(2, 9));
  g.run_for(1s);
  g.kill(0);
  g.run_for(1s);
  REQUIRE(g.at(1).detector.is_suspected(g.id(0)));
  g.at(1).detector.heard_from(g.now(), g.id(0));
  CHECK_FALSE(g.at(1).detector.is_suspected(g.id(0)));
  CHECK(g.at(1).refutations[0] == 1);
}

TEST_CASE("health falls with a stall and recovers with answers") {
  group g(lan(5, 10));
  g.run_for(2s);
  CHECK(g.at(0).detector.local_health() == 0);
  g.stall(0, 1s);
  g.run_for(1001ms);
  CHECK(g.at(0).detector.local_health() > 0);
  g.run_for(5s);
  CHECK(g.at(0).detector.local_health() == 0);
}

TEST_CASE("a lone member waits for nothing, and members can come and go") {
  group g(lan(3, 11));
  g.run_for(1s);
  failure_detector& d = g.at(0).detector;
  d.set_members(g.now(), {});
  CHECK(d.next_timer() == time_point_never);
  d.set_members(g.now(), {g.id(0)});
  CHECK(d.next_timer() == time_point_never);
  d.set_members(g.now(), {g.id(0), g.id(1), g.id(1)});
  CHECK(d.next_timer() < g.now() + 1s);
}

TEST_CASE("who asks about a member that has gone for others gives itself away") {
  group g(lan(5, 12));
  g.run_for(2s);
  g.kill(4);
  for (const std::size_t i : {0u, 1u, 2u}) g.at(i).detector.set_members(g.now(), g.all_but(g.id(4)));
  g.run_for(3s);
  // Member 3 was not told that 4 left: it probes it, and asks the others to do so.
  for (const std::size_t i : {0u, 1u, 2u}) {
    CHECK(g.at(i).strangers == std::set{std::pair(std::size_t{3}, detector_name_of(g.id(4)))});
    CHECK(g.at(i).agreed.empty());
  }
  CHECK(g.at(3).strangers.empty());
  CHECK(g.at(3).agreed.empty());
}

TEST_CASE("a group in health costs each member few bytes") {
  group g(lan(32, 12));
  g.run_for(10s);
  const std::uint64_t before = g.bytes;
  g.run_for(60s);
  const double rate = static_cast<double>(g.bytes - before) / 32 / 60;
  CHECK(rate < 250);  // bytes per second and member, without the seal
}
