#include "host/worlds.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <deque>
#include <optional>

using namespace p2pdvm;

namespace {

/// Records everything; sends back what it gets when told to; checks the order of calls.
struct party final : host::stream_handler {
  void on_open() override {
    CHECK_FALSE(closed);
    CHECK(got.empty());
    ++opened;
  }
  void on_data(byte_view bytes) override {
    CHECK_FALSE(closed);
    CHECK_FALSE(paused);
    REQUIRE_FALSE(bytes.empty());
    append(got, bytes);
    if (echo) stream->write(to_vector(bytes));
    if (pause_after != 0 && got.size() >= pause_after) {
      pause_after = 0;
      paused = true;
      stream->pause(true);
    }
    if (destroy_on_data) stream.reset();
  }
  void on_drained() override {
    CHECK_FALSE(closed);
    ++drained;
    CHECK(stream->unsent() == 0);
  }
  void on_closed(const error& why) override {
    CHECK_FALSE(closed);
    closed = why;
    if (destroy_on_closed) stream.reset();
  }
  std::unique_ptr<host::stream> stream;
  byte_vector got;
  std::optional<error> closed;
  int opened = 0;
  int drained = 0;
  bool echo = false;
  bool paused = false;
  bool destroy_on_data = false;
  bool destroy_on_closed = false;
  std::size_t pause_after = 0;
};

struct door final : host::listen_handler {
  void on_accept(std::unique_ptr<host::stream> connection) override {
    party& p = parties.emplace_back();
    p.echo = echo;
    p.stream = std::move(connection);
    if (start) p.stream->start(p);
  }
  std::deque<party> parties;
  bool echo = false;
  bool start = true;
};

template <class World>
struct pair_of_machines {
  pair_of_machines() {
    auto opened = world.second().network().listen(world.second_ip(), entrance);
    REQUIRE(opened.ok());
    listener = std::move(*opened);
    to = world.second_ip().with_port(listener->local().port());
  }
  void connect() {
    client.stream = world.first().network().connect(to);
    client.stream->start(client);
  }
  void connect_both() {
    connect();
    REQUIRE(world.run([&] { return client.opened == 1 && !entrance.parties.empty(); }));
  }
  World world;
  door entrance;
  std::unique_ptr<host::listener> listener;
  address to;
  party client;
};

}  // namespace

