#include "support/test.hpp"

#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/overlay/coordinates.hpp>
#include <p2pdvm/sim/latency.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <vector>

using namespace p2pdvm;
using namespace p2pdvm::overlay;
using namespace std::chrono_literals;

namespace {

node_id id_of(std::size_t peer) {
  node_id id;
  std::memcpy(id.mutable_bytes().data(), &peer, sizeof peer);
  return id;
}

/// What a peer answers: its coordinate, and after how long [s].
struct answer {
  coordinate where;
  double seconds = 0;
};
/// Changes the answer of a liar.
using lie = std::function<void(answer&, random_generator&)>;

/// Peers placed by the profile planetlab, who measure one another in turns; the first `liars`
/// of them answer with lies.
class swarm {
 public:
  swarm(std::size_t peers, std::uint64_t seed, std::size_t liars = 0, lie how = {})
      : random_(seed), map_(sim::latency_profile::planetlab, seed), peers_(peers), liars_(liars),
        lie_(std::move(how)) {
    for (std::size_t i = 0; i < peers; ++i) map_.add_machine();
  }
  [[nodiscard]] double truth(std::size_t a, std::size_t b) const {
    const auto one = static_cast<std::uint32_t>(a);
    return to_seconds(map_.round_trip(one, static_cast<std::uint32_t>(b)));
  }
  void run(int rounds) {
    for (int round = 0; round < rounds; ++round) {
      for (std::size_t i = 0; i < peers_.size(); ++i) measure(i);
    }
  }
  /// Median over pairs of honest peers of |predicted - actual| / actual.
  [[nodiscard]] double error() const {
    std::vector<double> errors;
    for (std::size_t i = liars_; i < peers_.size(); ++i) {
      for (std::size_t j = liars_; j < i; ++j) {
        const double actual = truth(i, j);
        errors.push_back(std::abs(distance(peers_[i].own(), peers_[j].own()) - actual) / actual);
      }
    }
    std::sort(errors.begin(), errors.end());
    return errors[errors.size() / 2];
  }
  [[nodiscard]] const std::vector<coordinate_tracker>& peers() const { return peers_; }

 private:
  void measure(std::size_t i) {
    const std::size_t j = random_.below(peers_.size());
    if (j == i) return;
    const double late = random_.unit();
    answer a{peers_[j].own(), truth(i, j) * (1 + 0.1 * late * late)};
    if (j < liars_) lie_(a, random_);
    peers_[i].measured(id_of(j), a.where, from_seconds(a.seconds), random_);
  }

  random_generator random_;
  sim::latency_map map_;
  std::vector<coordinate_tracker> peers_;
  std::size_t liars_;
  lie lie_;
};

coordinate at(float x, float y) {
  coordinate c;
  c.position[0] = x;
  c.position[1] = y;
  c.error = 0;
  return c;
}

}  // namespace

TEST_CASE("coordinates learn to predict round trips") {
  for (const std::uint64_t seed : {1, 2, 3}) {
    INFO("seed " << seed);
    swarm s(150, seed);
    s.run(50);
    CHECK(s.error() < 0.2);
    s.run(350);
    CHECK(s.error() < 0.09);
    for (const auto& p : s.peers()) CHECK(plausible(p.own()));
  }
}

TEST_CASE("a peer's own error is close to how wrong its predictions are") {
  swarm s(150, 4);
  s.run(300);
  std::vector<double> claimed;
  for (const auto& p : s.peers()) claimed.push_back(p.own().error);
  std::sort(claimed.begin(), claimed.end());
  CHECK(claimed[75] > s.error() / 2);
  CHECK(claimed[75] < s.error() * 2);
}

TEST_CASE("with a fifth of all peers lying, honest peers are wrong by at most half more") {
  struct kind {
    const char* name;
    lie how;
  };
  const kind kinds[] = {
      {"far away and certain",
       [](answer& a, random_generator& random) {
         for (float& x : a.where.position) x = static_cast<float>(random.unit() * 20 - 10);
         a.where.error = 0;
       }},
      {"near, but moving about",
       [](answer& a, random_generator& random) {
         for (float& x : a.where.position) x = static_cast<float>(random.unit() * 0.2 - 0.1);
         a.where.error = 0;
       }},
      {"all at one place where nobody is",
       [](answer& a, random_generator&) { a.where = at(0.2f, 0.2f); }},
      {"at one place, as far as that is from the origin",
       [](answer& a, random_generator&) {
         a.where = at(2, 0);
         a.seconds = std::max(a.seconds, 2.0);
       }},
      {"answering late",
       [](answer& a, random_generator& random) { a.seconds *= 1 + 4 * random.unit(); }},
      {"answering very late", [](answer& a, random_generator&) { a.seconds = 9; }},
      {"behind a slow link that they do not have",
       [](answer& a, random_generator&) { a.where.height = 9; }},
  };
  for (const kind& k : kinds) {
    for (const std::uint64_t seed : {1, 2}) {
      INFO(k.name << ", seed " << seed);
      swarm honest(120, seed);
      honest.run(200);
      swarm attacked(150, seed, 30, k.how);
      attacked.run(200);
      INFO("error " << attacked.error() << ", without liars " << honest.error());
      CHECK(attacked.error() < 1.5 * honest.error());
      for (const auto& p : attacked.peers()) CHECK(plausible(p.own()));
    }
  }
}

