#include "messaging/fake_host.hpp"
#include "support/test.hpp"

#include <p2pdvm/messaging/exchange.hpp>

#include <algorithm>
#include <string>

using namespace p2pdvm;
using namespace p2pdvm::messaging;
using namespace std::chrono_literals;

namespace {

crypto::identity identity_of(std::string_view text) {
  return crypto::identity(crypto::secret_key(crypto::hash(as_bytes(text)).bytes()));
}

exchange_options options_of() {
  exchange_options o;
  o.swarm = link::swarm_id(crypto::hash(as_bytes("swarm")).bytes());
  return o;
}

/// A peer on a machine of its own that writes down what it is told.
class node final : public exchange_handler {
 public:
  node(fake::world& w, std::uint8_t number, exchange_options options = options_of())
      : node(w, number, options, identity_of(std::to_string(number))) {}
  node(fake::world& w, std::uint8_t number, exchange_options options, const crypto::identity& who)
      : machine(w, number), self(who), options_(options) {
    start();
  }
  void start() {
    x = std::make_unique<exchange>(machine, self, options_, *this);
    REQUIRE(x->listen(address::v4(0, 0, 0, 0, 4000)).ok());
  }
  void stop() { x.reset(); }
  void knows(const node& other) {
    const contact who{other.self.key(), {other.machine.ip.with_port(4000)}};
    REQUIRE(x->learn(who).ok());
  }
  /// By an address that leads nowhere.
  void knows_of(const node& other) {
    REQUIRE(x->learn({other.self.key(), {other.machine.ip.with_port(9)}}).ok());
  }
  void send(const node& to, const std::string& text, priority p = priority::normal) {
    x->send(to.self.id(), 3, {}, payload::copy_of(as_bytes(text)), p);
  }

  bool accept(const node_id&, const public_key&) override { return accepting; }
  std::vector<node_id> relays_to(const node_id&) override { return relays; }
  void on_path(const node_id& who, const std::optional<node_id>& relay) override {
    log(relay ? "relayed" : "direct", who);
  }
  void on_message(const node_id&, std::uint8_t channel, arrived_message message) override {
    CHECK(channel == 3);
    messages.emplace_back(as_text(message.view));
    if (on_text) on_text(messages.back());
  }
  void on_peer_up(const node_id& who) override { log("up", who); }
  void on_peer_reset(const node_id& who) override { log("reset", who); }
  void on_connection_lost(const node_id&, const error& why) override { lost.push_back(why); }
  void on_unreachable(const node_id&, const error& why) override { lost.push_back(why); }
  void on_writable(const node_id& who) override { log("writable", who); }
  void on_meeting_failed(const address&, const error& why) override { lost.push_back(why); }
  void on_datagram(const link::opened_datagram& d, const address&) override {
    datagrams.emplace_back(as_text(d.plain));
    if (!d.current) datagrams.back() += " of another process";
  }
  [[nodiscard]] bool connected(const node& to) const { return x->connected(to.self.id()); }
  [[nodiscard]] std::ptrdiff_t count(const std::string& what) const {
    return std::count(events.begin(), events.end(), what);
  }
  [[nodiscard]] bool lost_by(errc code) const {
    return std::any_of(lost.begin(), lost.end(), [&](auto& e) { return e.code() == code; });
  }

  fake::machine machine;
  crypto::identity self;
  bool accepting = true;
  std::vector<node_id> relays;
  std::function<void(const std::string&)> on_text;
  std::unique_ptr<exchange> x;
  std::vector<std::string> messages;
  std::vector<std::string> datagrams;
  std::vector<std::string> events;
  std::vector<error> lost;

 private:
  void log(const char* what, const node_id&) { events.emplace_back(what); }
  exchange_options options_;
};

std::vector<std::string> numbered(int count, const std::string& prefix = "m") {
  std::vector<std::string> texts;
  for (int i = 0; i < count; ++i) texts.push_back(prefix + std::to_string(i));
  return texts;
}

}  // namespace

TEST_CASE("a message opens a connection, is answered, and both sides are told of each other") {
  fake::world w;
  node a(w, 1);
  node b(w, 2);
  a.knows(b);
  b.on_text = [&](const std::string& text) { b.send(a, "re: " + text); };
  a.send(b, "hello");
  CHECK(a.x->unacknowledged(b.self.id()) > 0);
  REQUIRE(w.run_until([&] { return !a.messages.empty(); }));
  CHECK(b.messages == std::vector<std::string>{"hello"});
  CHECK(a.messages == std::vector<std::string>{"re: hello"});
  CHECK(a.events == std::vector<std::string>{"up"});
  CHECK(b.events == std::vector<std::string>{"up"});
  CHECK(b.x->find(a.self.id())->addresses.at(0) == a.machine.ip.with_port(4000));
  w.run_for(1s);
  CHECK(a.x->unacknowledged(b.self.id()) == 0);
  CHECK(a.x->statistics().connections == 1);
  CHECK(b.x->half_open() == 0);
}

