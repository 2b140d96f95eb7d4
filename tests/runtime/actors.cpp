/// Whole jobs of actors under faults; a failing seed replays with P2PDVM_SEED=n, P2PDVM_SEEDS=n runs more of them.
#include "runtime/cluster.hpp"

#include <p2pdvm/peal/actors.hpp>
#include <p2pdvm/runtime/scenario_run.hpp>

#include <cstdlib>
#include <map>
#include <utility>

namespace p2pdvm::test {
namespace {

using namespace std::chrono_literals;
using runtime::scenario;
using runtime::scenario_run;

/// From cell to cell, in rounds.
struct state_of_cell {
  std::uint64_t round = 0, value = 0;
  template <class Archive>
  void serialize(Archive& archive) { archive(round, value); }
};

/// Of a ring: goes on when both neighbours have told of a round; in each it has a witness made elsewhere, which stops.
struct actor_cell {
  std::uint64_t round = 0, rounds = 0, value = 0;
  std::vector<actors::address> neighbours;
  std::map<std::uint64_t, std::pair<std::uint32_t, std::uint64_t>> heard;
  std::uint64_t witnessed = 0;
  void receive(actors::system& here, const state_of_cell& s);
  void receive(actors::system&, std::uint64_t from_witness) { witnessed += from_witness; }
  template <class Archive>
  void serialize(Archive& archive) { archive(round, rounds, value, neighbours, heard, witnessed); }
};

struct witness {
  std::uint64_t value = 0;
  void receive(actors::system& here, const actors::address& to) {
    here.send(to, runtime::detail::mixed(value, 3));
    here.stop();
  }
  template <class Archive>
  void serialize(Archive& archive) { archive(value); }
};

void actor_cell::receive(actors::system& here, const state_of_cell& s) {
  auto& of_round = heard[s.round];
  ++of_round.first;
  of_round.second += runtime::detail::mixed(s.value, 1);
  while (round < rounds && heard[round].first == neighbours.size()) {
    value = runtime::detail::mixed(value, heard[round].second);
    heard.erase(round++);
    const auto on = static_cast<std::size_t>(value % neighbours.size());
    here.send(here.create(neighbours[on].rank, witness{value}), here.self());
    if (round == rounds) break;
    for (const actors::address& n : neighbours) here.send(n, state_of_cell{round, value});
  }
}

task<> actors_body(peal::rank& rank) {
  actors::system system(rank);
  system.type<actor_cell, state_of_cell, std::uint64_t>("cell");
  system.type<witness, actors::address>("witness");
  const auto cells = rank.option<std::uint64_t>("cells"), rounds = rank.option<std::uint64_t>("steps");
  std::uint64_t phase = 0;
  rank.state("phase", phase);
  co_await rank.restore();
  const auto ranks = static_cast<std::uint64_t>(rank.size());
  const auto address_of = [ranks](std::uint64_t n) {
    const auto at = static_cast<std::int32_t>(n % ranks);
    return actors::address{at, at, n / ranks};
  };
  while (phase < 2) {
    if (!system.running()) {
      for (auto n = static_cast<std::uint64_t>(rank.id()); n < cells; n += ranks) {
        actor_cell c;
        c.rounds = rounds;
        c.value = n;
        c.neighbours = {address_of((n + 1) % cells), address_of((n + cells - 1) % cells)};
        if (phase == 0) (void)system.create(rank.id(), c);
        // The second time those of all cells go on from where they are, without their rounds: one message that changes nothing.
        for (const actors::address& to : c.neighbours) system.send(to, state_of_cell{phase == 0 ? 0 : rounds, n});
      }
    }
    co_await system.run();
    ++phase;
    co_await rank.sleep(std::chrono::milliseconds(5));
    co_await rank.safe_point();
  }
  std::string text;
  system.each<actor_cell>([&text](const actors::address&, const actor_cell& c) {
    const std::uint64_t left = c.heard.contains(c.rounds) ? c.heard.at(c.rounds).second : 0;
    text += std::to_string(c.value) + " " + std::to_string(c.witnessed) + " " + std::to_string(left) + "\n";
  });
  rank.result("output", text + std::to_string(system.dead_letters()) + "\n");
}

peal::program actors_program() {
  peal::program program("actors", actors_body);
  program.option("steps", "20", "rounds").option("cells", "24", "actors");
  return program;
}

std::size_t recoveries_of(const scenario& what) {
  const peal::program program = actors_program();
  const auto right = undisturbed_digest(what, program);
  REQUIRE(right.ok());
  std::size_t recoveries = 0;
  runtime::scenario_watch watch;
  watch.event = [&recoveries](std::size_t, const runtime::event& e) { recoveries += e.kind == event_kind::recovering ? 1 : 0; };
  scenario_run run(what, program, watch);
  const bool ended = run.to_end();
  const runtime::scenario_verdict verdict = run.judge(ended, *right);
  INFO(what.text() << verdict.reason);
  CHECK(verdict.right());
  return recoveries;
}

std::uint64_t number_from(const char* name, std::uint64_t fallback) {
  const char* const text = std::getenv(name);
  return text == nullptr ? fallback : std::strtoull(text, nullptr, 10);
}

}  // namespace

TEST_CASE("the actors of a peer that dies go on from the last checkpoint", "[actors]") {
  for (const char* fault : {"after committed 3 +5 crash-reset anyone\n", "after committed 9 +10 crash-silent peer 2\n",
                            "after cut 17 +3 crash-reset teller\n"}) {
    scenario s;
    s.program = "actors";
    s.options = {{"steps", "3000"}, {"cells", "24"}};
    s.peers = s.ranks = 4;
    s.checkpoint_interval = 60ms;
    const auto parsed = scenario::parse(s.text() + fault, "scenario");
    REQUIRE(parsed.ok());
    CHECK(recoveries_of(*parsed) > 0);
  }
}

TEST_CASE("jobs of actors with random faults end with the undisturbed digest", "[actors][seeds]") {
  static const std::vector<std::string> names = {"actors"};
  const std::uint64_t only = number_from("P2PDVM_SEED", 0), count = number_from("P2PDVM_SEEDS", 6);
  const std::uint64_t first = only != 0 ? only : number_from("P2PDVM_FIRST_SEED", 1);
  for (std::uint64_t seed = first; seed < first + (only != 0 ? 1 : count); ++seed) {
    INFO("seed " << seed << "; replay it with P2PDVM_SEED=" << seed);
    scenario s = runtime::draw_scenario(seed, names);
    s.options = {{"steps", "300"}, {"cells", "24"}};
    (void)recoveries_of(s);
  }
}

}  // namespace p2pdvm::test
