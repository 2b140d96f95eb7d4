#include "support/test.hpp"

#include <p2pdvm/checkpoint/policy.hpp>

#include <cmath>

using namespace p2pdvm;
using namespace p2pdvm::checkpoint;
using namespace std::chrono_literals;

TEST_CASE("ranks are spread where that gains much more than it costs, if the job goes on as long as it has") {
  const auto s = [](int seconds) { return duration(std::chrono::seconds(seconds)); };
  CHECK(pays({4, 2, s(40), s(5)}));        // half of what is left, for four times the cost
  CHECK_FALSE(pays({4, 2, s(39), s(5)}));
  CHECK(pays({4, 3, s(80), s(5)}));
  CHECK_FALSE(pays({4, 3, s(79), s(5)}));
  CHECK_FALSE(pays({4, 4, s(100000), s(1)}));
  CHECK_FALSE(pays({1, 2, s(100000), s(1)}));
}

TEST_CASE("Lambert's W inverts w e^w on the whole of its interval") {
  for (double w = -0.999; w < 0; w += 0.001) {
    const double z = w * std::exp(w);
    CHECK(std::abs(lambert_w0(z) - w) < 1e-9);
  }
  CHECK(lambert_w0(0) == 0);
  CHECK(lambert_w0(-0.5) == -1);
}

TEST_CASE("the interval is the one that a search over all intervals finds best, within 1 %") {
  for (const double theta : {1e-5, 1e-4, 1e-3, 1e-2, 0.1}) {
    for (const double v : {0.0005, 0.01, 0.3, 5.0}) {
      const duration blocking = from_seconds(v);
      double best = 0;
      double best_interval = 0;
      for (double t = v; t < 40 * (v + std::sqrt(2 * v / theta)); t *= 1.001) {
        const double u = predicted_utilisation(from_seconds(t), theta, blocking, 10s);
        if (u > best) {
          best = u;
          best_interval = t;
        }
      }
      const duration found = optimal_interval(theta, blocking);
      INFO("theta " << theta << " V " << v);
      CHECK(to_seconds(found) == Approx(best_interval).epsilon(0.01));
      CHECK(predicted_utilisation(found, theta, blocking, 10s) >= best * 0.999999);
    }
  }
}

TEST_CASE("for cheap checkpoints the interval is close to V + sqrt(2V/theta)") {
  for (const double v : {1e-9, 1e-6, 1e-4, 1e-2}) {
    const double theta = 1e-3;
    CHECK(to_seconds(optimal_interval(theta, from_seconds(v))) ==
          Approx(v + std::sqrt(2 * v / theta)).epsilon(0.01));
  }
  CHECK(optimal_interval(0, 1s) == duration::max());
}

TEST_CASE("the adaptive policy stays between the commit latency and ten minutes, or 100 times the blocking") {
  adaptive_policy policy;
  observation seen;
  CHECK(policy.next(seen) == interval_max);
  seen.failures_per_second = 1e-3;
  seen.blocking = 1ms;
  CHECK(to_seconds(policy.next(seen)) == Approx(1.415).epsilon(0.01));
  CHECK(policy.next(seen) % 1ms == duration::zero());
  seen.commit_latency = 20s;
  CHECK(policy.next(seen) == 20s);
  seen.commit_latency = 2h;
  CHECK(policy.next(seen) == interval_max);
  seen = {};
  seen.blocking = 30s;
  CHECK(policy.next(seen) == 3000s);
  seen.blocking = 6s;
  CHECK(policy.next(seen) == interval_max);
  CHECK(fixed_policy(7s).next(seen) == 7s);
  CHECK(no_checkpoints().next(seen) == duration::max());
}

TEST_CASE("the failure rate starts at the prior and follows what is observed") {
  lifetime_estimator estimator;
  const double prior = 1.0 / (4 * 3600);
  CHECK(estimator.rate({}) == Approx(prior));
  CHECK(estimator.rate({{2h}}) == Approx(prior / 2));
  for (int i = 0; i < 99; ++i) estimator.died(10min);
  CHECK(estimator.rate({}) == Approx(99.5 / (99 * 600 + 2 * 3600)));
  const double before = estimator.rate({});
  estimator.censored(100h);
  CHECK(estimator.rate({}) < before);
}

TEST_CASE("who learns what another has seen estimates the same rate") {
  lifetime_estimator old;
  old.died(3h);
  old.died(1h);
  old.censored(10h);
  lifetime_estimator young;
  young.learned(old.deaths(), old.seconds_lived() + 3 * 3600);  // with those that are still up
  CHECK(young.rate({}) == Approx(old.rate({{2h, true}, {1h}})));
}

TEST_CASE("the hazard falls with age and its sum over hosts of ranks is the job's failure rate") {
  const double rate = 1e-4;
  double last = 1;
  for (const duration age : {duration(0s), duration(1min), duration(1h), duration(10h)}) {
    CHECK(hazard(rate, age) <= last);
    last = hazard(rate, age);
  }
  CHECK(hazard(rate, 0s) == 2 * rate);
  CHECK(hazard(rate, from_seconds(1 / (2 * rate))) == Approx(rate));
  const lifetime_estimator estimator;
  const std::vector<living_peer> living{{1h, true}, {20h, true}, {20h, false}, {5h, true, false}};
  const double r = estimator.rate(living);
  CHECK(failures_per_second(estimator, living) == Approx(hazard(r, 1h) + hazard(r, 20h) + r));
}

TEST_CASE("the achieved utilisation counts cuts and lost work as waste") {
  const time_point start{};
  utilisation_meter meter(start);
  CHECK(meter.achieved(start) == 1);
  meter.blocked(1s);
  meter.committed(start + 50s);
  CHECK(meter.achieved(start + 100s) == Approx(0.99));
  meter.blocked(1s);  // in the part that is lost
  meter.recovered(start + 70s);
  CHECK(meter.achieved(start + 100s) == Approx(0.79));
}