TEST_CASE("many messages of one turn travel in few records") {
  fake::world w;
  node a(w, 1);
  node b(w, 2);
  a.knows(b);
  a.x->keep(b.self.id());
  REQUIRE(w.run_until([&] { return a.connected(b) && b.connected(a); }));
  const std::uint64_t before = a.x->statistics().bytes.sent;
  for (const auto& text : numbered(1000)) a.send(b, text);
  REQUIRE(w.run_until([&] { return b.messages.size() == 1000; }));
  CHECK(b.messages == numbered(1000));
  CHECK(a.x->statistics().bytes.sent - before < 1000 * (4 + 3) + 200);
}

TEST_CASE("simultaneous dials end in one connection without a loss") {
  for (int head_start = -30; head_start <= 30; head_start += 3) {
    fake::world w;
    node a(w, 1);
    node b(w, 2);
    a.knows(b);
    b.knows(a);
    node& first = head_start < 0 ? a : b;
    node& second = head_start < 0 ? b : a;
    for (const auto& text : numbered(5)) first.send(second, text);
    w.run_for(std::chrono::milliseconds(std::abs(head_start)));
    for (const auto& text : numbered(5)) second.send(first, text);
    REQUIRE(w.run_until([&] { return a.messages.size() == 5 && b.messages.size() == 5; }, 3s));
    w.run_for(5s);
    CHECK(a.messages == numbered(5));
    CHECK(b.messages == numbered(5));
    CHECK(a.connected(b));
    CHECK(b.connected(a));
    CHECK(a.events == std::vector<std::string>{"up"});
    CHECK(b.events == std::vector<std::string>{"up"});
    CHECK(a.lost.empty());
    CHECK(b.lost.empty());
    const auto& cables = a.machine.cables;
    CHECK(std::count_if(cables.begin(), cables.end(), [](const auto& weak) {
            const auto c = weak.lock();
            return c && c->ends[0] && c->ends[1];
          }) == 1);
  }
}

TEST_CASE("connections that break at any byte lose nothing, repeat nothing and keep the order") {
  for (std::size_t step = 1; step < 2500; step += 23) {
    fake::world w;
    node a(w, 1);
    node b(w, 2);
    a.knows(b);
    b.knows(a);
    random_generator random(step);
    for (int i = 0; i < 20; ++i) {
      a.send(b, "m" + std::to_string(i));
      b.send(a, "m" + std::to_string(i));
      w.bytes_until_cut = i == 0 ? step : random.below(1500);
      w.run_for(std::chrono::milliseconds(random.below(300)));
    }
    w.bytes_until_cut = ~std::size_t{0};
    REQUIRE(w.run_until([&] { return a.messages.size() >= 20 && b.messages.size() >= 20; }));
    w.run_for(20s);
    CHECK(a.messages == numbered(20));
    CHECK(b.messages == numbered(20));
    CHECK(a.count("reset") + b.count("reset") == 0);
    CHECK(a.x->unacknowledged(b.self.id()) + b.x->unacknowledged(a.self.id()) == 0);
  }
}

TEST_CASE("round trips of three seconds are long, but not hopeless") {
  fake::world w;
  w.latency = 1500ms;
  node a(w, 1);
  node b(w, 2);
  a.knows(b);
  a.send(b, "hello");
  REQUIRE(w.run_until([&] { return a.connected(b) && b.messages.size() == 1; }));
  CHECK(a.x->statistics().dials == 1);
}

TEST_CASE("a large transfer survives broken connections and lets small messages pass") {
  fake::world w;
  node a(w, 1);
  node b(w, 2);
  a.knows(b);
  b.x->trust(a.self.id());
  const std::string large(30'000'000, 'x');
  a.send(b, large, priority::bulk);
  CHECK(a.x->congested(b.self.id()));
  w.run_for(100ms);
  a.send(b, "urgent", priority::control);
  w.run_for(50ms);
  CHECK(b.messages.size() == 1);
  a.machine.break_connections();
  w.run_for(150ms);
  b.machine.break_connections();
  REQUIRE(w.run_until([&] { return b.messages.size() == 2; }));
  CHECK(b.messages[0] == "urgent");
  CHECK((b.messages[1] == large));
  w.run_for(1s);
  CHECK_FALSE(a.x->congested(b.self.id()));
  CHECK(a.count("writable") == 1);
  CHECK(a.lost_by(errc::io));
}

