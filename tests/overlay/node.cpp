#include "overlay/swarm.hpp"
#include "support/test.hpp"

#include <p2pdvm/wire/codec.hpp>

#include <algorithm>

using namespace p2pdvm;
using namespace p2pdvm::overlay;
using namespace p2pdvm::overlay::test;

namespace {

/// One node whose datagrams the test reads and answers by hand.
struct bench final : overlay_transport {
  explicit bench(const node_options& options = {}, std::uint64_t seed = 1)
      : who(make_identity(1)), self(who, options, random_generator(seed), *this) {
    self.set_wall_clock(now, wall_start);
  }
  struct sent {
    contact to;
    byte_vector bytes;
    message m;
  };
  void send(const contact& to, byte_view bytes) override {
    auto m = wire::decode<message>(bytes);
    REQUIRE(m.ok());
    out.push_back({to, to_vector(bytes), *std::move(m)});
  }
  std::vector<sent> take() { return std::exchange(out, {}); }
  void deliver(const contact& from, const message& m) {
    self.on_datagram(now, from, wire::encode(m));
  }
  /// Runs the node's timers up to `d` from now.
  void pass(duration d) {
    const time_point end = now + d;
    while (self.next_timer() <= end) {
      now = std::max(now, self.next_timer());
      self.on_timer(now);
    }
    now = end;
  }
  /// Makes `peer` one that the table knows and whose address is proven to us.
  void befriend(const contact& peer) {
    self.join(now, {peer});
    for (auto asked = take(); !asked.empty(); asked = take()) {
      for (const sent& s : asked) {
        message r;
        r.kind = message_kind::nodes;
        r.transaction = s.m.transaction;
        r.token = address_token(7);
        deliver(s.to, r);
      }
    }
    REQUIRE(self.table().find(crypto::node_id_of(peer.key)) != nullptr);
  }

  time_point now{};
  crypto::identity who;
  std::vector<sent> out;
  node self;
};

contact stranger(std::uint64_t number) {
  return {make_identity(500 + number).key(), make_address(number)};
}

message question(message_kind kind, std::uint64_t transaction, std::size_t padding = 0) {
  message q;
  q.kind = kind;
  q.transaction = transaction;
  q.padding.resize(padding);
  return q;
}

std::size_t bytes_to(const std::vector<bench::sent>& all, const contact& to) {
  std::size_t total = 0;
  for (const auto& s : all) total += s.to == to ? s.bytes.size() : 0;
  return total;
}

/// The token that the node gives to `peer`.
address_token token_for(bench& b, const contact& peer) {
  b.deliver(peer, question(message_kind::ping, 4));
  const auto replies = b.take();
  REQUIRE_FALSE(replies.empty());
  return replies[0].m.token;
}

}  // namespace

TEST_CASE("an unproven address never gets more bytes than came from it") {
  bench b;
  for (std::uint64_t i = 1; i <= 20; ++i) b.befriend(stranger(i));
  const record kept = make_record(b.who, node_id(), 1, wall_start + 999, byte_vector(800));
  b.self.publish(b.now, kept, [](const auto&) {});
  b.take();
  std::uint64_t number = 1000;
  for (const auto kind : {message_kind::ping, message_kind::find_node, message_kind::find_value,
                          message_kind::store}) {
    for (std::size_t padding = 0; padding < 900; padding += 7) {
      const contact from = stranger(++number);
      message q = question(kind, number * 4, padding);
      if (kind == message_kind::store) {
        q.padding.clear();
        const byte_vector value(padding / 2);
        q.what = make_record(make_identity(3), node_id(), 1, wall_start + 99, value);
      }
      const std::size_t sent = wire::encode(q).size();
      b.deliver(from, q);
      const auto out = b.take();
      CHECK(bytes_to(out, from) <= sent);
      CHECK(bytes_to(out, from) > 0);
      b.pass(100ms);  // and no ping back is repeated
    }
  }
  const auto later = b.take();
  for (std::uint64_t i = 1001; i <= number; ++i) CHECK(bytes_to(later, stranger(i)) == 0);
}

