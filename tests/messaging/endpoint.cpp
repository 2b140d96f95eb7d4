#include "support/test.hpp"

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/messaging/endpoint.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <map>
#include <functional>
#include <memory>
#include <set>

using namespace p2pdvm;
using namespace p2pdvm::messaging;

namespace {

struct taker final : receiver {
  bool done = false;
  void on_message() override { done = true; }
};

/// Two or more ranks, each on a "peer" of its own or all on one; the wire is a queue per pair.
class world final : public endpoint_host {
 public:
  struct item {
    rank_message message;
    numbering stream;
    epoch_number epoch;
  };
  explicit world(std::uint32_t ranks, bool together, bool prelude = false) : together_(together) {
    for (std::uint32_t r = 0; r < ranks; ++r) {
      ranks_.push_back(std::make_unique<endpoint>(*this, rank_number(r), ranks, epoch_number(0),
                                                  epoch_number(0), nullptr));
      if (!prelude) REQUIRE(ranks_.back()->end_prelude());
    }
  }
  endpoint& operator[](std::uint32_t r) { return *ranks_[r]; }

  endpoint* local(rank_number r) override {
    return together_ && !frozen.contains(r) ? ranks_[r.value()].get() : nullptr;
  }
  bool ready(rank_number) const override { return true; }
  void transmit(const rank_message& m, numbering s, epoch_number e) override {
    if (!frozen.contains(m.destination)) wire[m.destination].push_back({m, s, e});
  }
  std::uint64_t lend(const rank_message& m, const two_parts& body, numbering s, epoch_number e) override {
    if (!lends) return 0;
    rank_message copy = m;
    copy.body = payload::copy_of(body.first, body.second);
    transmit(copy, s, e);
    return 77;
  }
  void take_back(std::uint64_t lent, bool) override { taken_back += lent == 77 ? 1 : 0; }
  void tell_blocked(rank_number s, rank_number d, numbering n) override {
    (*this)[d.value()].on_blocked(s, n);
  }
  void acknowledgements_due(endpoint& e, bool) override {
    if (std::find(due.begin(), due.end(), &e) == due.end()) due.push_back(&e);
  }
  void must_abandon(rank_number, epoch_number e, std::string) override { abandoned = e; }
  void waits_for_held(rank_number, epoch_number e, std::string) override {
    abandoned = e;
    if (on_waits) on_waits();
  }
  std::function<void()> on_waits;

  bool deliver(rank_number d) {
    auto& queue = wire[d];
    if (queue.empty()) return false;
    const item i = queue.front();
    queue.pop_front();
    (*this)[d.value()].accept(i.message, i.stream, i.epoch);
    return true;
  }
  void acknowledge() {
    while (!due.empty()) {
      endpoint* e = due.front();
      due.pop_front();
      for (const auto& ack : e->take_acknowledgements())
        (*this)[ack.source.value()].on_acknowledgement(ack);
    }
  }
  void settle() {
    for (bool more = true; more;) {
      more = false;
      for (auto& [d, q] : wire) more |= deliver(d);
      more |= !due.empty();
      acknowledge();
    }
  }

  bool lends = false;
  int taken_back = 0;
  std::set<rank_number> frozen;  ///< nobody takes their messages
  std::map<rank_number, std::deque<item>> wire;
  std::deque<endpoint*> due;
  epoch_number abandoned;

 private:
  bool together_;
  std::vector<std::unique_ptr<endpoint>> ranks_;
};

payload number(std::uint64_t n) { return payload(to_vector(bytes_of(n))); }
std::uint64_t number(const rank_message& m) {
  std::uint64_t n = 0;
  std::memcpy(&n, m.body.data(), sizeof n);
  return n;
}
taker any() { return {}; }

}  // namespace

