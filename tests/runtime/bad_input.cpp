/// Whole peers and somebody who sends them what nobody should: noise, floods, and their own datagrams
/// altered, cut and repeated.
#include "support/test.hpp"

#include <p2pdvm/runtime/simulated_swarm.hpp>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

namespace p2pdvm::runtime {
namespace {

using namespace std::chrono_literals;

struct attacked_swarm final : host::datagram_handler {
  explicit attacked_swarm(bool clear) : swarm(options_of(clear)), attacker(swarm.network().add_machine()) {
    swarm.form(1min);
    auto opened = attacker.network().open_datagrams(attacker.address().with_port(9), *this);
    REQUIRE(opened.ok());
    socket = std::move(*opened);
    swarm.network().tamper([this](std::uint32_t from, std::uint32_t to, byte_vector& bytes) {
      if (from == attacker.index()) sent += bytes.size();
      if (to == attacker.index()) got += bytes.size();
      if (from == attacker.index() || to == attacker.index()) return true;
      if (captured.size() < 500) captured.push_back({to, bytes});
      if (alter > 0 && ++honest % alter == 0 && !bytes.empty())
        bytes[random.below(bytes.size())] ^= static_cast<std::byte>(1 + random.below(255));
      return true;
    });
  }
  ~attacked_swarm() { swarm.network().tamper(nullptr); }

  static simulated_swarm::options options_of(bool clear) {
    simulated_swarm::options o;
    o.peers = 12;
    o.clear_datagrams = clear;
    o.network.profile = sim::latency_profile::lan;
    return o;
  }
  void on_datagram(const address&, byte_view) override {}

  /// To the peer `to`, from the attacker's own address.
  void send(std::size_t to, byte_view bytes) { socket->send(swarm.contact_of(to).where, bytes); }

  /// All of them can be found by the first one.
  void everybody_is_found() {
    std::size_t found = 0;
    for (std::size_t i = 1; i < swarm.size(); ++i) {
      swarm.at(0).lookup(swarm.id(i), [&, i](const overlay::lookup_result& r) {
        found += !r.nearest.empty() && crypto::node_id_of(r.nearest.front().key) == swarm.id(i) ? 1u : 0u;
      });
    }
    swarm.run_for(30s);
    CHECK(found == swarm.size() - 1);
  }
  void nothing_grew() {
    for (std::size_t i = 0; i < swarm.size(); ++i) {
      const overlay::node& node = *swarm.at(i).swarm();
      CHECK(node.table().size() <= swarm.size() - 1);
      CHECK(node.records().size() == 0);
      CHECK(node.pending_requests() <= overlay::ping_backs_max + swarm.size());
    }
  }

  simulated_swarm swarm;
  sim::machine& attacker;
  std::unique_ptr<host::datagram_socket> socket;
  random_generator random{11};
  std::vector<std::pair<std::uint32_t, byte_vector>> captured;
  std::uint64_t honest = 0;
  std::uint64_t alter = 0;  ///< one in so many datagrams between peers
  std::size_t sent = 0, got = 0;
};

byte_vector noise(random_generator& random, std::size_t bytes) {
  byte_vector out(bytes);
  for (std::byte& b : out) b = static_cast<std::byte>(random.below(256));
  return out;
}

TEST_CASE("peers under a flood of noise go on, and answer none of it at length") {
  for (const bool clear : {false, true}) {
    attacked_swarm a(clear);
    for (int turn = 0; turn < 200; ++turn) {
      for (int i = 0; i < 50; ++i) {
        const std::size_t to = a.random.below(a.swarm.size());
        a.send(to, noise(a.random, a.random.below(limits::datagram_bytes_max + 1)));
      }
      a.swarm.run_for(20ms);
    }
    INFO("in clear: " << clear);
    CHECK(a.sent > 4'000'000);
    CHECK(a.got <= a.sent);
    a.nothing_grew();
    a.everybody_is_found();
  }
}

TEST_CASE("datagrams of peers that are repeated, cut, lengthened or altered change nothing") {
  attacked_swarm a(false);
  a.everybody_is_found();
  REQUIRE(a.captured.size() > 50);
  const auto captured = a.captured;
  for (int round = 0; round < 20; ++round) {
    for (const auto& [to, whole] : captured) {
      byte_vector bytes = whole;
      switch (a.random.below(4)) {
        case 0: break;
        case 1: bytes.resize(a.random.below(bytes.size())); break;
        case 2: bytes.resize(std::min(limits::datagram_bytes_max, bytes.size() + a.random.below(600))); break;
        default: bytes[a.random.below(bytes.size())] ^= std::byte{1}; break;
      }
      a.send(to, bytes);
    }
    a.swarm.run_for(100ms);
  }
  CHECK(a.sent > 100'000);
  CHECK(a.got <= a.sent);
  a.nothing_grew();
  a.everybody_is_found();
}

TEST_CASE("a peer hears the others although every fifth datagram is altered on its way") {
  attacked_swarm a(false);
  a.alter = 5;
  a.everybody_is_found();
  a.swarm.run_for(5min);
  a.everybody_is_found();
  a.nothing_grew();
  CHECK(a.honest > 500);
}

}  // namespace
}  // namespace p2pdvm::runtime