TEST_CASE("an echoed token proves an address and lifts the limit, for that address only") {
  bench b;
  for (std::uint64_t i = 1; i <= 20; ++i) b.befriend(stranger(i));
  b.take();
  const contact from = stranger(100);
  message q = question(message_kind::find_node, 8);
  b.deliver(from, q);
  auto out = b.take();
  CHECK(out[0].m.kind == message_kind::prove);
  q.token = out[0].m.token;
  b.deliver(from, q);
  out = b.take();
  REQUIRE(out.size() == 1);
  CHECK(out[0].m.kind == message_kind::nodes);
  CHECK(out[0].m.nearest.size() == 16);
  CHECK(b.self.table().find(crypto::node_id_of(from.key)) != nullptr);

  contact elsewhere = from;
  elsewhere.where = address::v4(66, 6, 6, 6, 6);
  b.deliver(elsewhere, q);
  CHECK(b.take()[0].m.kind == message_kind::prove);
  contact other = stranger(101);
  b.deliver(other, q);
  CHECK(b.take()[0].m.kind == message_kind::prove);
  b.now += 3 * token_period;
  b.deliver(from, q);
  CHECK(b.take()[0].m.kind == message_kind::prove);
}

TEST_CASE("transaction numbers and tokens of one process are worthless in the next") {
  bench before, after({}, 2);
  std::set<std::uint64_t> numbers;
  for (bench* b : {&before, &after}) {
    for (std::uint64_t i = 1; i <= 20; ++i) b->self.join(b->now, {stranger(i)});
    for (const auto& s : b->take()) CHECK(numbers.insert(s.m.transaction).second);
  }
  CHECK(numbers.size() >= 40);
  const contact from = stranger(100);
  CHECK(token_for(before, from) != token_for(after, from));
  message q = question(message_kind::store, 8);
  q.token = token_for(before, from);
  after.deliver(from, q);
  CHECK(after.take()[0].m.kind == message_kind::prove);
}

TEST_CASE("a store needs a token and a valid record") {
  bench b;
  const contact from = stranger(1);
  message q = question(message_kind::store, 4);
  q.what = make_record(make_identity(3), node_id(), 1, wall_start + 99, byte_vector(100));
  b.deliver(from, q);
  CHECK(b.take()[0].m.kind == message_kind::prove);
  CHECK(b.self.records().size() == 0);
  q.token = token_for(b, from);
  b.deliver(from, q);
  auto out = b.take();
  CHECK(out[0].m.kind == message_kind::stored);
  CHECK(out[0].m.kept);
  CHECK(b.self.records().size() == 1);
  q.what.value[0] = std::byte{9};
  q.what.sequence = 2;
  b.deliver(from, q);
  CHECK_FALSE(b.take()[0].m.kept);
  CHECK(b.self.statistics().invalid_records == 1);
  b.now += 200s;
  b.self.on_timer(b.now);
  CHECK(b.self.records().size() == 0);
}

TEST_CASE("a request without a token is padded to what its answer may need") {
  bench b;
  const contact to = stranger(1);
  b.self.join(b.now, {to});
  auto out = b.take();
  REQUIRE(out.size() == 1);
  CHECK(out[0].m.kind == message_kind::find_node);
  CHECK(out[0].m.wanted == search_contacts);
  CHECK(out[0].bytes.size() >= small_reply_bytes_max + search_contacts * contact_bytes_v4);
  message r;
  r.kind = message_kind::nodes;
  r.transaction = out[0].m.transaction;
  r.token = address_token(99);
  b.deliver(to, r);
  b.self.lookup(b.now, node_id(), [](const lookup_result&) {});
  out = b.take();
  REQUIRE(out.size() == 1);
  CHECK(out[0].m.token == address_token(99));
  CHECK(out[0].bytes.size() < 80);
}

TEST_CASE("a demand for proof is answered once with the token") {
  bench b;
  const contact to = stranger(1);
  b.self.join(b.now, {to});
  auto out = b.take();
  message r;
  r.kind = message_kind::prove;
  r.token = address_token(5);
  r.transaction = out[0].m.transaction;
  b.deliver(to, r);
  out = b.take();
  REQUIRE(out.size() == 1);
  CHECK(out[0].m.token == address_token(5));
  r.transaction = out[0].m.transaction;
  b.deliver(to, r);
  CHECK(b.take().empty());
  CHECK(b.self.pending_requests() == 0);
}

