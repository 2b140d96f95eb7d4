#include "support/test.hpp"

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/peal/pool/scheduler.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

using namespace p2pdvm;
using namespace std::chrono_literals;
using pool::detail::message;
using pool::detail::plan;
using pool::detail::results;
using pool::detail::scheduler;
using pool::detail::setting;
using pool::detail::trouble;

namespace {

std::uint64_t mixed(std::uint64_t a, std::uint64_t b) {
  return random_generator(a * 0x9e3779b97f4a7c15ull + b)();
}

std::uint64_t number_in(const payload& p) {
  std::uint64_t n = 0;
  if (p.size() != sizeof n) FAIL("a result of " << p.size() << " bytes");
  std::memcpy(&n, p.data(), sizeof n);
  return n;
}

/// Ranks that do bags in virtual time; messages take their time, and come in order for each pair.
class world {
 public:
  world(int ranks, std::uint64_t seed) : random_(seed) {
    for (int r = 0; r < ranks; ++r) ranks_.emplace_back(std::make_unique<member>(r, ranks));
    lines_.resize(static_cast<std::size_t>(ranks) * static_cast<std::size_t>(ranks));
  }

  setting how;
  duration task_time_max = 10ms, message_time_max = 2ms;
  std::optional<int> liar, other_liar;  ///< give other results
  std::optional<int> stalled;  ///< does nothing
  bool stop_tasks = false;

  void begin(const plan& p) {
    plan_ = p;
    for (auto& m : ranks_) begin(*m);
  }
  /// Until all ranks but the stalled one have everything. False when nothing moves before that.
  bool run(std::uint64_t steps_max = 50'000) {
    while (!done()) {
      if (steps_max-- == 0 || !step()) return false;
    }
    return true;
  }
  bool some(std::uint64_t steps) {
    for (; steps > 0 && !done(); --steps) {
      if (!step()) return false;
    }
    return true;
  }
  [[nodiscard]] bool right() const {
    const auto expected = all_right();
    for (const auto& m : ranks_) {
      if (stalled == m->self) continue;
      for (std::uint32_t t = 0; t < plan_.tasks; ++t) {
        if (m->known->known[t] == 0 || number_in(m->known->bytes[t]) != expected[t]) return false;
      }
    }
    return true;
  }
  void end() {
    for (auto& m : ranks_) m->machine.end();
  }
  /// All are stopped between two tasks, and begin again from what was saved.
  void restart() {
    stop_tasks = true;
    for (auto& m : ranks_) {
      if (m->task) now_ = std::max(now_, m->until);
    }
    for (auto& m : ranks_) finish_task(*m);
    stop_tasks = false;
    for (auto& m : ranks_) {
      const byte_vector saved = m->machine.save();
      auto again = std::make_unique<member>(m->self, size());
      REQUIRE(again->machine.load(saved));
      m = std::move(again);
    }
    for (auto& m : ranks_) begin(*m);
  }

  [[nodiscard]] int size() const { return static_cast<int>(ranks_.size()); }
  [[nodiscard]] scheduler& machine(int r) { return ranks_[static_cast<std::size_t>(r)]->machine; }
  [[nodiscard]] std::uint64_t computed() const { return computed_; }
  [[nodiscard]] std::optional<trouble> stopped_by() const {
    for (const auto& m : ranks_) {
      if (m->machine.stopped_by()) return m->machine.stopped_by();
    }
    return std::nullopt;
  }

 private:
  struct member {
    member(int rank, int ranks) : self(rank), machine(rank, ranks) {}
    int self;
    scheduler machine;
    std::shared_ptr<results> known;
    std::optional<std::uint32_t> task;
    time_point begun{}, until{};
  };
  struct letter {
    time_point at;
    message what;
  };

