#include "support/test.hpp"

#include <p2pdvm/overlay/relay_choice.hpp>
#include <p2pdvm/base/random.hpp>

#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>
#include <vector>

using namespace p2pdvm;
using namespace p2pdvm::overlay;
using namespace std::chrono_literals;

namespace {

node_id id_of(std::uint64_t peer) {
  node_id id;
  std::memcpy(id.mutable_bytes().data(), &peer, sizeof peer);
  return id;
}

const node_id there = id_of(100);

/// Peer 0's view of a network in which everything is measured as it is, unless relays lie.
class network {
 public:
  using round_trip = std::function<std::optional<duration>(std::uint64_t relay)>;

  network() { choice.follow(now, there); }
  /// A relay that is `near` from us and claims to be `claim` from the destination.
  void relay(std::uint64_t who, duration near, duration claim) {
    choice.direct(now, id_of(who), near);
    choice.told(now, id_of(who), there, claim);
  }
  /// Makes all probes that are due; returns how many.
  int probe(const round_trip& truth) {
    int made = 0;
    while (const auto p = choice.next_probe(now)) {
      std::uint64_t who = 0;
      std::memcpy(&who, p->relay.bytes().data(), sizeof who);
      choice.measured(now, p->relay, p->destination, truth(who));
      ++made;
    }
    return made;
  }
  [[nodiscard]] std::optional<node_id> chosen() const {
    const auto p = choice.path_to(now, there);
    return p ? p->relay : std::nullopt;
  }

  time_point now{};
  relay_choice choice;
};

}  // namespace

TEST_CASE("the relay with the least measured sum is chosen, and none without a clear gain") {
  network n;
  n.choice.direct(n.now, there, 100ms);
  n.relay(1, 30ms, 40ms);
  n.relay(2, 20ms, 30ms);
  n.relay(3, 45ms, 50ms);  // 5 % better than directly: not worth it
  CHECK_FALSE(n.chosen());  // nothing is measured yet
  CHECK(n.probe([](std::uint64_t who) { return who == 1 ? 70ms : 50ms; }) == 1);
  CHECK(n.chosen() == id_of(2));
  CHECK(n.choice.path_to(n.now, there)->round_trip == 50ms);
  CHECK(n.probe([](std::uint64_t) { return 1ms; }) == 0);
}

TEST_CASE("a relay is the only way to a destination that does not answer") {
  network n;
  CHECK_FALSE(n.choice.path_to(n.now, there));
  n.choice.direct(n.now, there, std::nullopt);
  n.relay(1, 200ms, 300ms);
  CHECK(n.probe([](std::uint64_t) { return 510ms; }) == 1);
  CHECK(n.chosen() == id_of(1));
}

TEST_CASE("a relay that claims nothing is found out, and left alone for longer each time") {
  network n;
  int probes = 0;
  for (int minute = 0; minute < 120; ++minute) {
    n.choice.direct(n.now, there, 100ms);
    n.relay(1, 10ms, 1ns);
    probes += n.probe([](std::uint64_t) { return 400ms; });
    CHECK_FALSE(n.chosen());
    n.now += 1min;
  }
  CHECK(probes >= 2);
  CHECK(probes <= 7);  // at 0, 2, 6, 14, 30, 62 minutes

  n.choice.direct(n.now, there, 100ms);
  n.relay(2, 10ms, 20ms);
  n.probe([](std::uint64_t who) { return who == 2 ? 31ms : 400ms; });
  CHECK(n.chosen() == id_of(2));
}

TEST_CASE("liars cannot crowd out an honest relay for long") {
  network n;
  for (int minute = 0; minute < 10; ++minute) {
    n.choice.direct(n.now, there, 100ms);
    for (std::uint64_t liar = 10; liar < 20; ++liar) n.relay(liar, 5ms, 1ns);
    n.relay(1, 20ms, 20ms);
    for (std::uint64_t liar = 10; liar < 20; ++liar) n.relay(liar, 5ms, 1ns);
    n.probe([](std::uint64_t who) { return who == 1 ? 41ms : 300ms; });
    n.now += 30s;
  }
  CHECK(n.chosen() == id_of(1));
}

TEST_CASE("small changes do not move traffic from one path to another") {
  network n;
  const std::uint64_t seed = 1;
  INFO("seed " << seed);
  random_generator random(seed);
  int changes = 0;
  std::optional<node_id> last;
  for (int minute = 0; minute < 200; ++minute) {
    const auto wobble = [&](duration d) {
      return d * static_cast<int>(96 + random.below(9)) / 100;
    };
    n.choice.direct(n.now, there, wobble(100ms));
    n.relay(1, wobble(30ms), wobble(32ms));
    n.relay(2, wobble(30ms), wobble(30ms));
    n.probe([&](std::uint64_t who) { return wobble(who == 1 ? 62ms : 60ms); });
    if (minute > 0 && n.chosen() != last) ++changes;
    last = n.chosen();
    CHECK(last.has_value());
    n.now += 1min;
  }
  CHECK(changes == 0);
}