TEST_CASE("messages match by space, source and tag, in order, from one peer or two") {
  for (const bool together : {true, false}) {
    world w(3, together);
    w[0].send(rank_number(2), 1, 7, number(10));
    w[1].send(rank_number(2), 1, 8, number(11));
    w[0].send(rank_number(2), 2, 7, number(12));
    w.settle();
    taker tagged = any(), other_space = any(), later = any();
    tagged.pattern = {1, std::nullopt, tag_number(8)};
    REQUIRE(w[2].post(tagged));
    CHECK(number(tagged.message) == 11);
    other_space.pattern = {2, rank_number(0), std::nullopt};
    REQUIRE(w[2].post(other_space));
    CHECK(number(other_space.message) == 12);
    later.pattern = {2, std::nullopt, std::nullopt};
    CHECK_FALSE(w[2].post(later));
    w[1].send(rank_number(2), 2, 1, number(13));
    w.settle();
    CHECK(later.done);
    CHECK(number(later.message) == 13);
    CHECK(w[0].unacknowledged() + w[1].unacknowledged() == 0);
    CHECK(w[2].unread() == 1);
  }
}

TEST_CASE("a hundred thousand unread messages on one tag do not block one on another") {
  for (const bool together : {true, false}) {
    world w(2, together);
    for (std::uint64_t i = 0; i < 100000; ++i) w[0].send(rank_number(1), 0, 1, number(i));
    w[0].send(rank_number(1), 0, 2, number(42));
    w.settle();
    CHECK(w[1].unread() <= limits::credit_messages_per_pair);
    taker last = any();
    last.pattern = {0, rank_number(0), tag_number(2)};
    CHECK_FALSE(w[1].post(last));
    w.settle();
    REQUIRE(last.done);
    CHECK(number(last.message) == 42);
    for (std::uint64_t i = 0; i < 100000; ++i) {
      taker next = any();
      next.pattern = {0, rank_number(0), tag_number(1)};
      REQUIRE(w[1].post(next));
      REQUIRE(number(next.message) == i);
    }
  }
}

TEST_CASE("a slow reader gives credit back and a polite sender gets room") {
  struct waiter final : room_waiter {
    bool woken = false;
    void on_room() override { woken = true; }
  };
  for (const bool together : {true, false}) {
    world w(2, together);
    std::uint64_t sent = 0;
    while (w[0].send(rank_number(1), 0, 0, payload(byte_vector(100000)))) ++sent;
    waiter room;
    REQUIRE(w[0].wait_for_room(rank_number(1), room));
    w.settle();
    CHECK_FALSE(room.woken);
    for (std::uint64_t i = 0; i <= sent; ++i) {
      taker t = any();
      t.pattern = {0, std::nullopt, std::nullopt};
      const bool now = w[1].post(t);
      w.settle();
      REQUIRE((now || t.done));
    }
    CHECK(room.woken);
  }
}

TEST_CASE("a receiver that never reads keeps no more than its credit, and stalls nobody else") {
  for (const bool together : {true, false}) {
    world w(3, together);
    constexpr std::size_t size = 100000;
    std::size_t sent = 1;
    while (w[0].send(rank_number(2), 0, 0, payload(byte_vector(size)))) ++sent;
    w.settle();
    CHECK(w[2].unread() * size <= limits::credit_bytes_per_pair + size);
    CHECK(sent * size <= 5 * limits::credit_bytes_per_pair + 2 * size);
    for (std::uint64_t i = 0; i < 3 * limits::credit_messages_per_pair; ++i) {
      for (const std::uint32_t from : {0u, 2u}) {  // the stalled one to others, and the one who does not read
        w[from].send(rank_number(1), 0, from, number(i));
        w.settle();
        taker t = any();
        t.pattern = {0, rank_number(from), std::nullopt};
        REQUIRE(w[1].post(t));
        REQUIRE(number(t.message) == i);
      }
    }
    const std::size_t before = w[2].unread();
    for (std::uint64_t i = 0; i < 10; ++i) w[1].send(rank_number(2), 0, 0, number(i));
    w.settle();
    CHECK(w[2].unread() == before + 10);  // another sender has credit of its own
  }
}

