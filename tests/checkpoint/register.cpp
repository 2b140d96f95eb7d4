#include "register_world.hpp"
#include "support/test.hpp"

#include <p2pdvm/wire/codec.hpp>

using namespace p2pdvm;
using namespace p2pdvm::checkpoint;
using namespace std::chrono_literals;

namespace {

proposer::transition raise_next() {
  return [](const job_record& r) { return raise_floor(r, r.incarnation, r.next_epoch()); };
}

proposer::transition admit_number(std::uint64_t number) {
  return [number](const job_record& r) { return admit(r, make::member_number(number)); };
}

proposer::transition evict_number(std::uint64_t number) {
  return [number](const job_record& r) { return evict(r, {make::node(number)}); };
}

}  // namespace

TEST_CASE("one embedded keeper chooses without any message leaving the peer") {
  const crypto::identity self = make::identity(0);
  random_generator random(1);
  acceptor keeper(make::job(), self);
  byte_vector persisted;
  certified_record first = keeper.found(make::forming(4, 1), persisted);
  CHECK(verify(*first.record, first.proof, {self.id()}).ok());
  proposer writer(self.id(), random, first);
  REQUIRE(writer.propose({}, [](const job_record& r) { return start(r); }).ok());
  int rounds = 0;
  for (auto messages = writer.take_messages(); !messages.empty();
       messages = writer.take_messages()) {
    for (const auto& m : messages) {
      REQUIRE(m.to == self.id());
      auto out = keeper.on_request(self.id(), m.request);
      REQUIRE(out.reply);
      if (out.persist) persisted = *out.persist;
      writer.on_reply({}, self.id(), *out.reply);
      ++rounds;
    }
  }
  CHECK(rounds == 2);
  const auto events = writer.take_events();
  REQUIRE(events.size() == 1);
  const auto& chosen = std::get<chosen_event>(events[0]).chosen;
  CHECK(chosen.record->state == job_state::running);
  CHECK(verify(*chosen.record, chosen.proof, first.record->keepers).ok());
  CHECK(writer.idle());
  CHECK(writer.next_timer() == time_point_never);
  const auto restored = acceptor::restore(make::job(), self, persisted);
  REQUIRE(restored.ok());
  CHECK(restored->accepted() == chosen.proof.statement.ballot);
  persisted.pop_back();
  CHECK(acceptor::restore(make::job(), self, persisted).error().code() == errc::corrupted);
}

TEST_CASE("a transition's refusal reaches the writer and nothing is written") {
  register_world world(5, make::running(4, 3));
  world.propose(0, [](const job_record& r) { return start(r); });
  world.propose(1, [](const job_record& r) {
    job_record next = r;
    next.keepers = {make::node(2)};
    return result<job_record>(next);
  });
  world.settle();
  CHECK(world.rejections == 2);
  CHECK(world.chosen_count() == 1);
  CHECK(world.reason(0).find("already started") != std::string::npos);
  world.check();
}

TEST_CASE("a writer that was evicted is told so") {
  register_world world(6, make::running(4, 4));
  world.propose(0, evict_number(3));
  world.settle();
  world.propose(3, raise_next());
  world.settle();
  CHECK(world.reason(3).find("no longer a member") != std::string::npos);
  world.check();
}

TEST_CASE("without a majority the writer says so, keeps trying, and succeeds when keepers return") {
  register_world world(7, make::running(4, 3));
  world.crash(1);
  world.crash(2);
  world.propose(0, raise_next());
  world.settle(30s);
  CHECK(world.silence_reports >= 2);
  CHECK(world.chosen_count() == 1);
  world.restart(2);
  world.settle();
  CHECK(world.chosen_count() == 2);
  CHECK(world.newest().floor == make::epoch(1));
  world.check();
}

TEST_CASE("writes of many are one chain under loss, duplication, reordering and crashes") {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    INFO("seed " << seed);
    register_world world(seed, make::running(4, 5));
    world.loss = 0.15;
    world.duplication = 0.15;
    for (int step = 0; step < 12; ++step) {
      const std::uint64_t who = world.random.below(5);
      world.propose(who, raise_next());
      if (world.random.chance(0.4)) world.propose((who + 1) % 5, raise_next());
      world.run(world.random.below(60));
      const std::uint64_t victim = world.random.below(5);
      if (world.random.chance(0.3) && world.crashed() < 2) world.crash(victim);
      if (world.random.chance(0.5)) world.restart_one();
    }
    while (world.crashed() > 0) world.restart_one();
    world.loss = 0;
    world.settle();
    world.check();
    CHECK(world.newest().floor.value() >= 3);
    CHECK(world.unanswered() == 0);
  }
}

