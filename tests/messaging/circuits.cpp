#include "messaging/fake_host.hpp"
#include "support/test.hpp"

#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/messaging/circuits.hpp>

#include <deque>
#include <string>

using namespace p2pdvm;
using namespace p2pdvm::messaging;
using namespace std::chrono_literals;

namespace {

node_id node(std::uint8_t number) {
  std::array<std::byte, node_id::size> bytes{};
  bytes[0] = std::byte{number};
  return node_id(bytes);
}

class end_handler final : public host::stream_handler {
 public:
  void on_open() override { ++opened; }
  void on_data(byte_view bytes) override {
    append(heard, bytes);
    if (on_bytes) on_bytes();
  }
  void on_drained() override { ++drained; }
  void on_closed(const error& why) override { closed = why; }
  byte_vector heard;
  int opened = 0, drained = 0;
  std::optional<error> closed;
  std::function<void()> on_bytes;
};

/// Peers that are all connected with one another; what they say waits until it is carried.
class crowd {
 public:
  class member final : public circuit_owner {
   public:
    member(crowd& c, std::uint8_t number)
        : self(node(number)), machine(c.world, number), of(c), x(machine.clock(), *this) {}
    ~member() { x.stop(); }
    void send_circuit(const node_id& to, byte_view head, payload body) override {
      byte_vector bytes = to_vector(head);
      append(bytes, body.view());
      unread[to] += bytes.size();
      of.way.push_back({self, to, std::move(bytes)});
    }
    bool passes_on(const node_id& from, const node_id& to) override {
      return from != to && relays && of.find(to) != nullptr;
    }
    [[nodiscard]] std::size_t backlog(const node_id& to) const {
      const auto found = unread.find(to);
      return found == unread.end() ? 0 : found->second;
    }
    void on_circuit(const node_id& relay, const node_id& origin,
                    std::unique_ptr<host::stream> stream) override {
      origins.push_back(origin);
      relays_used.push_back(relay);
      if (!accepts) return;
      streams.push_back(std::move(stream));
      handlers.push_back(std::make_unique<end_handler>());
      streams.back()->start(*handlers.back());
    }
    [[nodiscard]] std::unique_ptr<host::stream> call(const node_id& relay, const node_id& target,
                                                     end_handler& handler) {
      auto s = x.connect(relay, target);
      s->start(handler);
      return s;
    }

    node_id self;
    fake::machine machine;
    crowd& of;
    bool relays = true, accepts = true;
    std::map<node_id, std::size_t> unread;
    circuits x;
    std::vector<node_id> origins, relays_used;
    std::vector<std::unique_ptr<end_handler>> handlers;
    std::vector<std::unique_ptr<host::stream>> streams;
  };
  struct said {
    node_id from, to;
    byte_vector bytes;
  };

  explicit crowd(std::uint8_t size) {
    for (std::uint8_t i = 1; i <= size; ++i) members.push_back(std::make_unique<member>(*this, i));
  }
  [[nodiscard]] member* find(const node_id& id) {
    for (auto& m : members)
      if (m->self == id) return m.get();
    return nullptr;
  }
  [[nodiscard]] member& at(std::size_t number) { return *members[number - 1]; }
  /// Until nobody says anything any more.
  void carry() {
    world.run_for(0s);
    while (!way.empty()) {
      carry_one();
      world.run_for(0s);
    }
  }
  void carry_one() {
    said next = std::move(way.front());
    way.pop_front();
    find(next.from)->unread[next.to] -= next.bytes.size();
    find(next.to)->x.on_message(next.from, {next.bytes, nullptr});
  }

  fake::world world;
  std::deque<said> way;
  std::vector<std::unique_ptr<member>> members;
};

byte_vector patterned(std::size_t size) {
  byte_vector bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 7 + i / 251);
  return bytes;
}

}  // namespace