TEST_CASE("duplicates are dropped and a gap is sent again") {
  world w(2, false);
  for (std::uint64_t i = 0; i < 10; ++i) w[0].send(rank_number(1), 0, 0, number(i));
  auto& queue = w.wire[rank_number(1)];
  const auto copy = queue;
  queue.erase(queue.begin() + 3);
  queue.insert(queue.begin() + 2, copy[1]);
  w.settle();
  CHECK(w[0].unacknowledged() == 0);
  REQUIRE(w[1].unread() == 10);
  for (std::uint64_t i = 0; i < 10; ++i) {
    taker t = any();
    t.pattern = {0, std::nullopt, std::nullopt};
    REQUIRE(w[1].post(t));
    CHECK(number(t.message) == i);
  }
}

TEST_CASE("early messages are held until the cut and late ones are logged") {
  for (const bool together : {true, false}) {
    world w(2, together);
    w[1].send(rank_number(0), 0, 0, number(1));  // in flight across the cut: late at rank 0
    auto s0 = w[0].cut(epoch_number(1));
    w[0].send(rank_number(1), 0, 0, number(2));  // early at rank 1
    w.settle();
    if (together) {
      CHECK(s0.mailbox.size() == 1);  // it had arrived before the cut
    } else {
      CHECK(w[0].late_log().size() == 1);
    }
    CHECK(w[1].held() == 1);
    CHECK(w[1].unread() == 0);
    const auto s1 = w[1].cut(epoch_number(1));
    CHECK(s1.mailbox.empty());
    CHECK(s1.pairs[0].received == 0);
    CHECK(w[1].unread() == 1);
    w[0].close_late_log();
    s0.absorb(w[0].late_log());
    CHECK(s0.pairs[1].received == 1);
    // A restart from the snapshots loses nothing and repeats nothing.
    world again(2, false);
    auto decoded = wire::decode<endpoint_state>(wire::encode(s0));
    REQUIRE(decoded.ok());
    endpoint r0(again, rank_number(0), 2, epoch_number(1), epoch_number(0), &*decoded);
    CHECK(r0.end_prelude());
    taker t = any();
    t.pattern = {0, std::nullopt, std::nullopt};
    REQUIRE(r0.post(t));
    CHECK(number(t.message) == 1);
  }
}

TEST_CASE("a message of an older epoch than the one before it is dropped and reported") {
  for (const bool cut_before : {true, false}) {
    world w(2, false);
    const auto arrives = [&](std::uint64_t sequence, std::uint64_t epoch) {
      const rank_message m{rank_number(0), rank_number(1), sequence, 0, 0, number(sequence)};
      w[1].accept(m, numbering::main, epoch_number(epoch));
    };
    arrives(0, 0);
    endpoint_state state;
    if (cut_before) state = w[1].cut(epoch_number(1));
    arrives(1, 1);
    CHECK(w.abandoned == epoch_number());
    arrives(2, 0);
    CHECK(w.abandoned == epoch_number(1));
    if (!cut_before) state = w[1].cut(epoch_number(1));
    CHECK(w[1].late_log().empty());
    CHECK(w[1].unread() == 2);
    state.absorb(w[1].late_log());
    REQUIRE(state.mailbox.size() == 1);
    CHECK(number(state.mailbox[0]) == 0);
    CHECK(state.pairs[0].received == 1);
    arrives(2, 1);
    CHECK(w[1].unread() == 3);
  }
}

TEST_CASE("waiting for a held message gives the epoch up, and the floor delivers it") {
  world w(2, false);
  (void)w[0].cut(epoch_number(1));
  w[0].send(rank_number(1), 0, 5, number(9));
  w.settle();
  taker t = any();
  t.pattern = {0, rank_number(0), tag_number(5)};
  CHECK_FALSE(w[1].post(t));
  CHECK(w.abandoned == epoch_number(1));
  w[1].on_floor(epoch_number(1));
  CHECK(t.done);
  CHECK(number(t.message) == 9);
}