  void begin(member& m) {
    m.known = std::make_shared<results>();
    m.machine.begin(plan_, m.known, how, now_);
    send(m);
  }
  [[nodiscard]] bool done() const {
    return std::all_of(ranks_.begin(), ranks_.end(),
                       [this](const auto& m) { return stalled == m->self || m->machine.complete(); });
  }
  [[nodiscard]] std::deque<letter>& line(int from, int to) {
    return lines_[static_cast<std::size_t>(from) * ranks_.size() + static_cast<std::size_t>(to)];
  }
  void send(member& from) {
    for (auto& o : from.machine.take_outgoing()) {
      for (int r = 0; r < size(); ++r) {
        if (o.to ? r != *o.to : r == from.self) continue;
        const duration takes(static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(message_time_max.count()) + 1)));
        auto& to = line(from.self, r);
        const time_point at = std::max(now_ + takes, to.empty() ? now_ : to.back().at);
        to.push_back({at, o.what});
      }
    }
  }
  /// Of this rank's own knowledge: what it gives depends on what it was given.
  [[nodiscard]] std::uint64_t value_of(const member& m, std::uint32_t task) const {
    std::uint64_t value = mixed(17, task);
    for (const auto& [needed, follower] : plan_.needs) {
      if (follower != task) continue;
      if (m.known->known[needed] == 0) FAIL("task " << task << " begins before task " << needed);
      value = mixed(value, number_in(m.known->bytes[needed]));
    }
    return liar == m.self || other_liar == m.self ? value + 1 : value;
  }
  [[nodiscard]] std::vector<std::uint64_t> all_right() const {
    std::vector<std::uint64_t> all;
    for (std::uint32_t t = 0; t < plan_.tasks; ++t) {
      std::uint64_t value = mixed(17, t);
      for (const auto& [needed, follower] : plan_.needs) {
        if (follower == t) value = mixed(value, all[needed]);
      }
      all.push_back(value);
    }
    return all;
  }
  void finish_task(member& m) {
    if (!m.task || now_ < m.until) return;
    const std::uint64_t value = value_of(m, *m.task);
    m.machine.finished(*std::exchange(m.task, std::nullopt), payload::copy_of(bytes_of(value)), m.until - m.begun, now_);
    ++computed_;
    send(m);
  }
  bool act(member& m) {
    if (m.task) {
      if (now_ < m.until) return false;
      finish_task(m);
      return true;
    }
    bool acted = false;
    const int first = static_cast<int>(random_.below(ranks_.size()));
    for (int i = 0; i < size(); ++i) {
      auto& from = line((first + i) % size(), m.self);
      while (!from.empty() && from.front().at <= now_ && !random_.chance(0.1)) {
        m.machine.receive((first + i) % size(), from.front().what, now_);
        from.pop_front();
        acted = true;
      }
    }
    m.machine.tick(now_);
    send(m);
    if (stop_tasks) return acted;
    m.task = m.machine.next();
    if (m.task) {
      m.begun = now_;
      m.until = now_ + duration(static_cast<std::int64_t>(mixed(*m.task, 5) % static_cast<std::uint64_t>(task_time_max.count())));
    }
    return acted || m.task.has_value();
  }
  bool step() {
    bool acted = false;
    for (auto& m : ranks_) {
      if (stalled != m->self) acted |= act(*m);
    }
    if (stopped_by()) return false;
    return acted || advance();
  }
  bool advance() {
    time_point next = time_point_never;
    for (auto& m : ranks_) {
      if (stalled == m->self) continue;
      if (m->task) {
        next = std::min(next, m->until);
        continue;
      }
      next = std::min(next, m->machine.due());
      for (int from = 0; from < size(); ++from) {
        if (!line(from, m->self).empty()) next = std::min(next, line(from, m->self).front().at);
      }
    }
    if (next == time_point_never) return false;
    now_ = std::max(now_ + 1ns, next);
    return true;
  }

  random_generator random_;
  time_point now_ = time_point(1s);
  plan plan_;
  std::vector<std::unique_ptr<member>> ranks_;
  std::vector<std::deque<letter>> lines_;
  std::uint64_t computed_ = 0;
};

plan tasks_only(std::uint32_t n) {
  plan p;
  p.tasks = n;
  p.digest = n;
  return p;
}

/// Each task waits for up to three earlier ones.
plan work_flow(std::uint32_t n, std::uint64_t seed) {
  plan p = tasks_only(n);
  random_generator random(seed);
  for (std::uint32_t t = 1; t < n; ++t) {
    for (std::uint64_t i = random.below(4); i > 0; --i)
      p.needs.emplace_back(static_cast<std::uint32_t>(random.below(t)), t);
  }
  std::sort(p.needs.begin(), p.needs.end());
  p.needs.erase(std::unique(p.needs.begin(), p.needs.end()), p.needs.end());
  return p;
}

constexpr int rank_counts[] = {1, 2, 3, 4, 7};

}  // namespace

TEST_CASE("every rank gets all results of a bag, each computed once where nobody stalls") {
  for (const int ranks : rank_counts) {
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
      world w(ranks, seed);
      w.how.again_after = 0;
      INFO("ranks " << ranks << ", seed " << seed);
      const auto tasks = static_cast<std::uint32_t>(mixed(seed, 3) % 120);
      std::uint64_t before = 0;
      for (int bag = 0; bag < 3; ++bag) {
        const plan p = seed % 2 == 0 ? tasks_only(tasks) : work_flow(tasks, seed);
        w.begin(p);
        REQUIRE(w.run());
        CHECK(w.right());
        CHECK(w.computed() - before == tasks);
        before = w.computed();
        w.end();
      }
    }
  }
}