TEST_CASE("a restarted peer is announced by a reset and reached again") {
  fake::world w;
  node a(w, 1);
  node b(w, 2);
  a.knows(b);
  a.x->keep(b.self.id());
  a.send(b, "before");
  REQUIRE(w.run_until([&] { return b.messages.size() == 1; }));
  b.stop();
  w.run_for(3s);
  a.send(b, "lost");
  CHECK(a.lost_by(errc::unreachable));
  CHECK_FALSE(a.connected(b));
  b.start();
  REQUIRE(w.run_until([&] { return a.connected(b); }));
  CHECK(a.events == std::vector<std::string>{"up", "reset", "up"});
  a.send(b, "after");
  w.run_for(1s);
  CHECK(b.messages == std::vector<std::string>{"before", "after"});
}

TEST_CASE("a late connection of a process that another one has replaced is refused") {
  fake::world w;
  node a(w, 1);
  node old(w, 2);
  old.knows(a);
  old.send(a, "of the old process");
  REQUIRE(w.run_until([&] { return a.messages.size() == 1; }));
  node next(w, 3, options_of(), old.self);
  next.knows(a);
  next.send(a, "of the new one");
  REQUIRE(w.run_until([&] { return a.messages.size() == 2; }));
  REQUIRE(a.events == std::vector<std::string>{"up", "reset", "up"});
  old.send(a, "late");
  w.run_for(5s);
  CHECK(a.messages.size() == 2);
  CHECK(a.events.size() == 3);
  old.stop();
  next.send(a, "goes on");
  w.run_for(1s);
  CHECK(a.messages.back() == "goes on");
  CHECK(a.events.size() == 3);
  CHECK(next.count("reset") == 0);
}

TEST_CASE("a peer that was forgotten begins anew") {
  fake::world w;
  node a(w, 1);
  node b(w, 2);
  a.knows(b);
  b.knows(a);
  b.on_text = [&](const std::string& text) {
    if (text == "forget me") b.x->forget(a.self.id());  // from inside the message's own delivery
  };
  a.x->keep(b.self.id());
  REQUIRE(w.run_until([&] { return a.connected(b); }));
  a.send(b, "forget me");
  a.send(b, "never delivered");
  REQUIRE(w.run_until([&] { return a.count("reset") == 1; }));
  a.send(b, "again");
  w.run_for(3s);
  CHECK(b.messages == std::vector<std::string>{"forget me", "again"});
  CHECK(b.count("up") == 2);
}

TEST_CASE("of messages that came together with a piece of a large one, none is delivered for a peer that was forgotten") {
  fake::world w;
  node a(w, 1);
  node b(w, 2);
  a.knows(b);
  b.x->trust(a.self.id());
  b.on_text = [&](const std::string& text) {
    if (text == "forget me") b.x->forget(a.self.id());
  };
  const std::string large(30'000'000, 'x');
  a.send(b, large, priority::bulk);
  w.run_for(100ms);
  REQUIRE(b.messages.empty());
  for (const char* text : {"one", "forget me", "never", "delivered"}) a.send(b, text, priority::control);
  w.run_for(60ms);
  CHECK(b.messages == std::vector<std::string>{"one", "forget me"});
}

TEST_CASE("a silent peer is noticed while it owes an answer, and when it is kept") {
  for (const bool kept : {false, true}) {
    fake::world w;
    node a(w, 1);
    node b(w, 2);
    a.knows(b);
    a.x->keep(b.self.id(), kept);
    a.send(b, "one");
    w.run_for(5s);
    CHECK(a.connected(b));
    w.silent.insert(&b.machine);
    if (!kept) a.send(b, "two");
    w.run_for(kept ? 26s : 11s);
    CHECK_FALSE(a.connected(b));
    CHECK(a.lost_by(errc::timed_out));
    w.silent.clear();
    a.send(b, "three");
    w.run_for(30s);
    CHECK(a.connected(b));
    CHECK(b.messages.back() == "three");
    CHECK(b.messages.size() == (kept ? 2u : 3u));
    CHECK(a.count("reset") == 0);
  }
}

