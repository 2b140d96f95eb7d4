#include "support/local_world.hpp"

#include <p2pdvm/peal/actors.hpp>
#include <p2pdvm/peal/mpi.hpp>

using namespace p2pdvm;
using test::local_world;
using Catch::Matchers::Contains;

namespace {

/// Goes from member to member.
struct ball {
  std::uint64_t left = 0, value = 0;
  template <class Archive>
  void serialize(Archive& archive) { archive(left, value); }
};
struct follows {
  actors::address next;
  template <class Archive>
  void serialize(Archive& archive) { archive(next); }
};

struct player {
  actors::address next;
  std::uint64_t seen = 0, sum = 0;
  void receive(actors::system& here, const ball& b) {
    ++seen;
    sum += b.value * (b.left + 1);
    if (b.left > 0) here.send(next, ball{b.left - 1, b.value * 31 + 7});
  }
  void receive(actors::system&, const follows& f) { next = f.next; }
  template <class Archive>
  void serialize(Archive& archive) { archive(next, seen, sum); }
};

/// Has a tree of others made, on whatever rank, each of which reports to the collector and stops.
struct grow {
  int depth = 0, width = 0;
  actors::address to;
  template <class Archive>
  void serialize(Archive& archive) { archive(depth, width, to); }
};
struct branch {
  std::uint64_t name = 1;
  void receive(actors::system& here, const grow& g);
  template <class Archive>
  void serialize(Archive& archive) { archive(name); }
};
struct collector {
  std::uint64_t leaves = 0, names = 0;
  void receive(actors::system&, std::uint64_t name) {
    ++leaves;
    names += name * name;
  }
  template <class Archive>
  void serialize(Archive& archive) { archive(leaves, names); }
};
int ranks_of_tree = 0;

void branch::receive(actors::system& here, const grow& g) {
  here.stop();
  if (g.depth == 0) return here.send(g.to, name);
  for (int i = 0; i < g.width; ++i) {
    const std::uint64_t child = name * 10 + static_cast<std::uint64_t>(i);
    const actors::address at = here.create(static_cast<int>(child % static_cast<std::uint64_t>(ranks_of_tree)), branch{child});
    here.send(at, grow{g.depth - 1, g.width, g.to});
  }
}

/// Tells whoever it is sent of an actor on another rank.
struct relay {
  void receive(actors::system& here, const follows& f) { here.send(f.next, ball{0, 5}); }
  template <class Archive>
  void serialize(Archive&) {}
};

template <class Actor>
std::string results_of(const actors::system& here) {
  std::string all;
  here.each<Actor>([&](const actors::address& at, const Actor& a) {
    all += std::to_string(at.rank) + "." + std::to_string(at.number) + " ";
    if constexpr (std::is_same_v<Actor, player>) all += std::to_string(a.seen) + " " + std::to_string(a.sum) + "\n";
    else all += std::to_string(a.leaves) + " " + std::to_string(a.names) + "\n";
  });
  return all;
}

/// Three runs: balls around a ring of all players, a tree of actors that come and go, both again.
task<> rings_and_trees(peal::rank& rank) {
  mpi::communicator comm(rank);
  actors::system system(rank);
  system.type<player, ball, follows>("player");
  system.type<branch, grow>("branch");
  system.type<collector, std::uint64_t>("collector");
  ranks_of_tree = rank.size();
  int phase = 0;
  rank.state("phase", phase);
  co_await rank.restore();
  constexpr std::uint64_t each = 3;
  const int me = rank.id(), next = (me + 1) % rank.size();
  while (phase < 3) {
    if (!system.running()) {
      if (phase == 0) {
        for (std::uint64_t i = 0; i < each; ++i) {
          const bool last = i + 1 == each;
          player p;
          p.next = last ? actors::address{next, next, 0} : actors::address{me, me, i + 1};
          (void)system.create(me, p);
        }
        (void)system.create(me, collector());
        (void)system.create(me, branch{static_cast<std::uint64_t>(me) + 1});
      }
      if (phase != 1)
        for (std::uint64_t i = 0; i < each; ++i) system.send({me, me, i}, ball{20, i + static_cast<std::uint64_t>(me)});
      if (phase == 1) system.send({me, me, each + 1}, grow{2, 3, {0, 0, each}});
    }
    co_await system.run();
    ++phase;
    co_await rank.safe_point();
    CHECK((co_await comm.allreduce(phase, mpi::maximum())) == phase);
  }
  CHECK(system.dead_letters() == 0);
  rank.result("players", results_of<player>(system));
  rank.result("trees", results_of<collector>(system));
}

/// One ball that goes far, with nothing else on its way: waves go round meanwhile.
task<> chain(peal::rank& rank) {
  actors::system system(rank);
  system.type<player, ball, follows>("player");
  co_await rank.restore();
  const int next = (rank.id() + 1) % rank.size();
  if (!system.running()) {
    player p;
    p.next = {next, next, 0};
    (void)system.create(rank.id(), p);
    if (rank.id() == rank.size() - 1) system.send({0, 0, 0}, ball{1000, 1});
  }
  co_await system.run();
  rank.result("players", results_of<player>(system));
}

/// Rank 0 has an actor made on the last rank, and tells rank 1 of it first.
task<> early_letters(peal::rank& rank) {
  actors::system system(rank);
  system.type<player, ball, follows>("player");
  system.type<relay, follows>("relay");
  co_await rank.restore();
  const int last = rank.size() - 1;
  if (!system.running() && rank.id() == 0) {
    const actors::address r = system.create(last, relay());
    system.send(r, follows{{last, 0, 1}});                             // is there before its actor
    CHECK(system.create(last, player()) == actors::address{last, 0, 1});
    system.send({last, 0, 2}, ball());                                 // never is
    system.send({last, 77, 0}, ball());
  }
  co_await system.run();
  CHECK(system.dead_letters() == (rank.id() == last ? 2u : 0u));
  rank.result("players", results_of<player>(system));
}

/// What is read ends sooner than what was written.
struct lopsided {
  template <class Archive>
  void save(Archive& archive) const { archive(std::uint8_t{1}); }
  template <class Archive>
  void load(Archive& archive) {
    std::uint64_t more = 0;
    archive(more);
  }
};
struct silent {
  void receive(actors::system& here, const ball& b) {
    if (b.left == 1) here.stop();
    if (b.left == 2) throw std::runtime_error("the model diverges");
  }
  void receive(actors::system&, const lopsided&) {}
  template <class Archive>
  void serialize(Archive&) {}
};
struct unknown : silent {};

task<> mistakes(peal::rank& rank) {
  const std::string what = rank.option("what");
  actors::system system(rank);
  if (what != "types" || rank.id() == 0) system.type<silent, ball, lopsided>("silent");
  if (what == "early") system.send({0, 0, 0}, ball());
  if (what == "early run") co_await system.run();
  co_await rank.restore();
  if (rank.id() == 0) {
    const actors::address at = system.create(1, silent());
    if (what == "type") (void)system.create(1, unknown());
    if (what == "rank") (void)system.create(7, silent());
    if (what == "no address") system.send(system.self(), ball());
    if (what == "message") system.send(at, follows());
    if (what == "damaged") system.send(at, lopsided());
    if (what == "failing") system.send(at, ball{2, 0});
    if (what == "stopped") {
      for (int i = 0; i < 4; ++i) system.send(at, ball{1, 0});
    }
  }
  co_await system.run();
  if (what == "stopped") CHECK(system.dead_letters() == (rank.id() == 1 ? 3u : 0u));
}

std::string mistake(const std::string& what) {
  return local_world(2, mistakes, {{"what", what}}).failure();
}

/// Begins without asking whether it has.
task<> forgetful(peal::rank& rank) {
  actors::system system(rank);
  system.type<player, ball, follows>("player");
  co_await rank.restore();
  (void)system.create(0, player());
  co_await system.run();
}

constexpr std::uint32_t rank_counts[] = {1, 2, 3, 4, 7};

/// All results that a program has, whether it is cut or not.
std::string every_result(local_world& of) { return of.result("players") + of.result("trees"); }

}  // namespace

