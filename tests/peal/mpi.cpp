#include "support/local_world.hpp"

#include <p2pdvm/peal/mpi.hpp>

using namespace p2pdvm;
using test::local_world;

// No co_await inside CHECK: Catch repeats its argument in a __builtin_constant_p, from which
// GCC 12 lifts the await, so that it happens twice.
namespace {

struct point {
  double x = 0;
  int id = 0;
};

task<> messages(peal::rank& rank) {
  mpi::communicator world(rank);
  co_await rank.restore();
  const int p = world.size();
  const int next = (world.rank() + 1) % p;
  const int before = (world.rank() + p - 1) % p;

  std::vector<double> out(5, world.rank());
  co_await world.send(out, next, 3);
  co_await world.send("text", next);
  std::map<std::string, int> table{{"from", world.rank()}};
  co_await world.send(table, next, 4);
  const point mine{0.5, world.rank()};
  co_await world.send(mine, next, 5);

  const mpi::status waiting = co_await world.probe(before, 5);
  CHECK(waiting.count<point>() == 1);
  CHECK(world.iprobe(before, 4).has_value());
  CHECK_FALSE(world.iprobe(before, 99).has_value());
  const auto got_1 = co_await world.recv<point>(before, 5);
  CHECK(got_1.id == before);
  const auto got_table = co_await world.recv<std::map<std::string, int>>(before, 4);
  CHECK(got_table.at("from") == before);
  std::array<double, 8> room{};
  const mpi::status got = co_await world.recv_into(std::span(room), mpi::any_source, 3);
  CHECK(got.source == before);
  CHECK(got.tag == 3);
  CHECK(got.count<double>() == 5);
  CHECK(room[4] == before);
  const std::string text = co_await world.recv<std::string>();
  CHECK(text == "text");

  double theirs = -1;
  co_await world.sendrecv(double(world.rank()), next, theirs, before);
  CHECK(theirs == before);
  CHECK_FALSE(world.iprobe().has_value());
}

task<> requests(peal::rank& rank) {
  mpi::communicator world(rank);
  co_await rank.restore();
  const int p = world.size();
  std::vector<int> got(static_cast<std::size_t>(p), -1);
  std::vector<mpi::request> all;
  for (int r = 0; r < p; ++r) all.push_back(world.irecv(got[static_cast<std::size_t>(r)], r, 1));
  for (int r = 0; r < p; ++r) all.push_back(world.isend(world.rank() * 100 + r, r, 1));
  co_await mpi::wait_all(all);
  for (int r = 0; r < p; ++r)
    CHECK(got[static_cast<std::size_t>(r)] == r * 100 + world.rank());
  {
    std::vector<int> never;
    mpi::request dropped = world.irecv(never, mpi::any_source, 77);
    CHECK_FALSE(dropped.test());
  }
  std::vector<std::string> names;
  mpi::request r = world.irecv(names, world.rank(), 8);
  const std::vector<std::string> sent(3, "name");
  co_await world.send(sent, world.rank(), 8);
  CHECK(r.test());
  const auto got_2 = co_await r.wait();
  CHECK(got_2.source == world.rank());
  CHECK(names == sent);
  CHECK_FALSE(r.valid());
  double untouched = 4;
  mpi::request nobody = world.irecv(untouched, mpi::no_rank);
  const auto got_3 = co_await nobody.wait();
  CHECK(got_3.source == mpi::no_rank);
  co_await world.send(untouched, mpi::no_rank);
  CHECK(untouched == 4);
}

task<> broadcasts(peal::rank& rank) {
  mpi::communicator world(rank);
  co_await rank.restore();
  for (int root = 0; root < world.size(); ++root) {
    const bool at_root = world.rank() == root;
    std::vector<int> numbers;
    if (at_root) numbers.assign(4, root);
    co_await world.bcast(numbers, root);
    CHECK(numbers == std::vector<int>(4, root));
    std::array<double, 3> fixed{};
    if (at_root) fixed.fill(root + 0.5);
    co_await world.bcast(std::span(fixed), root);
    CHECK(fixed[2] == root + 0.5);
    std::vector<std::string> words;
    if (at_root) words.assign(2, "word");
    co_await world.bcast(words, root);
    CHECK(words.size() == 2);
    co_await world.barrier();
  }
}

std::string joined(const std::string& a, const std::string& b) { return "(" + a + b + ")"; }

task<> reductions(peal::rank& rank) {
  mpi::communicator world(rank);
  co_await rank.restore();
  const int p = world.size();
  const int me = world.rank();
  const auto got_4 = co_await world.allreduce(me + 1, mpi::plus());
  CHECK(got_4 == p * (p + 1) / 2);
  const auto got_5 = co_await world.allreduce(me, mpi::maximum());
  CHECK(got_5 == p - 1);
  const auto got_6 = co_await world.allreduce(me, mpi::minimum());
  CHECK(got_6 == 0);
  const auto got_7 = co_await world.allreduce(me == 0, mpi::logical_or());
  CHECK(got_7);
  const auto got_8 = co_await world.allreduce(1u << me, mpi::bit_or());
  CHECK(got_8 == (1u << p) - 1);
  const mpi::located<double> mine{me % 2 == 0 ? 5.0 : 1.0, me};
  const auto got_9 = co_await world.allreduce(mine, mpi::maximum_location());
  CHECK(got_9.location == 0);

  // Order and bracketing, seen through an operation that keeps both.
  const auto bracket = [](const std::string& a, const std::string& b) { return joined(a, b); };
  const std::string name(1, static_cast<char>('a' + me));
  const std::string everywhere = co_await world.allreduce(name, bracket);
  for (int root = 0; root < p; ++root) {
    const auto at_root = co_await world.reduce(name, bracket, root);
    CHECK(at_root.has_value() == (me == root));
    if (at_root) CHECK(*at_root == everywhere);
    // The same bits, for values where the order of additions shows.
    const double awkward = 1.0 / (me + 3) + (me == 1 ? 1e16 : 0.0);
    const double sum = co_await world.allreduce(awkward);
    const auto sum_at_root = co_await world.reduce(awkward, mpi::plus(), root);
    if (sum_at_root) CHECK(*sum_at_root == sum);
    std::vector<double> many(100, awkward);
    co_await world.allreduce(std::span(many));
    CHECK(many == std::vector<double>(100, sum));
    const auto all = co_await world.reduce(std::span<const double>(many), mpi::maximum(), root);
    CHECK(all.size() == (me == root ? 100u : 0u));
  }
  if (me == 0) rank.result("bracket", everywhere);
  const std::string upto = co_await world.scan(name, bracket);
  std::string letters;
  for (const char c : upto) letters += c == '(' || c == ')' ? "" : std::string(1, c);
  CHECK(letters == std::string("abcdefg").substr(0, static_cast<std::size_t>(me) + 1));
  const auto got_10 = co_await world.scan(me);
  CHECK(got_10 == me * (me + 1) / 2);
  const auto got_11 = co_await world.exscan(me);
  CHECK(got_11 == me * (me - 1) / 2);
  const auto got_12 = co_await world.exscan(me, mpi::maximum(), -7);
  CHECK(got_12 == (me == 0 ? -7 : me - 1));
}

task<> gatherings(peal::rank& rank) {
  mpi::communicator world(rank);
  co_await rank.restore();
  const int p = world.size();
  const int me = world.rank();
  const auto ranks = static_cast<std::size_t>(p);
  std::vector<int> own(static_cast<std::size_t>(me), me);  // rank r gives r times r
  for (int root = 0; root < p; ++root) {
    const auto values = co_await world.gather(me * 10, root);
    CHECK(values.size() == (me == root ? ranks : 0u));
    for (std::size_t r = 0; r < values.size(); ++r) CHECK(values[r] == static_cast<int>(r) * 10);
    const std::array<int, 2> pair{me, -me};
    const auto flat = co_await world.gather(std::span(pair), root);
    if (me == root) CHECK(flat[flat.size() - 2] == p - 1);
    const auto uneven = co_await world.gatherv(own, root);
    for (std::size_t r = 0; r < uneven.size(); ++r)
      CHECK(uneven[r] == std::vector<int>(r, static_cast<int>(r)));

    std::vector<std::string> words;
    if (me == root) {
      for (int r = 0; r < p; ++r) words.push_back(std::to_string(r + root));
    }
    const auto got_13 = co_await world.scatter(words, root);
    CHECK(got_13 == std::to_string(me + root));
    std::vector<double> blocks;
    if (me == root) {
      for (int r = 0; r < 3 * p; ++r) blocks.push_back(r);
    }
    const auto block = co_await world.scatter(std::span(blocks), root);
    CHECK(block == std::vector<double>({me * 3.0, me * 3.0 + 1, me * 3.0 + 2}));
    std::vector<std::vector<int>> lengths;
    if (me == root) {
      for (std::size_t r = 0; r < ranks; ++r) lengths.emplace_back(r, static_cast<int>(r));
    }
    const auto got_14 = co_await world.scatterv(lengths, root);
    CHECK(got_14 == own);
  }
  const auto everyone = co_await world.allgather(me);
  REQUIRE(everyone.size() == ranks);
  for (std::size_t r = 0; r < ranks; ++r) CHECK(everyone[r] == static_cast<int>(r));
  const std::array<int, 2> pair{me, -me};
  const auto flat = co_await world.allgather(std::span(pair));
  CHECK(flat.size() == 2 * ranks);
  CHECK(flat.back() == 1 - p);
  const auto uneven = co_await world.allgatherv(own);
  CHECK(uneven.back().size() == ranks - 1);

  std::vector<int> out;
  std::vector<std::vector<int>> lists;
  for (int r = 0; r < p; ++r) {
    out.push_back(me * 100 + r);
    lists.emplace_back(static_cast<std::size_t>(r), me);
  }
  const auto in = co_await world.alltoall(out);
  const auto in_flat = co_await world.alltoall(std::span(out));
  CHECK(in == in_flat);
  const auto in_lists = co_await world.alltoallv(lists);
  for (std::size_t r = 0; r < ranks; ++r) {
    CHECK(in[r] == static_cast<int>(r) * 100 + me);
    CHECK(in_lists[r] == std::vector<int>(static_cast<std::size_t>(me), static_cast<int>(r)));
  }
}

task<> communicators(peal::rank& rank) {
  mpi::communicator world(rank);
  mpi::communicator same = co_await world.dup();
  mpi::communicator half = co_await world.split(rank.id() % 2, -rank.id());
  mpi::communicator some = co_await world.split(rank.id() == 0 ? -1 : 0);
  co_await rank.restore();
  CHECK(bool(some) == (rank.id() != 0));
  if (some) {
    const auto got_15 = co_await some.allreduce(1);
    CHECK(got_15 == rank.size() - 1);
  }
  CHECK(half.size() == (rank.size() + (rank.id() % 2 == 0 ? 1 : 0)) / 2);
  CHECK(half.job_rank(half.rank()) == rank.id());
  const int top = half.job_rank(0);
  // Keys reverse the order.
  const auto got_16 = co_await half.allreduce(rank.id(), mpi::maximum());
  CHECK(got_16 == top);
  int from_top = rank.id();
  co_await half.bcast(from_top);
  CHECK(from_top == top);
  // The same tag in three communicators at once.
  co_await world.send(1, rank.id(), 9);
  co_await same.send(2, rank.id(), 9);
  co_await half.send(3, half.rank(), 9);
  const auto got_17 = co_await half.recv<int>();
  CHECK(got_17 == 3);
  const auto got_18 = co_await same.recv<int>();
  CHECK(got_18 == 2);
  const auto got_19 = co_await world.recv<int>();
  CHECK(got_19 == 1);
  mpi::communicator quarter = co_await half.split(half.rank() / 2);
  CHECK(quarter.size() <= 2);
  co_await quarter.barrier();
}

/// Ends in the middle of everything that may be on its way at a safe point.
task<> long_run(peal::rank& rank) {
  mpi::communicator world(rank);
  mpi::communicator odd = co_await world.split(rank.id() % 2);
  int step = 0;
  double sum = rank.id() + 0.25;
  rank.state("step", step);
  rank.state("sum", sum);
  co_await rank.restore();
  const int next = (world.rank() + 1) % world.size();
  while (step < 6) {
    // Received two steps later: messages cross every cut.
    co_await world.send(sum, next, step);
    co_await odd.send(sum * 0.5, (odd.rank() + 1) % odd.size(), step);
    if (step >= 2) {
      sum += co_await world.recv<double>(mpi::any_source, step - 2);
      sum += co_await odd.recv<double>(mpi::any_source, step - 2);
    }
    sum = sum / 3 + co_await world.allreduce(sum) / (7.0 * world.size());
    sum += co_await odd.scan(1.0 / (step + 1));
    ++step;
    co_await rank.safe_point();
  }
  rank.result("sum", payload::copy_of(bytes_of(sum)));
}

}  // namespace