TEST_CASE("a state fits only a job with as many ranks as it speaks of") {
  world w(3, false);
  w[0].send(rank_number(2), 0, 0, number(1));
  w[1].send(rank_number(0), 0, 0, number(1));
  REQUIRE(w.deliver(rank_number(0)));
  endpoint_state state = w[0].cut(epoch_number(1));
  REQUIRE(state.window.size() == 1);
  REQUIRE(state.mailbox.size() == 1);
  CHECK(state.fits(3));
  CHECK_FALSE(state.fits(2));
  CHECK_FALSE(state.fits(4));
  state.pairs.resize(2);
  CHECK_FALSE(state.fits(2));  // its window goes to the third
  state.window.clear();
  CHECK(state.fits(2));
  state.mailbox[0].source = rank_number(7);
  CHECK_FALSE(state.fits(2));
}

TEST_CASE("a rank that is cut because it waits for a held message gets that message") {
  world w(2, false);
  taker first = any();
  taker second = any();
  first.pattern = {0, rank_number(0), tag_number(5)};
  second.pattern = {0, rank_number(0), tag_number(6)};
  REQUIRE_FALSE(w[1].post(first));
  REQUIRE_FALSE(w[1].post(second));
  int waits = 0;
  w.on_waits = [&] {
    ++waits;
    (void)w[1].cut(epoch_number(1));
  };
  (void)w[0].cut(epoch_number(1));
  w[0].send(rank_number(1), 0, 5, number(9));
  w.settle();
  CHECK(waits == 1);
  CHECK(first.done);
  CHECK_FALSE(second.done);
  w[1].withdraw(second);
}

TEST_CASE("a held message that is waited for is told again when asked") {
  world w(2, false);
  (void)w[0].cut(epoch_number(1));
  w[0].send(rank_number(1), 0, 5, number(9));
  w.settle();
  w[1].check_held();
  CHECK(w.abandoned == epoch_number());  // nobody waits for it
  taker t = any();
  REQUIRE_FALSE(w[1].post(t));
  CHECK(w.abandoned == epoch_number(1));
  w.abandoned = epoch_number();
  w[1].check_held();
  CHECK(w.abandoned == epoch_number(1));
  w[1].withdraw(t);
}

TEST_CASE("a cut finds what receives have taken and the program has not seen, in its place") {
  world w(2, false);
  for (const std::uint64_t n : {1u, 2u, 3u, 4u})
    w[1].send(rank_number(0), 0, n == 3 ? 7 : 0, number(n));
  taker t = any();
  t.pattern = {0, rank_number(1), tag_number(7)};
  REQUIRE_FALSE(w[0].post(t));
  w.settle();
  REQUIRE(t.done);
  const auto state = w[0].cut(epoch_number(1), {&t.message});
  REQUIRE(state.mailbox.size() == 4);
  for (std::uint64_t n = 1; n <= 4; ++n) CHECK(number(state.mailbox[n - 1]) == n);
  CHECK(state.pairs[1].received == 4);
}

TEST_CASE("what was sent to a frozen rank arrives when it goes on, from near and far") {
  for (const bool together : {true, false}) {
    world w(2, together);
    w.frozen.insert(rank_number(1));
    for (std::uint64_t n = 0; n < 3; ++n) w[0].send(rank_number(1), 0, 0, number(n));
    w.settle();
    CHECK(w[1].unread() == 0);
    w.frozen.clear();
    w[1].ask_again();
    w[0].send(rank_number(1), 0, 0, number(3));
    w.settle();
    for (std::uint64_t n = 0; n < 4; ++n) {
      taker t = any();
      REQUIRE(w[1].post(t));
      CHECK(number(t.message) == n);
    }
    CHECK(w[0].unacknowledged() == 0);
  }
}