TEST_CASE("actors go on from every cut to the same result") {
  for (const std::uint32_t ranks : rank_counts) {
    local_world whole(ranks, rings_and_trees);
    REQUIRE(whole.run());
    const std::string expected = every_result(whole);
    CHECK_THAT(whole.result("trees"), Contains("0.3 " + std::to_string(9 * ranks) + " "));
    for (std::uint64_t cut = 1; cut <= 400; cut += cut < 40 ? 1 : 11) {
      INFO("ranks " << ranks << ", cut " << cut);
      local_world first(ranks, rings_and_trees);
      first.cut_at_stand(cut);
      REQUIRE(first.run());
      const auto snapshots = first.cut();
      REQUIRE(snapshots);
      local_world second(ranks, rings_and_trees, {}, &*snapshots);
      REQUIRE(second.run());
      CHECK(every_result(second) == expected);
    }
    for (std::uint64_t cut = 1; cut <= 3; ++cut) {
      INFO("ranks " << ranks << ", cut after run " << cut);
      local_world first(ranks, rings_and_trees);
      first.cut_at(cut);
      REQUIRE(first.run());
      const auto snapshots = first.cut();
      REQUIRE(snapshots);
      local_world second(ranks, rings_and_trees, {}, &*snapshots);
      REQUIRE(second.run());
      CHECK(every_result(second) == expected);
    }
  }
}

