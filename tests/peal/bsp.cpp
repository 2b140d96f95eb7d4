#include "support/local_world.hpp"

#include <p2pdvm/peal/bsp.hpp>
#include <p2pdvm/peal/mpi.hpp>

using namespace p2pdvm;
using test::local_world;
using Catch::Matchers::Contains;

namespace {

task<> puts_and_gets(peal::rank& rank) {
  bsp::world world(rank);
  const int p = world.size();
  const int me = world.rank();
  int last = -1;
  std::vector<int> row(static_cast<std::size_t>(p) + me, me);
  bsp::variable<int> from(world, last);
  bsp::array<int> rows(world, row);
  co_await rank.restore();

  // Everybody puts into everybody's variable: the highest rank writes last.
  for (int r = 0; r < p; ++r) from.put(r, me);
  for (int r = 0; r < p; ++r) rows.put(r, static_cast<std::size_t>(me), me * 10);
  CHECK(last == -1);
  // Gets read what was there before the puts.
  std::vector<int> seen(static_cast<std::size_t>(p), -1);
  const int next = (me + 1) % p;
  rows.get(next, 0, seen);
  const bsp::future<int> before = from.get(next);
  CHECK_THROWS_WITH(before.value(), Contains("before the superstep has ended"));
  co_await world.sync();
  CHECK(last == p - 1);
  CHECK(seen == std::vector<int>(static_cast<std::size_t>(p), next));
  CHECK(before.value() == -1);
  for (int r = 0; r < p; ++r) CHECK(row[static_cast<std::size_t>(r)] == r * 10);

  const std::array<int, 2> two{me, me + 1};
  rows.put(next, static_cast<std::size_t>(p + next) - 2, two);
  const bsp::future<int> now = from.get(next);
  co_await world.sync();
  CHECK(now.value() == p - 1);
  CHECK(row.back() == (me + p - 1) % p + 1);
  CHECK(world.supersteps() == 2);
}

task<> messages(peal::rank& rank) {
  bsp::world world(rank);
  co_await rank.restore();
  const int p = world.size();
  const int me = world.rank();
  for (int r = 0; r < p; ++r) {
    world.send(r, 7, me + 0.5);
    const std::vector<int> list(static_cast<std::size_t>(me), r);
    world.send(r, me, list);
    world.send(r, -1, "text");
  }
  CHECK(world.messages().empty());
  co_await world.sync();
  REQUIRE(world.messages().size() == static_cast<std::size_t>(3 * p));
  for (int r = 0; r < p; ++r) {
    const bsp::message* const m = &world.messages()[static_cast<std::size_t>(3 * r)];
    CHECK(m[0].source() == r);
    CHECK(m[0].tag() == 7);
    CHECK(m[0].value<double>() == r + 0.5);
    CHECK(m[1].values<int>() == std::vector<int>(static_cast<std::size_t>(r), me));
    CHECK(m[2].text() == "text");
    CHECK_THROWS_WITH(m[0].value<int>(), Contains("of 8 bytes and is read as elements of 4"));
    CHECK_THROWS_WITH(m[2].value<char>(), Contains("has 4 elements and is read as a single one"));
  }
  const bsp::future<int> sum = world.sum(me + 1);
  const bsp::future<double> most = world.maximum(me * 1.5);
  const bsp::future<int> least = world.minimum(me - 3);
  const bsp::future<int> digits =
      world.fold(me, [](const int& a, const int& b) { return a * 10 + b; });
  co_await world.sync();
  CHECK(world.messages().empty());
  CHECK(sum.value() == p * (p + 1) / 2);
  CHECK(most.value() == (p - 1) * 1.5);
  CHECK(least.value() == -3);
  CHECK(digits.value() == (p == 1 ? 0 : p == 2 ? 1 : p == 3 ? 12 : p == 4 ? 123 : 123456));
}

/// MPI messages cross the supersteps' safe points; BSP messages cross them in the adapter.
task<> mixed(peal::rank& rank) {
  mpi::communicator comm(rank);
  bsp::world world(rank);
  double value = rank.id() + 0.125;
  std::vector<double> history(4, 0.0);
  int step = 0;
  bsp::array<double> reached(world, history);
  rank.state("step", step);
  rank.state("value", value);
  rank.region("history", history);
  co_await rank.restore();
  const int p = rank.size();
  const int next = (rank.id() + 1) % p;
  while (step < 6) {
    for (const bsp::message& m : world.messages()) value += m.value<double>() / (m.source() + 2);
    co_await comm.send(value, next, step);
    if (step >= 1) value += co_await comm.recv<double>(mpi::any_source, step - 1);
    value = value / 3 + co_await comm.allreduce(value) / p;
    {
      std::vector<double> passing(2, value);
      bsp::array<double> temporary(world, passing);
      temporary.put(next, 1, value * 2);
      co_await world.sync();
      value += passing[1] / 7;
    }
    reached.put(next, static_cast<std::size_t>(step % 4), value);
    world.send(next, step, value);
    world.send(rank.id(), step, value / 2);
    ++step;
    co_await world.safe_sync();
    if (step % 2 == 0) co_await rank.safe_point();
  }
  for (const double h : history) value += h;
  rank.result("value", payload::copy_of(bytes_of(value)));
}

/// Rows and columns of a square of ranks, each with supersteps of its own.
task<> groups(peal::rank& rank) {
  const int side = rank.size() < 4 ? 1 : 2;
  bsp::world all(rank);
  bsp::world row(rank, [side](int r) { return r / side; });
  bsp::world column(rank, [side](int r) { return r % side; });
  int value = rank.id();
  std::vector<int> sums(3, 0);
  bsp::variable<int> in_row(row, value);
  bsp::accumulator<int> in_column(column, sums);
  co_await rank.restore();
  CHECK(row.job_rank(row.rank()) == rank.id());
  CHECK(column.rank() == rank.id() / side);
  // One row goes through more supersteps than the others.
  for (int i = 0; i < 1 + rank.id() / side; ++i) {
    in_row.put((row.rank() + 1) % row.size(), 100 * i + rank.id());
    row.send(0, i, rank.id());
    co_await row.sync();
    const int before = row.job_rank((row.rank() + row.size() - 1) % row.size());
    CHECK(value == 100 * i + before);
    if (row.rank() == 0) {
      REQUIRE(row.messages().size() == static_cast<std::size_t>(row.size()));
      for (int r = 0; r < row.size(); ++r) {
        CHECK(row.messages()[static_cast<std::size_t>(r)].source() == r);
        CHECK(row.messages()[static_cast<std::size_t>(r)].value<int>() == row.job_rank(r));
      }
    }
  }
  for (int r = 0; r < column.size(); ++r) in_column.add(r, 1, rank.id() + 1);
  in_column.add(0, 0, std::array<int, 2>{1, 1});
  const bsp::future<int> members = column.sum(1);
  co_await column.sync();
  int expected = 0;
  for (int r = 0; r < column.size(); ++r) expected += column.job_rank(r) + 1;
  CHECK(members.value() == column.size());
  CHECK(sums[0] == (column.rank() == 0 ? column.size() : 0));
  CHECK(sums[1] == expected + sums[0]);
  CHECK(sums[2] == 0);
  const bsp::future<int> total = all.sum(rank.id());
  co_await all.safe_sync();
  CHECK(total.value() == rank.size() * (rank.size() - 1) / 2);
}

/// Every rank writes what it has into its transpose, and reads its neighbours' elements of a vector.
task<> spread(peal::rank& rank) {
  bsp::world world(rank);
  const int p = world.size();
  const int across = p % 2 == 0 ? 2 : 1;
  const bsp::grid from{bsp::partition::cyclic(7, p / across), bsp::partition::blocks(5, across)};
  const bsp::grid to{bsp::partition(5, across, 2), bsp::partition::cyclic(7, p / across)};
  std::vector<int> a, b, v;
  bsp::distributed_matrix<int> first(world, from, a), transposed(world, to, b);
  bsp::distributed_array<int> vector(world, bsp::partition::cyclic(11, p), v);
  co_await rank.restore();
  for (std::size_t l = 0; l < v.size(); ++l) v[l] = static_cast<int>(vector.how().global(rank.id(), l));
  if (rank.id() == 0) {
    for (std::size_t i = 0; i < 7; ++i) {
      for (std::size_t j = 0; j < 5; ++j) first.put(i, j, static_cast<int>(10 * i + j));
    }
  }
  int seen = -1;
  vector.get(static_cast<std::size_t>(rank.id() + 3) % 11, seen);
  co_await world.sync();
  CHECK(seen == (rank.id() + 3) % 11);
  for (std::size_t i = 0; i < 7; ++i) {
    for (std::size_t j = 0; j < 5; ++j) {
      if (from.owner(i, j) == rank.id()) transposed.put(j, i, first.local()[from.local(i, j)]);
    }
  }
  co_await world.sync();
  for (std::size_t i = 0; i < 7; ++i) {
    for (std::size_t j = 0; j < 5; ++j) {
      if (to.owner(j, i) == rank.id()) CHECK(b[to.local(j, i)] == static_cast<int>(10 * i + j));
    }
  }
  CHECK_THROWS_WITH(bsp::distributed_array<int>(world, bsp::partition::cyclic(11, p + 1), v), Contains("and the world has"));
}

/// Enough supersteps that ranks have heard of one another's round trips.
task<> far_apart(peal::rank& rank) {
  bsp::world world(rank);
  co_await rank.restore();
  for (int i = 0; i < 6; ++i) {
    for (int r = 0; r < world.size(); ++r) world.send(r, i, std::vector<int>(static_cast<std::size_t>(i == 5 ? 5000 : 1), 10 * rank.id() + i));
    co_await world.sync();
    for (int r = 0; r < world.size(); ++r) CHECK(world.messages()[static_cast<std::size_t>(r)].values<int>().front() == 10 * r + i);
  }
  // Only the pair 0 and 3 is slower than the slowest of all best ways.
  CHECK(world.relayed() == (rank.id() == 0 || rank.id() == 3 ? 1 : 0));
}

task<> mistakes(peal::rank& rank) {
  const std::string what = rank.option("what");
  bsp::world world(rank);
  const bool first = rank.id() == 0;
  int number = 0;
  std::vector<int> list(first ? 3 : 5);
  std::vector<double> other(4);
  std::optional<bsp::variable<int>> a;
  std::optional<bsp::array<int>> b;
  std::optional<bsp::array<double>> c;
  if (what != "order" || first) a.emplace(world, number);
  if (what != "missing" || first) c.emplace(world, other);
  b.emplace(world, list);
  if (what == "order" && !first) a.emplace(world, number);
  co_await rank.restore();
  if (what == "rank") a->put(2, 1);
  if (what == "get rank") (void)a->get(-1);
  if (what == "send rank") world.send(5, 0, 1);
  if (what == "range") b->put(0, 2, list);
  if (what == "get range") b->get(0, 3, std::span(list).first(1));
  if (what == "gone") {
    if (first) a.reset();
    co_await world.sync();
  }
  if (what == "late") {
    co_await world.sync();
    if (first) co_return;
  }
  if (what == "never" && first) co_return;
  if (what == "folds" && first) (void)world.sum(1);
  if (what == "fold sizes") {
    if (first) (void)world.sum(1);
    if (!first) (void)world.sum(1.5);
  }
  if (what == "part") {
    bsp::world alone(rank, [](int r) { return r; });
    co_await alone.safe_sync();
  }
  if (what == "kinds" && first) co_await world.safe_sync();
  if (what == "waiting") {
    a->put(0, 1);
    co_await rank.safe_point();
  }
  if (what == "fold waiting") {
    (void)world.sum(1);
    co_await rank.safe_point();
  }
  co_await world.sync();
}

std::string mistake(const std::string& what) {
  return local_world(2, mistakes, {{"what", what}}).failure();
}

}  // namespace

