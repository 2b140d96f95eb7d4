#include "support/test.hpp"

#include <p2pdvm/sim/simulation.hpp>

#include <deque>
#include <optional>

using namespace p2pdvm;
using namespace std::chrono_literals;

namespace {

struct party final : host::stream_handler {
  void on_open() override { ++opened; }
  void on_data(byte_view bytes) override { append(got, bytes); }
  void on_closed(const error& why) override { closed = why; }
  std::unique_ptr<host::stream> stream;
  byte_vector got;
  std::optional<error> closed;
  int opened = 0;
};

struct door final : host::listen_handler {
  void on_accept(std::unique_ptr<host::stream> connection) override {
    parties.emplace_back().stream = std::move(connection);
    parties.back().stream->start(parties.back());
  }
  std::deque<party> parties;
};

/// A client on `a` connected to a server on `b`.
struct connected {
  explicit connected(std::uint64_t seed = 1) : simulation(how(seed)) {
    listener = b.network().listen(address::v4(0, 0, 0, 0, 80), entrance).value();
    connect();
    simulation.run_for(3s);
    REQUIRE(client.opened == 1);
    REQUIRE(entrance.parties.size() == 1);
  }
  static sim::options how(std::uint64_t seed) {
    sim::options o;
    o.seed = seed;
    o.profile = sim::latency_profile::planetlab;
    return o;
  }
  void connect() {
    client.stream = a.network().connect(b.address().with_port(80));
    client.stream->start(client);
  }
  party& server() { return entrance.parties.front(); }

  sim::simulation simulation;
  sim::machine& a = simulation.add_machine();
  sim::machine& b = simulation.add_machine();
  sim::machine& c = simulation.add_machine();
  door entrance;
  std::unique_ptr<host::listener> listener;
  party client;
};

}  // namespace

TEST_CASE("a handshake takes one round trip and the first bytes half of one more") {
  sim::options o;
  o.profile = sim::latency_profile::planetlab;
  o.conditions = sim::network_conditions();
  o.conditions->jitter = 0;
  sim::simulation s(o);
  sim::machine& a = s.add_machine({});
  sim::machine& b = s.add_machine({});
  door entrance;
  auto listener = b.network().listen(address::v4(0, 0, 0, 0, 80), entrance).value();
  party client;
  client.stream = a.network().connect(b.address().with_port(80));
  client.stream->start(client);
  client.stream->write(byte_vector(10));
  const duration round = s.round_trip(a, b);
  const auto limit = time_point(1h);
  REQUIRE(s.run_until([&] { return client.opened == 1; }, limit));
  CHECK(s.now().time_since_epoch() >= round - 1us);
  CHECK(s.now().time_since_epoch() < round + 1ms);
  REQUIRE(s.run_until([&] { return !entrance.parties.empty() && !entrance.parties[0].got.empty(); },
                      limit));
  CHECK(s.now().time_since_epoch() < round * 3 / 2 + 1ms);
}

TEST_CASE("a crash resets the connections of the machine and makes its objects inert") {
  connected t;
  auto file = t.b.disk().open("f", true).value();
  int handled = 0;
  t.b.clock().call_at(t.b.clock().now() + 1s, [&] { ++handled; });
  host::clock& old_clock = t.b.clock();
  host::network& old_network = t.b.network();
  host::disk& old_disk = t.b.disk();
  t.b.crash();
  t.simulation.run_for(3s);
  CHECK(handled == 0);
  REQUIRE(t.client.closed);
  CHECK(t.client.closed->code() == errc::io);
  CHECK_FALSE(t.server().closed);

  for (int again = 0; again < 2; ++again) {  // down, and then in the next life
    old_clock.call_at(old_clock.now(), [&] { ++handled; });
    t.server().stream->write(byte_vector(10));
    t.server().stream->pause(true);
    CHECK(t.server().stream->unsent() == 0);
    CHECK_FALSE(old_network.listen(address::v4(0, 0, 0, 0, 81), t.entrance).ok());
    auto dead = old_network.connect(t.a.address().with_port(80));
    dead->start(t.client);
    CHECK_FALSE(old_disk.open("x", true).ok());
    CHECK_FALSE(file->write(0, byte_vector(1)).ok());
    file->sync([&](const result<>&) { ++handled; });
    t.simulation.run_for(3s);
    CHECK(handled == 0);
    t.b.restart();
  }
  // The new life works, also while objects of the old one are still there.
  auto fresh = t.b.network().listen(address::v4(0, 0, 0, 0, 80), t.entrance).value();
  t.listener.reset();
  t.connect();
  t.simulation.run_for(3s);
  CHECK(t.client.opened == 2);
  CHECK(t.entrance.parties.size() == 2);
}