TEST_CASE("only peers that answered from the address we asked enter the table") {
  bench b;
  const contact to = stranger(1);
  b.self.join(b.now, {to});
  auto out = b.take();
  message r;
  r.kind = message_kind::nodes;
  r.transaction = out[0].m.transaction;
  r.nearest = {stranger(2)};
  contact imposter = stranger(9);
  b.deliver(imposter, r);  // the right number by the wrong peer
  CHECK(b.self.table().size() == 0);
  contact moved = to;
  moved.where = address::v4(77, 7, 7, 7, 7);
  b.deliver(moved, r);
  CHECK(b.self.table().size() == 0);
  out = b.take();
  REQUIRE(out.size() == 1);
  CHECK(out[0].to == stranger(2));  // heard of, asked, not yet believed
  r.transaction = out[0].m.transaction;
  r.nearest.clear();
  b.deliver(stranger(2), r);
  CHECK(b.self.table().size() == 1);
}

TEST_CASE("a stranger that asks us is pinged back before it is believed") {
  bench b;
  const contact from = stranger(3);
  b.deliver(from, question(message_kind::ping, 4, 40));
  auto out = b.take();
  REQUIRE(out.size() == 2);
  CHECK(out[1].m.kind == message_kind::ping);
  CHECK(b.self.table().size() == 0);
  message pong;
  pong.kind = message_kind::pong;
  pong.transaction = out[1].m.transaction;
  b.deliver(from, pong);
  CHECK(b.self.table().size() == 1);
}

TEST_CASE("answers that name impossible addresses do not make us send there") {
  bench b;
  const contact to = stranger(1);
  b.self.join(b.now, {to});
  message r;
  r.kind = message_kind::nodes;
  r.transaction = b.take()[0].m.transaction;
  r.nearest = {{make_identity(1).key(), make_address(7)},  // ourselves
               {make_identity(2).key(), address::loopback(22)},
               {make_identity(3).key(), address::v4(0, 0, 0, 0, 9)},
               {make_identity(4).key(), address::v4(9, 9, 9, 9, 0)},
               {make_identity(5).key(), address::v4(239, 1, 1, 1, 9)}};
  b.deliver(to, r);
  CHECK(b.take().empty());
}

TEST_CASE("a lookup reports nobody, and a search says that nobody answered") {
  bench b;
  bool called = false;
  b.self.lookup(b.now, node_id(), [&](const lookup_result& r) {
    called = true;
    CHECK(r.nearest.empty());
  });
  CHECK(called);
  errc code = errc::ok;
  b.self.find(b.now, node_id(), std::nullopt,
              [&](const result<found_record>& r) { code = r.error().code(); });
  CHECK(code == errc::unreachable);
  b.self.publish(b.now, make_record(make_identity(8), node_id(), 1, wall_start - 1, {}),
                 [&](const result<std::size_t>& r) { code = r.error().code(); });
  CHECK(code == errc::expired);
}

TEST_CASE("a value is taken only if it is what was asked for and valid") {
  const node_id target(crypto::hash(as_bytes("target")).bytes());
  const crypto::identity publisher = make_identity(42);
  const record good = make_record(publisher, target, 1, wall_start + 500, byte_vector(10));
  record forged = good;
  forged.value[1] = std::byte{7};
  const record other_place = make_record(publisher, node_id(), 1, wall_start + 500, {});
  const record other_key = make_record(make_identity(43), target, 1, wall_start + 500, {});
  const record old = make_record(publisher, target, 1, wall_start - 1, {});
  for (const record& bad : {forged, other_place, other_key, old}) {
    bench b;
    b.befriend(stranger(1));
    b.take();
    errc code = errc::ok;
    b.self.find(b.now, target, publisher.key(), [&](const result<found_record>& r) {
      code = r.ok() ? errc::ok : r.error().code();
    });
    message r;
    r.kind = message_kind::value;
    r.transaction = b.take()[0].m.transaction;
    r.what = bad;
    b.deliver(stranger(1), r);
    CHECK(code == errc::unreachable);
    CHECK(b.self.statistics().invalid_records == 1);
  }
  bench b;
  b.befriend(stranger(1));
  b.take();
  unsigned hops = 0;
  b.self.find(b.now, target, publisher.key(), [&](const result<found_record>& r) {
    REQUIRE(r.ok());
    CHECK(r->what == good);
    hops = r->hops;
  });
  message r;
  r.kind = message_kind::value;
  r.transaction = b.take()[0].m.transaction;
  r.what = good;
  b.deliver(stranger(1), r);
  CHECK(hops == 1);
}