TEST_CASE("every BSP operation works on any number of ranks") {
  for (const std::uint32_t ranks : {1u, 2u, 3u, 4u, 7u}) {
    INFO("ranks " << ranks);
    if (ranks > 1) CHECK(local_world(ranks, puts_and_gets).run());
    CHECK(local_world(ranks, messages).run());
    CHECK(local_world(ranks, groups).run());
    CHECK(local_world(ranks, spread).run());
  }
}

TEST_CASE("a program of MPI and BSP gives the same result from every cut") {
  for (const std::uint32_t ranks : {1u, 2u, 3u, 4u, 7u}) {
    local_world whole(ranks, mixed);
    REQUIRE(whole.run());
    const std::string expected = whole.result("value");
    for (std::uint64_t cut = 1; cut <= 9; ++cut) {
      INFO("ranks " << ranks << ", cut " << cut);
      local_world first(ranks, mixed);
      first.cut_at(cut);
      REQUIRE(first.run());
      const auto snapshots = first.cut();
      REQUIRE(snapshots);
      CHECK_FALSE(first.abandoned());
      local_world second(ranks, mixed, {}, &*snapshots);
      REQUIRE(second.run());
      CHECK(second.result("value") == expected);
    }
  }
}

TEST_CASE("letters of a superstep go through another rank where that is shorter") {
  local_world world(4, far_apart);
  world.network([](int from, int to) -> std::optional<duration> {
    if (from == to) return duration::zero();
    if (from + to == 3 && from * to == 0) return std::chrono::milliseconds(300);
    return std::chrono::milliseconds(from + to == 3 ? 60 : 40);
  });
  CHECK(world.run());
  REQUIRE(world.explained().size() >= 2);
  CHECK_THAT(world.explained().back(), Contains("supersteps end at bsp.cpp:"));
  CHECK_THAT(world.explained().front(), Contains("1 of 3 ranks get small supersteps of rank") && Contains("takes 41 ms"));
}

