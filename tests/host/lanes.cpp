#include "host/worlds.hpp"

#include <p2pdvm/host/lane.hpp>

#include <deque>
#include <optional>
#include <utility>
#include <vector>

namespace p2pdvm::test {
namespace {

/// One side of a lane: keeps what comes.
struct side final : host::lane_handler {
  void on_lane_message(byte_view head, host::lane_body& body) override {
    heads.push_back(to_vector(head));
    byte_vector whole(body.size());
    const std::size_t half = whole.size() / 2;
    if (body.copy(byte_span(whole).first(half), byte_span(whole).subspan(half))) {
      bodies.push_back(std::move(whole));
    } else {
      ++lost;
    }
  }
  void on_lane_ended() override {
    ++ended;
    lane.reset();
  }
  void take(result<std::unique_ptr<host::lane>> made) {
    failure = made.ok() ? "" : made.error().message();
    done = true;
    if (!made.ok()) return;
    lane = std::move(*made);
    lane->start(*this);
  }
  std::unique_ptr<host::lane> lane;
  std::vector<byte_vector> heads, bodies;
  int ended = 0, lost = 0;
  bool done = false;
  std::string failure;
};

/// Two machines of one computer with a lane between them.
struct pair {
  pair() {
    auto name = world.first().neighbours()->offer([this](auto made) { first.take(std::move(made)); });
    REQUIRE(name.ok());
    world.second().neighbours()->join(*name, [this](auto made) { second.take(std::move(made)); });
    REQUIRE(world.run([&] { return first.done && second.done; }));
    REQUIRE(first.lane != nullptr);
    REQUIRE(second.lane != nullptr);
  }
  worlds::native_world world;
  side first, second;
};

payload bytes(std::size_t size, std::uint64_t seed) { return payload(worlds::pattern(size, seed)); }

TEST_CASE("messages of every size arrive over a lane, in order, in both directions") {
  pair p;
  const std::vector<std::size_t> sizes = {0, 1, 24, 32 * 1024, 32 * 1024 + 1, 100'000, 5'000'000, 3};
  std::vector<payload> sent;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    sent.push_back(bytes(sizes[i], i));
    p.first.lane->send(as_bytes("to the second"), sent.back());
    p.second.lane->send(as_bytes("to the first"), sent.back());
  }
  REQUIRE(p.world.run(
      [&] { return p.first.heads.size() == sizes.size() && p.second.heads.size() == sizes.size(); }));
  for (const side* s : {&p.first, &p.second}) {
    CHECK(s->lost == 0);
    REQUIRE(s->bodies.size() == sizes.size());
    for (std::size_t i = 0; i < sizes.size(); ++i) CHECK(equal(s->bodies[i], sent[i].view()));
  }
  CHECK(as_text(p.second.heads.front()) == "to the second");
}

TEST_CASE("a lent body comes from its sender's own memory, and waits until it is the first of a look") {
  pair p;
  p.first.lane->send(as_bytes("is there memory to read"), bytes(1, 1));
  p.second.lane->send(as_bytes("and here"), bytes(1, 1));
  REQUIRE(p.world.run([&] { return p.first.heads.size() == 1 && p.second.heads.size() == 1; }));
  const byte_vector memory = worlds::pattern(100'000, 3);
  const two_parts body{byte_view(memory).first(16), byte_view(memory).subspan(16)};
  p.first.lane->send(as_bytes("before"), bytes(10, 2));
  REQUIRE(p.first.lane->lend(as_bytes("lent"), body) != 0);
  p.first.lane->send(as_bytes("after"), bytes(10, 3));
  REQUIRE(p.world.run([&] { return p.second.heads.size() == 4; }));
  CHECK(as_text(p.second.heads[2]) == "lent");
  CHECK(equal(p.second.bodies[2], memory));
  CHECK(equal(p.second.bodies[3], bytes(10, 3).view()));
}

TEST_CASE("what was taken back, and what a side lent that is gone, is not read any more") {
  pair p;
  p.first.lane->send(as_bytes("is there memory to read"), bytes(1, 1));
  p.second.lane->send(as_bytes("and here"), bytes(1, 1));
  REQUIRE(p.world.run([&] { return p.first.heads.size() == 1 && p.second.heads.size() == 1; }));
  const byte_vector memory = worlds::pattern(100'000, 3);
  const two_parts body{byte_view(memory).first(16), byte_view(memory).subspan(16)};
  const std::uint64_t first = p.first.lane->lend(as_bytes("taken back"), body);
  const std::uint64_t second = p.first.lane->lend(as_bytes("lent"), body);
  REQUIRE(first != 0);
  REQUIRE(second != 0);
  p.first.lane->take_back(first);
  p.first.lane->take_back(12345);  // of another lane
  REQUIRE(p.world.run([&] { return p.second.heads.size() == 3; }));
  CHECK(p.second.lost == 1);
  REQUIRE(p.second.bodies.size() == 2);
  CHECK(equal(p.second.bodies[1], memory));
  p.first.lane->take_back(second);  // it has been read
  REQUIRE(p.first.lane->lend(as_bytes("last words"), body) != 0);
  p.first.lane.reset();
  REQUIRE(p.world.run([&] { return p.second.ended == 1; }));
  CHECK(p.second.bodies.size() == 2);
}

TEST_CASE("a side lends so much and no more") {
  pair p;
  p.first.lane->send(as_bytes("is there memory to read"), bytes(1, 1));
  p.second.lane->send(as_bytes("and here"), bytes(1, 1));
  REQUIRE(p.world.run([&] { return p.first.heads.size() == 1 && p.second.heads.size() == 1; }));
  const byte_vector memory(100'000);
  std::vector<std::uint64_t> lent;
  while (const std::uint64_t number = p.first.lane->lend(as_bytes("lent"), {{}, memory})) {
    lent.push_back(number);
    REQUIRE(lent.size() < 1000);
  }
  CHECK(lent.size() == 64);
  p.first.lane->take_back(lent[7]);
  CHECK(p.first.lane->lend(as_bytes("lent"), {{}, memory}) != 0);
}

TEST_CASE("more messages than the memory holds wait and lose nothing") {
  pair p;
  constexpr std::size_t count = 20000;  // of some 200 bytes: eight times the ring
  for (std::size_t i = 0; i < count; ++i) {
    p.first.lane->send(bytes_of(i), bytes(100, i));
    p.second.lane->send(bytes_of(i), bytes(100, i));  // two full rings face each other
  }
  REQUIRE(p.world.run(
      [&] { return p.first.heads.size() == count && p.second.heads.size() == count; }));
  for (std::size_t i = 0; i < count; i += 997) {
    std::size_t number = 0;
    std::memcpy(&number, p.second.heads[i].data(), sizeof number);
    CHECK(number == i);
    CHECK(equal(p.second.bodies[i], bytes(100, i).view()));
  }
}

TEST_CASE("a side that goes is noticed, and what it had said before is not needed") {
  pair p;
  p.first.lane->send(as_bytes("last words"), bytes(10, 1));
  p.first.lane.reset();
  REQUIRE(p.world.run([&] { return p.second.ended == 1; }));
  CHECK(p.first.ended == 0);
}

TEST_CASE("a name that nobody offers leads nowhere, and nobody else can come to an offer") {
  worlds::native_world world;
  side s;
  host::lane_name name{};
  name[3] = std::byte{9};
  world.second().neighbours()->join(name, [&](auto made) { s.take(std::move(made)); });
  CHECK_FALSE(s.done);  // not from inside the call
  REQUIRE(world.run([&] { return s.done; }));
  CHECK(s.lane == nullptr);
  CHECK(s.failure == "the other process is not one of this machine and user");
}

TEST_CASE("only the first who joins gets the lane") {
  pair p;
  worlds::native_world other;
  side offer, first, late;
  auto name = other.first().neighbours()->offer([&](auto made) { offer.take(std::move(made)); });
  REQUIRE(name.ok());
  other.second().neighbours()->join(*name, [&](auto made) { first.take(std::move(made)); });
  REQUIRE(other.run([&] { return offer.done && first.done; }));
  other.second().neighbours()->join(*name, [&](auto made) { late.take(std::move(made)); });
  REQUIRE(other.run([&] { return late.done; }));
  CHECK(first.lane != nullptr);
  CHECK(late.lane == nullptr);
}

TEST_CASE("a machine may go while a lane is on its way") {
  worlds::native_world survivor;
  side s;
  host::lane_name name{};
  {
    worlds::native_world gone;
    auto offered = gone.first().neighbours()->offer([&](auto made) { s.take(std::move(made)); });
    REQUIRE(offered.ok());
    name = *offered;
  }
  CHECK_FALSE(s.done);
  survivor.first().neighbours()->join(name, [&](auto made) { s.take(std::move(made)); });
  REQUIRE(survivor.run([&] { return s.done; }));
  CHECK(s.lane == nullptr);
}

}  // namespace
}  // namespace p2pdvm::test