TEST_CASE("keepers come and go under load and no write is lost") {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    INFO("seed " << seed);
    register_world world(seed, make::forming(4, 1));
    world.loss = 0.1;
    world.duplication = 0.1;
    for (std::uint64_t joiner = 1; joiner < 7; ++joiner) {
      do {
        world.propose(world.some_live_member(), admit_number(joiner));
        world.run(world.random.below(80));
        if (world.random.chance(0.5)) world.settle();
      } while (!world.newest().is_live(make::node(joiner)));
    }
    world.settle();
    while (world.newest().state == job_state::forming) {
      world.propose(0, [](const job_record& r) { return start(r); });
      world.settle();
    }
    CHECK(world.newest().keepers.size() == 5);
    for (int i = 0; i < 6; ++i) {
      const std::uint64_t victim = 1 + world.random.below(6);
      world.propose(0, raise_next());
      world.propose(world.some_live_member(), evict_number(victim));
      world.run(world.random.below(80));
      world.propose(0, admit_number(victim));
      world.settle();
    }
    // Who evicted itself last is the only one that knows it until somebody else writes.
    world.propose(0, raise_next());
    world.settle();
    world.check();
    CHECK_FALSE(world.newest().needs_upkeep());
    CHECK(world.newest().state == job_state::running);
  }
}

TEST_CASE("of eight peers keepers die one after another and each is replaced") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    INFO("seed " << seed);
    register_world world(seed, make::running(8, 8));
    world.loss = 0.05;
    std::set<std::uint64_t> dead;
    for (int round = 0; round < 5; ++round) {
      std::uint64_t victim = 0;
      while (make::node(victim) != world.newest().keepers[world.random.below(
                                       world.newest().keepers.size())])
        victim = world.random.below(8);
      dead.insert(victim);
      std::uint64_t witness = 0;
      while (dead.count(witness) != 0) ++witness;
      world.propose(witness, raise_next());
      world.run(world.random.below(30));
      world.crash(victim);
      while (world.newest().is_live(make::node(victim))) {  // the witness may forget in a crash
        world.propose(witness, evict_number(victim));
        world.settle();
      }
      CHECK_FALSE(world.newest().needs_upkeep());
      for (const node_id& keeper : world.newest().keepers)
        CHECK(world.newest().is_live(keeper));
      world.propose(witness, raise_next());
      world.settle();
    }
    CHECK(world.newest().live_count() == 3);
    CHECK(world.newest().keepers.size() == 3);
    CHECK(world.newest().incarnation == make::incarnation(6));
    world.check();
  }
}

TEST_CASE("a change of keepers whose author dies is finished by another keeper") {
  register_world world(8, make::running(4, 3));
  world.propose(0, admit_number(3));
  world.propose(1, admit_number(4));
  world.run_until([&] { return !world.newest().previous_keepers.empty(); });
  world.crash(0);
  world.settle(20s);
  CHECK_FALSE(world.newest().needs_upkeep());
  world.check();
}

TEST_CASE("while keepers are being changed the silent ones are counted among old and new") {
  register_world world(9, make::running(4, 4));
  world.propose(0, evict_number(2));  // a keeper; member 3 is to replace it
  world.run_until([&] { return !world.peer(0).known().record->previous_keepers.empty(); });
  for (const std::uint64_t other : {1u, 2u, 3u}) world.crash(other);
  world.propose(0, raise_next());
  world.settle(20s);
  CHECK(world.silence_reports > 0);
  CHECK(world.asked == 4);
  CHECK(world.silent == 3);
}

TEST_CASE("a peer that missed changes of keepers believes a record only through the links") {
  register_world world(9, make::running(4, 8));
  world.isolate(7);
  const certified_record old = world.peer(7).known();
  for (const std::uint64_t victim : {1, 2, 3}) {
    world.crash(victim);
    world.propose(0, evict_number(victim));
    world.settle();
  }
  const certified_record now = world.peer(0).known();
  const auto links = world.peer(0).links();
  CHECK(links.size() == 3);
  proposer& late = world.peer(7);
  CHECK(late.learn({}, *now.record, now.proof, {links[1]}).error().code() == errc::authentication);
  auto forged = links;
  forged[0].signatures.pop_back();
  forged[0].signatures.pop_back();
  CHECK_FALSE(late.learn({}, *now.record, now.proof, forged).ok());
  CHECK(late.known().record == old.record);
  CHECK(*late.learn({}, *now.record, now.proof, links));
  CHECK(*late.known().record == *now.record);
  CHECK_FALSE(*late.learn({}, *old.record, old.proof));
}