TEST_CASE("each element of a partition has one place") {
  for (const std::size_t size : {0u, 1u, 2u, 5u, 12u, 31u}) {
    for (const int ranks : {1, 2, 3, 7}) {
      std::vector<bsp::partition> all = {bsp::partition::blocks(size, ranks), bsp::partition::cyclic(size, ranks)};
      for (std::size_t block = 1; block < 6; ++block) all.emplace_back(size, ranks, block);
      for (const bsp::partition& how : all) {
        std::vector<std::vector<bool>> taken;
        for (int r = 0; r < ranks; ++r) taken.emplace_back(how.size_of(r));
        for (std::size_t i = 0; i < size; ++i) {
          REQUIRE(how.owner(i) < ranks);
          auto& there = taken[static_cast<std::size_t>(how.owner(i))];
          REQUIRE(how.local(i) < there.size());
          CHECK_FALSE(there[how.local(i)]);
          there[how.local(i)] = true;
          CHECK(how.global(how.owner(i), how.local(i)) == i);
        }
        for (const auto& there : taken) CHECK(std::find(there.begin(), there.end(), false) == there.end());
      }
    }
  }
  CHECK_THROWS_WITH(bsp::partition(5, 0, 1), Contains("over 0 ranks"));
}

TEST_CASE("what a superstep costs is found from supersteps") {
  bsp::detail::cost_meter costs(4);
  const bsp::detail::place one("path/one.cpp", 7), other("other.cpp", 9);
  costs.add(one, {1, 1, 100});
  costs.add(one, {1, 1, 100});
  CHECK_FALSE(costs.measured());
  CHECK(costs.explained().empty());
  for (int i = 0; i < 100; ++i) {
    const double words = i % 10 * 100, work = 1e-3 * (i % 7);
    costs.add(i % 2 == 0 ? one : other, {work, words, work + 2e-6 * words + 5e-4});
  }
  const auto m = costs.measured();
  REQUIRE(m);
  CHECK(m->ranks == 4);
  CHECK(m->l == Approx(5e-4));
  CHECK(m->g == Approx(2e-6));
  const auto said = costs.explained();
  REQUIRE(said.size() == 3);
  CHECK_THAT(said[0], Contains("4 ranks") && Contains("l = 500 us, g = 2 us a word"));
  CHECK_THAT(said[1], Contains("50 supersteps end at other.cpp:9: ") && Contains("h = 500 words"));
  CHECK_THAT(said[2], Contains("50 supersteps end at one.cpp:7: ") && Contains("h = 400 words"));
}