TEST_CASE("a half-dead connection does not keep the peer from coming back") {
  fake::world w;
  node a(w, 1);
  node b(w, 2);
  a.knows(b);
  b.knows(a);
  node& small = a.self.id() < b.self.id() ? a : b;
  node& large = a.self.id() < b.self.id() ? b : a;
  small.send(large, "x");  // the connection that both sides prefer
  w.run_for(2s);
  REQUIRE(large.connected(small));
  w.silent.insert(&large.machine);
  large.machine.break_connections();  // only the larger side gets to know
  w.silent.clear();
  large.send(small, "back");
  REQUIRE(w.run_until([&] { return small.messages.size() == 1; }, 20s));
  CHECK(small.messages[0] == "back");
}

TEST_CASE("a connection that takes no more bytes costs no work and is given up by the other side") {
  fake::world w;
  node a(w, 1);
  node b(w, 2);
  a.knows(b);
  a.x->trust(b.self.id());
  b.x->trust(a.self.id());
  a.x->keep(b.self.id());
  w.run_for(1s);
  REQUIRE(a.connected(b));
  w.stuck.insert(&a.machine);
  const std::string large(1'000'000, 'x');
  a.send(b, large);
  for (int i = 0; i < 9; ++i) {
    b.send(a, "heard");  // a cannot acknowledge it
    w.run_for(1s);
  }
  CHECK(a.messages.size() == 9);
  CHECK(a.connected(b));
  w.run_for(3s);
  CHECK(b.lost_by(errc::timed_out));
  w.stuck.clear();
  REQUIRE(w.run_until([&] { return b.messages.size() == 1; }));
  w.run_for(1s);
  CHECK((b.messages[0] == large));
  CHECK(a.messages.size() == 9);
}

TEST_CASE("an idle connection is closed, a kept one stays, and the session outlives both") {
  fake::world w;
  node a(w, 1);
  node b(w, 2);
  node c(w, 3);
  a.knows(b);
  a.knows(c);
  a.send(b, "one");
  a.x->keep(c.self.id());
  w.run_for(300s);
  CHECK_FALSE(a.connected(b));
  CHECK_FALSE(b.connected(a));
  CHECK(a.connected(c));
  CHECK(c.connected(a));
  b.send(a, "two");
  w.run_for(1s);
  CHECK(a.messages == std::vector<std::string>{"two"});
  CHECK(a.count("reset") + b.count("reset") == 0);
}

TEST_CASE("a peer without a reachable address is reported and tried again with back-off") {
  fake::world w;
  node a(w, 1);
  node b(w, 2);
  a.send(b, "to nobody");
  w.run_for(1s);
  CHECK(a.lost_by(errc::not_found));
  const contact wrong{b.self.key(),
                      {a.machine.ip.with_port(9), b.machine.ip.with_port(9)}};
  REQUIRE(a.x->learn(wrong).ok());
  w.run_for(60s);
  CHECK(a.lost_by(errc::unreachable));
  CHECK_FALSE(a.x->has_reached(b.self.id()));
  const auto dials = a.x->statistics().dials;
  CHECK(dials >= 10);
  CHECK(dials <= 60);
  a.knows(b);
  REQUIRE(w.run_until([&] { return b.messages.size() == 1 && a.connected(b); }));
  CHECK(a.x->find(b.self.id())->addresses.front() == b.machine.ip.with_port(4000));
  CHECK(a.x->has_reached(b.self.id()));
}

TEST_CASE("another peer at the address is not mistaken for the one expected") {
  fake::world w;
  node a(w, 1);
  node b(w, 2);
  node c(w, 3);
  REQUIRE(a.x->learn({b.self.key(), {c.machine.ip.with_port(4000)}}).ok());
  a.send(b, "secret");
  w.run_for(10s);
  CHECK(c.messages.empty());
  CHECK_FALSE(a.lost.empty());
  CHECK(c.x->statistics().handshakes_failed > 0);
  CHECK_FALSE(a.x->learn({public_key(), {}}).ok());
}

TEST_CASE("an unknown peer can be met by its address, or the failure is reported") {
  fake::world w;
  node a(w, 1);
  node b(w, 2);
  CHECK(a.x->meet(b.machine.ip.with_port(4000)));
  REQUIRE(w.run_until([&] { return a.connected(b); }));
  CHECK(a.x->find(b.self.id())->key == b.self.key());
  CHECK(a.x->meet(b.machine.ip.with_port(5)));
  CHECK(a.x->meet(a.machine.ip.with_port(4000)));
  w.run_for(1s);
  CHECK(a.lost_by(errc::unreachable));
  CHECK(a.lost_by(errc::refused));  // that is itself

  exchange_options other = options_of();
  other.swarm = link::swarm_id();
  node stranger(w, 4, other);
  CHECK(stranger.x->meet(a.machine.ip.with_port(4000)));
  w.run_for(6s);
  CHECK(stranger.lost_by(errc::authentication));
}

