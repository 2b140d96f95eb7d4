/// Real connections, and a proxy between them that treats them badly.
#include "messaging/cutting_proxy.hpp"
#include "messaging/session_run.hpp"
#include "support/test.hpp"

#include <p2pdvm/host/delayed_network.hpp>
#include <p2pdvm/host/native/machine.hpp>
#include <p2pdvm/messaging/exchange.hpp>

#include <chrono>
#include <string>

using namespace p2pdvm;
using namespace p2pdvm::messaging;
using namespace std::chrono_literals;

namespace {

constexpr auto patience = 60s;  // nothing here takes as long unless it hangs

exchange_options quick_options() {
  exchange_options o;
  o.swarm = link::swarm_id(crypto::hash(as_bytes("swarm")).bytes());
  o.redial_min = 1ms;
  o.redial_max = 20ms;
  return o;
}

/// The n-th message of a sequence: its size and bytes follow from the draws.
byte_vector next_message(random_generator& random) {
  std::size_t size = random.below(200);
  if (random.chance(0.1)) size = random.below(10'000);
  if (random.chance(0.005)) size = random.below(300'000);
  byte_vector bytes(size);
  for (std::size_t i = 0; i < size; i += 8) {
    const std::uint64_t word = random();
    std::memcpy(bytes.data() + i, &word, std::min<std::size_t>(8, size - i));
  }
  return bytes;
}

/// Sends what its seed says, and expects what the other one's seed says.
class node final : public exchange_handler {
 public:
  node(asio::io_context& io, test::proxies& ways, std::string_view name, std::uint64_t sends,
       std::uint64_t expects)
      : machine_(io, {}),
        network_(machine_.network(), ways),
        proxied_(machine_, network_),
        self(crypto::secret_key(crypto::hash(as_bytes(name)).bytes())),
        sends_(sends),
        expects_(expects),
        x(proxied_, self, quick_options(), *this) {
    REQUIRE(x.listen(address::loopback(0)).ok());
  }
  void know(const node& other) {
    REQUIRE(x.learn({other.self.key(), {other.x.local()}}).ok());
    x.trust(other.self.id());
    other_ = other.self.id();
  }
  void send(std::size_t count) {
    left_ += count;
    pump();
  }
  [[nodiscard]] bool settled() const { return left_ == 0 && x.unacknowledged(other_) == 0; }

  void on_message(const node_id&, std::uint8_t, arrived_message message) override {
    ++heard;
    wrong += equal(message.view, next_message(expects_)) ? 0 : 1;
  }
  void on_peer_up(const node_id&) override { ++ups; }
  void on_peer_reset(const node_id&) override { ++resets; }
  void on_writable(const node_id&) override { pump(); }

 private:
  void pump() {
    for (; left_ > 0 && !x.congested(other_); --left_)
      x.send(other_, 3, {}, payload(next_message(sends_)));
  }
  native::machine machine_;
  test::proxied_network network_;
  host::machine_with_network proxied_;

 public:
  crypto::identity self;
  std::size_t heard = 0, wrong = 0, ups = 0, resets = 0;

 private:
  random_generator sends_, expects_;
  node_id other_;
  std::size_t left_ = 0;

 public:
  exchange x;
};

}  // namespace

TEST_CASE("real connections that a proxy cuts, stalls, splits and resets lose nothing") {
  constexpr std::size_t messages = 3000;
  const std::uint64_t first = test::environment("P2PDVM_FIRST_SEED", 1);
  const std::uint64_t count = test::environment("P2PDVM_SEEDS", 2);
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    asio::io_context io;
    test::proxy_fates fates(seed, 60, 60'000);
    test::proxies ways(io, fates);
    node a(io, ways, "a", 10, 20);
    node b(io, ways, "b", 20, 10);
    a.know(b);
    b.know(a);
    a.send(messages);
    b.send(messages);
    const auto guard = std::chrono::steady_clock::now() + patience;
    const auto done = [&] {
      return a.heard >= messages && b.heard >= messages && a.settled() && b.settled();
    };
    while (!done() && std::chrono::steady_clock::now() < guard) {
      io.restart();
      io.run_one_for(100ms);
    }
    INFO("seed " << seed);
    CHECK(fates.left() == 0);
    CHECK(a.x.statistics().connections > 10);
    for (const node* n : {&a, &b}) {
      CHECK(n->heard == messages);
      CHECK(n->wrong == 0);
      CHECK(n->ups == 1);
      CHECK(n->resets == 0);
      CHECK(n->settled());
    }
  }
}