TEST_CASE("only pairs that are slower than all best ways need a relay") {
  bsp::detail::relays known(4);
  CHECK(known.slowest() == 0);
  CHECK(known.of(0) == std::vector<int>(4, -1));
  //                     0     1     2     3
  const float rows[4][4] = {{0, 0.10f, 0.05f, 0.40f}, {0.10f, 0, 0.05f, 0.20f}, {0.05f, 0.05f, 0, -1}, {0.40f, 0.20f, -1, 0}};
  for (std::size_t r = 0; r < 4; ++r) known.set_row(r, rows[r]);
  CHECK(known.slowest() == Approx(0.301));  // from 0 by 1 to 3
  CHECK(known.of(0) == std::vector<int>{-1, -1, -1, 1});
  CHECK(known.of(3) == std::vector<int>{1, -1, -1, -1});
  CHECK(known.of(2) == std::vector<int>(4, -1));  // whom it does not know it reaches itself
  known.set_row(9, rows[0]);
  known.set_row(0, std::span(rows[0]).first(2));
  CHECK(known.slowest() == Approx(0.301));
}

TEST_CASE("mistakes in BSP programs are explained") {
  CHECK_THAT(mistake("rank"), Contains("rank 0 puts to rank 2 (bsp.cpp:"));
  CHECK_THAT(mistake("get rank"), Contains("gets from rank -1"));
  CHECK_THAT(mistake("send rank"), Contains("sends to rank 5"));
  CHECK_THAT(mistake("range"), Contains("puts 3 elements at index 2 of registration 2, of which "
                                        "rank 0 has 3 elements (superstep 0, bsp.cpp:"));
  CHECK_THAT(mistake("get range"), Contains("rank 0 gets 1 elements at index 3"));
  CHECK_THAT(mistake("order"), Contains("other variables and arrays, or in another order"));
  CHECK_THAT(mistake("missing"), Contains("has registered 2 variables and arrays, and this one 3"));
  CHECK_THAT(mistake("gone"), Contains("in another order"));
  CHECK_THAT(mistake("late"), Contains("rank 1 is at the end of superstep 1 (sync, bsp.cpp:") &&
                                  Contains("rank 0 has left after 1 supersteps"));
  CHECK_THAT(mistake("never"), Contains("rank 0 has left after 0 supersteps"));
  CHECK_THAT(mistake("folds"), Contains("rank 1 (sync, bsp.cpp:") && Contains("folds 0 values"));
  CHECK_THAT(mistake("fold sizes"), Contains("folds a value of 8 bytes"));
  CHECK_THAT(mistake("kinds"), Contains("ends it with sync (bsp.cpp:"));
  CHECK_THAT(mistake("part"), Contains("safe_sync of 1 ranks (bsp.cpp:") && Contains("all 2 ranks"));
  CHECK_THAT(mistake("waiting"), Contains("puts, gets or sends that wait for the end"));
  CHECK_THAT(mistake("fold waiting"), Contains("folds that wait for the end"));
  CHECK(mistake("nothing wrong").empty());
}