TEST_CASE("a window is sent again to a rank that restarted elsewhere") {
  world w(2, false);
  for (std::uint64_t i = 0; i < 5; ++i) w[0].send(rank_number(1), 0, 0, number(i));
  w.wire.clear();  // the peer died before anything arrived
  w[0].on_ready(rank_number(1));
  w.settle();
  CHECK(w[1].unread() == 5);
  CHECK(w[0].unacknowledged() == 0);
}namespace {

/// A body that is not here yet, as on a lane.
struct far_away final : host::lane_body {
  explicit far_away(payload b) : bytes(std::move(b)) {}
  [[nodiscard]] std::size_t size() const noexcept override { return bytes.size(); }
  [[nodiscard]] bool copy(byte_span first, byte_span second) override {
    ++copies;
    if (gone) return false;
    std::memcpy(first.data(), bytes.data(), first.size());
    if (!second.empty()) std::memcpy(second.data(), bytes.data() + first.size(), second.size());
    return true;
  }
  payload bytes;
  int copies = 0;
  bool gone = false;
};

/// A receiver with memory of its own: eight bytes of head, then up to sixteen of body.
struct placing_taker final : receiver {
  placing_taker() { place = {byte_span(head), byte_span(body), 0, false}; }
  void on_message() override { done = true; }
  std::array<std::byte, 8> head{};
  std::array<std::byte, 16> body{};
  bool done = false;
};

rank_message bare(std::uint64_t sequence) {
  return {rank_number(0), rank_number(1), sequence, 0, 0, {}};
}
const epoch_number epoch_zero(0);

}  // namespace

TEST_CASE("a message goes straight into the memory of a receive that was posted, if it fits") {
  for (const bool together : {true, false}) {
    for (const std::size_t size : {0, 16, 17}) {
      world w(2, together);
      placing_taker t;
      REQUIRE_FALSE(w[1].post(t));
      const std::string body(size, 'b');
      if (together) {
        w[0].send(rank_number(1), 0, 3, two_parts{as_bytes("the head"), as_bytes(body)});
      } else {
        far_away b(payload::copy_of(as_bytes("the head"), as_bytes(body)));
        rank_message m = bare(0);
        m.tag = 3;
        w[1].accept(m, b, numbering::main, epoch_zero);
        CHECK(b.copies == 1);
      }
      REQUIRE(t.done);
      CHECK(t.message.tag == 3);
      CHECK(t.place.done == (size <= 16));
      if (t.place.done) {
        CHECK(as_text(t.head) == "the head");
        CHECK(as_text(byte_view(t.body).first(t.place.bytes)) == body);
      } else {
        CHECK(as_text(t.message.body.view()) == "the head" + body);
      }
      CHECK(w[1].unread() == 0);
    }
  }
}

TEST_CASE("a message that came before its receive, or one that is probed, is not placed") {
  world w(2, true);
  w[0].send(rank_number(1), 0, 0, two_parts{as_bytes("the head"), as_bytes("body")});
  placing_taker t;
  REQUIRE(w[1].post(t));
  CHECK_FALSE(t.place.done);
  CHECK(as_text(t.message.body.view()) == "the headbody");

  taker probe;
  probe.probe = true;
  REQUIRE_FALSE(w[1].post(probe));
  far_away b(payload::copy_of(as_bytes("the head"), as_bytes("body")));
  w[1].accept(bare(1), b, numbering::main, epoch_zero);
  CHECK(probe.done);
  CHECK(as_text(probe.message.body.view()) == "the headbody");
  CHECK(w[1].unread() == 1);
}

TEST_CASE("a body that cannot be got any more is as if it had not come, and is asked for again") {
  world w(2, false);
  for (const bool placed : {true, false}) {
    const std::uint64_t sequence = placed ? 0 : 1;
    placing_taker t;
    if (placed) REQUIRE_FALSE(w[1].post(t));
    far_away b(payload::copy_of(as_bytes("the head"), as_bytes("body")));
    b.gone = true;
    w[1].accept(bare(sequence), b, numbering::main, epoch_zero);
    CHECK_FALSE(t.done);
    const auto acks = w[1].take_acknowledgements();
    w.due.clear();
    REQUIRE(acks.size() == 1);
    CHECK(acks[0].gap);
    CHECK(acks[0].received == sequence);
    b.gone = false;
    w[1].accept(bare(sequence), b, numbering::main, epoch_zero);
    if (!placed) REQUIRE(w[1].post(t));
    CHECK((t.place.done || t.message.body.size() == 12));
  }
}

