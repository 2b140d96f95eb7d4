/// Rolls as data, and the calling of them among many members, some silent, some lying.
#include "support/test.hpp"

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/runtime/member_square.hpp>
#include <p2pdvm/runtime/roll_call.hpp>
#include <p2pdvm/sim/simulation.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace p2pdvm::test {
namespace {

using namespace runtime;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

node_id node(std::size_t number) {
  node_id id;
  id.mutable_bytes()[0] = static_cast<std::byte>(number);
  id.mutable_bytes()[1] = static_cast<std::byte>(number >> 8);
  return id;
}

place_group waiting(std::uint32_t first, std::uint32_t last, std::uint32_t line) {
  place_group g;
  g.place.what = rank_place::doing::receives;
  g.place.call = "recv";
  g.place.file = "solver.cpp";
  g.place.line = line;
  g.ranks.add(first, last);
  g.stuck = true;
  g.seconds = 40;
  return g;
}

/// A job of `members` peers with one rank each, all on one clock, messages taking a millisecond.
class called_job {
 public:
  explicit called_job(std::size_t members) : clock_(net_.add_machine()) {
    record.ranks = static_cast<std::uint32_t>(members);
    record.incarnation = incarnation_number(1);
    for (std::size_t i = 0; i < members; ++i) {
      checkpoint::member m;
      m.node = node(i);
      record.members.push_back(std::move(m));
      parties.push_back(std::make_unique<party>(*this, i));
    }
  }
  struct party final : roll_call_owner {
    party(called_job& w, std::size_t number)
        : world(w), index(number), call(*this, w.clock_.clock(), node(number), 30s) {
      glanced.rank = rank_number(static_cast<std::uint32_t>(number));
    }
    bool may_call_roll() const override { return true; }
    const checkpoint::job_record& record() const override { return world.record; }
    std::vector<rank_glance> glance() override { return {glanced}; }
    std::vector<backlog> backlogs() override { return {}; }
    void send(const node_id& to, job_message message) override { world.carry(index, to, std::move(message)); }
    void tell_all(const common_news& news) override {
      for (const auto& p : world.parties) {
        if (p.get() != this) world.carry(index, node(p->index), std::get<roll_report>(news));
      }
    }
    void note_stalls() override {}
    void hung(const roll& all) override { told.push_back(all.text(world.record.ranks)); }
    void went_on(std::uint32_t) override { ++went; }
    /// In the same receive for ever.
    void wait_in(std::uint32_t line) {
      peal::wait_state s;
      s.number = ++glanced.begun;
      s.tag = line;
      glanced.waits = {s};
    }
    void go_on() {
      ++glanced.begun;
      glanced.waits.clear();
    }

    called_job& world;
    std::size_t index;
    rank_glance glanced;
    roll_call call;
    std::vector<std::string> told;
    int went = 0;
    bool silent = false;
  };

  void begin() {
    for (const auto& p : parties) p->call.begin();
  }
  void run_for(duration time) { net_.run_for(time); }
  void carry(std::size_t from, const node_id& to, job_message message) {
    const byte_vector bytes = wire::encode(message);
    ++messages;
    greatest = std::max(greatest, bytes.size());
    for (const auto& p : parties) {
      if (node(p->index) != to || p->silent || parties[from]->silent) continue;
      net_.call_at(net_.now() + 1ms, [this, from, at = p.get(), bytes] { arrive(from, *at, bytes); });
    }
  }
  void arrive(std::size_t from, party& at, byte_view bytes) {
    const auto message = wire::decode<job_message>(bytes);
    if (!message.ok()) return;
    if (const auto* request = std::get_if<roll_request>(&*message)) at.call.on(node(from), *request);
    if (const auto* answer = std::get_if<roll_answer>(&*message)) at.call.on(node(from), *answer);
    if (const auto* report = std::get_if<roll_report>(&*message)) at.call.on_report(node(from), *report);
  }

 private:
  sim::simulation net_{sim::options()};
  sim::machine& clock_;

 public:
  checkpoint::job_record record;
  std::size_t messages = 0, greatest = 0;
  std::vector<std::unique_ptr<party>> parties;
};

}  // namespace