TEST_CASE("who has nothing to do gets half of what another rank has") {
  world w(4, 3);
  w.how.again_after = 0;
  plan p = tasks_only(400);
  // All but the first hundred wait for one of the first, so that rank 0 begins with all the work.
  for (std::uint32_t t = 100; t < 400; ++t) p.needs.emplace_back(99u, t);
  w.begin(p);
  REQUIRE(w.run());
  CHECK(w.right());
  for (int r = 1; r < 4; ++r) CHECK(w.machine(r).counted().stolen > 0);
  std::uint64_t most = 0, least = ~std::uint64_t{0};
  for (int r = 0; r < 4; ++r) {
    most = std::max(most, w.machine(r).counted().computed);
    least = std::min(least, w.machine(r).counted().computed);
  }
  CHECK(most < 2 * least);
}

TEST_CASE("the tasks of a rank that stalls are done by the others") {
  for (const int ranks : {2, 3, 4, 7}) {
    for (std::uint64_t seed = 1; seed <= 30; ++seed) {
      world w(ranks, seed);
      INFO("ranks " << ranks << ", seed " << seed);
      const plan p = seed % 2 == 0 ? tasks_only(100) : work_flow(100, seed);
      w.begin(p);
      REQUIRE(w.some(mixed(seed, 1) % 100));
      const int victim = static_cast<int>(mixed(seed, 2) % static_cast<std::uint64_t>(ranks));
      w.stalled = victim;
      REQUIRE(w.run());
      CHECK(w.right());
      w.stalled.reset();
      REQUIRE(w.run());
      CHECK(w.right());
    }
  }
}

TEST_CASE("a rank may be one bag ahead of the slowest and not more") {
  world w(3, 5);
  const plan p = tasks_only(30);
  w.begin(p);
  w.stalled = 2;
  REQUIRE(w.run());
  std::vector<std::shared_ptr<results>> known;
  for (int bag = 2; bag <= 3; ++bag) {
    for (int r = 0; r < 2; ++r) {
      w.machine(r).end();
      w.machine(r).begin(p, known.emplace_back(std::make_shared<results>()), {}, time_point(100s));
    }
    if (bag == 2) CHECK(w.run());
  }
  CHECK_FALSE(w.machine(0).has_work());
  // It has tasks and may do none, so it gives none and says so: nobody asks it again and again.
  message ask;
  ask.what = message::kind::ask;
  ask.bag = 3;
  (void)w.machine(0).take_outgoing();
  w.machine(0).receive(1, ask, time_point(101s));
  const auto answer = w.machine(0).take_outgoing();
  REQUIRE(answer.size() == 1);
  CHECK(answer[0].what.what == message::kind::give);
  CHECK(answer[0].what.ids.empty());
  CHECK(answer[0].what.spare == 0);
  CHECK_FALSE(w.machine(1).has_work());
}

TEST_CASE("a bag goes on from what was saved, and does nothing twice") {
  for (const int ranks : rank_counts) {
    for (std::uint64_t seed = 1; seed <= 30; ++seed) {
      world w(ranks, seed);
      w.how.again_after = 0;
      if (seed % 3 == 0) w.how.checked_share = 0.5;
      INFO("ranks " << ranks << ", seed " << seed);
      const plan p = seed % 2 == 0 ? tasks_only(80) : work_flow(80, seed);
      w.begin(p);
      for (int times = 0; times < 3; ++times) {
        REQUIRE(w.some(mixed(seed, 1) % 60));
        w.restart();
      }
      REQUIRE(w.run());
      CHECK(w.right());
      if (seed % 3 != 0) CHECK(w.computed() == 80);
    }
  }
}

TEST_CASE("a restart with other tasks is found out, and so are bytes that nobody saved") {
  scheduler first(0, 1), again(0, 1), third(0, 1);
  first.begin(tasks_only(10), std::make_shared<results>(), {}, time_point());
  const byte_vector saved = first.save();
  REQUIRE(again.load(saved));
  CHECK(again.save() == saved);
  again.begin(tasks_only(11), std::make_shared<results>(), {}, time_point());
  REQUIRE(again.stopped_by());
  CHECK(again.stopped_by()->what == trouble::kind::other_restart);
  for (std::size_t size = 0; size < saved.size(); ++size) CHECK_FALSE(third.load(byte_view(saved).first(size)));
}