TEST_CASE("forged and altered certificates are refused") {
  register_world world(10, make::running(4, 5));
  world.propose(2, raise_next());
  world.settle();
  const certified_record good = world.peer(2).known();
  const std::vector<node_id> trusted = good.record->keepers;
  const byte_vector bytes = wire::encode(*good.record);
  REQUIRE(verify(bytes, good.proof, trusted).ok());

  const auto refused = [&](auto change) {
    certificate proof = good.proof;
    change(proof);
    return !verify(bytes, proof, trusted).ok();
  };
  CHECK(refused([](certificate& c) { c.signatures.pop_back(); }));
  CHECK(refused([](certificate& c) { c.signatures[0] = c.signatures[1]; }));
  CHECK(refused([](certificate& c) { c.signatures[0].key = make::identity(9).key(); }));
  CHECK(refused(
      [](certificate& c) { c.signatures[0].signature.mutable_bytes()[3] ^= std::byte{1}; }));
  CHECK(refused([](certificate& c) { ++c.statement.ballot.counter; }));
  CHECK(refused([](certificate& c) { ++c.statement.keeper_version; }));
  CHECK(refused([](certificate& c) { c.statement.keepers = {make::node(0)}; }));
  CHECK(refused([](certificate& c) { c.signatures.resize(11, c.signatures[0]); }));
  CHECK_FALSE(refused([](certificate& c) { std::swap(c.signatures[0], c.signatures[1]); }));

  job_record other = *good.record;
  other.failure = "rank 0: forged";
  CHECK_FALSE(verify(other, good.proof, trusted).ok());

  SECTION("a record with keepers of its own making") {
    const crypto::identity thief = make::identity(4);
    job_record stolen = *good.record;
    stolen.keepers = {thief.id()};
    const byte_vector encoded = wire::encode(stolen);
    certificate proof{accept_statement::of(stolen, encoded, ballot{1000, thief.id(), 0}), {}};
    proof.signatures.push_back({thief.key(), thief.sign(proof.statement.signed_bytes())});
    CHECK(verify(encoded, proof, stolen.keepers).ok());
    CHECK(verify(encoded, proof, trusted).error().code() == errc::authentication);
    CHECK_FALSE(world.peer(1).learn({}, stolen, proof).ok());
  }
}

TEST_CASE("an acceptor ignores other jobs, borrowed ballots and malformed records") {
  const crypto::identity self = make::identity(0);
  acceptor keeper(make::job(), self);
  const node_id from = make::node(1);
  prepare_request prepare{make::job(), ballot{2, from, 1}, 1, {}};
  CHECK_FALSE(keeper.on_request(make::node(2), prepare).reply);
  prepare.job = job_id();
  CHECK_FALSE(keeper.on_request(from, prepare).reply);
  const prepare_request absurd{make::job(), ballot{~std::uint64_t{0}, from, 1}, 1, {}};
  CHECK_FALSE(keeper.on_request(from, absurd).persist);  // nobody could go beyond it
  accept_request accept{make::job(), ballot{2, from, 1}, 1, to_vector(as_bytes("nonsense"))};
  const auto out = keeper.on_request(from, accept);
  CHECK_FALSE(out.reply);
  CHECK_FALSE(out.persist);
  CHECK(keeper.accepted() == ballot{});
}

TEST_CASE("an acceptor of a newer keeper set refuses those who know only an older one") {
  const crypto::identity self = make::identity(0);
  acceptor keeper(make::job(), self);
  const node_id from = make::node(1);
  const job_record r = make::running(4, 5);
  const byte_vector bytes = wire::encode(r);
  auto out = keeper.on_request(
      from, accept_request{make::job(), ballot{2, from, 1}, r.keeper_version, bytes});
  REQUIRE(out.reply);
  REQUIRE(std::holds_alternative<accepted_reply>(*out.reply));
  CHECK(out.persist);
  prepare_request prepare{make::job(), ballot{3, from, 1}, r.keeper_version - 1, {}};
  out = keeper.on_request(from, prepare);
  REQUIRE(out.reply);
  CHECK(std::get<refused_reply>(*out.reply).keeper_version == r.keeper_version);
  CHECK_FALSE(out.persist);
  prepare.keeper_version = r.keeper_version;
  out = keeper.on_request(from, prepare);
  CHECK(std::get<promise_reply>(*out.reply).record == bytes);
  out = keeper.on_request(from, prepare);
  CHECK_FALSE(out.persist);  // nothing new to make durable
  CHECK(std::holds_alternative<promise_reply>(*out.reply));
}
