#include "support/test.hpp"

#include <p2pdvm/runtime/rank_traffic.hpp>
#include <p2pdvm/sim/simulation.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace p2pdvm::test {
namespace {

using messaging::numbering;
using messaging::space_number;
using messaging::tag_number;
using runtime::acknowledgement_batch;
using runtime::ready_notice;

node_id node(std::uint8_t number) {
  node_id id;
  id.mutable_bytes()[0] = std::byte{number};
  return id;
}

const node_id here = node(1), there = node(2), elsewhere = node(3);

checkpoint::job_record record_of(std::uint64_t incarnation, std::vector<std::uint32_t> hosts) {
  checkpoint::job_record record;
  record.ranks = static_cast<std::uint32_t>(hosts.size());
  record.incarnation = incarnation_number(incarnation);
  record.host_of_rank = std::move(hosts);
  for (const node_id& id : {here, there, elsewhere}) {
    checkpoint::member m;
    m.node = id;
    record.members.push_back(std::move(m));
  }
  return record;
}

/// Traffic of a peer that hosts rank 0 of three, in incarnation 5.
class bench final : public runtime::rank_traffic_owner {
 public:
  bench()
      : clock_(net_.add_machine()),
        traffic(*this, nullptr, clock_.clock(), here, 3),
        mine(traffic, rank_number(0), 3, epoch_number(), epoch_number(), nullptr) {
    traffic.on_record(record_of(5, {0, 1, 1}));
    traffic.add(mine);
    REQUIRE(mine.end_prelude());
  }
  /// Goes on with another incarnation, which its rank is not in.
  void go_back(const checkpoint::job_record& record) {
    traffic.remove(mine.self());
    traffic.on_record(record);
  }
  void send(const node_id& to, runtime::job_message message) override {
    sent.emplace_back(to, std::move(message));
  }
  void must_abandon(epoch_number epoch, std::string) override { abandoned = epoch; }
  void waits_for_held(rank_number, epoch_number epoch, std::string) override { abandoned = epoch; }
  void record_is_old(const node_id& from) override { newer.push_back(from); }
  void ask_ready(const node_id& host) override { asked.push_back(host); }
  void want_lane(const node_id& host) override { wanted.push_back(host); }

  static ready_notice notice(std::uint64_t incarnation, std::vector<rank_number> ranks) {
    return {incarnation_number(incarnation), std::move(ranks)};
  }
  static messaging::rank_message_header good_header() {
    messaging::rank_message_header h;
    h.incarnation = incarnation_number(5);
    h.source = rank_number(1);
    h.destination = rank_number(0);
    return h;
  }
  void receive(const node_id& from, const messaging::rank_message_header& h) {
    byte_vector bytes = wire::encode(h);
    append(bytes, as_bytes("body"));
    traffic.on_message(from, {bytes, nullptr});
  }
  void run() { net_.run_for(std::chrono::milliseconds(2)); }

 private:
  sim::simulation net_{sim::options()};
  sim::machine& clock_;