TEST_CASE("bytes go through a relay in order, both ways, as on any stream") {
  crowd c(3);
  end_handler caller;
  const auto out = c.at(1).call(node(2), node(3), caller);
  out->write(patterned(1000));
  out->write(patterned(2'000'000));
  c.carry();
  REQUIRE(c.at(3).streams.size() == 1);
  CHECK(c.at(3).origins == std::vector{node(1)});
  CHECK(c.at(3).relays_used == std::vector{node(2)});
  byte_vector both = patterned(1000);
  append(both, patterned(2'000'000));
  CHECK(c.at(3).handlers[0]->heard == both);
  CHECK(out->unsent() == 0);
  CHECK(caller.drained == 1);
  c.at(3).streams[0]->write(patterned(5000));
  c.carry();
  CHECK(caller.heard == patterned(5000));
  CHECK(caller.opened == 1);
  CHECK(c.at(2).x.size() == 2);
}

TEST_CASE("a circuit's reader that pauses holds its writer back, and no relay keeps more than a window") {
  crowd c(3);
  end_handler caller;
  const auto out = c.at(1).call(node(2), node(3), caller);
  out->write(patterned(10));
  c.carry();
  c.at(3).streams[0]->pause(true);
  const std::size_t much = 3 * circuit_window_bytes;
  out->write(patterned(much));
  std::size_t most = 0;
  while (!c.way.empty()) {
    c.carry_one();
    most = std::max(most, c.at(2).backlog(node(3)));
  }
  CHECK(out->unsent() >= much - circuit_window_bytes);
  CHECK(most <= circuit_window_bytes + 1024);
  CHECK(c.at(3).handlers[0]->heard == patterned(10));
  c.at(3).streams[0]->pause(false);
  c.carry();
  CHECK(c.at(3).handlers[0]->heard.size() == 10 + much);
  CHECK(out->unsent() == 0);
}

TEST_CASE("a circuit ends for both ends and the relay when") {
  crowd c(3);
  end_handler caller;
  auto out = c.at(1).call(node(2), node(3), caller);
  out->write(patterned(100));
  c.carry();
  REQUIRE(c.at(3).streams.size() == 1);
  end_handler& called = *c.at(3).handlers[0];
  bool caller_hears = true;
  SECTION("its beginner drops it") {
    out.reset();
    caller_hears = false;
  }
  SECTION("the other end drops it") {
    c.at(3).streams.clear();
    called.closed = error(errc::closed);
  }
  SECTION("the beginner loses the relay") {
    c.at(1).x.drop(node(2));
    c.at(2).x.drop(node(1));
  }
  SECTION("the relay loses the other end") {
    c.at(2).x.drop(node(3));
    c.at(3).x.drop(node(2));
  }
  SECTION("the relay has begun anew, and is sent more") {
    c.at(2).x.stop();
    out->write(patterned(100));
    c.at(3).streams[0]->write(patterned(100));
  }
  c.carry();
  CHECK(caller.closed.has_value() == caller_hears);
  CHECK(called.closed.has_value());
  for (const std::size_t i : {1u, 2u, 3u}) CHECK(c.at(i).x.size() == 0);
}