TEST_CASE("a stranger may be refused, and may send only small messages until it is trusted") {
  fake::world w;
  node a(w, 1);
  node b(w, 2);
  a.knows(b);
  b.accepting = false;
  a.send(b, "refused");
  w.run_for(5s);
  CHECK(b.messages.empty());
  CHECK(b.x->statistics().strangers_refused > 0);
  b.accepting = true;
  REQUIRE(w.run_until([&] { return b.messages.size() == 1; }));
  const std::string large(stranger_message_bytes_max + 1, 'x');
  const std::string fits(stranger_message_bytes_max, 'x');
  a.send(b, fits);
  a.send(b, large);
  w.run_for(10s);
  CHECK((b.messages == std::vector<std::string>{"refused", fits}));
  CHECK(b.lost_by(errc::too_large));
  CHECK(a.count("reset") == 1);
  b.on_text = [&](const std::string& text) {
    if (text == "trust me") b.x->trust(a.self.id());
  };
  a.send(b, "trust me");
  a.send(b, large);
  w.run_for(10s);
  CHECK((b.messages.back() == large));
}

TEST_CASE("connections that say nothing or nonsense are capped, bounded in time, and harm nobody") {
  struct mute final : host::stream_handler {
    void on_data(byte_view) override {}
    void on_closed(const error&) override { ++closed; }
    int closed = 0;
  };
  fake::world w;
  node b(w, 2);
  node good(w, 3);
  fake::machine attacker(w, 66);
  mute handler;
  std::vector<std::unique_ptr<host::stream>> streams;
  for (int i = 0; i < 20; ++i) {
    streams.push_back(attacker.network().connect(b.machine.ip.with_port(4000)));
    streams.back()->start(handler);
    if (i % 3 == 1) streams.back()->write(to_vector(as_bytes("p2pd\x01")));
  }
  w.run_for(100ms);
  CHECK(b.x->half_open() == limits::half_open_per_source_max);
  CHECK(b.x->statistics().half_open_refused == 20 - limits::half_open_per_source_max);
  good.knows(b);
  good.send(b, "still served");
  w.run_for(1s);
  CHECK(b.messages.size() == 1);
  streams.push_back(attacker.network().connect(b.machine.ip.with_port(4000)));
  w.run_for(5s);
  CHECK(b.x->half_open() == 0);
  CHECK(handler.closed == 20);
  streams.push_back(attacker.network().connect(b.machine.ip.with_port(4000)));
  streams.back()->start(handler);
  streams.back()->write(byte_vector(1000, std::byte{'x'}));
  w.run_for(100ms);
  CHECK(handler.closed == 21);
  CHECK(b.x->half_open() == 0);
}

TEST_CASE("an old release learns from the answer why it was refused") {
  struct old final : host::stream_handler {
    void on_data(byte_view bytes) override { append(got, bytes); }
    void on_closed(const error&) override { closed = true; }
    byte_vector got;
    bool closed = false;
  };
  fake::world w;
  node b(w, 2);
  fake::machine client(w, 7);
  old handler;
  const auto stream = client.network().connect(b.machine.ip.with_port(4000));
  stream->start(handler);
  stream->write(to_vector(as_bytes(std::string_view("p2pd\x63\x00\x01---", 10))));
  REQUIRE(w.run_until([&] { return handler.closed; }, 5s));
  REQUIRE(handler.got.size() == link::handshake_preamble_bytes);
  CHECK(handler.got[4] == static_cast<std::byte>(link::protocol_version));
}

TEST_CASE("a recorded first flight that is replayed does not disturb the real connection") {
  struct recorder final : host::listen_handler, host::stream_handler {
    void on_accept(std::unique_ptr<host::stream> s) override {
      stream = std::move(s);
      stream->start(*this);
    }
    void on_data(byte_view bytes) override { append(got, bytes); }
    void on_closed(const error&) override {}
    std::unique_ptr<host::stream> stream;
    byte_vector got;
  };
  fake::world w;
  node a(w, 1);
  node b(w, 2);
  fake::machine attacker(w, 66);
  recorder r;
  const auto trap = attacker.network().listen(address::v4(0, 0, 0, 0, 4000), r);
  REQUIRE(a.x->learn({b.self.key(), {attacker.ip.with_port(4000)}}).ok());
  a.send(b, "one");
  w.run_for(100ms);
  REQUIRE(r.got.size() > 100);
  a.knows(b);
  REQUIRE(w.run_until([&] { return b.messages.size() == 1; }));
  const auto before = a.lost.size();
  const auto replay = attacker.network().connect(b.machine.ip.with_port(4000));
  recorder answer;
  replay->start(answer);
  replay->write(r.got);
  w.run_for(2s);
  CHECK_FALSE(answer.got.empty());  // b took it for a's, as it must
  CHECK(a.connected(b));
  CHECK(b.connected(a));
  w.run_for(4s);
  CHECK(b.x->half_open() == 0);
  CHECK(a.lost.size() == before);
  CHECK(b.count("up") == 1);
}

