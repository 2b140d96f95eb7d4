#include "support/local_world.hpp"

#include <p2pdvm/peal/mpi.hpp>
#include <p2pdvm/peal/pool.hpp>

#include <numeric>
#include <ranges>

using namespace p2pdvm;
using test::local_world;
using Catch::Matchers::Contains;

namespace {

double mean_of(const std::vector<double>& all) {
  return std::accumulate(all.begin(), all.end(), 0.0) / static_cast<double>(all.size());
}

task<std::string> slow_words(peal::rank* rank, int n) {
  co_await rank->sleep(std::chrono::milliseconds(n));
  co_return std::string(static_cast<std::size_t>(n), 'w');
}

task<> everything(peal::rank& rank) {
  pool::bag bag(rank);
  co_await rank.restore();
  const std::vector<double> given{1, 2, 3, 4, 5.5};
  const auto squares = bag.map(given, [](double x) { return x * x; });
  const auto halves = bag.map(squares, [](double x) { return x / 2; });
  const auto mean = bag.submit(mean_of, halves);
  const auto constant = bag.submit([] { return 7; });
  const auto sum = bag.submit([](int a, double b, const std::string& c) { return c + std::to_string(a + static_cast<int>(b)); },
                              constant, 0.5, std::string("sum "));
  peal::rank* const self = &rank;
  const auto words = bag.map(std::views::iota(0, 9), [self](int n) { return slow_words(self, n); });
  const auto lengths = bag.map(words, [](const std::string& w) { return w.size(); });
  CHECK(bag.size() == 5 + 5 + 1 + 1 + 1 + 9 + 9);
  CHECK_THROWS_WITH(mean.value(), Contains("submitted at pool.cpp:") && Contains("is read before its bag has run"));
  co_await bag.run();
  CHECK(bag.size() == 0);
  CHECK(bag.runs() == 1);
  CHECK(squares.values() == std::vector<double>{1, 4, 9, 16, 30.25});
  CHECK(squares[4].value() == 30.25);
  CHECK(mean.value() == mean_of({0.5, 2, 4.5, 8, 15.125}));
  CHECK(sum.value() == "sum 7");
  CHECK(words.values().back() == "wwwwwwww");
  CHECK(lengths.values() == std::vector<std::size_t>{0, 1, 2, 3, 4, 5, 6, 7, 8});

  // Results of an earlier bag are arguments like others; a bag may be empty.
  const auto later = bag.submit([](double x) { return x + 1; }, mean);
  co_await bag.run();
  CHECK(later.value() == mean.value() + 1);
  co_await bag.run();
  CHECK(bag.runs() == 3);
}

/// Bags between collectives; each follows from the one before.
task<> rounds(peal::rank& rank) {
  mpi::communicator comm(rank);
  pool::bag bag(rank);
  bag.check(rank.option<double>("check"));
  int round = 0;
  std::uint64_t value = 17;
  rank.state("round", round);
  rank.state("value", value);
  co_await rank.restore();
  peal::rank* const self = &rank;
  while (round < 4) {
    const std::uint64_t seed = value + static_cast<std::uint64_t>(round);
    const auto first = bag.map(std::views::iota(0, 25), [self, seed](int i) -> task<std::uint64_t> {
      co_await self->sleep(std::chrono::microseconds(10 * (i % 7)));
      co_return (seed + static_cast<std::uint64_t>(i)) * 0x9e3779b97f4a7c15ull;
    });
    const auto second = bag.map(first, [](std::uint64_t x) { return x ^ x >> 13; });
    const auto all = bag.submit([](const std::vector<std::uint64_t>& xs) {
      std::uint64_t folded = 0;
      for (const std::uint64_t x : xs) folded = folded * 31 + x;
      return folded;
    }, second);
    co_await bag.run();
    value = all.value();
    ++round;
    co_await rank.safe_point();
    const std::uint64_t most = co_await comm.allreduce(value, mpi::maximum());
    CHECK(most == value);
  }
  if (rank.id() == 0) rank.result("value", std::to_string(value));
}

task<> mistakes(peal::rank& rank) {
  const std::string what = rank.option("what");
  const bool first = rank.id() == 0;
  pool::bag bag(rank);
  if (what == "early") co_await bag.run();
  if (what == "share") bag.check(1.5);
  if (what == "factor") bag.again_after(-1);
  co_await rank.restore();
  const auto one = [](int x) { return x; };
  if (what == "counts") (void)bag.map(std::views::iota(0, first ? 10 : 12), one);
  if (what == "others" && first) (void)bag.submit(one, 1);
  if (what == "others" && !first) (void)bag.submit(one, 1);
  if (what == "shares" && first) bag.check(0.5);
  if (what == "never" && first) co_return;
  if (what == "waiting") {
    (void)bag.submit(one, 1);
    co_await rank.safe_point();
  }
  pool::bag* const itself = &bag;
  if (what == "inside") (void)bag.submit([itself, one] { return static_cast<int>(itself->submit(one, 1).task()); });
  peal::rank* const self = &rank;
  if (what == "safe point") {
    (void)bag.submit([self]() -> task<int> {
      co_await self->safe_point();
      co_return 1;
    });
  }
  if (what == "undecided") {
    bag.check(1);
    (void)bag.submit([self] { return self->id(); });
  }
  if (what == "failing") (void)bag.submit([]() -> int { throw std::runtime_error("the solver diverges"); });
  co_await bag.run();
  if (what == "once more" && first) co_return;
  if (what == "once more") co_await bag.run();
}

std::string mistake(const std::string& what) {
  return local_world(2, mistakes, {{"what", what}}).failure();
}

constexpr std::uint32_t rank_counts[] = {1, 2, 3, 4, 7};

}  // namespace