TEST_CASE("a set of ranks is what was added, in as few ranges as there are") {
  random_generator random(3);
  for (int draw = 0; draw < 200; ++draw) {
    rank_set a, b;
    std::set<std::uint32_t> in_a, in_b;
    for (int i = 0; i < 30; ++i) {
      const auto first = static_cast<std::uint32_t>(random.below(60));
      const auto last = first + static_cast<std::uint32_t>(random.below(4));
      const bool to_a = random.chance(0.5);
      (to_a ? a : b).add(first, last);
      for (std::uint32_t r = first; r <= last; ++r) (to_a ? in_a : in_b).insert(r);
    }
    CHECK(a.valid(64));
    CHECK(a.count() == in_a.size());
    const rank_set rest = a.without(b);
    CHECK(rest.valid(64));
    for (std::uint32_t r = 0; r < 64; ++r) {
      CHECK(a.contains(rank_number(r)) == in_a.contains(r));
      CHECK(rest.contains(rank_number(r)) == (in_a.contains(r) && !in_b.contains(r)));
    }
  }
  rank_set ends;
  ends.add(UINT32_MAX, UINT32_MAX);
  ends.add(0, 0);
  ends.add(2, 5);
  ends.add(1, 1);
  CHECK(ends.text() == "ranks 0-5, 4294967295");
  CHECK(ends.count() == 7);
  ends.shorten(1);
  CHECK(ends.text() == "ranks 0-5 and 1 other");
  CHECK(rank_set().count() == 0);
}

TEST_CASE("however many places there are, a roll and its sentences stay small") {
  roll all;
  for (std::uint32_t r = 0; r < 4000; ++r) all.add(waiting(r, r, r));
  for (std::uint32_t r = 0; r < 4000; ++r) all.add(backlog{rank_number(r), r, 1});
  all.shorten();
  CHECK(all.valid(4000));
  CHECK(wire::encode(all).size() < 16 * 1024);
  CHECK(all.text(4000).size() < 4096);
  CHECK(all.backlogs().front().bytes == 3999);
  roll scattered;
  for (std::uint32_t r = 0; r < 4000; r += 2) scattered.add(waiting(r, r, 1));
  scattered.shorten();
  CHECK(scattered.valid(4000));
  CHECK(wire::encode(scattered).size() < 16 * 1024);
  CHECK_THAT(scattered.text(4000), Contains("and 1988 others wait in recv"));
}

TEST_CASE("among a thousand members the roll is called once, at the cost of a few messages for each") {
  called_job job(1000);
  for (const auto& p : job.parties) p->wait_in(7);
  job.parties[400]->go_on();
  job.begin();
  job.run_for(60s);
  for (const auto& p : job.parties) {
    REQUIRE(p->told.size() == 1);
    CHECK(p->told == job.parties[0]->told);
  }
  CHECK_THAT(job.parties[0]->told[0], Contains("ranks 0-399, 401-999 wait in receive from any rank, tag 7") &&
                                          Contains("rank 400 computes"));
  CHECK(job.messages < 4 * 1000);
  CHECK(job.greatest < 1024);
}

TEST_CASE("who does not answer is said to be silent, and nobody waits for it for long") {
  called_job job(70);  // some are asked by others
  for (const auto& p : job.parties) p->wait_in(7);
  for (const std::size_t i : {3u, 66u}) job.parties[i]->silent = true;
  job.begin();
  job.run_for(50s);
  // 35 and 67 are to be asked by way of 3, hear nothing, and so call themselves.
  for (const std::size_t i : {0u, 35u, 69u}) {
    REQUIRE(job.parties[i]->told.size() == 2);
    CHECK_THAT(job.parties[i]->told[0], Contains("nothing is known of ranks 3, 35, 66-67: no peer answers for them"));
    CHECK_THAT(job.parties[i]->told[1], Contains("nothing is known of ranks 3, 66: no peer answers for them"));
  }
}

TEST_CASE("when those who waited go on it is said, also when who told of them is gone") {
  called_job job(5);
  job.parties[1]->wait_in(7);
  job.parties[2]->wait_in(9);
  job.begin();
  job.run_for(60s);
  job.parties[1]->go_on();
  job.run_for(60s);
  CHECK(job.parties[0]->went == 0);  // one still waits
  CHECK(job.parties[0]->told.size() == 2);
  SECTION("it is there") {
    job.parties[2]->go_on();
    job.run_for(60s);
  }
  SECTION("it is gone") {
    for (const auto& p : job.parties) p->silent = p->index == 1 || p->index == 2;
    job.run_for(15min);
  }
  for (const std::size_t i : {0u, 3u, 4u}) CHECK(job.parties[i]->went == 1);
}

