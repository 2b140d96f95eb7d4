#include "cut_world.hpp"
#include "support/test.hpp"

#include <cstdlib>
#include <string>
#include <unordered_set>

using namespace p2pdvm;
using namespace p2pdvm::checkpoint;
using namespace cut_test;

namespace {

/// States per program; P2PDVM_CUT_STATES raises it for a long run.
std::size_t state_bound() {
  const char* text = std::getenv("P2PDVM_CUT_STATES");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : 30'000;
}

struct outcome {
  std::size_t states = 0;
  std::size_t snapshots = 0;
  std::size_t wrong = 0;
  std::size_t stuck = 0;
  std::size_t finished = 0;
  std::uint64_t abandoned = 0;
  bool whole = false;
};

/// All interleavings of the real barriers. Every other step takes a state at random, so that
/// where the bound ends it early, what was seen is not the first branch only.
outcome explore(const world& start) {
  outcome out;
  random_generator random(1);
  std::unordered_set<digest256> seen;
  std::vector<world> todo{start};
  while (!todo.empty() && seen.size() < state_bound()) {
    if (random.chance(0.5)) std::swap(todo[random.below(todo.size())], todo.back());
    const world here = std::move(todo.back());
    todo.pop_back();
    if (here.snapshot_complete()) {
      ++out.snapshots;
      out.wrong += here.restart_is_right() ? 0u : 1u;
    }
    const auto moves = here.moves();
    if (moves.empty() && !here.snapshot_complete()) {
      ++(here.finished() ? out.finished : out.stuck);
    }
    for (const auto& m : moves) {
      world next = here;
      next.make(m);
      if (!seen.insert(crypto::hash(next.fingerprint())).second) continue;
      out.abandoned += next.abandoned - here.abandoned;
      todo.push_back(std::move(next));
    }
  }
  out.states = seen.size();
  out.whole = todo.empty();
  return out;
}

struct example {
  const char* name;
  std::vector<program> programs;
  std::vector<std::uint32_t> hosts;
  std::uint64_t peers;
  bool may_abandon;
};

std::vector<example> examples() {
  return {
      {"ping-pong", {{S(1), P, S(1), R(1), P}, {R(0), P, R(0), S(0), P}}, {0, 1}, 2, true},
      {"halo", {{S(1), R(1), P, S(1), R(1), P}, {S(0), R(0), P, S(0), R(0), P}}, {0, 1}, 2, false},
      {"misaligned", {{S(1), P, S(1), R(1)}, {R(0), R(0), P, S(0)}}, {0, 1}, 2, true},
      {"burst in flight", {{S(1), S(1), S(1), P}, {P, R(0), R(0), R(0)}}, {0, 1}, 2, true},
      {"any source", {{S(2), P, S(2)}, {S(2), P, S(2)}, {A, P, A, A, A}}, {0, 1, 1}, 2, true},
      {"ring", {{S(1), P, R(2)}, {S(2), P, R(0)}, {S(0), P, R(1)}}, {0, 1, 2}, 3, true},
      {"two ranks on one peer", {{S(1), P, R(2)}, {S(2), P, R(0)}, {S(0), P, R(1)}}, {0, 0, 1},
       2, true},
      {"master and workers",
       {{A, P, S(1), A, P, S(2)}, {S(0), P, R(0), P}, {S(0), P, R(0), P}}, {0, 1, 1}, 2, true},
      {"standing server", {{W(1), S(1), W(1), S(1)}, {S(0), R(0), P, S(0), R(0), P}}, {0, 1},
       2, true},
      {"standing beside aligned", {{P, S(1), P, R(1)}, {W(0), P, S(0)}}, {0, 1}, 2, true},
      {"a member without ranks", {{S(1), P, R(1)}, {S(0), P, R(0)}}, {0, 1}, 3, true},
  };
}

}  // namespace

TEST_CASE("every complete snapshot of small programs restarts rightly, under all interleavings") {
  for (const example& e : examples()) {
    INFO(e.name);
    world start(e.programs, e.hosts, e.peers);
    start.snapshots_only = true;
    const outcome out = explore(start);
    if (std::getenv("P2PDVM_CUT_STATES") != nullptr)
      WARN(e.name << ": " << out.states << " states" << (out.whole ? "" : " (stopped at the bound)")
                  << ", " << out.snapshots << " complete snapshots, " << out.abandoned
                  << " abandoned");
    CHECK(out.wrong == 0);
    CHECK(out.stuck == 0);
    CHECK(out.snapshots + out.finished > 0);
    if (!e.may_abandon) CHECK(out.abandoned == 0);
  }
}