 public:
  runtime::rank_traffic traffic;
  messaging::endpoint mine;
  std::vector<std::pair<node_id, runtime::job_message>> sent;
  std::vector<node_id> newer, asked, wanted;
  epoch_number abandoned;
};

const rank_number other(1), third(2);

TEST_CASE("a rank is ready when its own host says so for this incarnation") {
  bench b;
  CHECK(b.traffic.ready_count() == 0);
  b.traffic.on_ready(elsewhere, bench::notice(5, {other}));
  b.traffic.on_ready(there, bench::notice(4, {other}));
  CHECK_FALSE(b.traffic.ready(other));
  b.traffic.on_ready(there, bench::notice(5, {other}));
  CHECK(b.traffic.ready(other));
  CHECK_FALSE(b.traffic.ready(third));
  CHECK(b.traffic.ready_count() == 1);
}

TEST_CASE("a notice of an older incarnation or of another peer changes nothing") {
  bench b;
  b.traffic.on_ready(there, bench::notice(5, {other}));
  b.traffic.on_ready(elsewhere, bench::notice(5, {other}));
  b.traffic.on_ready(elsewhere, bench::notice(4, {other}));
  CHECK(b.traffic.ready(other));
}

TEST_CASE("a notice that comes before its record counts once the record is there") {
  bench b;
  b.traffic.on_ready(elsewhere, bench::notice(6, {other, third}));
  CHECK(b.traffic.ready_count() == 0);
  b.go_back(record_of(6, {0, 2, 1}));
  CHECK(b.traffic.ready(other));
  CHECK_FALSE(b.traffic.ready(third));  // its host is another
}

TEST_CASE("a rank that moved is not ready until its new host says so, nor by what it said before") {
  bench b;
  b.traffic.on_ready(there, bench::notice(5, {other}));
  b.traffic.on_record(record_of(5, {0, 2, 1}));
  CHECK_FALSE(b.traffic.ready(other));
  b.go_back(record_of(6, {0, 2, 1}));
  b.traffic.on_ready(there, bench::notice(6, {other}));
  CHECK_FALSE(b.traffic.ready(other));
  b.traffic.on_ready(elsewhere, bench::notice(6, {other}));
  CHECK(b.traffic.ready(other));
}

TEST_CASE("a host is asked once whether its ranks are ready, when a message waits for one") {
  bench b;
  CHECK(b.asked.empty());
  b.mine.send(other, space_number(0), tag_number(1), payload::copy_of(as_bytes("one")));
  b.mine.send(third, space_number(0), tag_number(1), payload::copy_of(as_bytes("two")));
  CHECK(b.asked == std::vector<node_id>{there});
  b.traffic.on_peer_reset(elsewhere);
  CHECK(b.asked.size() == 1);
  b.traffic.on_peer_reset(there);  // question or answer may be lost
  CHECK(b.asked == std::vector<node_id>{there, there});
  b.asked.clear();
  b.traffic.on_record(record_of(5, {0, 1, 2}));
  CHECK(b.asked == std::vector<node_id>{elsewhere});
  b.go_back(record_of(6, {0, 1, 1}));
  b.traffic.add(b.mine);
  b.mine.send_waiting();
  CHECK(b.asked == std::vector<node_id>{elsewhere, there});
}

TEST_CASE("when a rank with waiting messages moves, its new host is asked") {
  bench b;
  b.mine.send(other, space_number(0), tag_number(1), payload::copy_of(as_bytes("one")));
  b.traffic.on_record(record_of(5, {0, 2, 1}));
  CHECK(b.asked == std::vector<node_id>{there, elsewhere});
}

TEST_CASE("a new incarnation makes every rank unready") {
  bench b;
  b.traffic.on_ready(there, bench::notice(5, {other, third}));
  REQUIRE(b.traffic.ready_count() == 2);
  b.go_back(record_of(6, {0, 1, 1}));
  CHECK(b.traffic.ready_count() == 0);
}

TEST_CASE("a notice about ranks that the job has not is harmless") {
  bench b;
  b.traffic.on_ready(there, bench::notice(5, {rank_number(3), rank_number(~0u), other}));
  CHECK(b.traffic.ready_count() == 1);
}

TEST_CASE("a message of this incarnation from its rank's host is delivered, headless") {
  bench b;
  b.receive(there, bench::good_header());
  CHECK(b.traffic.delivered() == 1);
  const auto* message = b.mine.peek({});
  REQUIRE(message != nullptr);
  CHECK(message->source == other);
  CHECK(as_text(message->body.view()) == "body");
}

TEST_CASE("messages that come together are taken as if they came one by one") {
  bench together, apart;
  std::vector<byte_vector> all;
  const auto add = [&](std::uint64_t incarnation, std::uint32_t source, std::uint64_t sequence, std::int64_t tag,
                       std::string_view body) {
    messaging::rank_message_header h = bench::good_header();
    h.incarnation = incarnation_number(incarnation);
    h.source = rank_number(source);
    h.sequence = sequence;
    h.tag = tag;
    all.push_back(wire::encode(h));
    append(all.back(), as_bytes(body));
  };
  for (std::uint64_t n = 0; n < 300; ++n) {  // past where a number needs a byte more
    add(5, 1, n, n % 50 == 7 ? 3 : 4, std::string(n % 5, 'a'));
    if (n % 40 == 9) add(5, 2, n / 40, 4, "of another");
    if (n % 60 == 8) add(4, 1, n + 1, 4, "of before");
    if (n % 60 == 9) add(5, 1, n, 4, "again");
    if (n % 60 == 10) all.push_back(byte_vector(2, std::byte{0xff}));
    if (n == 200) add(6, 1, n + 1, 4, "of later");
  }
  const std::vector<byte_view> views(all.begin(), all.end());
  for (std::size_t n = 0; n < views.size(); n += 64)
    together.traffic.on_messages(there, std::span(views).subspan(n, std::min<std::size_t>(64, views.size() - n)));
  for (const byte_view v : views) apart.traffic.on_message(there, {v});
  CHECK(together.mine.unread() == 308);
  CHECK(together.traffic.delivered() == apart.traffic.delivered());
  CHECK(together.newer == apart.newer);
  const auto state = together.mine.cut(epoch_number(1)), expected = apart.mine.cut(epoch_number(1));
  CHECK(wire::encode(state) == wire::encode(expected));
  together.traffic.on_messages(elsewhere, views);
  CHECK(together.mine.unread() == 308);
}

TEST_CASE("messages that are fenced, foreign or malformed are dropped") {
  bench b;
  const auto with = [](const auto& change) {
    auto h = bench::good_header();
    change(h);
    return h;
  };
  b.receive(there, with([](auto& h) { h.incarnation = incarnation_number(4); }));
  b.receive(elsewhere, bench::good_header());
  b.receive(there, with([](auto& h) { h.source = rank_number(3); }));
  b.receive(there, with([](auto& h) { h.source = rank_number(~0u); }));
  b.receive(there, with([](auto& h) { h.destination = rank_number(3); }));
  b.receive(there, with([](auto& h) { h.destination = third; }));  // lives elsewhere
  b.receive(there, with([](auto& h) { h.stream = numbering(4); }));
  b.receive(there, with([](auto& h) { h.stream = numbering(255); }));
  const byte_vector whole = wire::encode(bench::good_header());
  for (std::size_t n = 0; n < whole.size(); ++n)
    b.traffic.on_message(there, {byte_view(whole).first(n), nullptr});
  CHECK(b.traffic.delivered() == 0);
  CHECK(b.mine.unread() == 0);
  CHECK(b.newer.empty());
}

TEST_CASE("a message of a later incarnation is dropped and makes this peer ask for the record") {
  bench b;
  auto h = bench::good_header();
  h.incarnation = incarnation_number(6);
  b.receive(elsewhere, h);
  CHECK(b.traffic.delivered() == 0);
  CHECK(b.newer == std::vector<node_id>{elsewhere});
}

TEST_CASE("a frozen, removed or unknown rank takes no messages and gives no acknowledgement") {
  bench b;
  b.traffic.freeze(rank_number(0), true);
  CHECK(b.traffic.local(rank_number(0)) == nullptr);
  b.receive(there, bench::good_header());
  b.traffic.freeze(rank_number(0), false);
  b.traffic.remove(rank_number(0));
  b.receive(there, bench::good_header());
  b.run();
  CHECK(b.traffic.delivered() == 0);
  CHECK(b.sent.empty());
  b.traffic.add(b.mine);
  b.receive(there, bench::good_header());
  CHECK(b.traffic.delivered() == 1);
}

TEST_CASE("acknowledgements go to the host of the message's source, in one batch of this incarnation") {
  bench b;
  b.receive(there, bench::good_header());
  auto of_third = bench::good_header();
  of_third.source = third;
  b.receive(there, of_third);
  CHECK(b.sent.empty());  // not from inside the call
  b.run();
  REQUIRE(b.sent.size() == 1);
  CHECK(b.sent[0].first == there);
  const auto& batch = std::get<acknowledgement_batch>(b.sent[0].second).acknowledgements;
  REQUIRE(batch.size() == 2);
  for (const auto& ack : batch) {
    CHECK(ack.incarnation == incarnation_number(5));
    CHECK(ack.destination == rank_number(0));
    CHECK(ack.received == 1);
  }
}

TEST_CASE("a rank that is removed before its acknowledgements go takes them with it") {
  bench b;
  b.receive(there, bench::good_header());
  b.traffic.remove(rank_number(0));
  b.run();
  CHECK(b.sent.empty());
}

TEST_CASE("only an acknowledgement of this incarnation and of known ranks empties a window") {
  bench b;
  b.traffic.on_ready(there, bench::notice(5, {other}));
  b.mine.send(other, 0, 0, payload(to_vector(as_bytes("x"))));
  REQUIRE(b.mine.unacknowledged() == 1);
  messaging::rank_acknowledgement good;
  good.incarnation = incarnation_number(5);
  good.source = rank_number(0);
  good.destination = other;
  good.received = 1;
  std::vector<messaging::rank_acknowledgement> bad(6, good);
  bad[0].incarnation = incarnation_number(4);
  bad[1].incarnation = incarnation_number(6);
  bad[2].source = rank_number(3);
  bad[3].destination = rank_number(3);
  bad[4].stream = numbering(2);
  bad[5].source = third;  // lives elsewhere
  b.traffic.on_acknowledgements({bad});
  CHECK(b.mine.unacknowledged() == 1);
  b.traffic.on_acknowledgements({{good}});
  CHECK(b.mine.unacknowledged() == 0);
}

TEST_CASE("an acknowledgement of messages that were never sent empties nothing") {
  bench b;
  b.traffic.on_ready(there, bench::notice(5, {other}));
  b.mine.send(other, 0, 0, payload(to_vector(as_bytes("x"))));
  messaging::rank_acknowledgement lie;
  lie.incarnation = incarnation_number(5);
  lie.source = rank_number(0);
  lie.destination = other;
  lie.received = ~std::uint64_t{0};
  lie.consumed_messages = lie.consumed_bytes = ~std::uint64_t{0};
  lie.gap = lie.lift = true;
  b.traffic.on_acknowledgements({{lie}});
  CHECK(b.mine.unacknowledged() == 1);
  b.mine.send(other, 0, 0, payload(to_vector(as_bytes("y"))));
  CHECK(b.mine.unacknowledged() == 2);
}

TEST_CASE("a blocked sender is heard of only when ranks and incarnation are known") {
  bench b;
  messaging::rank_blocked good{incarnation_number(5), other, rank_number(0), numbering::main};
  std::vector<messaging::rank_blocked> bad(5, good);
  bad[0].incarnation = incarnation_number(4);
  bad[1].source = rank_number(3);
  bad[2].destination = rank_number(~0u);
  bad[3].stream = numbering(7);
  bad[4].destination = third;
  struct waiting final : messaging::receiver {
    void on_message() override {}
  } receive;
  receive.pattern.source = other;
  REQUIRE_FALSE(b.mine.post(receive));
  for (const auto& blocked : bad) b.traffic.on_blocked(blocked);
  b.run();
  CHECK(b.sent.empty());
  b.traffic.on_blocked(good);  // a receive waits for it: its credit is lifted
  b.run();
  REQUIRE(b.sent.size() == 1);
  const auto& batch = std::get<acknowledgement_batch>(b.sent[0].second).acknowledgements;
  REQUIRE(batch.size() == 1);
  CHECK(batch[0].lift);
  b.mine.withdraw(receive);
}

struct fake_lane final : host::lane {
  void start(host::lane_handler&) override {}
  void send(byte_view head, const payload& body) override {
    heads.push_back(to_vector(head));
    bodies.push_back(body);
  }
  std::uint64_t lend(byte_view head, const two_parts& body) override {
    if (!lends) return 0;
    heads.push_back(to_vector(head));
    bodies.push_back(payload::copy_of(body.first, body.second));
    return heads.size();
  }
  void take_back(std::uint64_t lent) override { taken_back.push_back(lent); }
  std::vector<std::uint64_t> taken_back;
  bool lends = false;
  std::vector<byte_vector> heads;
  std::vector<payload> bodies;
};
struct fake_body final : host::lane_body {
  explicit fake_body(payload b) : bytes(std::move(b)) {}
  [[nodiscard]] std::size_t size() const noexcept override { return bytes.size(); }
  [[nodiscard]] bool copy(byte_span first, byte_span second) override {
    host::copy_in_two(bytes.view(), first, second);
    return true;
  }
  payload bytes;
};

/// Two peers that host rank 0 and ranks 1 and 2, and hear each other over a lane only.
struct neighbours {
  neighbours() {
    b.traffic.on_ready(there, bench::notice(5, {other, third}));
    b.traffic.use_lane(there, &lane);
  }
  bench b;
  fake_lane lane;
};

TEST_CASE("what goes out on a lane comes in at the other end, and is acknowledged there") {
  neighbours n;
  n.b.mine.send(other, 7, -3, payload(to_vector(as_bytes("hello"))));
  REQUIRE(n.lane.heads.size() == 1);
  CHECK(n.b.sent.empty());

  bench receiver;  // rank 0 there is what rank 1 is here
  fake_lane back;
  receiver.traffic.use_lane(there, &back);
  // The head as it left, with source and destination exchanged: rank 1 sends to rank 0.
  byte_vector head = n.lane.heads[0];
  std::swap_ranges(head.begin() + 4, head.begin() + 8, head.begin() + 8);
  fake_body body(n.lane.bodies[0]);
  receiver.traffic.on_lane_message(elsewhere, head, body);  // rank 1 does not live there
  CHECK(receiver.mine.unread() == 0);
  receiver.traffic.on_lane_message(there, byte_view(head).first(head.size() - 1), body);
  CHECK(receiver.mine.unread() == 0);
  receiver.traffic.on_lane_message(there, head, body);
  CHECK(receiver.mine.unread() == 1);
  CHECK(back.heads.empty());  // acknowledgements wait for company
  receiver.run();
  REQUIRE(back.heads.size() == 1);

  byte_vector ack = back.heads[0];
  std::swap_ranges(ack.begin() + 4, ack.begin() + 8, ack.begin() + 8);
  fake_body nothing{payload()};
  CHECK(n.b.mine.unacknowledged() == 1);
  n.b.traffic.on_lane_message(elsewhere, ack, nothing);
  CHECK(n.b.mine.unacknowledged() == 1);
  n.b.traffic.on_lane_message(there, ack, nothing);
  CHECK(n.b.mine.unacknowledged() == 0);
}

/// The heads of a lane of rank 0 as if rank 1 had sent them to rank 0.
void turn_round(std::vector<byte_vector>& heads) {
  for (byte_vector& head : heads) {
    if (head.size() > 16) std::swap_ranges(head.begin() + 4, head.begin() + 8, head.begin() + 8);
  }
}

TEST_CASE("a message that follows another on a lane says only what is not the same") {
  neighbours n;
  const auto text = [](const char* t) { return payload(to_vector(as_bytes(t))); };
  n.b.mine.send(other, 7, 1, text("a"));
  n.b.mine.send(other, 7, 2, text("b"));
  n.b.mine.send(other, 8, 2, text("c"));  // another space
  n.b.mine.send(third, 8, 2, text("-"));  // another rank
  n.b.mine.send(other, 8, 3, text("d"));
  n.b.mine.send(other, 8, 4, text("e"));
  REQUIRE(n.lane.heads.size() == 6);
  const std::vector<bool> is_short = {false, true, false, false, false, true};
  for (std::size_t i = 0; i < 6; ++i) CHECK((n.lane.heads[i].size() == 16) == is_short[i]);

  turn_round(n.lane.heads);
  bench receiver;
  const auto hear = [&](std::size_t i) {
    fake_body body(n.lane.bodies[i]);
    receiver.traffic.on_lane_message(there, n.lane.heads[i], body);
  };
  hear(1);  // after nothing it says nothing
  CHECK(receiver.mine.unread() == 0);
  for (const std::size_t i : {0, 1, 2, 4, 5}) hear(i);
  CHECK(receiver.mine.unread() == 5);
  for (const tag_number tag : {1, 2}) {
    messaging::pattern p;
    p.space = 7;
    p.tag = tag;
    CHECK(receiver.mine.peek(p) != nullptr);
  }
  fake_lane again;
  receiver.traffic.use_lane(there, &again);  // its other end begins anew, too
  hear(1);
  CHECK(receiver.mine.unread() == 5);
}

TEST_CASE("what was lent is acknowledged at once, and copied when that takes long") {
  neighbours n;
  n.lane.lends = true;
  const byte_vector large(host::lane_copied_bytes_max + 100, std::byte{1});
  const two_parts body{byte_view(large).first(4), byte_view(large).subspan(4)};
  const auto first = n.b.mine.lend(other, 0, 0, body);
  REQUIRE(first.has_value());
  turn_round(n.lane.heads);
  bench receiver;
  fake_lane back;
  receiver.traffic.use_lane(there, &back);
  fake_body arrived(n.lane.bodies[0]);
  receiver.traffic.on_lane_message(there, n.lane.heads[0], arrived);
  REQUIRE(back.heads.size() == 1);
  turn_round(back.heads);
  struct waiter final : messaging::room_waiter {
    void on_room() override { ++told; }
    int told = 0;
  } w;
  REQUIRE(n.b.mine.wait_for_return(other, *first, w));
  fake_body nothing{payload()};
  n.b.traffic.on_lane_message(there, back.heads[0], nothing);
  CHECK(w.told == 1);
  CHECK(n.b.mine.unacknowledged() == 0);
  CHECK_FALSE(n.b.mine.wait_for_return(other, *first, w));

  const auto second = n.b.mine.lend(other, 0, 0, body);
  REQUIRE(second.has_value());
  REQUIRE(n.b.mine.wait_for_return(other, *second, w));
  for (int i = 0; i < 8; ++i) n.b.run();  // some milliseconds
  CHECK(w.told == 2);
  CHECK(n.b.mine.unacknowledged() == 1);
  CHECK(n.lane.taken_back == std::vector<std::uint64_t>{1, 2});
  n.lane.lends = false;
  CHECK_FALSE(n.b.mine.lend(other, 0, 0, body));
  n.b.mine.send(other, 0, 0, payload());
  CHECK(n.lane.heads.back().size() > 16);  // what could not be lent was not the one before
}

TEST_CASE("a lane is wished for again when it does not come") {
  bench b;
  b.traffic.on_ready(there, bench::notice(5, {other}));
  const messaging::rank_message m{rank_number(0), other, 0, 0, 0, {}};
  for (int i = 0; i < 1000; ++i) b.traffic.transmit(m, numbering::main, epoch_number());
  CHECK(b.wanted.size() == 4);
  fake_lane lane;
  b.traffic.use_lane(there, &lane);
  b.traffic.transmit(m, numbering::main, epoch_number());
  CHECK(lane.heads.size() == 1);
  b.traffic.use_lane(there, nullptr);
  b.traffic.transmit(m, numbering::main, epoch_number());
  CHECK(b.wanted.size() == 5);
}

TEST_CASE("when a lane ends, what was not acknowledged goes another way") {
  neighbours n;
  for (int i = 0; i < 3; ++i) n.b.mine.send(other, 0, 0, payload(to_vector(as_bytes("x"))));
  REQUIRE(n.lane.heads.size() == 3);
  fake_lane second;
  n.b.traffic.use_lane(there, nullptr);
  CHECK(n.b.mine.unacknowledged() == 3);
  n.b.traffic.use_lane(there, &second);
  n.b.mine.send(other, 0, 0, payload(to_vector(as_bytes("y"))));
  CHECK(second.heads.size() == 1);  // the other end will see that three are missing
}

TEST_CASE("an incarnation fences what comes over a lane") {
  neighbours n;
  n.b.mine.send(other, 0, 0, payload(to_vector(as_bytes("x"))));
  byte_vector head = n.lane.heads[0];
  std::swap_ranges(head.begin() + 4, head.begin() + 8, head.begin() + 8);
  fake_body body(n.lane.bodies[0]);
  n.b.go_back(record_of(6, {0, 1, 1}));
  n.b.traffic.add(n.b.mine);
  n.b.traffic.on_lane_message(there, head, body);
  CHECK(n.b.mine.unread() == 0);
  CHECK(n.b.newer.empty());
  n.b.go_back(record_of(4, {0, 1, 1}));
  n.b.traffic.add(n.b.mine);
  n.b.traffic.on_lane_message(there, head, body);
  CHECK(n.b.mine.unread() == 0);
  CHECK(n.b.newer == std::vector<node_id>{there});
}

}  // namespace
}  // namespace p2pdvm::test