namespace {
struct writer final : landing_guest {
  void move_out() override {
    ++asked;
    hold.leave();
  }
  landing hold;
  int asked = 0;
};
}  // namespace

TEST_CASE("a message lands in the receive that will take it, if that names source and tag and has room") {
  world w(2, false);
  writer guest;
  const auto land = [&](std::uint64_t sequence, std::size_t size, epoch_number epoch = epoch_zero) {
    guest.hold = w[1].land(bare(sequence), size, numbering::main, epoch, guest);
    return static_cast<bool>(guest.hold);
  };
  CHECK_FALSE(land(0, 12));  // nobody waits
  placing_taker any_source, any_tag, exact, behind;
  any_source.pattern.tag = 0;
  any_tag.pattern.source = rank_number(0);
  for (placing_taker* t : {&any_source, &any_tag}) {
    REQUIRE_FALSE(w[1].post(*t));
    CHECK_FALSE(land(0, 12));
    w[1].withdraw(*t);
  }
  for (placing_taker* t : {&exact, &behind}) {
    t->pattern.source = rank_number(0);
    t->pattern.tag = 0;
    REQUIRE_FALSE(w[1].post(*t));
  }
  CHECK_FALSE(land(1, 12));                   // another comes before
  CHECK_FALSE(land(0, 12, epoch_number(1)));  // it will be held
  CHECK_FALSE(land(0, 25));                   // too long
  CHECK_FALSE(land(0, 7));                    // too short
  REQUIRE(land(0, 12));
  CHECK(guest.hold.memory().data() == exact.body.data());
  CHECK(guest.hold.memory().size() == 4);
  CHECK(exact.ground.guest == &guest);
  writer other;
  other.hold = w[1].land(bare(0), 12, numbering::main, epoch_zero, other);
  CHECK_FALSE(other.hold);  // one at a time
  w[1].withdraw(exact);
  CHECK(guest.asked == 1);
  CHECK(exact.ground.guest == nullptr);
  REQUIRE(land(0, 12));
  CHECK(guest.hold.memory().data() == behind.body.data());

  far_away b(payload::copy_of(as_bytes("the head"), as_bytes("body")));
  w[1].accept(bare(0), b, numbering::main, epoch_zero);  // by another way, and first
  CHECK(guest.asked == 2);
  CHECK(behind.done);
  CHECK(as_text(byte_view(behind.body).first(4)) == "body");
}

TEST_CASE("a duplicate's body is not even looked at") {
  world w(2, false);
  far_away b(number(7));
  w[1].accept(bare(0), b, numbering::main, epoch_zero);
  w[1].accept(bare(0), b, numbering::main, epoch_zero);
  CHECK(b.copies == 1);
  CHECK(w[1].unread() == 1);
}

namespace {

struct lender final : room_waiter {
  void on_room() override { ++told; }
  int told = 0;
};

/// Rank 0 has lent a message of 8 bytes to rank 1, of which 3 are its own.
struct lent_message {
  lent_message() {
    w.lends = true;
    const two_parts body{byte_view(memory).first(3), byte_view(memory).subspan(3)};
    REQUIRE(w[0].lend(rank_number(1), 5, 6, body) == 0u);
  }
  void spoil() { memory.assign(memory.size(), std::byte{9}); }
  [[nodiscard]] std::uint64_t received() {
    w.settle();
    taker t = any();
    t.pattern.space = 5;
    REQUIRE(w[1].post(t));
    return number(t.message);
  }
  static constexpr std::uint64_t value = 0x0102030405060708;
  byte_vector memory = to_vector(bytes_of(value));
  world w{2, false};
  lender waits;
};

}  // namespace