TEST_CASE("every MPI operation works on any number of ranks") {
  for (const std::uint32_t ranks : {1u, 2u, 3u, 4u, 7u}) {
    INFO("ranks " << ranks);
    CHECK(local_world(ranks, messages).run());
    CHECK(local_world(ranks, requests).run());
    CHECK(local_world(ranks, broadcasts).run());
    CHECK(local_world(ranks, gatherings).run());
    CHECK(local_world(ranks, reductions).run());
    if (ranks > 1) CHECK(local_world(ranks, communicators).run());
  }
}

TEST_CASE("a reduction is bracketed as a binary tree over ranks in order") {
  const std::map<std::uint32_t, std::string> trees{
      {1, "a"}, {2, "(ab)"}, {3, "((ab)c)"}, {4, "((ab)(cd))"}, {7, "(((ab)(cd))((ef)g))"}};
  for (const auto& [ranks, tree] : trees) {
    local_world w(ranks, reductions);
    REQUIRE(w.run());
    CHECK(w.result("bracket") == tree);
  }
}

TEST_CASE("an MPI program gives the same result from every cut") {
  for (const std::uint32_t ranks : {1u, 2u, 3u, 4u, 7u}) {
    local_world whole(ranks, long_run);
    REQUIRE(whole.run());
    const std::string expected = whole.result("sum");
    for (std::uint64_t cut = 1; cut <= 6; ++cut) {
      INFO("ranks " << ranks << ", cut " << cut);
      local_world first(ranks, long_run);
      first.cut_at(cut);
      REQUIRE(first.run());
      const auto snapshots = first.cut();
      REQUIRE(snapshots);
      local_world second(ranks, long_run, {}, &*snapshots);
      REQUIRE(second.run());
      CHECK(second.result("sum") == expected);
    }
  }
}