TEMPLATE_LIST_TEST_CASE("eight megabytes return whole through pauses on both sides", "", worlds::networks) {
  pair_of_machines<TestType> p;
  p.entrance.echo = true;
  const byte_vector all = worlds::pattern(8 * 1024 * 1024, 7);
  p.client.stream = p.world.first().network().connect(p.to);
  // Before the connection is open, in parts of many sizes.
  random_generator random(9);
  for (std::size_t at = 0; at < all.size();) {
    const std::size_t part = std::min<std::size_t>(1 + random.below(300'000), all.size() - at);
    p.client.stream->write(to_vector(byte_view(all).subspan(at, part)));
    at += part;
  }
  CHECK(p.client.stream->unsent() == all.size());
  p.client.pause_after = 3'000'000;
  p.client.stream->start(p.client);
  CHECK(p.client.opened == 0);
  REQUIRE(p.world.run([&] { return !p.entrance.parties.empty(); }));
  party& server = p.entrance.parties.front();
  server.pause_after = 2'000'000;
  REQUIRE(p.world.run([&] { return server.paused; }));
  const std::size_t held = server.got.size();
  p.world.settle();
  CHECK(server.got.size() == held);
  server.paused = false;
  server.stream->pause(false);
  REQUIRE(p.world.run([&] { return p.client.paused; }));
  p.client.paused = false;
  p.client.stream->pause(false);
  REQUIRE(p.world.run([&] { return p.client.got.size() == all.size(); }));
  CHECK(p.client.got == all);
  CHECK(server.got == all);
  CHECK(p.client.opened == 1);
  CHECK(server.opened == 0);
  CHECK(p.client.drained == 1);
  CHECK(p.client.stream->unsent() == 0);
  CHECK(p.client.stream->remote() == p.to);
  CHECK(server.stream->remote() == p.client.stream->local());
}

TEMPLATE_LIST_TEST_CASE("a paused reader holds the writer back", "", worlds::networks) {
  pair_of_machines<TestType> p;
  p.connect_both();
  party& server = p.entrance.parties.front();
  server.stream->pause(true);
  server.paused = true;
  const byte_vector all = worlds::pattern(32 * 1024 * 1024, 8);
  p.client.stream->write(all);
  p.world.settle();
  CHECK(p.client.stream->unsent() > 0);
  CHECK(p.client.drained == 0);
  server.paused = false;
  server.stream->pause(false);
  REQUIRE(p.world.run([&] { return server.got.size() == all.size() && p.client.drained == 1; }));
  CHECK(server.got == all);
}

TEMPLATE_LIST_TEST_CASE("a stream may be destroyed by its handler", "", worlds::networks) {
  pair_of_machines<TestType> p;
  p.connect_both();
  party& server = p.entrance.parties.front();
  server.destroy_on_data = true;
  p.client.destroy_on_closed = true;
  p.client.stream->write(worlds::pattern(10, 1));
  REQUIRE(p.world.run([&] { return p.client.closed.has_value(); }));
  CHECK(p.client.closed->code() == errc::closed);
  CHECK_FALSE(p.client.stream);
  CHECK_FALSE(server.stream);
  CHECK_FALSE(server.closed);
}

TEMPLATE_LIST_TEST_CASE("what was sent before an orderly end still arrives", "", worlds::networks) {
  pair_of_machines<TestType> p;
  p.connect_both();
  party& server = p.entrance.parties.front();
  server.stream->write(to_vector(as_bytes("goodbye")));
  server.stream.reset();
  REQUIRE(p.world.run([&] { return p.client.closed.has_value(); }));
  CHECK(as_text(p.client.got) == "goodbye");
  CHECK(p.client.closed->code() == errc::closed);
  CHECK(p.client.closed->message().find(p.to.text()) != std::string::npos);
  p.client.stream->write(worlds::pattern(10, 1));  // no effect
  CHECK(p.client.stream->unsent() == 0);
}

TEMPLATE_LIST_TEST_CASE("an end with unread bytes is a reset", "", worlds::networks) {
  pair_of_machines<TestType> p;
  p.connect_both();
  party& server = p.entrance.parties.front();
  server.paused = true;
  server.stream->pause(true);
  p.client.stream->write(worlds::pattern(1000, 1));
  p.world.settle();
  server.stream.reset();
  REQUIRE(p.world.run([&] { return p.client.closed.has_value(); }));
  CHECK(p.client.closed->code() == errc::io);
}

TEMPLATE_LIST_TEST_CASE("a connection that nobody accepts is refused after start", "", worlds::networks) {
  pair_of_machines<TestType> p;
  p.listener.reset();
  p.client.stream = p.world.first().network().connect(p.to);
  p.client.stream->write(worlds::pattern(10, 1));
  p.world.settle();
  CHECK_FALSE(p.client.closed);
  p.client.stream->start(p.client);
  CHECK_FALSE(p.client.closed);
  REQUIRE(p.world.run([&] { return p.client.closed.has_value(); }));
  CHECK(p.client.closed->code() == errc::unreachable);
  CHECK(p.client.closed->message() == "cannot connect to " + p.to.text() + ": Connection refused");
  CHECK(p.client.opened == 0);
}

TEST_CASE("connections of a native machine come from the loopback address at which it listens") {
  worlds::native_world world;
  door here, there;
  auto own = world.first().network().listen(address::v4(127, 0, 0, 2, 0), here);
  auto other = world.second().network().listen(address::v4(127, 0, 0, 3, 0), there);
  REQUIRE((own.ok() && other.ok()));
  party client;
  client.stream = world.first().network().connect((*other)->local());
  client.stream->start(client);
  REQUIRE(world.run([&] { return client.opened == 1 && !there.parties.empty(); }));
  CHECK(there.parties.front().stream->remote().with_port(0) == address::v4(127, 0, 0, 2, 0));
}

TEMPLATE_LIST_TEST_CASE("a listening port is taken until its listener goes", "", worlds::networks) {
  pair_of_machines<TestType> p;
  auto again = p.world.second().network().listen(p.to, p.entrance);
  REQUIRE_FALSE(again.ok());
  CHECK(again.error().code() == errc::address_in_use);
  CHECK(again.error().message().find("is in use on") != std::string::npos);
  p.connect_both();
  p.listener.reset();
  CHECK(p.world.second().network().listen(p.to, p.entrance).ok());
  p.client.stream->write(worlds::pattern(10, 1));  // accepted connections live on
  REQUIRE(p.world.run([&] { return p.entrance.parties.front().got.size() == 10; }));
}

TEMPLATE_LIST_TEST_CASE("nothing is delivered before start, and a stream may be dropped at any time", "", worlds::networks) {
  pair_of_machines<TestType> p;
  p.entrance.start = false;
  p.connect();
  p.client.stream->write(worlds::pattern(100, 1));
  REQUIRE(p.world.run([&] { return p.client.opened == 1 && !p.entrance.parties.empty(); }));
  party& server = p.entrance.parties.front();
  p.world.settle();
  CHECK(server.got.empty());
  server.stream->write(worlds::pattern(50, 2));
  server.stream->start(server);
  REQUIRE(p.world.run([&] { return server.got.size() == 100 && p.client.got.size() == 50; }));
  p.world.first().network().connect(p.to).reset();
  { auto dropped = p.world.first().network().connect(p.to); dropped->start(p.client); }
  p.client.stream.reset();
  REQUIRE(p.world.run([&] { return server.closed.has_value(); }));
  CHECK(server.closed->code() == errc::closed);
}

TEST_CASE("processes that are started later inherit no native socket") {
  pair_of_machines<worlds::native_world> p;
  p.connect_both();
  struct silent final : host::datagram_handler {
    void on_datagram(const address&, byte_view) override {}
  } nobody;
  const auto datagrams =
      p.world.first().network().open_datagrams(p.world.first_ip(), nobody);
  REQUIRE(datagrams.ok());
  int found = 0;
  for (int fd = 0; fd < 1024; ++fd) {
    sockaddr_storage local{};
    socklen_t size = sizeof local;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&local), &size) != 0) continue;
    if (local.ss_family != AF_INET && local.ss_family != AF_INET6) continue;
    INFO("descriptor " << fd);
    ++found;
    CHECK((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
  }
  CHECK(found >= 4);  // listener, both ends of a stream, datagrams
}

TEST_CASE("native streams and listeners speak IPv6 where the machine does") {
  worlds::native_world world;
  const auto any_port = address::parse("[::1]:0").value();
  door entrance;
  auto listener = world.second().network().listen(any_port, entrance);
  if (!listener.ok()) return;  // no IPv6 here
  party client;
  client.stream = world.first().network().connect((*listener)->local());
  client.stream->start(client);
  client.stream->write(worlds::pattern(10, 1));
  REQUIRE(world.run(
      [&] { return !entrance.parties.empty() && entrance.parties[0].got.size() == 10; }));
  CHECK(entrance.parties[0].stream->remote() == client.stream->local());
}

TEMPLATE_LIST_TEST_CASE("a writer that does not read learns once that its stream was reset", "", worlds::networks) {
  pair_of_machines<TestType> p;
  p.connect_both();
  party& server = p.entrance.parties.front();
  server.paused = true;
  server.stream->pause(true);
  p.client.paused = true;
  p.client.stream->pause(true);
  p.client.stream->write(worlds::pattern(1000, 1));
  p.world.settle();
  server.stream.reset();
  p.world.settle();
  for (int i = 0; i < 3; ++i) {
    p.client.stream->write(worlds::pattern(1000, 1));
    REQUIRE(p.world.run([&] { return p.client.closed.has_value(); }));
  }
  CHECK(p.client.closed->code() == errc::io);
  CHECK(p.client.stream->unsent() == 0);
}
