#include "support/test.hpp"

#include <p2pdvm/sim/simulation.hpp>

#include <algorithm>
#include <vector>

using namespace p2pdvm;

namespace {

struct figures {
  double p10, p50, mean, p90, p99;
};

/// Of all pairs of 500 machines, in milliseconds.
figures measure(sim::latency_map map) {
  constexpr std::uint32_t count = 500;
  std::vector<double> all;
  double sum = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    map.add_machine();
    for (std::uint32_t j = 0; j < i; ++j) {
      all.push_back(to_seconds(map.round_trip(i, j)) * 1e3);
      sum += all.back();
      CHECK(map.round_trip(i, j) == map.round_trip(j, i));
    }
  }
  std::sort(all.begin(), all.end());
  const auto at = [&](double q) {
    return all[static_cast<std::size_t>(q * static_cast<double>(all.size()))];
  };
  return {at(.1), at(.5), sum / static_cast<double>(all.size()), at(.9), at(.99)};
}

void check_near(double measured, double expected, double tolerance) {
  INFO("measured " << measured << ", expected " << expected);
  CHECK(measured > expected * (1 - tolerance));
  CHECK(measured < expected * (1 + tolerance));
}

}  // namespace

/// DESIGN's figures of measured pairs.
TEST_CASE("the profiles have the round trips of what they are fitted to, within a tenth") {
  struct fitted {
    sim::latency_profile profile;
    figures ms;
  };
  for (const fitted& to : {fitted{sim::latency_profile::planetlab, {32, 135, 147, 291, 413}},
                           fitted{sim::latency_profile::residential, {40, 210, 280, 520, 1030}},
                           fitted{sim::latency_profile::intercontinental, {39, 183, 186, 319, 470}}}) {
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
      INFO(sim::name_of(to.profile) << ", seed " << seed);
      const figures f = measure(sim::latency_map(to.profile, seed));
      check_near(f.p10, to.ms.p10, .1);
      check_near(f.p50, to.ms.p50, .1);
      check_near(f.mean, to.ms.mean, .1);
      check_near(f.p90, to.ms.p90, .1);
      check_near(f.p99, to.ms.p99, .1);
    }
  }
}

TEST_CASE("profiles are ordered as their names say and can be named") {
  double last = 0;
  for (const char* name : {"loopback", "lan", "planetlab", "intercontinental"}) {
    const auto profile = sim::latency_profile_of(name);
    REQUIRE(profile);
    CHECK(sim::name_of(*profile) == name);
    const double median = measure(sim::latency_map(*profile, 1)).p50;
    CHECK(median > last);
    last = median;
  }
  CHECK_FALSE(sim::latency_profile_of("moon"));
}

TEST_CASE("access links of the residential profile are as fast as fitted, within a tenth") {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    INFO("seed " << seed);
    sim::latency_map map(sim::latency_profile::residential, seed);
    std::vector<std::uint64_t> up, down;
    for (int i = 0; i < 40'000; ++i) {
      const auto access = map.draw_access();
      up.push_back(access.up);
      down.push_back(access.down);
    }
    const auto check = [](std::vector<std::uint64_t>& all, double p10, double p50, double p90) {
      std::sort(all.begin(), all.end());
      check_near(static_cast<double>(all[all.size() / 10]), p10 * 1e6, .1);
      check_near(static_cast<double>(all[all.size() / 2]), p50 * 1e6, .1);
      check_near(static_cast<double>(all[all.size() * 9 / 10]), p90 * 1e6, .1);
    };
    check(up, 10, 20, 95);
    check(down, 15, 36, 126);
  }
}