namespace {

/// What a user naturally writes; GCC 12 destroys some temporaries of such lines twice.
task<> natural_calls(peal::rank& rank) {
  mpi::communicator world(rank);
  co_await rank.restore();
  const int me = world.rank();
  co_await world.send(std::string(100, 'x'), me);
  co_await world.send(std::vector<double>(2, 1.0), me, 1);
  co_await world.send(std::map<std::string, int>(), me, 2);
  co_await world.send(std::pair<std::string, std::string>(std::string(50, 'a'), "b"), me, 3);
  co_await world.send(point{1.0, 2}, me, 4);
  const auto text = co_await world.recv<std::string>(me, 0);
  CHECK(text == std::string(100, 'x'));
  const auto numbers = co_await world.recv<std::vector<double>>(me, 1);
  CHECK(numbers.size() == 2);
  const auto table = co_await world.recv<std::map<std::string, int>>(me, 2);
  CHECK(table.empty());
  const auto both = co_await world.recv<std::pair<std::string, std::string>>(me, 3);
  CHECK(both.first.size() == 50);
  const auto where = co_await world.recv<point>(me, 4);
  CHECK(where.id == 2);
  const auto names = co_await world.gather(std::string(60, static_cast<char>('a' + me)));
  CHECK(names.size() == (me == 0 ? 3u : 0u));
  const auto longest = co_await world.allreduce(
      std::string(static_cast<std::size_t>(me) + 40, 'y'),
      [](const std::string& a, const std::string& b) { return a.size() < b.size() ? b : a; });
  CHECK(longest.size() == 42);
  const auto parts = co_await world.alltoall(std::vector<std::string>(3, std::string(30, 'z')));
  CHECK(parts.back() == std::string(30, 'z'));
  const int above = co_await world.allreduce(me, [&me](int a, int b) { return a + b + me - me; });
  CHECK(above == 3);
}

}  // namespace

TEST_CASE("temporaries in a co_await expression are safe") {
  CHECK(local_world(3, natural_calls).run());
}
