#include "support/local_world.hpp"

using namespace p2pdvm;
using test::local_world;

namespace {

/// Each rank passes a growing list around a ring and keeps state of every kind.
task<> ring(peal::rank& rank) {
  struct : peal::adapter {
    int laps = 0;
    byte_vector save() const override { return wire::encode(laps); }
    void load(byte_view saved) override { laps = *wire::decode<int>(saved); }
  } counter;
  peal::port port = rank.open("ring", counter);
  int step = 0;
  std::vector<double> field(100, rank.id());
  std::map<std::string, int> seen;
  rank.state("step", step);
  rank.state("seen", seen);
  rank.region("field", field);
  co_await rank.restore();
  const int next = (rank.id() + 1) % rank.size();
  while (step < 10) {
    if (step == 0) co_await port.send(next, 5, payload(wire::encode(field)));
    const peal::message m = co_await port.receive(peal::any_source, 5);
    auto values = *wire::decode<std::vector<double>>(m.body().view());
    for (std::size_t i = 0; i < values.size(); ++i) {
      field[i] = field[i] * 0.5 + values[i] + static_cast<double>(rank.random().below(10));
    }
    ++seen["from " + std::to_string(m.source())];
    ++counter.laps;
    ++step;
    co_await port.send(next, 5, payload(wire::encode(field)));
    co_await rank.safe_point();
  }
  double sum = 0;
  for (const double f : field) sum += f;
  rank.result("sum", std::to_string(sum) + " " + std::to_string(seen.begin()->second) + " " +
                         std::to_string(counter.laps) + "\n");
}

/// Changes a few elements of a large marked region in each step, and says which; in the sixth the region grows.
task<> marks(peal::rank& rank) {
  int step = 0;
  std::vector<std::uint32_t> table(100'000, 7);
  rank.state("step", step);
  auto marks = rank.marked_region("table", table);
  co_await rank.restore();
  while (step < 10) {
    if (step == 5) table.resize(150'000, 8);
    for (int i = 0; i < 3; ++i) {
      const std::size_t at = rank.random().below(table.size());
      table[at] += static_cast<std::uint32_t>(at) + 1;
      marks.changed(at);
    }
    ++step;
    co_await rank.safe_point();
  }
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < table.size(); ++i) sum = sum * 31 + table[i];
  rank.result("sum", std::to_string(sum) + "\n");
}

task<> waits_for_ever(peal::rank& rank) {
  peal::adapter none;
  peal::port port = rank.open("x", none);
  co_await port.receive(0, 1);
}

task<> misuses(peal::rank& rank) {
  const std::string what = rank.option("what");
  peal::adapter none;
  peal::port port = rank.open("x", none);
  int a = 0;
  rank.state("a", a);
  if (what == "twice") rank.state("a", a);
  if (what == "early") co_await rank.safe_point();
  std::optional<peal::operation> posted_early;
  if (what == "posted early") posted_early.emplace(port.post_receive(rank.id(), 9));
  co_await rank.restore();
  if (what == "late") rank.state("b", a);
  if (what == "far") co_await port.send(7, 0, payload());
  if (what == "number") (void)rank.option<int>("what");
  if (what == "absent") (void)rank.option("absent");
  co_await port.send(rank.id(), 1, as_bytes("four"));
  peal::operation posted = port.post_receive(rank.id(), 1);
  const peal::message m = co_await posted.wait();
  CHECK(as_text(m.body().view()) == "four");
  if (what == "truncated") {
    std::array<std::byte, 2> small{};
    co_await port.send(rank.id(), 2, as_bytes("long text"));
    co_await port.receive_into(small, rank.id(), 2);
  }
}

std::string failure_of(const std::string& what) {
  return local_world(2, misuses, {{"what", what}}).failure();
}

/// Rank 0 answers after 10 ms; the others wait in vain, then for long enough, and then there is nothing left.
task<> waits_for_a_while(peal::rank& rank) {
  peal::adapter none;
  peal::port port = rank.open("waits", none);
  co_await rank.restore();
  if (rank.id() == 0) {
    co_await rank.sleep(std::chrono::milliseconds(10));
    for (int r = 1; r < rank.size(); ++r) port.post_send(r, 1, payload::copy_of(bytes_of(r)));
    co_return;
  }
  const double begin = rank.now();
  const auto early = co_await rank.safe_wait_for(port, std::chrono::milliseconds(4), 0, 1);
  CHECK_FALSE(early);
  CHECK(rank.now() - begin == Approx(0.004));
  const auto at_once = co_await rank.safe_wait_for(port, duration::zero(), 0, 1);
  CHECK_FALSE(at_once);
  CHECK(rank.now() - begin == Approx(0.004));
  const auto other = co_await rank.safe_wait_for(port, std::chrono::milliseconds(1), peal::any_source, 2);
  CHECK_FALSE(other);
  const auto m = co_await rank.safe_wait_for(port, std::chrono::seconds(1), 0, 1);
  CHECK(m);
  if (m) CHECK(m->body().size() == sizeof(int));
  CHECK(rank.now() - begin == Approx(0.01));
  const auto late = co_await rank.safe_wait_for(port, std::chrono::milliseconds(5), 0, peal::any_tag);
  CHECK_FALSE(late);
  CHECK(rank.now() - begin == Approx(0.015));
}

task<> waits_for_an_hour(peal::rank& rank) {
  peal::adapter none;
  peal::port port = rank.open("waits", none);
  co_await rank.restore();
  port.post_send(rank.id(), 1, payload());
  const auto m = co_await rank.safe_wait_for(port, std::chrono::hours(1), 0, 1);
  CHECK(m.has_value() == (rank.id() == 0));
  (void)co_await port.receive(0, 7);
}

task<> sleeps(peal::rank& rank) {
  const double before = rank.now();
  co_await rank.sleep(std::chrono::seconds(rank.id() + 1));
  rank.result("slept", std::to_string(rank.now() - before) + ";");
}

}  // namespace

TEST_CASE("a ring gives the same result from every cut") {
  for (const std::uint32_t ranks : {1u, 2u, 5u}) {
    local_world whole(ranks, ring);
    REQUIRE(whole.run());
    const std::string expected = whole.result("sum");
    REQUIRE(expected.size() > ranks * 4);
    for (std::uint64_t cut = 1; cut <= 10; ++cut) {
      local_world first(ranks, ring);
      first.cut_at(cut);
      REQUIRE(first.run());
      const auto snapshots = first.cut();
      REQUIRE(snapshots);
      CHECK_FALSE(first.abandoned());
      CHECK(first.result("sum") == expected);
      local_world second(ranks, ring, {}, &*snapshots);
      INFO("ranks " << ranks << ", cut " << cut);
      REQUIRE(second.run());
      CHECK(second.result("sum") == expected);
    }
  }
}

TEST_CASE("a marked region gives the same result from every cut, and from the cut after that") {
  local_world whole(2, marks);
  REQUIRE(whole.run());
  const std::string expected = whole.result("sum");
  for (std::uint64_t cut = 1; cut <= 8; ++cut) {
    INFO("cut " << cut);
    local_world first(2, marks);
    first.cut_at(cut);
    REQUIRE(first.run());
    const auto snapshots = first.cut();
    REQUIRE(snapshots);
    // What is not marked after the restart comes from the snapshot that it began with.
    local_world second(2, marks, {}, &*snapshots);
    second.cut_at(cut + 2);
    REQUIRE(second.run());
    CHECK(second.result("sum") == expected);
    const auto later = second.cut();
    REQUIRE(later);
    local_world third(2, marks, {}, &*later);
    REQUIRE(third.run());
    CHECK(third.result("sum") == expected);
  }
}

TEST_CASE("ranks that wait for nobody are cancelled without a trace") {
  local_world w(3, waits_for_ever);
  CHECK_FALSE(w.run());
}

TEST_CASE("a standing receive waits for so long and not longer") {
  for (const std::uint32_t ranks : {2u, 3u, 7u}) CHECK(local_world(ranks, waits_for_a_while).run());
  // One whose time has not come is cancelled without a trace, as are those that wait for ever.
  CHECK_FALSE(local_world(3, waits_for_an_hour).run());
  local_world dropped(3, waits_for_an_hour);
}

TEST_CASE("misuse is explained in a sentence") {
  using Catch::Matchers::Contains;
  CHECK_THAT(failure_of("twice"), Contains("'a' is used for two pieces of state"));
  CHECK_THAT(failure_of("early"), Contains("before it called restore()"));
  CHECK_THAT(failure_of("late"), Contains("named after restore()"));
  CHECK_THAT(failure_of("far"), Contains("names rank 7, but the job has ranks 0 to 1"));
  CHECK_THAT(failure_of("number"), Contains("--what must be a number, not 'number'"));
  CHECK_THAT(failure_of("absent"), Contains("--absent"));
  CHECK_THAT(failure_of("posted early"), Contains("restore() with receives posted"));
  CHECK_THAT(failure_of("truncated"), Contains("receives 2 bytes, but rank"));
  CHECK(failure_of("nothing wrong").empty());
}

TEST_CASE("sleeping takes the time it says") {
  local_world w(2, sleeps);
  REQUIRE(w.run());
  CHECK(w.result("slept") == "1.000000;2.000000;");
}