TEST_CASE("implausible coordinates and round trips change nothing") {
  coordinate_tracker tracker;
  random_generator random(3);
  CHECK(tracker.measured(id_of(1), at(0.1f, 0), 50ms, random));
  const coordinate before = tracker.own();
  const float bad[] = {std::numeric_limits<float>::quiet_NaN(),
                       std::numeric_limits<float>::infinity(),
                       -std::numeric_limits<float>::infinity(), 1e30f, -1e30f};
  for (const float x : bad) {
    coordinate c;
    c.position[3] = x;
    CHECK_FALSE(tracker.measured(id_of(2), c, 50ms, random));
    c = coordinate();
    c.height = x;
    CHECK_FALSE(tracker.measured(id_of(2), c, 50ms, random));
    c = coordinate();
    c.error = x;
    CHECK_FALSE(tracker.measured(id_of(2), c, 50ms, random));
  }
  for (const duration d :
       {duration(0), duration(-5), duration(11s), duration::max(), duration::min()}) {
    CHECK_FALSE(tracker.measured(id_of(2), {}, d, random));
  }
  CHECK(tracker.own() == before);
}

TEST_CASE("coordinates at one place find a direction to part") {
  coordinate_tracker a;
  random_generator random(4);
  CHECK(a.measured(id_of(1), {}, 100ms, random));
  CHECK(estimate(a.own(), {}) > 5ms);
  for (int i = 0; i < 200; ++i) CHECK(a.measured(id_of(1), {}, 100ms, random));
  CHECK(estimate(a.own(), {}) > 80ms);
  CHECK(estimate(a.own(), {}) < 120ms);
}

TEST_CASE("a packed coordinate takes 20 bytes and predicts as well as the original") {
  const std::uint64_t seed = 5;
  INFO("seed " << seed);
  random_generator random(seed);
  CHECK(wire::encode(pack({})).size() == 20);
  for (const double extent : {0.0002, 0.02, 0.4, 3.0, 9.9}) {
    for (int i = 0; i < 500; ++i) {
      coordinate ends[2];
      coordinate copies[2];
      for (int e = 0; e < 2; ++e) {
        for (float& x : ends[e].position) x = static_cast<float>((random.unit() * 2 - 1) * extent);
        ends[e].height = static_cast<float>(random.unit() * extent);
        ends[e].error = static_cast<float>(random.unit());
        const auto back = wire::decode<packed_coordinate>(wire::encode(pack(ends[e])));
        REQUIRE(back.ok());
        const auto copy = unpack(*back);
        REQUIRE(copy.ok());
        CHECK(std::abs(copy->error - ends[e].error) < 0.002f);
        copies[e] = *copy;
      }
      // Half a unit in each of nine numbers of both ends.
      const double unit = std::max(1e-6, extent / 16384);
      CHECK(std::abs(distance(ends[0], ends[1]) - distance(copies[0], copies[1])) < 4 * unit);
    }
  }
}

TEST_CASE("a packed coordinate that is out of range is refused") {
  packed_coordinate p;
  REQUIRE(unpack(p).ok());
  p.exponent = packed_coordinate::exponent_max + 1;
  CHECK_FALSE(unpack(p).ok());
  p.exponent = packed_coordinate::exponent_max;
  p.position[2] = -32768;
  CHECK_FALSE(unpack(p).ok());
  p.position[2] = 0;
  p.height = 65535;
  CHECK_FALSE(unpack(p).ok());
}

TEST_CASE("coordinates have the same bits on every compiler") {
  swarm s(60, 6);
  s.run(120);
  byte_vector all;
  for (const auto& p : s.peers()) append(all, wire::encode(pack(p.own())));
  // Whoever changes how coordinates move, or the profile, puts the new digest here.
  CHECK(crypto::hash(all).hex() ==
        "50b06732330bf53bedfd33043a4fbe5c9951e93e3805aac4b7a20c7db1768645");
}
