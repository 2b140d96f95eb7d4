#include "host/worlds.hpp"

#include <p2pdvm/host/timer.hpp>

#include <functional>
#include <memory>
#include <vector>

using namespace p2pdvm;
using namespace std::chrono_literals;

TEMPLATE_TEST_CASE("timers fire in the order of their times and then of insertion", "",
                   worlds::native_world, worlds::simulated_world) {
  TestType world;
  host::clock& clock = world.first().clock();
  std::vector<int> fired;
  const time_point start = clock.now();
  clock.call_at(start + 3ms, [&] { fired.push_back(3); });
  clock.call_at(start + 1ms, [&] { fired.push_back(1); });
  clock.call_at(start + 2ms, [&] { fired.push_back(2); });
  clock.call_at(start + 2ms, [&] { fired.push_back(20); });
  clock.call_at(start - 1s, [&] { fired.push_back(0); });
  clock.call_at(time_point_never, [&] { fired.push_back(-1); });
  CHECK(fired.empty());
  REQUIRE(world.run([&] { return fired.size() >= 5; }));
  CHECK(fired == std::vector<int>{0, 1, 2, 20, 3});
  CHECK(clock.now() >= start + 3ms);
}

TEMPLATE_TEST_CASE("a cancelled timer never fires, also when cancelled by a handler", "",
                   worlds::native_world, worlds::simulated_world) {
  TestType world;
  host::clock& clock = world.first().clock();
  const time_point start = clock.now();
  std::vector<int> fired;
  host::timer_id own = 0;
  host::timer_id victim = 0;
  const host::timer_id early = clock.call_at(start + 1ms, [&] { fired.push_back(1); });
  own = clock.call_at(start + 2ms, [&] {
    fired.push_back(2);
    clock.cancel(own);     // has fired: no effect
    clock.cancel(victim);  // due at the same time
    clock.call_at(start, [&] { fired.push_back(4); });
  });
  victim = clock.call_at(start + 2ms, [&] { fired.push_back(3); });
  clock.call_at(start + 20ms, [&] { fired.push_back(5); });
  CHECK(early != 0);
  clock.cancel(early);
  clock.cancel(early);
  clock.cancel(0);
  REQUIRE(world.run([&] { return !fired.empty() && fired.back() == 5; }));
  CHECK(fired == std::vector<int>{2, 4, 5});
}

TEMPLATE_TEST_CASE("an action may destroy what other timers own", "", worlds::native_world,
                   worlds::simulated_world) {
  TestType world;
  host::clock& clock = world.first().clock();
  auto owner = std::make_unique<host::timer>(clock);
  auto owned = std::make_shared<host::timer>(clock);
  bool done = false;
  owned->after(1h, [owned] { FAIL("cancelled"); });  // a cycle, broken by cancelling
  owner->after(1ms, [&] {
    owner.reset();
    owned->cancel();
    owned.reset();
    done = true;
  });
  REQUIRE(world.run([&] { return done; }));
  CHECK_FALSE(owner);
}

TEMPLATE_TEST_CASE("a timer's action may set the timer again, and destroy it", "",
                   worlds::native_world, worlds::simulated_world) {
  TestType world;
  host::clock& clock = world.first().clock();
  auto timer = std::make_unique<host::timer>(clock);
  const auto kept = std::make_shared<int>(0);
  std::function<void()> again = [&, kept] {
    CHECK(!timer->armed());
    if (++*kept == 3) {
      timer.reset();
    } else {
      timer->after(1ms, again);
      CHECK(timer->armed());
    }
  };
  timer->after(1ms, again);
  REQUIRE(world.run([&] { return !timer; }));
  CHECK(*kept == 3);
  again = nullptr;
  CHECK(kept.use_count() == 1);
}

TEMPLATE_TEST_CASE("what a cancelled timer would have done is destroyed at once", "",
                   worlds::native_world, worlds::simulated_world) {
  TestType world;
  host::timer timer(world.first().clock());
  const auto kept = std::make_shared<int>(0);
  timer.after(1h, [kept] { ++*kept; });
  CHECK(kept.use_count() == 2);
  timer.cancel();
  CHECK(kept.use_count() == 1);
  CHECK(!timer.armed());
}

TEMPLATE_TEST_CASE("many timers set and cancelled at random fire exactly when due", "",
                   worlds::native_world, worlds::simulated_world) {
  TestType world;
  host::clock& clock = world.first().clock();
  random_generator random(5);
  const time_point start = clock.now();
  std::vector<host::timer_id> ids;
  std::vector<int> state(5000, 0);
  std::size_t left = 0;
  time_point last = start;
  for (std::size_t i = 0; i < state.size(); ++i) {
    const time_point when = start + duration(static_cast<std::int64_t>(random.below(20'000'000)));
    ids.push_back(clock.call_at(when, [&, i, when] {
      CHECK(state[i] == 0);
      CHECK(clock.now() >= when);
      CHECK(when >= last);
      last = when;
      state[i] = 1;
      --left;
    }));
    ++left;
  }
  for (std::size_t i = 0; i < state.size(); i += 1 + random.below(2)) {
    clock.cancel(ids[i]);
    state[i] = 2;
    --left;
  }
  REQUIRE(world.run([&] { return left == 0; }));
  CHECK(std::count(state.begin(), state.end(), 0) == 0);
}