TEST_CASE("access links may be those of another profile, also with a matrix") {
  const auto matrix = sim::latency_matrix::parse("0 10\n10 0\n", sim::latency_unit::milliseconds, "m");
  REQUIRE(matrix.ok());
  sim::latency_map free(*matrix, 1);
  CHECK(free.draw_access().up == 0);
  sim::latency_map homes(*matrix, 1), campus(sim::latency_profile::planetlab, 1);
  homes.access_of(sim::latency_profile::residential);
  campus.access_of(sim::latency_profile::residential);
  for (sim::latency_map* map : {&homes, &campus}) {
    bool differs = false;
    const auto first = map->draw_access();
    for (int i = 0; i < 100; ++i) {
      const auto access = map->draw_access();
      CHECK(access.up >= 4'000'000);
      CHECK(access.up < access.down);
      differs |= access.up != first.up;
    }
    CHECK(differs);
  }

  sim::options o;
  o.profile = sim::latency_profile::planetlab;
  o.matrix = *matrix;
  o.access = sim::latency_profile::residential;
  sim::simulation limited(o);
  CHECK(limited.add_machine().index() == 0);
  CHECK(limited.round_trip(limited.at(0), limited.at(0)) == sim::latency_map::same_machine);
}

TEST_CASE("a matrix is read with its unit, made symmetric, and missing entries get the median") {
  auto m = sim::latency_matrix::parse("0 10\t0\r\n20 0 0\n\n0 40 0\n",
                                      sim::latency_unit::milliseconds, "m");
  REQUIRE(m.ok());
  CHECK(m->size() == 3);
  CHECK(m->round_trip(0, 1) == std::chrono::milliseconds(15));
  CHECK(m->round_trip(1, 0) == std::chrono::milliseconds(15));
  CHECK(m->round_trip(1, 2) == std::chrono::milliseconds(40));
  CHECK(m->round_trip(0, 2) == std::chrono::milliseconds(20));  // median of 10, 20, 40
  CHECK(m->has_rows_for(3).ok());
  REQUIRE_FALSE(m->has_rows_for(4).ok());
  CHECK(m->has_rows_for(4).error().message() ==
        "m, line 4: ends after 3 rows, too few for 4 machines");
  auto s = sim::latency_matrix::parse("0 0.25\n0.25 0", sim::latency_unit::seconds, "m");
  REQUIRE(s.ok());
  CHECK(s->round_trip(0, 1) == std::chrono::milliseconds(250));

  sim::options o;
  o.matrix = *m;
  sim::simulation simulation(o);
  for (int i = 0; i < 6; ++i) simulation.add_machine();
  CHECK(simulation.round_trip(simulation.at(0), simulation.at(3)) == sim::latency_map::same_site);
  CHECK(simulation.round_trip(simulation.at(0), simulation.at(1)) >= std::chrono::milliseconds(15));
}

TEST_CASE("a bad matrix is refused with the number of the line") {
  struct bad {
    const char* text;
    const char* sentence;
  };
  for (const bad& b : {bad{"0 1\n1 x\n", "file, line 2: 'x' is not a time"},
                       bad{"0 1\n-1 0\n", "file, line 2: -1 is negative"},
                       bad{"0 1\n1 0 3\n", "file, line 2: has 3 numbers where the first row has 2"},
                       bad{"0 1 2\n1 0 3\n", "file, line 2: is not square: 2 rows of 3 numbers"},
                       bad{"0 1\n1 0\n1 1\n",
                           "file, line 3: is not square: more rows than the 2 columns"},
                       bad{"0 nan\n1 0\n", "file, line 1: 'nan' is not a time"},
                       bad{"0 inf\n1 0\n", "file, line 1: 'inf' is not a time"},
                       bad{"0 1e30\n1 0\n", "file, line 1: '1e30' is not a time"},
                       bad{"", "file, line 1: holds no row"},
                       bad{"\n \n", "file, line 2: holds no row"}}) {
    const auto m = sim::latency_matrix::parse(b.text, sim::latency_unit::milliseconds, "file");
    REQUIRE_FALSE(m.ok());
    CHECK(m.error().code() == errc::malformed);
    CHECK(m.error().message() == b.sentence);
  }
  const auto absent = sim::latency_matrix::load("/nonexistent/matrix", sim::latency_unit::seconds);
  REQUIRE_FALSE(absent.ok());
  CHECK(absent.error().code() == errc::not_found);
}