TEST_CASE("datagrams reach strangers and acquaintances, once each") {
  fake::world w;
  node a(w, 1);
  node b(w, 2);
  const address at_b = b.machine.ip.with_port(4000);
  CHECK(a.x->send_datagram(b.self.key(), at_b, as_bytes("ping")));
  w.run_for(1s);
  CHECK(b.datagrams == std::vector<std::string>{"ping"});
  CHECK(b.x->send_datagram(a.self.key(), a.machine.ip.with_port(4000), as_bytes("pong")));
  w.run_for(1s);
  CHECK(a.datagrams == std::vector<std::string>{"pong"});
  fake::machine attacker(w, 66);
  struct ignore final : host::datagram_handler {
    void on_datagram(const address&, byte_view) override {}
  } nobody;
  auto socket = attacker.network().open_datagrams(address(), nobody);
  REQUIRE(socket.ok());
  const byte_vector seen = w.datagrams.front().second;
  (*socket)->send(at_b, seen);
  (*socket)->send(at_b, as_bytes("junk"));
  w.run_for(1s);
  CHECK(b.datagrams.size() == 1);
  CHECK(b.x->statistics().datagrams_refused == 2);
  CHECK_FALSE(a.x->send_datagram(b.self.key(), at_b,
                                 byte_vector(link::datagram_plain_bytes_max + 1)));
}

TEST_CASE("datagrams of a peer's earlier process are told from those of the one that was met") {
  fake::world w;
  node a(w, 1);
  node b(w, 2);
  b.x->keep(a.self.id());
  a.knows(b);
  const address at_b = b.machine.ip.with_port(4000);
  const auto send = [&](const std::string& text) {
    REQUIRE(a.x->send_datagram(b.self.key(), at_b, as_bytes(text)));
    const auto sent = w.datagrams.back();
    w.run_for(1s);
    return sent.second;
  };
  std::vector<byte_vector> recorded;
  for (int life = 1; life <= 3; ++life) {
    if (life > 1) {
      a.stop();
      a.start();
      a.knows(b);
    }
    const std::string text = "life " + std::to_string(life);
    a.send(b, "hello");
    w.run_for(1s);
    recorded.push_back(send(text));
    CHECK(b.datagrams.back() == text);
  }
  a.stop();
  w.run_for(1s);
  b.datagrams.clear();
  fake::machine attacker(w, 66);
  struct ignore final : host::datagram_handler {
    void on_datagram(const address&, byte_view) override {}
  } nobody;
  auto socket = attacker.network().open_datagrams(address(), nobody);
  REQUIRE(socket.ok());
  for (int i = 0; i < 3; ++i) {
    for (const byte_vector& datagram : recorded) {
      (*socket)->send(at_b, datagram);
      w.run_for(10ms);
    }
  }
  CHECK_FALSE(b.datagrams.empty());
  for (const std::string& text : b.datagrams) {
    CHECK(text.find(" of another process") != std::string::npos);
  }
}

TEST_CASE("a port that is taken is named, and port 0 finds one that is free for both sockets") {
  fake::world w;
  node a(w, 1);
  exchange second(a.machine, a.self, options_of(), a);
  auto listening = second.listen(address::v4(0, 0, 0, 0, 4000));
  REQUIRE_FALSE(listening.ok());
  CHECK(listening.error().code() == errc::address_in_use);
  CHECK(listening.error().message().find(":4000") != std::string::npos);
  struct ignore final : host::datagram_handler {
    void on_datagram(const address&, byte_view) override {}
  } nobody;
  const address probe = (*a.machine.network().open_datagrams(address(), nobody))->local();
  const auto taken = a.machine.network().open_datagrams(
      probe.with_port(static_cast<std::uint16_t>(probe.port() + 2)), nobody);
  REQUIRE(taken.ok());
  REQUIRE(second.listen(address()).ok());
  CHECK(second.local().port() != 0);
  CHECK(second.local().port() != (*taken)->local().port());
}

