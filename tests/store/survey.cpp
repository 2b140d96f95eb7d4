/// Anti-entropy: what holders have lost is found by bitmaps, and given back by those who have it.
#include "store/world.hpp"

#include <p2pdvm/store/chunk_survey.hpp>

using namespace store_test;

namespace {

const pin snapshot{job_id(), incarnation_number(1), epoch_number(3)};
const rank_number rank(2);

chunk_id id_of(std::uint64_t n) {
  chunk_id id;
  random_generator random(n + 1000);
  for (std::byte& b : id.mutable_bytes()) b = std::byte(random() & 0xff);
  id.mutable_bytes()[0] = chunk_algorithm;
  return id;
}

/// Sealed by nobody, but with a checksum that holds: holders know no more of a chunk.
byte_vector sealed_of(std::uint64_t n) {
  const chunk_codec codec(world::seed_key(5));
  const byte_vector plain(100 + n, std::byte(n));
  return to_vector(codec.seal(codec.id(plain), plain).view());
}

/// A snapshot of `count` chunks, which its targets have.
struct held_snapshot {
  world& w;
  std::vector<placed_chunk> chunks;
  explicit held_snapshot(world& where, std::size_t count) : w(where) {
    for (std::size_t n = 0; n < count; ++n) chunks.push_back({id_of(n), 100, static_cast<unsigned>(n % limits::stripes_per_rank)});
    for (auto& p : w.peers) p->holder->follow(job_id(), epoch_number(3), epoch_number(2), {});
    const auto members = w.members();
    const placement places(job_id(), rank, members, 3);
    for (std::size_t n = 0; n < count; ++n) {
      for (const std::uint32_t m : places.targets(chunks[n].stripe)) give(*w.peers[m], n);
    }
  }
  void give(peer& p, std::size_t n) {
    p.log.chunks[chunks[n].id] = sealed_of(n);
    p.log.pin_sets[snapshot].insert(chunks[n].id);
  }
  static void take(peer& p, const chunk_id& id) { p.log.chunks.erase(id); }
  [[nodiscard]] chunk_survey::plan plan() const { return {snapshot, rank, chunks[0].id, chunks, w.members(), 3}; }
  /// Chunks that each target has.
  [[nodiscard]] std::size_t whole() const {
    const auto members = w.members();
    const placement places(job_id(), rank, members, 3);
    std::size_t count = 0;
    for (const placed_chunk& c : chunks) {
      const auto targets = places.targets(c.stripe);
      count += std::all_of(targets.begin(), targets.end(), [&](std::uint32_t m) {
        peer& p = w.by_id(members[m].id);
        return p.log.contains(c.id) && p.log.pin_sets[snapshot].contains(c.id);
      });
    }
    return count;
  }
};

/// Carries out an order as a holder's peer does, by a put.
void pass(world& w, const node_id& from, const pass_chunks& order) {
  put_chunks put{order.snapshot, order.rank, 0, 0, {}, {}};
  for (const chunk_id& id : order.ids) {
    const auto sealed = w.by_id(from).log.get(id);
    REQUIRE(sealed.ok());
    put.chunks.push_back({id, *sealed});
  }
  w.send(order.to, std::move(put));
}

struct surveyed {
  chunk_survey::outcome found;
  std::size_t comparisons = 0, orders = 0, bytes = 0;
  std::map<node_id, std::map<chunk_id, bool>> learned;
};

surveyed survey(world& w, const chunk_survey::plan& plan, std::function<void(chunk_survey&)> before = nullptr) {
  surveyed out;
  chunk_survey s(
      plan,
      [&](const node_id& to, store_message m) {
        out.bytes += wire::encode(m).size();
        if (const auto* order = std::get_if<pass_chunks>(&m)) {
          ++out.orders;
          CHECK(order->ids.size() <= ids_per_get_max);
          return pass(w, to, *order);
        }
        CHECK(std::get<compare_chunks>(m).names.size() <= names_per_compare_max);
        ++out.comparisons;
        w.send(to, std::move(m));
      },
      [&](const node_id& holder, const chunk_id& id, bool has) { out.learned[holder][id] = has; });
  if (before) before(s);
  s.start(w.now);
  w.inbox = [&](const node_id& from, const store_message& m) { s.on_message(w.now, from, m); };
  w.drain();
  for (int i = 0; !s.finished() && i < 4; ++i) {
    REQUIRE(s.next_timer() != time_point_never);
    w.now = std::max(w.now, s.next_timer());
    s.on_timer(w.now);
    w.drain();
  }
  REQUIRE(s.finished());
  CHECK(s.next_timer() == time_point_never);
  w.inbox = nullptr;
  out.found = s.found();
  return out;
}

TEST_CASE("where nothing is amiss a survey is one small question to each holder") {
  world w(6, 1);
  const held_snapshot held(w, 200);
  REQUIRE(held.whole() == 200);
  const surveyed s = survey(w, held.plan());
  CHECK(s.found.lacking == 0);
  CHECK(s.found.passed == 0);
  CHECK(s.found.nowhere == 0);
  CHECK(s.comparisons <= 6);
  CHECK(s.orders == 0);
  CHECK(s.bytes < 200 * 3 * 8 + 6 * 150);
  std::size_t learned = 0;
  for (const auto& [holder, chunks] : s.learned) learned += chunks.size();
  CHECK(learned == 600);
}

TEST_CASE("what holders have lost is given back by others until all have it again") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    INFO("seed " << seed);
    world w(7, seed);
    const held_snapshot held(w, 150);
    std::size_t lost = 0;
    for (const placed_chunk& c : held.chunks) {  // of three copies at most two
      std::size_t left = 2;
      for (auto& p : w.peers) {
        if (!p->log.contains(c.id) || left == 0 || w.random.below(3) != 0) continue;
        held_snapshot::take(*p, c.id);
        --left;
        ++lost;
      }
    }
    REQUIRE(lost > 50);
    const surveyed s = survey(w, held.plan());
    CHECK(s.found.lacking == lost);
    CHECK(s.found.passed == lost);
    CHECK(s.found.nowhere == 0);
    CHECK(held.whole() == held.chunks.size());
    CHECK(survey(w, held.plan()).found.lacking == 0);
  }
}

