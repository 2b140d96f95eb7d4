#include "support/test.hpp"

#include <p2pdvm/overlay/coordinates.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <cmath>
#include <limits>
#include <vector>

using namespace p2pdvm;
using namespace p2pdvm::overlay;
using namespace std::chrono_literals;

namespace {

/// Peers on a plane with access links; returns the median relative error after `rounds`.
double settle(std::vector<coordinate_tracker>& peers, int rounds, std::uint64_t seed,
              std::size_t liars = 0) {
  random_generator random(seed);
  struct place {
    double x, y, access;
  };
  std::vector<place> places;
  for (std::size_t i = 0; i < peers.size(); ++i) {
    const double x = random.unit() * 0.15;
    const double y = random.unit() * 0.15;
    places.push_back({x, y, 0.002 + random.unit() * 0.01});
  }
  const auto truth = [&](std::size_t a, std::size_t b) {
    return std::hypot(places[a].x - places[b].x, places[a].y - places[b].y) + places[a].access +
           places[b].access;
  };
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t i = liars; i < peers.size(); ++i) {
      const std::size_t j = random.below(peers.size());
      if (j == i) continue;
      coordinate told = peers[j].own();
      double rtt = truth(i, j) * (0.95 + 0.1 * random.unit());
      if (j < liars) {
        for (double& x : told.position) x = random.unit() * 20 - 10;
        told.error = 0;
        rtt = 9;
      }
      peers[i].measured(told, from_seconds(rtt), random);
    }
  }
  std::vector<double> errors;
  for (std::size_t i = liars; i < peers.size(); ++i) {
    for (std::size_t j = liars; j < i; ++j) {
      const double predicted = to_seconds(estimate(peers[i].own(), peers[j].own()));
      errors.push_back(std::abs(predicted - truth(i, j)) / truth(i, j));
    }
  }
  std::sort(errors.begin(), errors.end());
  return errors[errors.size() / 2];
}

}  // namespace

TEST_CASE("coordinates learn to predict round trips") {
  std::vector<coordinate_tracker> peers(60);
  CHECK(settle(peers, 300, 1) < 0.12);
  for (const auto& p : peers) CHECK(plausible(p.own()));
}

TEST_CASE("a few liars do not make coordinates useless or absurd") {
  std::vector<coordinate_tracker> peers(60);
  CHECK(settle(peers, 300, 2, 3) < 0.8);
  for (const auto& p : peers) CHECK(plausible(p.own()));
}

TEST_CASE("implausible coordinates and round trips change nothing") {
  coordinate_tracker tracker;
  random_generator random(3);
  const byte_vector before = wire::encode(tracker.own());
  const double bad[] = {std::numeric_limits<double>::quiet_NaN(),
                        std::numeric_limits<double>::infinity(),
                        -std::numeric_limits<double>::infinity(), 1e300, -1e300};
  for (const double x : bad) {
    coordinate c;
    c.position[3] = x;
    CHECK_FALSE(tracker.measured(c, 50ms, random));
    c = coordinate();
    c.height = x;
    CHECK_FALSE(tracker.measured(c, 50ms, random));
    c = coordinate();
    c.error = x;
    CHECK_FALSE(tracker.measured(c, 50ms, random));
  }
  for (const duration d : {duration(0), duration(-5), duration::max(), duration::min()}) {
    CHECK_FALSE(tracker.measured({}, d, random));
  }
  CHECK(wire::encode(tracker.own()) == before);
}

TEST_CASE("coordinates at one place find a direction to part") {
  coordinate_tracker a;
  random_generator random(4);
  CHECK(a.measured({}, 100ms, random));
  CHECK(estimate(a.own(), {}) > 5ms);
  for (int i = 0; i < 200; ++i) CHECK(a.measured({}, 100ms, random));
  CHECK(estimate(a.own(), {}) > 80ms);
  CHECK(estimate(a.own(), {}) < 120ms);
}