TEST_CASE("a machine that died silently leaves connections half open until bytes get no answer") {
  connected t;
  t.b.crash(sim::crash_mode::silent);
  t.simulation.run_for(10min);
  CHECK_FALSE(t.client.closed);
  t.client.stream->write(byte_vector(10));
  t.simulation.run_for(50s);
  CHECK_FALSE(t.client.closed);
  t.simulation.run_for(20s);
  REQUIRE(t.client.closed);
  CHECK(t.client.closed->code() == errc::timed_out);
  t.connect();
  t.client.closed.reset();
  t.simulation.run_for(20s);
  REQUIRE(t.client.closed);
  CHECK(t.client.closed->code() == errc::unreachable);
}

TEST_CASE("a machine that comes back resets the connections of its past life") {
  connected t;
  t.b.crash(sim::crash_mode::silent);
  t.client.stream->write(byte_vector(10));
  t.simulation.run_for(5s);
  CHECK_FALSE(t.client.closed);
  t.b.restart();
  t.simulation.run_for(2s);
  REQUIRE(t.client.closed);
  CHECK(t.client.closed->code() == errc::io);

  connected u;
  u.b.crash(sim::crash_mode::silent);
  u.b.restart();
  u.simulation.run_for(5s);
  CHECK_FALSE(u.client.closed);
  u.client.stream->write(byte_vector(10));
  u.simulation.run_for(2s);
  REQUIRE(u.client.closed);
  CHECK(u.client.closed->code() == errc::io);
}