TEST_CASE("strangers' sessions are bounded, and old ones make room") {
  fake::world w;
  w.latency = 1ms;
  node b(w, 2);
  std::vector<std::unique_ptr<node>> crowd;
  for (std::uint8_t i = 0; i < 5; ++i) crowd.push_back(std::make_unique<node>(w, 100 + i));
  for (std::size_t i = 0; i < strangers_max + 20; ++i) {
    // One machine after another shows a new identity.
    node& n = *crowd[i % crowd.size()];
    n.stop();
    n.self = identity_of("crowd " + std::to_string(i));
    n.start();
    n.knows(b);
    n.send(b, "hi");
    REQUIRE(w.run_until([&] { return b.messages.size() == i + 1; }));
  }
  CHECK(b.x->statistics().strangers_refused == 20);
  CHECK(b.x->contacts().size() == strangers_max + 20);
}

TEST_CASE("a crowd of strangers from one place does not lock others out") {
  fake::world w;
  w.latency = 1ms;
  node b(w, 2);
  node early(w, 3);
  early.knows(b);
  early.send(b, "early");
  REQUIRE(w.run_until([&] { return b.messages.size() == 1; }));
  // All of them stay connected, on one machine.
  fake::machine place(w, 66);
  node ear(w, 67);
  std::vector<crypto::identity> selves;
  for (std::size_t i = 0; i < strangers_max; ++i)
    selves.push_back(identity_of("crowd " + std::to_string(i)));
  std::vector<std::unique_ptr<exchange>> crowd;
  for (const crypto::identity& self : selves) {
    crowd.push_back(std::make_unique<exchange>(place, self, options_of(), ear));
    REQUIRE(crowd.back()->learn({b.self.key(), {b.machine.ip.with_port(4000)}}).ok());
    crowd.back()->keep(b.self.id());
    REQUIRE(w.run_until([&] { return crowd.back()->connected(b.self.id()); }));
  }
  const auto connected = [&] {
    return static_cast<std::size_t>(std::count_if(crowd.begin(), crowd.end(), [&](const auto& x) {
      return b.x->connected(x->self().id());
    }));
  };
  CHECK(connected() == strangers_max - 1);
  CHECK(b.connected(early));
  node late(w, 4);
  late.knows(b);
  late.send(b, "late");
  REQUIRE(w.run_until([&] { return b.messages.size() == 2; }));
  CHECK(connected() == strangers_max - 2);
  CHECK(b.connected(early));
}