TEST_CASE("what has arrived when a circuit ends is read before its end") {
  crowd c(3);
  end_handler caller;
  auto out = c.at(1).call(node(2), node(3), caller);
  out->write(patterned(10));
  c.carry();
  c.at(3).streams[0]->pause(true);
  out->write(patterned(20'000));
  out.reset();
  c.carry();
  end_handler& called = *c.at(3).handlers[0];
  CHECK_FALSE(called.closed);
  c.at(3).streams[0]->pause(false);
  c.carry();
  CHECK(called.heard.size() == 20'010);
  CHECK(called.closed);
}

TEST_CASE("who may not be reached by a circuit is not") {
  crowd c(3);
  end_handler caller;
  SECTION("because the relay does not pass it on") { c.at(2).relays = false; }
  SECTION("because the other end refuses") { c.at(3).accepts = false; }
  const auto out = c.at(1).call(node(2), node(3), caller);
  out->write(patterned(100));
  c.carry();
  CHECK(caller.closed);
  for (const std::size_t i : {1u, 2u, 3u}) CHECK(c.at(i).x.size() == 0);
}

TEST_CASE("a relay that is not there, or the caller itself as target, only ends the stream") {
  crowd c(3);
  end_handler first, second;
  const auto nobody = c.at(1).call(node(2), node(9), first);
  const auto itself = c.at(1).call(node(2), node(1), second);
  c.carry();
  CHECK(first.closed);
  CHECK(second.closed);
}

TEST_CASE("one connection carries a limited number of circuits, and fewer to one peer") {
  constexpr auto targets = static_cast<std::uint8_t>(circuits_per_peer_max / circuits_per_pair_max);
  crowd c(targets + 3);
  std::vector<std::unique_ptr<end_handler>> handlers;
  std::vector<std::unique_ptr<host::stream>> streams;
  const auto call = [&](std::size_t target) {
    handlers.push_back(std::make_unique<end_handler>());
    streams.push_back(c.at(1).call(node(2), node(static_cast<std::uint8_t>(target)), *handlers.back()));
    c.carry();
    return !handlers.back()->closed.has_value();
  };
  for (std::size_t target = 3; target < targets + 3u; ++target) {
    for (std::size_t i = 0; i < circuits_per_pair_max; ++i) CHECK(call(target));
    if (target == 3) CHECK_FALSE(call(target));
  }
  CHECK_FALSE(call(targets + 3u));
  streams.erase(streams.begin());
  c.carry();
  CHECK(call(targets + 3u));
}

TEST_CASE("a sender without credit ends its circuit, and none of the others") {
  crowd c(3);
  end_handler good_end, bad_end;
  const auto good = c.at(1).call(node(2), node(3), good_end);
  const auto bad = c.at(1).call(node(2), node(3), bad_end);
  c.carry();
  REQUIRE(c.at(3).streams.size() == 2);
  c.at(3).streams[1]->pause(true);
  byte_vector message = {std::byte{2}, std::byte{2}};  // data of the second circuit
  append(message, patterned(circuit_piece_bytes_max));
  for (std::size_t sent = 0; sent <= circuit_window_bytes; sent += circuit_piece_bytes_max)
    c.at(2).x.on_message(node(1), {message, nullptr});
  c.carry();
  CHECK(bad_end.closed);
  CHECK_FALSE(good_end.closed);
  good->write(patterned(50));
  c.carry();
  CHECK(c.at(3).handlers[0]->heard == patterned(50));
}

TEST_CASE("handlers may drop their stream while it is read, and begin another") {
  crowd c(3);
  end_handler caller, again;
  auto out = c.at(1).call(node(2), node(3), caller);
  std::unique_ptr<host::stream> next;
  caller.on_bytes = [&] {
    out.reset();
    next = c.at(1).call(node(2), node(3), again);
  };
  out->write(patterned(1));
  c.carry();
  c.at(3).streams[0]->write(patterned(100'000));
  c.carry();
  CHECK(caller.heard.size() <= circuit_piece_bytes_max);
  CHECK(c.at(3).streams.size() == 2);
  CHECK_FALSE(again.closed);
}

TEST_CASE("whatever a peer says about circuits, others' circuits stay whole") {
  random_generator random(11);
  for (int run = 0; run < 200; ++run) {
    crowd c(4);
    end_handler caller;
    const auto out = c.at(1).call(node(2), node(3), caller);
    c.carry();
    for (int i = 0; i < 100; ++i) {
      byte_vector bytes(random.below(40));
      for (auto& b : bytes) b = static_cast<std::byte>(random.below(random.chance(0.8) ? 6 : 256));
      if (!bytes.empty() && random.chance(0.5)) bytes[0] |= std::byte{0x80};
      if (bytes.size() > 34 && random.chance(0.5)) {
        const node_id target = node(static_cast<std::uint8_t>(random.below(5)));
        std::copy(target.bytes().begin(), target.bytes().end(), bytes.begin() + 2);
      }
      c.at(1 + random.below(3)).x.on_message(node(4), {bytes, nullptr});
      if (random.chance(0.3)) c.carry();
    }
    out->write(patterned(3000));
    c.carry();
    REQUIRE_FALSE(caller.closed);
    REQUIRE(c.at(3).handlers[0]->heard == patterned(3000));
  }
}