TEST_CASE("an unanswered request of a search is repeated with more patience and then given up") {
  bench b;
  b.befriend(stranger(1));
  bool ended = false;
  b.self.lookup(b.now, b.self.id(), [&](const lookup_result& r) { ended = r.nearest.empty(); });
  std::vector<time_point> sent;
  for (; !ended && sent.size() < 99; b.pass(50ms)) {
    for (const auto& s : b.take()) {
      if (s.m.target == b.self.id() && s.m.wanted == search_contacts) sent.push_back(b.now);
    }
  }
  REQUIRE(sent.size() == attempts_max);
  CHECK(sent[2] - sent[1] > sent[1] - sent[0]);
  CHECK(b.self.statistics().requests_failed == 1);
}

TEST_CASE("a stranger far from everybody may answer upkeep long after it was given up") {
  // Of whom the entrance names; asked once, and nobody waits.
  const auto asked = [](bench& b, std::uint64_t number) {
    b.self.join(b.now, {stranger(number)});
    const auto out = b.take();
    REQUIRE(out.size() == 1);
    message r;
    r.kind = message_kind::nodes;
    r.transaction = out[0].m.transaction;
    r.nearest = {stranger(number + 1)};
    b.deliver(stranger(number), r);
    const auto next = b.take();
    REQUIRE(next.size() == 1);
    CHECK(next[0].to == stranger(number + 1));
    r.nearest.clear();
    r.transaction = next[0].m.transaction;
    return r;
  };
  bench b;
  const message late = asked(b, 1);
  b.pass(2500ms);
  CHECK(bytes_to(b.take(), stranger(2)) == 0);
  b.deliver(stranger(2), late);
  CHECK(b.self.table().size() == 2);

  bench other;
  const message too_late = asked(other, 2);
  other.pass(node_options().timeout_max + 1ms);
  other.deliver(stranger(3), too_late);
  CHECK(other.self.table().size() == 1);
  CHECK(other.self.statistics().unexpected == 1);
}

TEST_CASE("those through whom we enter are asked again, though strangers who meet us seem to suffice") {
  bench b;
  b.self.join(b.now, {stranger(1)});
  REQUIRE(b.take().size() == 1);
  // A liar hears of us first. It asks, and answers all that we ask with nothing.
  b.deliver(stranger(2), question(message_kind::ping, 5, 100));
  std::size_t again = 0;
  for (int i = 0; i < 100; ++i, b.pass(50ms)) {
    for (const auto& s : b.take()) {
      again += s.to == stranger(1) ? 1 : 0;
      if (s.to != stranger(2) || !s.m.is_request()) continue;
      message r;
      r.kind = s.m.kind == message_kind::ping ? message_kind::pong : message_kind::nodes;
      r.transaction = s.m.transaction;
      b.deliver(stranger(2), r);
    }
  }
  CHECK(b.self.table().size() == 1);
  CHECK(again == attempts_max - 1);
}

TEST_CASE("an answer in time moves the coordinate, one to a repeated request does not") {
  for (const bool late : {false, true}) {
    bench b;
    b.befriend(stranger(1));
    const coordinate before = b.self.place();
    b.self.lookup(b.now, node_id(), [](const lookup_result&) {});
    auto out = b.take();
    REQUIRE(out.size() == 1);
    for (; late && out.size() == 1; b.pass(50ms)) {
      for (auto& s : b.take()) out.push_back(std::move(s));
    }
    b.pass(80ms);
    message r;
    r.kind = message_kind::nodes;
    r.transaction = out.back().m.transaction;
    r.place = pack(coordinate());
    b.deliver(stranger(1), r);
    CHECK((b.self.place() == before) == late);
    // Where it is, is known either way.
    CHECK(b.self.predicted(crypto::node_id_of(stranger(1).key)).has_value());
  }
}