TEST_CASE("a stranger that does not read its answers is dropped before they fill the memory") {
  fake::world w;
  node a(w, 1);
  node b(w, 2);
  a.knows(b);
  a.send(b, "hello");
  REQUIRE(w.run_until([&] { return b.messages.size() == 1; }));
  std::size_t most = 0;
  b.on_text = [&](const std::string&) {
    b.x->send(a.self.id(), 3, {}, payload::copy_of(as_bytes(std::string(1000, 'x'))));
    most = std::max(most, b.x->unacknowledged(a.self.id()));
  };
  w.stuck.insert(&b.machine);  // as when nothing of it is read
  for (int i = 0; i < 10'000; ++i) a.send(b, "and?");
  w.run_for(5s);
  CHECK(most > stranger_unread_bytes_max);
  CHECK(most < stranger_unread_bytes_max + 64 * 1024);
  CHECK(b.lost_by(errc::too_large));
}

TEST_CASE("whom this side turned to may answer at length before it is trusted") {
  fake::world w;
  node a(w, 1);
  node b(w, 2);
  a.knows(b);
  a.send(b, "what is there?");
  REQUIRE(w.run_until([&] { return b.messages.size() == 1; }));
  const std::string all(4 * stranger_message_bytes_max, 'x');
  b.send(a, all);
  w.run_for(1s);
  CHECK((a.messages == std::vector<std::string>{all}));
}

TEST_CASE("handshakes from many places make room for one from another") {
  struct mute final : host::stream_handler {
    void on_data(byte_view) override {}
    void on_closed(const error&) override {}
  };
  fake::world w;
  node b(w, 2);
  mute handler;
  std::vector<std::unique_ptr<fake::machine>> places;  // outlive their streams
  std::vector<std::unique_ptr<host::stream>> streams;
  constexpr std::size_t count = limits::half_open_max / limits::half_open_per_source_max;
  for (std::size_t p = 0; p < count; ++p) {
    places.push_back(std::make_unique<fake::machine>(w, static_cast<std::uint8_t>(100 + p)));
    for (std::size_t i = 0; i < limits::half_open_per_source_max; ++i) {
      auto& host = static_cast<host::machine&>(*places.back());
      streams.push_back(host.network().connect(b.machine.ip.with_port(4000)));
      streams.back()->start(handler);
    }
  }
  w.run_for(100ms);
  REQUIRE(b.x->half_open() == limits::half_open_max);
  node good(w, 3);
  good.knows(b);
  good.send(b, "served at once");
  w.run_for(1s);
  CHECK(b.messages.size() == 1);
}

namespace {

/// a and b know no address of each other that leads there; both keep connections to r.
struct hidden_pair {
  explicit hidden_pair(bool trusted = true) {
    for (node* n : {&a, &b}) {
      n->knows(r);
      n->x->keep(r.self.id());
      n->relays = {r.self.id()};
      for (node* other : {&a, &b, &r}) {
        if (other != n) n->x->trust(other->self.id());
      }
      if (trusted) r.x->trust(n->self.id());
    }
    a.knows_of(b);
    b.knows_of(a);
    REQUIRE(w.run_until([&] { return r.connected(a) && r.connected(b) && a.connected(r) && b.connected(r); }));
    for (node* n : {&a, &b, &r}) n->events.clear();
  }
  fake::world w;
  node a{w, 1};
  node b{w, 2};
  node r{w, 3};
};

}  // namespace

TEST_CASE("a trusted peer to whom no address leads is reached through another, and directly once one does") {
  hidden_pair p;
  for (const auto& text : numbered(100)) p.a.send(p.b, text);
  REQUIRE(p.w.run_until([&] { return p.b.messages.size() == 100 && p.a.connected(p.b); }, 2s));
  CHECK(p.b.messages == numbered(100));
  CHECK(p.a.x->relay_to(p.b.self.id()) == p.r.self.id());
  CHECK(p.b.x->relay_to(p.a.self.id()) == p.r.self.id());
  CHECK(p.a.count("relayed") == 1);
  CHECK(p.r.messages.empty());
  p.b.x->keep(p.a.self.id());
  p.b.knows(p.a);
  REQUIRE(p.w.run_until([&] { return p.a.count("direct") == 1; }, 20s));
  p.a.send(p.b, "on");
  REQUIRE(p.w.run_until([&] { return p.b.messages.size() == 101; }, 1s));
  CHECK_FALSE(p.a.x->relay_to(p.b.self.id()));
  CHECK(p.a.count("up") == 1);
  CHECK(p.a.count("reset") == 0);
}

TEST_CASE("a relay that falls silent or dies is replaced by the next one, and nothing is lost") {
  hidden_pair p;
  node other(p.w, 4);
  for (node* n : {&p.a, &p.b}) {
    n->knows(other);
    n->x->trust(other.self.id());
    n->x->keep(other.self.id());
    n->relays.push_back(other.self.id());
    other.x->trust(n->self.id());
  }
  REQUIRE(p.w.run_until([&] { return other.connected(p.a) && other.connected(p.b); }));
  for (const auto& text : numbered(50)) p.a.send(p.b, text);
  REQUIRE(p.w.run_until([&] { return p.b.messages.size() == 50; }));
  if (GENERATE(true, false)) {
    p.w.silent.insert(&p.r.machine);
  } else {
    p.r.stop();
  }
  for (const auto& text : numbered(50)) p.b.send(p.a, text);
  for (const auto& text : numbered(50, "n")) p.a.send(p.b, text);
  REQUIRE(p.w.run_until([&] { return p.a.messages.size() == 50 && p.b.messages.size() == 100; }));
  CHECK(p.a.messages == numbered(50));
  CHECK(p.a.x->relay_to(p.b.self.id()) == other.self.id());
  CHECK(p.a.count("reset") + p.b.count("reset") == 0);
}

TEST_CASE("strangers are not led on") {
  hidden_pair p(false);
  p.a.send(p.b, "hello");
  p.w.run_for(30s);
  CHECK(p.b.messages.empty());
  CHECK_FALSE(p.a.lost.empty());
}

TEST_CASE("who does not trust the beginner of a circuit does not hear it") {
  hidden_pair p;
  p.b.x->forget(p.a.self.id());
  p.a.send(p.b, "hello");
  p.w.run_for(30s);
  CHECK(p.b.messages.empty());
  CHECK(p.b.x->half_open() == 0);
}