TEST_CASE("a run ends when the last message of a long chain has come, and not before") {
  for (const std::uint32_t ranks : rank_counts) {
    INFO("ranks " << ranks);
    local_world world(ranks, chain);
    REQUIRE(world.run());
    const std::string all = world.result("players");
    std::uint64_t seen = 0;
    for (std::uint32_t r = 0; r < ranks; ++r) {
      const auto at = all.find(std::to_string(r) + ".0 ");
      REQUIRE(at != std::string::npos);
      seen += std::stoull(all.substr(all.find(' ', at)));
    }
    CHECK(seen == 1001);
  }
}

TEST_CASE("a letter that is there before its actor waits for it, and others become dead letters") {
  for (const std::uint32_t ranks : rank_counts) {
    for (std::uint64_t cut = 0; cut <= 12; ++cut) {
      INFO("ranks " << ranks << ", cut " << cut);
      local_world first(ranks, early_letters);
      if (cut != 0) first.cut_at_stand(cut);
      REQUIRE(first.run());
      const auto snapshots = first.cut();
      const std::string expected = std::to_string(ranks - 1) + ".1 1 5\n";
      CHECK(first.result("players") == expected);
      if (cut == 0) continue;
      REQUIRE(snapshots);
      local_world second(ranks, early_letters, {}, &*snapshots);
      REQUIRE(second.run());
      CHECK(second.result("players") == expected);
    }
  }
}

TEST_CASE("mistakes in programs with actors are explained") {
  CHECK_THAT(mistake("early"), Contains("before restore() (rank ") && Contains("actors.cpp:"));
  CHECK_THAT(mistake("early run"), Contains("actors are run before restore()"));
  CHECK_THAT(mistake("type"), Contains("of a type that is not registered (rank 0, actors.cpp:"));
  CHECK_THAT(mistake("types"), Contains("of a type that is not registered (rank 0, actors.cpp:"));
  CHECK_THAT(mistake("rank"), Contains("there is no rank 7 for actors (rank 0, actors.cpp:"));
  CHECK_THAT(mistake("no address"), Contains("there is no rank -1 for actors (rank 0, actors.cpp:"));
  CHECK_THAT(mistake("message"), Contains("an actor of type 'silent' on rank 1 takes no message of the type of the one (rank 0, actors"));
  CHECK_THAT(mistake("damaged"), Contains("an actor of type 'silent' on rank 1 cannot read the message (rank 0, actors.cpp:"));
  CHECK(mistake("stopped").empty());
  CHECK(mistake("nothing wrong").empty());
  CHECK_THROWS_WITH(local_world(2, mistakes, {{"what", "failing"}}).run(), Contains("the model diverges"));

  local_world first(2, forgetful);
  first.cut_at_stand(2);
  REQUIRE(first.run());
  const auto snapshots = first.cut();
  REQUIRE(snapshots);
  CHECK_THAT(local_world(2, forgetful, {}, &*snapshots).failure(), Contains("ask running() before (rank ") && Contains("actors.cpp:"));
}