TEST_CASE("a partitioned stream is silent and goes on when healed") {
  connected t;
  const sim::fault_id cut = t.simulation.partition({&t.a}, {&t.b, &t.c});
  t.client.stream->write(byte_vector(100'000, std::byte{1}));
  t.server().stream->write(byte_vector(50'000, std::byte{2}));
  t.simulation.run_for(30s);
  CHECK(t.server().got.empty());
  CHECK(t.client.got.empty());
  CHECK_FALSE(t.client.closed);
  t.simulation.heal(cut);
  t.simulation.run_for(5s);
  CHECK(t.server().got.size() == 100'000);
  CHECK(t.client.got.size() == 50'000);

  t.simulation.isolate(t.b);
  t.client.stream->write(byte_vector(10));
  t.simulation.run_for(70s);
  REQUIRE(t.client.closed);
  CHECK(t.client.closed->code() == errc::timed_out);
  CHECK_FALSE(t.server().closed);  // half open: nobody told it
  t.simulation.heal();
  t.server().stream->write(byte_vector(10));
  t.client.stream.reset();
  t.simulation.run_for(5s);
  CHECK(t.server().closed.has_value());
}

TEST_CASE("a one-way partition lets bytes pass the other way until no answer times out") {
  connected t;
  t.simulation.partition({&t.a}, {&t.b}, sim::direction::forward);
  t.server().stream->write(byte_vector(1000));
  t.client.stream->write(byte_vector(1000));
  t.simulation.run_for(10s);
  CHECK(t.client.got.size() == 1000);
  CHECK(t.server().got.empty());
  t.simulation.run_for(70s);
  CHECK(t.server().closed.has_value());
  REQUIRE(t.client.closed);
}

TEST_CASE("a connection is made when a partition heals in time") {
  connected t;
  t.simulation.partition({&t.a}, {&t.b});
  t.connect();
  t.simulation.run_for(4s);
  CHECK(t.client.opened == 1);
  t.simulation.heal();
  t.simulation.run_for(5s);
  CHECK(t.client.opened == 2);
  CHECK(t.entrance.parties.size() == 2);
}

TEST_CASE("streams are whole and in order on a bad network, whatever the seed") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    INFO("seed " << seed);
    sim::options o;
    o.seed = seed;
    o.profile = sim::latency_profile::residential;
    o.conditions = sim::conditions_of(o.profile);
    o.conditions->loss = 0.05;
    o.conditions->stream_window_bytes = 64 * 1024;
    sim::simulation s(o);
    sim::machine& a = s.add_machine();
    sim::machine& b = s.add_machine();
    door entrance;
    auto listener = b.network().listen(address::v4(0, 0, 0, 0, 80), entrance).value();
    party client;
    client.stream = a.network().connect(b.address().with_port(80));
    client.stream->start(client);
    random_generator random(seed);
    byte_vector sent;
    for (int i = 0; i < 200; ++i) {
      byte_vector part(1 + random.below(10'000));
      for (auto& x : part) x = static_cast<std::byte>(random());
      append(sent, part);
      s.call_at(time_point(duration(static_cast<std::int64_t>(i) * 5'000'000)),
                [&client, part] { client.stream->write(part); });
    }
    s.call_at(time_point(500ms), [&] { a.stall(200ms); });
    s.call_at(time_point(900ms), [&] { b.stall(300ms); });
    s.call_at(time_point(600ms), [&] { s.partition({&a}, {&b}); });
    s.call_at(time_point(3s), [&] { s.heal(); });
    REQUIRE(s.run_until(
        [&] { return !entrance.parties.empty() && entrance.parties[0].got.size() == sent.size(); },
        time_point(10min)));
    CHECK(entrance.parties[0].got == sent);
  }
}

TEST_CASE("streams that share an uplink share it fairly and leave room for datagrams") {
  sim::options o;
  o.conditions = sim::network_conditions();
  sim::simulation s(o);
  sim::machine_options slow;
  slow.up = 8'000'000;  // a megabyte per second
  sim::machine& a = s.add_machine(slow);
  sim::machine& b = s.add_machine();
  door entrance;
  auto listener = b.network().listen(address::v4(0, 0, 0, 0, 80), entrance).value();
  std::deque<party> clients(4);
  for (party& c : clients) {
    c.stream = a.network().connect(b.address().with_port(80));
    c.stream->start(c);
    c.stream->write(byte_vector(2'000'000));
  }
  struct counter final : host::datagram_handler {
    void on_datagram(const address&, byte_view) override { ++count; }
    int count = 0;
  } received;
  auto in = b.network().open_datagrams(address::v4(0, 0, 0, 0, 9), received).value();
  auto out = a.network().open_datagrams(address::v4(0, 0, 0, 0, 9), received).value();
  s.run_until(time_point(1s));
  out->send(b.address().with_port(9), byte_vector(100));
  s.run_until(time_point(1s) + 60ms);
  CHECK(received.count == 1);
  s.run_until(time_point(4s));
  for (const party& p : entrance.parties) {
    CHECK(p.got.size() > 850'000);
    CHECK(p.got.size() < 1'050'000);
  }
}

TEST_CASE("a machine may crash from inside its own handlers") {
  connected t;
  struct suicidal final : host::stream_handler {
    explicit suicidal(sim::machine& m) : machine(m) {}
    void on_data(byte_view) override {
      ++calls;
      machine.crash();
    }
    void on_closed(const error&) override { ++calls; }
    sim::machine& machine;
    int calls = 0;
  } handler(t.b);
  t.server().stream->start(handler);
  t.client.stream->write(byte_vector(100'000));
  t.simulation.run_for(5s);
  CHECK(handler.calls == 1);
  CHECK(t.client.closed.has_value());
}