TEST_CASE("copies that only former holders have are found, and go to those that should have them now") {
  world w(6, 3);
  const held_snapshot held(w, 64);
  // Two new members change the placement, and two of the old holders die: what the dead had comes from where it is left.
  w.peers[0]->alive = false;
  w.peers[1]->alive = false;
  REQUIRE(held.whole() < 64);
  const surveyed s = survey(w, held.plan());
  CHECK(s.found.nowhere == 0);
  CHECK(s.found.passed == s.found.lacking);
  CHECK(held.whole() == 64);
  // Those who come back have their own still: nothing is sent to anybody.
  w.peers[0]->alive = w.peers[1]->alive = true;
  const surveyed again = survey(w, held.plan());
  CHECK(again.found.lacking == 0);
  CHECK(again.orders == 0);
}

TEST_CASE("chunks that nobody has are counted, but not while somebody says nothing") {
  world w(5, 4);
  const held_snapshot held(w, 40);
  for (auto& p : w.peers) {
    held_snapshot::take(*p, held.chunks[7].id);
    held_snapshot::take(*p, held.chunks[20].id);
  }
  CHECK(survey(w, held.plan()).found.nowhere == 2);
  const chunk_survey::plan plan = held.plan();
  w.peers[2]->alive = false;  // and nobody knows it yet
  const surveyed s = survey(w, plan);
  CHECK(s.found.nowhere == 0);
  CHECK(s.found.passed == 0);
}