TEST_CASE("an impossible coordinate is no sample, and its answer counts all the same") {
  packed_coordinate absurd_exponent;
  absurd_exponent.exponent = 10;
  packed_coordinate absurd_height;  // 33 seconds
  absurd_height.exponent = 9;
  absurd_height.height = 65535;
  packed_coordinate far_away;
  far_away.exponent = 9;
  far_away.position[3] = -32768;
  for (const packed_coordinate& bad : {absurd_exponent, absurd_height, far_away}) {
    bench b;
    b.befriend(stranger(1));
    const coordinate before = b.self.place();
    std::vector<contact> found;
    b.self.lookup(b.now, node_id(), [&](const lookup_result& r) { found = r.nearest; });
    message r;
    r.kind = message_kind::nodes;
    r.transaction = b.take().at(0).m.transaction;
    r.place = bad;
    b.pass(80ms);
    b.deliver(stranger(1), r);
    CHECK(b.self.place() == before);
    CHECK_FALSE(b.self.predicted(crypto::node_id_of(stranger(1).key)));
    CHECK(b.self.statistics().malformed == 1);
    CHECK(found.size() == 1);
  }
}

TEST_CASE("malformed, truncated and random datagrams neither crash nor grow anything") {
  bench b;
  for (std::uint64_t i = 1; i <= 20; ++i) b.befriend(stranger(i));
  b.take();
  random_generator random(77);
  std::vector<byte_vector> seeds;
  for (int kind = 1; kind <= 9; ++kind) {
    message m = question(static_cast<message_kind>(kind), random());
    m.what = make_record(make_identity(3), node_id(), 1, wall_start + 99, byte_vector(60));
    m.nearest = {stranger(1), stranger(2), stranger(3)};
    m.publisher = public_key();
    if (m.tells_place()) m.place = pack(coordinate());
    seeds.push_back(wire::encode(m));
  }
  for (const byte_vector& bytes : seeds) {
    for (std::size_t n = 0; n < bytes.size(); ++n) {
      b.self.on_datagram(b.now, stranger(300), byte_view(bytes).first(n));
    }
  }
  const std::uint64_t refused = b.self.statistics().malformed;
  CHECK(refused > 500);
  for (int i = 0; i < 30'000; ++i) {
    byte_vector bytes;
    if (i % 2 == 0) {
      bytes.resize(random.below(1300));
      for (std::byte& x : bytes) x = static_cast<std::byte>(random.below(256));
      if (!bytes.empty()) bytes[0] = std::byte{overlay_protocol_version};
    } else {
      bytes = seeds[random.below(seeds.size())];
      for (std::uint64_t k = random.below(4); k-- > 0;) {
        const std::size_t at = random.below(bytes.size());
        bytes[at] = static_cast<std::byte>(random.below(256));
      }
    }
    b.self.on_datagram(b.now, stranger(400 + random.below(5000)), bytes);
  }
  b.take();
  CHECK(b.self.pending_requests() <= ping_backs_max + 20);
  CHECK(b.self.table().size() == 20);
  CHECK(b.self.records().size() == 0);
  message many = question(message_kind::nodes, 4);
  many.nearest.resize(17);
  const std::uint64_t before = b.self.statistics().malformed;
  b.deliver(stranger(1), many);
  CHECK(b.self.statistics().malformed == before + 1);
}

TEST_CASE("a flood of searches is bounded and refused in a sentence") {
  bench b;
  for (std::uint64_t i = 1; i <= 20; ++i) b.befriend(stranger(i));
  random_generator random(5);
  std::size_t refused = 0;
  for (int i = 0; i < 400; ++i) {
    b.self.find(b.now, random_id(random), std::nullopt, [&](const result<found_record>& r) {
      if (!r.ok() && r.error().code() == errc::refused) ++refused;
    });
    CHECK(b.self.pending_requests() <= rpcs_max);
  }
  CHECK(refused == 400 - operations_max);
}

