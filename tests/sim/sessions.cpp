#include "support/test.hpp"

#include <p2pdvm/sim/sessions.hpp>

#include <algorithm>
#include <vector>

using namespace p2pdvm;
using namespace p2pdvm::sim;

namespace {

/// Lengths of many sessions that begin at time zero on one machine, sorted, in seconds.
std::vector<double> lengths(const session_model& model, std::uint64_t seed) {
  INFO("seed " << seed);
  random_generator random(seed);
  std::vector<double> all;
  for (int i = 0; i < 20000; ++i) all.push_back(to_seconds(model.session({}, 7, random)));
  std::sort(all.begin(), all.end());
  return all;
}

double mean(const std::vector<double>& all) {
  double sum = 0;
  for (const double x : all) sum += x;
  return sum / static_cast<double>(all.size());
}

session_model model_of(std::string_view text) {
  auto parsed = session_model::parse(text);
  REQUIRE(parsed.ok());
  return *parsed;
}

}  // namespace

TEST_CASE("exponential sessions have their mean and the median that belongs to it") {
  const auto all = lengths(model_of("exponential:100s"), 3);
  CHECK(mean(all) == Approx(100).epsilon(0.03));
  CHECK(all[all.size() / 2] == Approx(69.3).epsilon(0.04));
}

TEST_CASE("heavy-tailed sessions are mostly short and sometimes very long") {
  const auto all = lengths(model_of("heavy-tailed:1h"), 4);
  CHECK(mean(all) == Approx(3600).epsilon(0.08));
  CHECK(all[all.size() / 2] == Approx(3600 / 2 * 0.4805).epsilon(0.06));  // (ln 2)² / 2
  CHECK(all[all.size() * 99 / 100] > 8 * 3600);
}

TEST_CASE("diurnal machines work by day, wherever they are, and come back in the morning") {
  const session_model model = model_of("diurnal");
  random_generator random(5);
  std::vector<int> living(24);
  for (std::uint32_t m = 0; m < 200; ++m) {
    time_point now;
    for (int sessions = 0; sessions < 3; ++sessions) {
      const duration length = model.session(now, m, random);
      CHECK(length <= std::chrono::hours(9));
      now += length;
      const duration absence = model.absence(now, m, random);
      if (sessions > 0) CHECK(absence > std::chrono::hours(14));  // the first began at any hour
      CHECK(absence <= std::chrono::hours(24));
      now += absence;
    }
    ++living[static_cast<std::size_t>(now.time_since_epoch() / std::chrono::hours(1)) % 24];
  }
  CHECK(std::count(living.begin(), living.end(), 0) < 4);  // mornings all around the clock
}

TEST_CASE("a mix has machines that never leave and others that do") {
  const session_model model = model_of("mixed:30min");
  random_generator random(6);
  std::size_t stable = 0;
  for (std::uint32_t m = 0; m < 300; ++m) {
    stable += model.session({}, m, random) == duration::max() ? 1 : 0;
  }
  CHECK(stable > 30);
  CHECK(stable < 100);
}

TEST_CASE("session models are read from words, and wrong ones get a sentence") {
  CHECK(model_of("stable").kind == session_kind::stable);
  CHECK(model_of("0").kind == session_kind::stable);
  CHECK(model_of("84").mean == std::chrono::seconds(84));
  CHECK(model_of("84s").mean == std::chrono::seconds(84));
  CHECK(model_of("2.9h").mean == std::chrono::seconds(10440));
  CHECK(model_of("mixed:30min").kind == session_kind::mixed);
  for (const char* wrong : {"", "often", "84x", "-3s", "heavy-tailed", "stable:3h", "0s",
                            "exponential:", "nan", "1e99d", ":3s"}) {
    INFO(wrong);
    const auto parsed = session_model::parse(wrong);
    REQUIRE_FALSE(parsed.ok());
    CHECK(parsed.error().message().find("session model") != std::string::npos);
  }
}
