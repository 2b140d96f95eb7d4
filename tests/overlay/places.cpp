#include "overlay/swarm.hpp"
#include "support/test.hpp"

#include <algorithm>
#include <cmath>

using namespace p2pdvm;
using namespace p2pdvm::overlay;
using namespace p2pdvm::overlay::test;

namespace {

/// One way between peers on a plane of 100 by 100 ms, with access links of 2 to 6 ms.
class plane {
 public:
  explicit plane(std::uint64_t seed) : random_(seed) {
    for (int i = 0; i < 200; ++i) {
      const double x = random_.unit();
      const double y = random_.unit();
      points_.push_back({x * 0.1, y * 0.1, 0.002 + 0.004 * random_.unit()});
    }
  }
  [[nodiscard]] duration operator()(std::size_t a, std::size_t b) const {
    const auto& [ax, ay, ah] = points_[a];
    const auto& [bx, by, bh] = points_[b];
    const double flat = std::sqrt((ax - bx) * (ax - bx) + (ay - by) * (ay - by));
    return from_seconds(flat + ah + bh);
  }

 private:
  random_generator random_;
  std::vector<std::array<double, 3>> points_;
};

}  // namespace

TEST_CASE("a swarm's own requests tell its peers how far they are from each other") {
  swarm s(21);
  const plane where(21);
  s.way = where;
  s.build(60);
  s.run_for(20min);
  std::vector<double> errors;
  for (std::size_t i = 0; i < s.size(); ++i) {
    for (std::size_t j = 0; j < s.size(); ++j) {
      if (i == j) continue;
      const double real = to_seconds(2 * where(i, j));
      // Also of those that the table does not have.
      const double predicted = distance(s.node_at(i).place(), s.node_at(j).place());
      errors.push_back(std::abs(predicted - real) / real);
    }
  }
  std::sort(errors.begin(), errors.end());
  INFO("median error " << errors[errors.size() / 2]);
  CHECK(errors[errors.size() / 2] < 0.15);
  std::size_t known = 0;
  for (std::size_t i = 0; i < s.size(); ++i) {
    for (const peer_entry& e : s.node_at(i).table().oldest_first())
      known += s.node_at(i).predicted(e.id()) ? 1 : 0;
  }
  CHECK(known > s.size() * 30);
}

TEST_CASE("the nearest peers of the table are found by measuring a few") {
  swarm s(22);
  const plane where(22);
  s.way = where;
  s.build(100);
  s.run_for(20min);
  for (std::size_t i = 0; i < s.size(); i += 9) {
    std::vector<duration> real;
    for (std::size_t j = 0; j < s.size(); ++j) {
      if (s.node_at(i).table().find(s.node_at(j).id()) != nullptr) real.push_back(2 * where(i, j));
    }
    std::sort(real.begin(), real.end());
    std::vector<near_peer> found;
    const auto asked = s.node_at(i).statistics().requests_sent;
    s.node_at(i).nearest(s.now(), 3, [&](const std::vector<near_peer>& f) { found = f; });
    CHECK(s.node_at(i).statistics().requests_sent - asked <= 12);
    s.arm(i);
    s.run_for(10s);
    REQUIRE(found.size() == 3);
    for (const near_peer& f : found) {
      CHECK(f.round_trip <= real[8]);
      CHECK(s.node_at(i).table().find(crypto::node_id_of(f.peer.key)) != nullptr);
    }
    CHECK(found[0].round_trip <= real[3]);
    CHECK(found[0].round_trip <= found[1].round_trip);
  }
}

TEST_CASE("who knows nobody has nobody near, and silent peers are none") {
  swarm s(23);
  s.build(20);
  s.run_for(5min);
  const std::size_t alone = s.add();
  bool called = false;
  s.node_at(alone).nearest(s.now(), 3, [&](const auto& found) { called = found.empty(); });
  CHECK(called);
  for (std::size_t i = 1; i < 20; ++i) s.kill(i);
  called = false;
  s.node_at(0).nearest(s.now(), 3, [&](const auto& found) { called = found.empty(); });
  s.arm(0);
  s.run_for(30s);
  CHECK(called);
}
