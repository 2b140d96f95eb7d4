#include "support/test.hpp"

#include <p2pdvm/host/delayed_network.hpp>
#include <p2pdvm/sim/simulation.hpp>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

namespace p2pdvm::test {
namespace {

using namespace std::chrono_literals;

/// Two machines at one site, of which the first pretends that the other is far away.
struct far_pair final : host::listen_handler, host::stream_handler, host::datagram_handler {
  explicit far_pair(host::path way)
      : net(options()),
        near(net.add_machine()),
        remote(net.add_machine()),
        far(near.network(), near.clock(), [way](const address&) { return way; }) {
    auto opened = remote.network().listen(remote.address().with_port(4000), *this);
    REQUIRE(opened.ok());
    listener = std::move(*opened);
  }
  static sim::options options() {
    sim::options o;
    o.profile = sim::latency_profile::loopback;
    o.conditions = sim::network_conditions();
    return o;
  }
  struct echo final : host::stream_handler {
    void on_data(byte_view bytes) override { stream->write(to_vector(bytes)); }
    void on_closed(const error&) override {}
    std::unique_ptr<host::stream> stream;
  };
  void on_accept(std::unique_ptr<host::stream> s) override {
    other.stream = std::move(s);
    other.stream->start(other);
  }
  void on_open() override { opened_at = net.now(); }
  void on_data(byte_view bytes) override {
    got += bytes.size();
    last_at = net.now();
  }
  void on_drained() override { ++drained; }
  void on_closed(const error&) override { closed_at = net.now(); }
  void on_datagram(const address&, byte_view bytes) override {
    got += bytes.size();
    last_at = net.now();
  }

  sim::simulation net;
  sim::machine& near;
  sim::machine& remote;
  host::delayed_network far;
  std::unique_ptr<host::listener> listener;
  echo other;
  std::size_t got = 0;
  int drained = 0;
  time_point opened_at{}, last_at{}, closed_at{};
};

/// What the simulated loopback itself adds.
constexpr duration slack = 5ms;

TEST_CASE("a delayed stream opens after a round trip and echoes after another") {
  far_pair p({50ms, 0, 0});
  const time_point begin = p.net.now();
  auto s = p.far.connect(p.remote.address().with_port(4000));
  s->start(p);
  s->write(byte_vector(10));
  p.net.run_for(1s);
  CHECK(p.opened_at - begin >= 100ms);
  CHECK(p.opened_at - begin < 100ms + slack);
  CHECK(p.got == 10);
  CHECK(p.last_at - begin >= 200ms);
  CHECK(p.last_at - begin < 200ms + slack);
  CHECK(s->unsent() == 0);
  CHECK(p.drained > 0);
}

TEST_CASE("a delayed stream is as slow as its links, and all of a process share them") {
  far_pair p({0ms, 8'000'000, 16'000'000});
  auto s = p.far.connect(p.remote.address().with_port(4000));
  s->start(p);
  p.net.run_for(100ms);
  const time_point begin = p.net.now();
  for (int i = 0; i < 100; ++i) s->write(byte_vector(10'000));
  CHECK(s->unsent() == 1'000'000);
  p.net.run_for(10s);
  CHECK(p.got == 1'000'000);
  CHECK(p.last_at - begin >= 1s);
  CHECK(p.last_at - begin < 1s + 10ms + slack);
  // A datagram waits for what was written before it.
  auto to = p.remote.network().open_datagrams(p.remote.address().with_port(4001), p);
  auto from = p.far.open_datagrams(p.near.address().with_port(4001), p);
  REQUIRE((to.ok() && from.ok()));
  const time_point again = p.net.now();
  s->write(byte_vector(500'000));
  (*from)->send(p.remote.address().with_port(4001), byte_vector(1000));
  p.net.run_for(10s);
  CHECK(p.got == 1'000'000 + 500'000 + 1000);
  CHECK(p.last_at - again >= 500ms);
}

TEST_CASE("datagrams beyond a second of queue are lost, and the rest arrives delayed") {
  far_pair p({30ms, 80'000, 0});
  auto to = p.remote.network().open_datagrams(p.remote.address().with_port(4001), p);
  auto from = p.far.open_datagrams(p.near.address().with_port(4001), p);
  REQUIRE((to.ok() && from.ok()));
  const time_point begin = p.net.now();
  for (int i = 0; i < 100; ++i) (*from)->send(p.remote.address().with_port(4001), byte_vector(1000));
  p.net.run_for(10s);
  CHECK(p.got == 11'000);  // 10 kB/s
  CHECK(p.last_at - begin >= 1130ms);
  CHECK(p.last_at - begin < 1130ms + slack);
}

TEST_CASE("a lossy way loses its share of datagrams, and no byte of a stream") {
  host::path lossy{50ms, 0, 0};
  lossy.loss = 0.2;
  far_pair p(lossy);
  auto to = p.remote.network().open_datagrams(p.remote.address().with_port(4001), p);
  auto from = p.far.open_datagrams(p.near.address().with_port(4001), p);
  REQUIRE((to.ok() && from.ok()));
  for (int i = 0; i < 1000; ++i) (*from)->send(p.remote.address().with_port(4001), byte_vector(10));
  p.net.run_for(10s);
  CHECK(p.got > 7500);
  CHECK(p.got < 8500);

  p.got = 0;
  auto s = p.far.connect(p.remote.address().with_port(4000));
  s->start(p);
  p.net.run_for(5s);
  int late = 0;
  constexpr int rounds = 200;
  for (int i = 1; i <= rounds; ++i) {
    const time_point begin = p.net.now();
    s->write(byte_vector(100));
    p.net.run_for(5s);
    REQUIRE(p.got == 100u * static_cast<unsigned>(i));
    REQUIRE(p.last_at - begin >= 100ms);
    late += p.last_at - begin >= 200ms ? 1 : 0;
  }
  // Each way repeats with a chance of 0.2.
  CHECK(late > rounds / 5);
  CHECK(late < rounds / 2);
}

TEST_CASE("jitter makes a way longer by up to its share") {
  host::path way{100ms, 0, 0};
  way.jitter = 0.5;
  far_pair p(way);
  auto to = p.remote.network().open_datagrams(p.remote.address().with_port(4001), p);
  auto from = p.far.open_datagrams(p.near.address().with_port(4001), p);
  REQUIRE((to.ok() && from.ok()));
  std::vector<duration> times;
  for (int i = 0; i < 200; ++i) {
    const time_point begin = p.net.now();
    (*from)->send(p.remote.address().with_port(4001), byte_vector(10));
    p.net.run_for(1s);
    times.push_back(p.last_at - begin);
  }
  std::sort(times.begin(), times.end());
  CHECK(times.front() >= 100ms);
  CHECK(times.back() < 150ms + slack);
  CHECK(times.back() > 130ms);
  CHECK(times[100] < 125ms);
}

TEST_CASE("the end of a delayed stream comes after its bytes and after the way") {
  far_pair p({40ms, 0, 0});
  auto s = p.far.connect(p.remote.address().with_port(4000));
  s->start(p);
  s->write(byte_vector(10));
  p.net.run_for(1s);
  REQUIRE(p.other.stream != nullptr);
  p.other.stream->write(byte_vector(7));
  p.net.run_for(1ms);
  const time_point end = p.net.now();
  p.other.stream.reset();
  p.net.run_for(1s);
  CHECK(p.got == 17);
  CHECK(p.closed_at - end >= 40ms);
  CHECK(p.closed_at >= p.last_at);
  s->write(byte_vector(5));
  CHECK(s->unsent() == 0);
}

}  // namespace
}  // namespace p2pdvm::test