TEST_CASE("a path that became slow or silent is left") {
  network n;
  n.choice.direct(n.now, there, 100ms);
  n.relay(1, 20ms, 20ms);
  n.probe([](std::uint64_t) { return 40ms; });
  REQUIRE(n.chosen() == id_of(1));
  n.now += 1min;
  SECTION("slower than directly") {
    CHECK(n.probe([](std::uint64_t) { return 150ms; }) == 1);
  }
  SECTION("silent") {
    CHECK(n.probe([](std::uint64_t) { return std::nullopt; }) == 1);
    n.now += 1min;
    CHECK(n.probe([](std::uint64_t) { return std::nullopt; }) == 0);  // waits longer
  }
  SECTION("not measured for long") { n.now += relay_age_max; }
  CHECK_FALSE(n.chosen());
}

TEST_CASE("on a network with detours most pairs that a relay can help get one") {
  const std::uint64_t seed = 7;
  INFO("seed " << seed);
  random_generator random(seed);
  constexpr std::uint64_t peers = 60;
  std::vector<duration> times(peers * peers);
  for (std::uint64_t i = 0; i < peers; ++i) {
    for (std::uint64_t j = 0; j < i; ++j) {
      const double detour = random.unit();
      const auto d = from_seconds(0.02 + 0.3 * detour * detour * detour);
      times[i * peers + j] = times[j * peers + i] = d;
    }
  }
  const time_point now{};
  relay_choice choice;
  for (std::uint64_t j = 1; j < peers; ++j) {
    choice.follow(now, id_of(j));
    choice.direct(now, id_of(j), times[j]);
  }
  int helped = 0;
  int could_be = 0;
  for (std::uint64_t j = 1; j < peers; ++j) {
    duration best = times[j];
    for (std::uint64_t r = 1; r < peers; ++r) {
      if (r == j) continue;
      best = std::min(best, times[r] + times[r * peers + j]);
      choice.told(now, id_of(r), id_of(j), times[r * peers + j]);
    }
    while (const auto p = choice.next_probe(now)) {
      std::uint64_t r = 0;
      std::memcpy(&r, p->relay.bytes().data(), sizeof r);
      choice.measured(now, p->relay, p->destination, times[r] + times[r * peers + j]);
    }
    const auto path = choice.path_to(now, id_of(j));
    REQUIRE(path);
    CHECK(path->round_trip <= times[j]);
    if (best > times[j] * 8 / 10) continue;
    ++could_be;
    // Another path that is not clearly better than the one in use is not taken.
    if (path->relay && path->round_trip * 9 / 10 <= best + relay_gain_least) ++helped;
  }
  CHECK(could_be > 10);
  CHECK(helped == could_be);
}

TEST_CASE("what is impossible or was not asked for changes nothing") {
  network n;
  n.choice.direct(n.now, there, 100ms);
  n.choice.direct(n.now, id_of(1), 10ms);
  for (const duration d :
       {duration(0), duration(-5), duration(11s), duration::max(), duration::min()})
    n.choice.told(n.now, id_of(1), there, d);
  n.choice.told(n.now, there, there, 1ms);          // a relay to itself
  n.choice.told(n.now, id_of(2), there, 1ms);       // we never reached that relay
  n.choice.told(n.now, id_of(1), id_of(101), 1ms);  // nobody wants to get there
  n.choice.measured(n.now, id_of(1), there, 1ms);   // nobody asked
  CHECK_FALSE(n.choice.next_probe(n.now));
  CHECK_FALSE(n.chosen());
  CHECK_FALSE(n.choice.path_to(n.now, id_of(101)));
}

TEST_CASE("memory for relays and destinations is bounded") {
  relay_choice choice;
  time_point now{};
  for (std::uint64_t i = 0; i < 3 * relay_destinations_max; ++i) {
    now += 1ms;
    choice.follow(now, id_of(i));
    choice.direct(now, id_of(i), 50ms);
  }
  CHECK(choice.path_to(now, id_of(3 * relay_destinations_max - 1)));
  for (std::uint64_t i = 0; i < 3 * relay_peers_max; ++i) {
    now += 1us;
    choice.direct(now, id_of(10'000 + i), 50ms);
  }
  CHECK_FALSE(choice.path_to(now, id_of(0)));  // forgotten
}