TEST_CASE("a survey ends whatever is answered: lies, nonsense, other people's answers, deaths") {
  world w(5, 5);
  const held_snapshot held(w, 30);
  const chunk_survey::plan plan = held.plan();
  const node_id liar = w.peers[3]->identity.id();
  std::size_t asked = 0;
  std::vector<std::pair<node_id, compare_chunks>> questions;
  chunk_survey s(
      plan,
      [&](const node_id& to, store_message m) {
        if (const auto* q = std::get_if<compare_chunks>(&m)) questions.emplace_back(to, *q);
        ++asked;
      },
      nullptr);
  s.start(w.now);
  const auto answer = [](const compare_chunks& q, std::size_t bytes, std::byte value) {
    return chunk_bitmap{q.snapshot, q.rank, q.manifest, q.sequence, byte_vector(bytes, value)};
  };
  const auto first = questions;
  for (const auto& [to, q] : first) {
    chunk_bitmap other = answer(q, 4, std::byte{0xff});
    other.manifest = id_of(999);
    s.on_message(w.now, to, other);                                 // of another manifest
    other = answer(q, 4, std::byte{0xff});
    other.sequence += 1000;
    s.on_message(w.now, to, other);                                 // never asked
    s.on_message(w.now, w.client.id(), answer(q, 4, std::byte{0xff}));  // a stranger's
    CHECK_FALSE(s.finished());
  }
  for (const auto& [to, q] : first) s.on_message(w.now, to, answer(q, to == liar ? 77 : (q.names.size() + 7) / 8, std::byte{0}));
  // All say that they have nothing: those who were not asked are, and the one who talks nonsense is not.
  for (std::size_t i = first.size(); i < questions.size(); ++i) CHECK(questions[i].first != liar);
  s.on_member_lost(w.now, w.peers[0]->identity.id());
  w.now = std::max(w.now, s.next_timer() == time_point_never ? w.now : s.next_timer());
  s.on_timer(w.now);
  CHECK(s.finished());
  CHECK(s.found().nowhere == 0);  // the one may have them
  CHECK(s.found().passed == 0);
}

TEST_CASE("comparisons over the limits are rejected before anybody acts on them") {
  compare_chunks question;
  question.names.resize(names_per_compare_max);
  CHECK(read_store_message(wire::encode(store_message(question))).ok());
  question.names.resize(names_per_compare_max + 1);
  CHECK_FALSE(read_store_message(wire::encode(store_message(question))).ok());
  chunk_bitmap answer;
  answer.have.resize(names_per_compare_max / 8);
  CHECK(read_store_message(wire::encode(store_message(answer))).ok());
  answer.have.resize(names_per_compare_max / 8 + 1);
  CHECK_FALSE(read_store_message(wire::encode(store_message(answer))).ok());
  pass_chunks order;
  order.ids.resize(ids_per_get_max);
  CHECK(read_store_message(wire::encode(store_message(order))).ok());
  order.ids.resize(ids_per_get_max + 1);
  CHECK_FALSE(read_store_message(wire::encode(store_message(order))).ok());
}

TEST_CASE("a holder keeps quiet about jobs and epochs that it does not follow, and says what became unreadable") {
  world w(1, 6);
  held_snapshot held(w, 20);
  peer& p = *w.peers[0];
  std::vector<chunk_bitmap> answers;
  w.inbox = [&](const node_id&, const store_message& m) { answers.push_back(std::get<chunk_bitmap>(m)); };
  compare_chunks question{snapshot, rank, held.chunks[0].id, 5, {}};
  for (const placed_chunk& c : held.chunks) question.names.push_back(short_name(c.id));
  question.names.push_back(short_name(id_of(12345)));
  const auto ask = [&](const compare_chunks& q) {
    answers.clear();
    w.send(p.identity.id(), q);
    w.drain();
    REQUIRE(answers.size() == 1);
    CHECK(answers[0].sequence == 5);
    return answers[0].have;
  };
  CHECK(ask(question) == byte_vector{std::byte{0xff}, std::byte{0xff}, std::byte{0x0f}});
  compare_chunks foreign = question;
  foreign.snapshot.epoch = epoch_number(1);
  CHECK(ask(foreign).empty());
  foreign.snapshot.epoch = epoch_number(0);
  CHECK(ask(foreign).empty());
  // Scrubbing reads all, each once a round, and forgets what it cannot read.
  std::size_t read = 0;
  for (int i = 0; i < 100; ++i) {
    const std::size_t now = p.holder->scrub(300);
    read += now;
    if (now < 300) break;
  }
  CHECK(read == p.log.live_bytes());
  p.log.rotten = held.chunks[9].id;
  while (p.holder->scrub(300) >= 300) {
  }
  CHECK(ask(question) == byte_vector{std::byte{0xff}, std::byte{0xfd}, std::byte{0x0f}});
}

}  // namespace