TEST_CASE("who has left is known after a restart, too") {
  scheduler first(0, 2), again(0, 2);
  first.begin(tasks_only(0), std::make_shared<results>(), {}, time_point());
  message left;
  left.what = message::kind::left;
  left.bag = 1;
  first.receive(1, left, time_point());
  first.end();
  REQUIRE(again.load(first.save()));
  again.begin(tasks_only(3), std::make_shared<results>(), {}, time_point());
  REQUIRE(again.stopped_by());
  CHECK(again.stopped_by()->what == trouble::kind::left);
  CHECK(again.stopped_by()->rank == 1);
}

TEST_CASE("checked tasks are done by two ranks, and who gives other bytes is named") {
  for (const int ranks : {2, 3, 4, 7}) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      world w(ranks, seed);
      w.how.checked_share = 1;
      w.how.again_after = 0;
      INFO("ranks " << ranks << ", seed " << seed);
      w.begin(work_flow(60, seed));
      REQUIRE(w.run());
      CHECK(w.right());
      CHECK(w.computed() == 120);
      w.end();
      if (ranks == 2) continue;
      w.liar = static_cast<int>(mixed(seed, 4) % static_cast<std::uint64_t>(ranks));
      w.begin(work_flow(60, seed + 1));
      REQUIRE(w.run());
      CHECK(w.right());
      bool named = false;
      for (int r = 0; r < ranks; ++r) {
        for (const auto& d : w.machine(r).disagreements()) {
          CHECK(d.rank == w.liar);
          CHECK(d.bag == 2);
          named = true;
        }
      }
      CHECK(named);
    }
  }
}

TEST_CASE("a rank is checked by one on another peer, where there is another") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    world w(6, seed);
    w.how.checked_share = 1;
    w.how.again_after = 0;
    w.how.peers = {0, 0, 2, 2, 4, 4};
    // Both ranks of a peer give the same wrong bytes, and lose all the same.
    w.liar = 2;
    w.other_liar = 3;
    w.begin(tasks_only(60));
    REQUIRE(w.run());
    CHECK(w.right());
    world alone(3, seed);
    alone.how.checked_share = 1;
    alone.how.peers = {0, 0, 0};
    alone.begin(tasks_only(20));
    REQUIRE(alone.run());
    CHECK(alone.right());
  }
}

TEST_CASE("two ranks that differ with nobody to decide stop the program, and so do results that differ by chance") {
  world two(2, 1);
  two.how.checked_share = 1;
  two.liar = 1;
  two.begin(tasks_only(20));
  CHECK_FALSE(two.run());
  REQUIRE(two.stopped_by());
  CHECK(two.stopped_by()->what == trouble::kind::undecided);

  world three(3, 1);
  three.liar = 1;
  three.begin(tasks_only(60));
  three.stalled = 1;
  REQUIRE(three.run());
  three.stalled.reset();
  // What rank 1 does now the others have done already, and otherwise.
  auto& late = three.machine(1);
  const auto task = late.next();
  REQUIRE(task);
  const std::uint64_t wrong = 1;
  late.finished(*task, payload::copy_of(bytes_of(wrong)), 1ms, time_point(50s));
  for (auto& o : late.take_outgoing()) {
    if (o.what.what == message::kind::results) three.machine(0).receive(1, o.what, time_point(50s));
  }
  REQUIRE(three.machine(0).stopped_by());
  CHECK(three.machine(0).stopped_by()->what == trouble::kind::differing);
}

TEST_CASE("messages that no rank sends stop a bag or are ignored") {
  const auto fresh = [] {
    auto s = std::make_unique<scheduler>(0, 3);
    s->begin(tasks_only(10), std::make_shared<results>(), {}, time_point(1s));
    return s;
  };
  message m;
  m.bag = 1;
  for (const auto kind : {message::kind::results, message::kind::give, message::kind::claim}) {
    m.what = kind;
    m.ids = {10};
    m.sizes = {0};
    const auto s = fresh();
    s->receive(1, m, time_point(2s));
    REQUIRE(s->stopped_by());
    CHECK(s->stopped_by()->what == trouble::kind::damaged);
  }
  m.what = message::kind::results;
  m.ids = {1, 2};
  m.sizes = {4, 4};
  m.data = payload::copy_of(byte_vector(7));
  const auto s = fresh();
  s->receive(2, m, time_point(2s));
  CHECK(s->stopped_by());
  const auto old = fresh();
  m.bag = 0;
  old->receive(2, m, time_point(2s));
  CHECK_FALSE(old->stopped_by());
}
