#include "support/test.hpp"

#include <p2pdvm/overlay/nearest.hpp>

#include <vector>

using namespace p2pdvm;
using namespace p2pdvm::overlay;
using namespace std::chrono_literals;

namespace {

coordinate at(double x, double y = 0) {
  coordinate c;
  c.position[0] = static_cast<float>(x);
  c.position[1] = static_cast<float>(y);
  return c;
}

std::vector<coordinate> line(int count) {
  std::vector<coordinate> all;
  for (int i = 0; i < count; ++i) all.push_back(at(0.01 * i));
  return all;
}

/// Answers every probe with the round trip that `truth` gives; returns their number.
template <class Truth>
int run(nearest_query& query, const Truth& truth) {
  int probes = 0;
  while (!query.done()) {
    const auto p = query.next();
    REQUIRE(p);
    ++probes;
    query.measured(*p, truth(*p));
  }
  return probes;
}

std::vector<std::uint32_t> names(const nearest_query& query) {
  std::vector<std::uint32_t> all;
  for (const auto& f : query.best()) all.push_back(f.candidate);
  return all;
}

using outcome = std::optional<duration>;

}  // namespace

TEST_CASE("measurements, not coordinates, decide who of the shortlist is nearest") {
  const auto candidates = line(20);
  const std::vector<coordinate> self = {at(0.1)};
  nearest_options o;
  o.wanted = 3;
  o.shortlist = 5;
  nearest_query query(candidates, self, o);
  // By coordinates 8 … 12; really 12 is nearest and 10 is farthest.
  const int probes = run(query, [](const auto& p) {
    return outcome(p.candidate == 10 ? 90ms : std::chrono::milliseconds(30 - 2 * p.candidate));
  });
  CHECK(probes == 5);
  CHECK(names(query) == std::vector<std::uint32_t>{12, 11, 9});
  CHECK(query.best().front().round_trip == 6ms);
}

TEST_CASE("a candidate is asked for again after a loss, and given up after its last attempt") {
  const auto candidates = line(4);
  const std::vector<coordinate> self = {at(0)};
  nearest_options o;
  o.wanted = 4;
  o.shortlist = 4;
  o.attempts = 3;
  nearest_query query(candidates, self, o);
  int asked_of_1 = 0;
  int asked_of_2 = 0;
  run(query, [&](const auto& p) {
    if (p.candidate == 1) return ++asked_of_1 == 3 ? outcome(5ms) : outcome();
    if (p.candidate == 2) return ++asked_of_2, outcome();
    return outcome(std::chrono::milliseconds(10 + p.candidate));
  });
  CHECK(asked_of_1 == 3);
  CHECK(asked_of_2 == 3);
  CHECK(names(query) == std::vector<std::uint32_t>{1, 0, 3});
}

TEST_CASE("the best mean to a set needs every measurement of a candidate") {
  const auto candidates = line(6);
  const std::vector<coordinate> set = {at(0), at(0.001)};
  nearest_options o;
  o.wanted = 2;
  o.shortlist = 3;
  nearest_query query(candidates, set, o);
  const int probes = run(query, [&](const auto& p) {
    if (p.candidate == 0 && p.target == 1) return outcome();
    return outcome(std::chrono::milliseconds(10 * p.candidate + 2 * p.target + 1));
  });
  CHECK(probes == 7);  // one was lost, and lost again
  CHECK(names(query) == std::vector<std::uint32_t>{1, 2});
  CHECK(query.best().front().round_trip == 12ms);
}

TEST_CASE("a nearest-peer query ignores what it did not ask for and refuses absurd round trips") {
  const auto candidates = line(3);
  const std::vector<coordinate> self = {at(0)};
  nearest_options o;
  o.wanted = 3;
  o.attempts = 1;
  nearest_query query(candidates, self, o);
  query.measured({2, 0}, 1ms);
  query.measured({77, 5}, 1ms);
  CHECK(query.best().empty());
  run(query, [](const auto& p) {
    return outcome(p.candidate == 0 ? -1ms : p.candidate == 1 ? duration(11s) : duration(3ms));
  });
  CHECK(names(query) == std::vector<std::uint32_t>{2});
  query.measured({2, 0}, 1ms);  // twice
  CHECK(query.best().front().round_trip == 3ms);
}

TEST_CASE("the work of a nearest-peer query is bounded, and nobody is nearest among none") {
  const auto candidates = line(500);
  const std::vector<coordinate> targets(200, at(0));
  nearest_options o;
  o.wanted = 1000;
  o.shortlist = 1000;
  nearest_query query(candidates, targets, o);
  const int probes = run(query, [](const auto&) { return outcome(1ms); });
  CHECK(probes == static_cast<int>(nearest_shortlist_max * nearest_targets_max));
  CHECK(query.best().size() == nearest_shortlist_max);

  nearest_query nobody({}, targets, o);
  CHECK(nobody.done());
  CHECK_FALSE(nobody.next());
  CHECK(nobody.best().empty());
}
