#include "host/worlds.hpp"

#include <p2pdvm/base/limits.hpp>

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace p2pdvm;

namespace {

struct receiver final : host::datagram_handler {
  void on_datagram(const address& from, byte_view bytes) override {
    senders.push_back(from);
    got.push_back(to_vector(bytes));
    if (reply_from != nullptr) reply_from->send(from, bytes);
    if (destroy != nullptr) destroy->reset();
  }
  std::vector<address> senders;
  std::vector<byte_vector> got;
  host::datagram_socket* reply_from = nullptr;
  std::unique_ptr<host::datagram_socket>* destroy = nullptr;
};

}  // namespace

TEMPLATE_LIST_TEST_CASE("datagrams go there and back with the sender's address", "", worlds::networks) {
  TestType world;
  receiver client;
  receiver server;
  auto a = world.first().network().open_datagrams(world.first_ip(), client);
  auto b = world.second().network().open_datagrams(world.second_ip(), server);
  REQUIRE(a.ok());
  REQUIRE(b.ok());
  CHECK((*b)->local().port() != 0);
  server.reply_from = b->get();
  const address to = world.second_ip().with_port((*b)->local().port());
  const byte_vector small = worlds::pattern(1, 1);
  const byte_vector large = worlds::pattern(limits::datagram_bytes_max, 2);
  (*a)->send(to, small);
  REQUIRE(world.run([&] { return client.got.size() == 1; }));
  (*a)->send(to, large);
  REQUIRE(world.run([&] { return client.got.size() == 2; }));
  CHECK(client.got == std::vector<byte_vector>{small, large});
  CHECK(server.got == client.got);
  CHECK(server.senders[0] == world.first_ip().with_port((*a)->local().port()));
  CHECK(client.senders[1] == to);
}

TEST_CASE("a datagram that is longer than allowed is dropped by a native socket, and the next one comes") {
  worlds::native_world world;
  receiver server;
  auto socket = world.second().network().open_datagrams(world.second_ip(), server);
  REQUIRE(socket.ok());
  const int raw = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  REQUIRE(raw >= 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons((*socket)->local().port());
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  for (const std::size_t bytes : {limits::datagram_bytes_max + 1, std::size_t{60'000}, std::size_t{7}}) {
    const byte_vector datagram = worlds::pattern(bytes, 1);
    CHECK(::sendto(raw, datagram.data(), bytes, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to) ==
          static_cast<ssize_t>(bytes));
  }
  ::close(raw);
  REQUIRE(world.run([&] { return !server.got.empty(); }));
  REQUIRE(server.got.size() == 1);
  CHECK(server.got[0] == worlds::pattern(7, 1));
}

TEMPLATE_LIST_TEST_CASE("a datagram socket may be destroyed by its handler", "", worlds::networks) {
  TestType world;
  receiver client;
  receiver server;
  receiver witness;
  auto a = world.first().network().open_datagrams(world.first_ip(), client);
  auto b = world.second().network().open_datagrams(world.second_ip(), server);
  auto c = world.second().network().open_datagrams(world.second_ip(), witness);
  REQUIRE((a.ok() && b.ok() && c.ok()));
  server.destroy = &*b;
  const address to = world.second_ip().with_port((*b)->local().port());
  for (int i = 0; i < 3; ++i) (*a)->send(to, worlds::pattern(100, 3));
  REQUIRE(world.run([&] { return !server.got.empty(); }));
  const address still = world.second_ip().with_port((*c)->local().port());
  (*a)->send(still, worlds::pattern(100, 3));
  REQUIRE(world.run([&] { return !witness.got.empty(); }));
  CHECK(server.got.size() == 1);
  CHECK_FALSE(*b);
}

TEMPLATE_LIST_TEST_CASE("a port that is taken is refused in one sentence", "", worlds::networks) {
  TestType world;
  receiver handler;
  auto a = world.first().network().open_datagrams(world.first_ip(), handler);
  REQUIRE(a.ok());
  const address taken = world.first_ip().with_port((*a)->local().port());
  auto again = world.first().network().open_datagrams(taken, handler);
  REQUIRE_FALSE(again.ok());
  CHECK(again.error().code() == errc::address_in_use);
  const std::string sentence = again.error().message();
  CHECK(sentence.find("port " + std::to_string(taken.port()) + " is in use") != std::string::npos);
  CHECK(sentence.find("--listen") != std::string::npos);
  a->reset();
  CHECK(world.first().network().open_datagrams(taken, handler).ok());
}

TEMPLATE_LIST_TEST_CASE("a foreign address cannot be bound", "", worlds::networks) {
  TestType world;
  receiver handler;
  const address foreign = address::v4(192, 0, 2, 77, 4000);
  auto socket = world.first().network().open_datagrams(foreign, handler);
  REQUIRE_FALSE(socket.ok());
  CHECK(socket.error().code() == errc::io);
  CHECK(socket.error().message().find("192.0.2.77:4000") != std::string::npos);
}

TEMPLATE_LIST_TEST_CASE("interfaces end with loopback and entropy does not repeat", "", worlds::networks) {
  TestType world;
  const auto interfaces = world.first().network().interfaces();
  REQUIRE_FALSE(interfaces.empty());
  CHECK(interfaces.back().is_loopback());
  for (const address& a : interfaces) CHECK(a.port() == 0);
  byte_vector a(1000);
  byte_vector b(1000);
  world.first().entropy().fill(a);
  world.second().entropy().fill(b);
  CHECK(a != b);
  CHECK(world.first().entropy().next() != world.first().entropy().next());
}
