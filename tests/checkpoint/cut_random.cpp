#include "cut_world.hpp"
#include "support/test.hpp"

using namespace p2pdvm;
using namespace p2pdvm::checkpoint;
using namespace cut_test;

namespace {

enum class shape { aligned, mixed, misaligned };

/// Rounds of shifts, of requests to a standing server, and of safe points; free of deadlock
/// because sends never block. `misaligned` adds safe points that not all ranks have.
std::vector<program> random_programs(random_generator& random, std::uint32_t ranks, shape kind) {
  std::vector<program> all(ranks);
  for (int round = 0; round < 10; ++round) {
    if (kind != shape::aligned && random.chance(0.4)) {
      for (std::uint32_t r = 1; r < ranks; ++r) {
        all[0].push_back(W(r));
        all[0].push_back(S(r));
        all[r].push_back(S(0));
        all[r].push_back(R(0));
      }
    } else {
      const auto shift = static_cast<std::uint32_t>(1 + random.below(ranks - 1));
      for (std::uint32_t r = 0; r < ranks; ++r) {
        all[r].push_back(S((r + shift) % ranks));
        all[r].push_back(R((r + ranks - shift) % ranks));
      }
    }
    for (std::uint32_t r = 0; r < ranks; ++r) {
      if (kind != shape::misaligned || random.chance(0.6)) all[r].push_back(P);
    }
  }
  return all;
}

struct setting {
  std::uint32_t ranks;
  std::vector<std::uint32_t> hosts;
  std::uint64_t peers;
  shape kind;
  int wishes;
  int deaths;
};

/// A random walk to the end of the job. A death follows a wish of the same peer at once in half
/// of the cases.
void walk(world& w, random_generator& random, const setting& s) {
  using kind = world::move::kind;
  int deaths = s.deaths;
  for (int step = 0; w.newest().state != job_state::done; ++step) {
    REQUIRE(step < 200'000);
    const auto moves = w.moves();
    REQUIRE_FALSE(moves.empty());
    auto m = moves[random.below(moves.size())];
    if (m.what == kind::wish && !random.chance(0.05)) continue;
    w.make(m);
    const bool wisher = m.what == kind::wish && random.chance(0.5);
    if (deaths == 0 || (!wisher && !random.chance(0.001))) continue;
    const std::uint64_t victim = wisher ? m.index : random.below(s.peers);
    if (!w.alive(victim) || w.newest().live_count() == 1) continue;
    --deaths;
    w.kill(victim);
  }
}

std::vector<std::uint64_t> undisturbed(const std::vector<program>& programs, const setting& s) {
  world w(programs, s.hosts, s.peers);
  w.wishes.assign(s.peers, 0);
  random_generator random(0);
  setting calm = s;
  calm.deaths = 0;
  walk(w, random, calm);
  std::vector<std::uint64_t> histories;
  for (std::uint32_t r = 0; r < s.ranks; ++r) histories.push_back(w.history(r));
  return histories;
}

struct totals {
  std::uint64_t commits = 0;
  std::uint64_t abandoned = 0;
  std::uint64_t standing = 0;
};

totals run_all(const setting& s, std::uint64_t seeds) {
  totals sum;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    INFO("seed " << seed);
    random_generator random(seed);
    const auto programs = random_programs(random, s.ranks, s.kind);
    world w(programs, s.hosts, s.peers);
    w.wishes.assign(s.peers, s.wishes);
    walk(w, random, s);
    const auto expected = undisturbed(programs, s);
    for (std::uint32_t r = 0; r < s.ranks; ++r) CHECK(w.history(r) == expected[r]);
    sum.commits += w.commits;
    sum.abandoned += w.abandoned;
    sum.standing += w.standing_cuts;
  }
  return sum;
}

}  // namespace

TEST_CASE("aligned programs commit epoch after epoch under wishes from everywhere") {
  const totals t = run_all({4, {0, 1, 2, 2}, 3, shape::aligned, 3, 0}, 60);
  CHECK(t.commits > 2 * 60);  // each job's last commit is the final epoch
}

TEST_CASE("standing ranks and aligned ones cut together") {
  const totals t = run_all({3, {0, 1, 2}, 4, shape::mixed, 3, 0}, 60);
  CHECK(t.commits > 60);
  CHECK(t.standing > 60);
}

TEST_CASE("abandoned epochs do no harm to programs that are not aligned") {
  const totals t = run_all({4, {0, 1, 1, 2}, 3, shape::misaligned, 4, 0}, 60);
  CHECK(t.abandoned > 20);
  CHECK(t.commits >= 60);
}

TEST_CASE("jobs give the same results when peers die, wishers among them") {
  for (const shape kind : {shape::aligned, shape::mixed, shape::misaligned}) {
    const totals t = run_all({4, {0, 1, 2, 3}, 5, kind, 3, 3}, 40);
    CHECK(t.commits >= 40);
  }
}