TEST_CASE("what was lent is the sender's again when it has arrived") {
  lent_message m;
  REQUIRE(m.w[0].wait_for_return(rank_number(1), 0, m.waits));
  CHECK(m.waits.told == 0);
  CHECK(m.received() == lent_message::value);
  CHECK(m.waits.told == 1);
  CHECK(m.w[0].unacknowledged() == 0);
  CHECK_FALSE(m.w[0].wait_for_return(rank_number(1), 0, m.waits));
  m.w[0].take_back(rank_number(1), 0);
  CHECK_FALSE(m.w[0].settle_lent());
  CHECK(m.w.taken_back == 1);
}

TEST_CASE("a lent message that is lost is sent again from a copy") {
  lent_message m;
  m.w.wire.clear();
  REQUIRE(m.w[0].wait_for_return(rank_number(1), 0, m.waits));
  m.w[0].send_again(rank_number(1));
  CHECK(m.waits.told == 1);
  m.spoil();
  CHECK(m.received() == lent_message::value);
}

TEST_CASE("a loan of the prelude is another one than that of the same sequence afterwards") {
  byte_vector memory = to_vector(bytes_of(lent_message::value));
  const two_parts body{byte_view(memory).first(3), byte_view(memory).subspan(3)};
  world w(2, false, true);
  w.lends = true;
  const auto before = w[0].lend(rank_number(1), 5, 6, body);
  REQUIRE(before.has_value());
  CHECK(w[0].end_prelude());
  const auto after = w[0].lend(rank_number(1), 5, 7, body);
  REQUIRE(after.has_value());
  CHECK(*before != *after);
  lender waits;
  REQUIRE(w[0].wait_for_return(rank_number(1), *after, waits));
  w[0].take_back(rank_number(1), *before);
  CHECK(w.taken_back == 1);
  CHECK(waits.told == 0);
  memory.assign(memory.size(), std::byte{9});
  w.settle();
  taker t = any();
  t.pattern.space = 5;
  REQUIRE(w[1].post(t));
  CHECK(t.message.tag == 6);
  CHECK(number(t.message) == lent_message::value);
}

TEST_CASE("a lent message is copied when its sender does not wait, when nobody takes it, and by a cut") {
  SECTION("the sender goes on") {
    lent_message m;
    m.w.wire.clear();
    m.w[0].take_back(rank_number(1), 0);
    m.spoil();
    m.w[0].send_again(rank_number(1));
    CHECK(m.received() == lent_message::value);
  }
  SECTION("nobody takes it") {
    lent_message m;
    m.w.wire.clear();
    REQUIRE(m.w[0].wait_for_return(rank_number(1), 0, m.waits));
    CHECK(m.w[0].settle_lent());
    CHECK(m.waits.told == 0);
    CHECK_FALSE(m.w[0].settle_lent());
    CHECK(m.waits.told == 1);
    CHECK(m.w.taken_back == 1);  // before the sender goes on: the other side may be about to read it
    m.spoil();
    m.w[0].on_ready(rank_number(1));
    CHECK(m.received() == lent_message::value);
  }
  SECTION("a cut") {
    lent_message m;
    const endpoint_state state = m.w[0].cut(epoch_number(1));
    m.spoil();
    REQUIRE(state.window.size() == 1);
    CHECK(number(state.window[0]) == lent_message::value);
  }
}

TEST_CASE("nothing is lent past messages that wait, nor to a rank here, nor where the way cannot") {
  const byte_vector memory(8);
  const two_parts body{{}, memory};
  {
    lent_message m;
    while (m.w[0].send(rank_number(1), 0, 0, payload(byte_vector(100000)))) {
    }
    CHECK_FALSE(m.w[0].lend(rank_number(1), 0, 0, body));
  }
  for (const bool together : {true, false}) {
    world w(2, together);
    w.lends = together;
    CHECK_FALSE(w[0].lend(rank_number(1), 0, 0, body));
  }
}