TEST_CASE("a rank that waits ever again for the same is not stuck") {
  called_job job(2);
  job.begin();
  for (int i = 0; i < 100; ++i) {
    job.parties[1]->wait_in(7);
    job.run_for(10s);
  }
  CHECK(job.messages == 0);
}

TEST_CASE("what cannot be a roll is not taken for one") {
  const auto refused = [](const auto& spoil) {
    roll all;
    place_group g = waiting(0, 3, 1);
    spoil(g);
    all.add(std::move(g));
    return !all.valid(8);
  };
  CHECK_FALSE(refused([](place_group&) {}));
  CHECK(refused([](place_group& g) { g.ranks.add(8, 8); }));
  CHECK(refused([](place_group& g) { g.partners.add(0, UINT32_MAX); }));
  CHECK(refused([](place_group& g) { g.ranks = rank_set(); }));
  CHECK(refused([](place_group& g) { g.place.file = "\x1b[2J"; }));
  CHECK(refused([](place_group& g) { g.place.call = std::string(65, 'x'); }));
  CHECK(refused([](place_group& g) { g.place.what = static_cast<rank_place::doing>(8); }));
  roll stranger;
  stranger.add(backlog{rank_number(8), 1, 1});
  CHECK_FALSE(stranger.valid(8));
}

TEST_CASE("answers and reports that are wrong, late or noise change nothing") {
  called_job job(3);
  job.parties[2]->silent = true;
  job.parties[0]->wait_in(7);
  job.begin();
  auto& caller = job.parties[0]->call;
  const auto answer = [](std::uint64_t number, std::uint32_t rank, const char* file) {
    roll_answer a{incarnation_number(1), node(0), number, roll()};
    place_group g = waiting(rank, rank, 666);
    g.place.file = file;
    a.ranks.add(std::move(g));
    return a;
  };
  job.run_for(39s);  // the call waits for party 2
  CHECK(job.parties[0]->told.empty());
  caller.on(node(1), answer(1, 1, "late.cpp"));       // has answered
  caller.on(node(2), answer(2, 2, "other.cpp"));      // of another call
  caller.on(node(2), answer(1, 9, "outside.cpp"));    // no such rank
  caller.on(node(2), answer(1, 2, "beep\a"));         // would ring
  caller.on(node(9), answer(1, 2, "stranger.cpp"));   // was not asked
  auto old = answer(1, 2, "old.cpp");
  old.incarnation = incarnation_number(0);
  caller.on(node(2), old);
  random_generator random(5);
  for (int i = 0; i < 20000; ++i) {
    byte_vector bytes = wire::encode(job_message(answer(1, 2, "noise.cpp")));
    const std::size_t changes = 1 + random.below(4);
    for (std::size_t c = 0; c < changes; ++c)
      bytes[1 + random.below(bytes.size() - 1)] ^= static_cast<std::byte>(1 + random.below(255));
    if (random.chance(0.1)) bytes.resize(1 + random.below(bytes.size() - 1));
    job.parties[1]->silent = false;
    job.arrive(1, *job.parties[0], bytes);  // from one who has answered: at most it is decoded
    roll_report report;
    if (const auto got = wire::decode<job_message>(bytes); got.ok() && std::holds_alternative<roll_answer>(*got))
      report.ranks = std::get<roll_answer>(*got).ranks;
    (void)report.ranks.valid(3);
  }
  job.run_for(20s);
  REQUIRE(job.parties[0]->told.size() == 1);
  CHECK_THAT(job.parties[0]->told[0], !Contains(".cpp") && Contains("nothing is known of rank 2"));
  roll_report bad;
  bad.incarnation = incarnation_number(1);
  bad.ranks.add(waiting(0, 5, 1));
  job.parties[1]->call.on_report(node(0), bad);
  CHECK(job.parties[1]->told.size() == 1);
}

}  // namespace p2pdvm::test