TEST_CASE("tasks give their results to every rank, whatever they wait for") {
  for (const std::uint32_t ranks : rank_counts) {
    INFO("ranks " << ranks);
    CHECK(local_world(ranks, everything).run());
  }
}

TEST_CASE("a program of bags gives the same result from every cut, between tasks and between bags") {
  for (const std::uint32_t ranks : rank_counts) {
    for (const char* check : {"0", "0.3"}) {
      const local_world::options options{{"check", check}};
      local_world whole(ranks, rounds, options);
      REQUIRE(whole.run());
      const std::string expected = whole.result("value");
      CHECK_FALSE(expected.empty());
      for (std::uint64_t cut = 1; cut <= 61; cut += 4) {
        INFO("ranks " << ranks << ", check " << check << ", cut " << cut);
        local_world first(ranks, rounds, options);
        first.cut_at_stand(cut);
        REQUIRE(first.run());
        const auto snapshots = first.cut();
        REQUIRE(snapshots);
        local_world second(ranks, rounds, options, &*snapshots);
        REQUIRE(second.run());
        CHECK(second.result("value") == expected);
      }
    }
  }
}

TEST_CASE("mistakes in programs with bags are explained") {
  CHECK_THAT(mistake("early"), Contains("a bag is run before restore() (pool.cpp:"));
  CHECK_THAT(mistake("share"), Contains("between 0 and 1, not 1.5"));
  CHECK_THAT(mistake("factor"), Contains("not -1"));
  CHECK_THAT(mistake("counts"), Contains("runs bag 1 of 10 tasks (pool.cpp:") || Contains("runs bag 1 of 12 tasks (pool.cpp:"));
  CHECK_THAT(mistake("counts"), Contains("runs it with 12 (pool.cpp:") || Contains("runs it with 10 (pool.cpp:"));
  CHECK_THAT(mistake("others"), Contains("runs it with others (pool.cpp:"));
  CHECK_THAT(mistake("shares"), Contains("the share to check must be the same on all ranks"));
  CHECK_THAT(mistake("never"), Contains("rank 1 runs bag 1 of 0 tasks (pool.cpp:") && Contains("rank 0 has left after 0 bags"));
  CHECK_THAT(mistake("once more"), Contains("rank 1 runs bag 2") && Contains("rank 0 has left after 1 bags"));
  CHECK_THAT(mistake("waiting"), Contains("has submitted tasks that have not run (pool.cpp:"));
  CHECK_THAT(mistake("inside"), Contains("a task is submitted while its bag runs (pool.cpp:"));
  CHECK_THAT(mistake("safe point"), Contains("is doing a task"));
  CHECK_THAT(mistake("undecided"), Contains("task 0 of bag 1 (submitted at pool.cpp:") && Contains("no rank left to decide"));
  CHECK(mistake("nothing wrong").empty());
  local_world failing(2, mistakes, {{"what", "failing"}});
  CHECK_THROWS_WITH(failing.run(), Contains("the solver diverges"));
}