TEST_CASE("who floods us with requests is dropped, with all of its network, and the others are served") {
  bench b;
  const contact flooder = {make_identity(900).key(), address::v4(203, 0, 113, 7, 4000)};
  message q = question(message_kind::find_node, 4);
  q.token = token_for(b, flooder);  // its address is proven: each answer could be large
  std::size_t answered = 0;
  for (int i = 0; i < 10'000; ++i) {
    q.transaction += 8;
    b.deliver(flooder, q);
    answered += b.take().size();
    b.now += 100us;
  }
  CHECK(answered >= request_burst_max / 2);
  CHECK(answered <= request_burst_max + requests_per_second_max);
  CHECK(b.self.statistics().over_budget == 10'000 - answered);
  // Another key, port or host of the same network does not help; another network is served.
  contact other = {make_identity(901).key(), address::v4(203, 0, 113, 99, 5000)};
  const std::uint64_t before = b.self.statistics().over_budget;
  for (int i = 0; i < 3; ++i) b.deliver(other, question(message_kind::ping, 4));
  CHECK(b.self.statistics().over_budget >= before + 2);
  b.take();
  other.where = address::v4(203, 0, 114, 99, 5000);
  b.deliver(other, question(message_kind::ping, 4));
  CHECK(bytes_to(b.take(), other) > 0);
  b.pass(10s);  // it calms, and is forgiven
  b.take();
  q.token = token_for(b, flooder);
  b.deliver(flooder, q);
  CHECK(bytes_to(b.take(), flooder) > 0);
}

TEST_CASE("what is remembered of who asks is bounded, and private addresses count one by one") {
  request_budget budget;
  const time_point now{};
  for (std::uint32_t i = 0; i < 5000; ++i) {
    const auto high = static_cast<std::uint8_t>(i >> 8);
    CHECK(budget.spend(now, address::v4(50, high, static_cast<std::uint8_t>(i), 1, 4000)));
  }
  CHECK(budget.size() <= request_sources_max);
  CHECK(budget.spend(now + 10s, address::v4(60, 1, 1, 1, 4000)));
  CHECK(budget.size() == 1);

  request_budget home;
  const address one = address::v4(192, 168, 1, 1, 4000);
  std::size_t spent = 0;
  while (home.spend(now, one)) ++spent;
  CHECK(spent == request_burst_max);
  CHECK(home.spend(now, one.with_port(4001)));
  CHECK(home.spend(now, address::v4(192, 168, 1, 2, 4000)));
  CHECK(home.spend(now + 1s, one));
}

TEST_CASE("a victim that a liar names under ever new keys gets a bounded number of requests") {
  bench b;
  const contact liar = stranger(1);
  b.befriend(liar);
  b.take();
  std::size_t at_victim = 0, lies = 0, by_liar = 0;
  bool ended = false;
  b.self.lookup(b.now, node_id(), [&](const lookup_result&) { ended = true; });
  for (int turn = 0; turn < 2000 && !ended; ++turn) {
    for (const auto& s : b.take()) {
      if (s.to.key != liar.key) {
        at_victim += s.bytes.size();
        continue;
      }
      message r;
      r.kind = message_kind::nodes;
      r.transaction = s.m.transaction;
      r.token = address_token(7);
      for (std::uint64_t k = 0; k < search_contacts; ++k)
        r.nearest.push_back({make_identity(10'000 + lies++).key(),
                             address::v4(198, 51, 100, 77, static_cast<std::uint16_t>(1000 + lies))});
      by_liar += wire::encode(r).size();
      b.deliver(liar, r);
    }
    b.pass(50ms);
  }
  CHECK(ended);
  CHECK(lies > 0);
  const std::size_t request = small_reply_bytes_max * 3 + search_contacts * contact_bytes_max;
  CHECK(at_victim <= lookup_per_network_max * attempts_max * request);
  // Asked again and again, it finds nobody there: the table keeps none of them.
  CHECK(b.self.table().size() == 1);
  INFO("by the liar " << by_liar << " bytes, to the victim " << at_victim);
}

TEST_CASE("the token cache forgets the oldest and never grows beyond its bound") {
  token_cache cache;
  for (std::uint64_t i = 1; i <= tokens_kept_max + 10; ++i) {
    cache.put(time_point(), node_id(crypto::hash(bytes_of(i)).bytes()), address_token(i));
  }
  CHECK(cache.size() == tokens_kept_max);
  const auto id = [](std::uint64_t i) { return node_id(crypto::hash(bytes_of(i)).bytes()); };
  CHECK(cache.get(time_point(), id(1)) == address_token());
  CHECK(cache.get(time_point(), id(500)) == address_token(500));
  CHECK(cache.get(time_point(token_period), id(500)) == address_token());
  cache.put(time_point(), id(500), address_token(3));
  CHECK(cache.get(time_point(), id(500)) == address_token(3));
  cache.drop(id(500));
  CHECK(cache.get(time_point(), id(500)) == address_token());
}
