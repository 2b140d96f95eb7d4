/// The real endpoints and the real barriers together, under all interleavings of small programs.
///
/// Neither can be copied, so a state is the way to it: everything of a peer follows from what came to it, in its order, and so the state of the
/// whole from these orders of all peers, whichever way they were interleaved.
#include "cut_world.hpp"
#include "support/test.hpp"

#include <p2pdvm/messaging/endpoint.hpp>

#include <cstdlib>
#include <deque>
#include <string>
#include <unordered_set>

using namespace p2pdvm;
using namespace p2pdvm::checkpoint;
using cut_test::A;
using cut_test::op;
using cut_test::P;
using cut_test::program;
using cut_test::R;
using cut_test::S;
using messaging::endpoint;
using messaging::endpoint_state;
using messaging::numbering;

namespace {

std::uint64_t mixed(std::uint64_t a, std::uint64_t b) {
  random_generator g(a * 0x9e3779b97f4a7c15ull + b);
  return g();
}

struct packet {
  messaging::rank_message message;
  numbering stream;
  epoch_number epoch;
};

/// A rank of a job: its place in the program, its endpoint, and the receive that it waits for.
struct live final : messaging::receiver {
  std::uint32_t pc = 0;
  std::uint64_t passed = 0, history = 0;
  std::unique_ptr<endpoint> messages;
  bool posted = false, got = false;
  bool waiting = false, returned = false;
  void on_message() override { got = true; }
};

struct shot {
  std::uint32_t pc = 0;
  std::uint64_t passed = 0, history = 0;
  endpoint_state messages;
  bool log_closed = false;
};

/// Ranks, and what is on its way between them: in order for each pair, as sessions keep it.
class ranks : public messaging::endpoint_host {
 public:
  ranks(const std::vector<program>& programs, std::vector<std::uint32_t> hosts)
      : all(programs.size()), programs_(programs), hosts_(std::move(hosts)) {}
  virtual ~ranks() = default;

  [[nodiscard]] std::uint32_t count() const { return static_cast<std::uint32_t>(all.size()); }
  void start(std::uint32_t r, epoch_number epoch, const endpoint_state* from) {
    all[r].messages = std::make_unique<endpoint>(*this, rank_number(r), count(), epoch, epoch, from);
    REQUIRE(all[r].messages->end_prelude());
  }
  [[nodiscard]] const op* next_op(std::uint32_t r) const {
    return all[r].pc < programs_[r].size() ? &programs_[r][all[r].pc] : nullptr;
  }
  void send(std::uint32_t r) {
    live& me = all[r];
    const std::uint32_t to = next_op(r)->other;
    const std::uint64_t body = mixed(me.history, me.pc);
    ++me.pc;
    (void)me.messages->send(rank_number(to), 0, 0, payload::copy_of(bytes_of(body)));
  }
  /// False: it waits.
  bool receive(std::uint32_t r) {
    live& me = all[r];
    if (!me.posted) {
      me.pattern = {};
      if (next_op(r)->kind == 'R') me.pattern.source = rank_number(next_op(r)->other);
      me.posted = true;
      me.got = me.messages->post(me);
    }
    if (!me.got) return false;
    std::uint64_t body = 0;
    REQUIRE(me.message.body.size() == sizeof body);
    std::memcpy(&body, me.message.body.data(), sizeof body);
    me.history = mixed(me.history, mixed(me.message.source.value(), body));
    me.message.body = {};
    me.posted = me.got = false;
    ++me.pc;
    return true;
  }
  void deliver(std::uint32_t from, std::uint32_t to) {
    packet p = std::move(under_way[{from, to}].front());
    under_way[{from, to}].pop_front();
    all[to].messages->accept(std::move(p.message), p.stream, p.epoch);
  }
  void acknowledge(std::uint32_t r) {
    due.erase(r);
    for (const messaging::rank_acknowledgement& ack : all[r].messages->take_acknowledgements()) {
      if (local_to(ack.source.value(), r)) {
        all[ack.source.value()].messages->on_acknowledgement(ack);
      } else {
        acknowledgements[{r, ack.source.value()}].push_back(ack);
      }
    }
  }
  void deliver_acknowledgement(std::uint32_t from, std::uint32_t to) {
    const messaging::rank_acknowledgement ack = acknowledgements[{from, to}].front();
    acknowledgements[{from, to}].pop_front();
    all[to].messages->on_acknowledgement(ack);
  }

  endpoint* local(rank_number rank) override { return local_to(rank.value(), acting) ? all[rank.value()].messages.get() : nullptr; }
  [[nodiscard]] bool ready(rank_number) const override { return true; }
  void transmit(const messaging::rank_message& m, numbering stream, epoch_number epoch) override {
    under_way[{m.source.value(), m.destination.value()}].push_back({m, stream, epoch});
  }
  void tell_blocked(rank_number, rank_number, numbering) override { FAIL("a few messages block nobody"); }
  void acknowledgements_due(endpoint& from, bool) override { due.insert(from.self().value()); }
  void must_abandon(rank_number, epoch_number, std::string why) override { FAIL(why); }
  void waits_for_held(rank_number, epoch_number, std::string why) override { FAIL(why); }

  std::vector<live> all;
  std::uint32_t acting = 0;  ///< on whose peer something happens
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::deque<packet>> under_way;
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::deque<messaging::rank_acknowledgement>> acknowledgements;
  std::set<std::uint32_t> due;  ///< who has acknowledgements to give

 protected:
  [[nodiscard]] bool local_to(std::uint32_t a, std::uint32_t b) const { return hosts_[a] == hosts_[b]; }

  const std::vector<program>& programs_;
  std::vector<std::uint32_t> hosts_;
};

struct move {
  enum class kind : std::uint8_t { rank, packet, acknowledge, acknowledgement, facts, record, wish } what;
  std::uint32_t from = 0, to = 0;
};

/// A job that is checkpointed once; without seals and commits, which come after a snapshot is complete.
class job final : public ranks {
 public:
  job(const std::vector<program>& programs, const std::vector<std::uint32_t>& hosts, std::uint32_t peers)
      : ranks(programs, hosts), shots(programs.size()) {
    records_.push_back(std::make_shared<const job_record>(*checkpoint::start(make::forming(count(), peers), hosts)));
    for (std::uint32_t p = 0; p < peers; ++p) {
      nodes_.push_back(make::node(p));
      barriers_.emplace_back(nodes_[p], records_[0]);
      static_cast<void>(barriers_[p].take_actions());  // nobody has facts yet
    }
    known_.resize(peers);
    for (std::uint32_t r = 0; r < count(); ++r) {
      barriers_[hosts[r]].rank_started(rank_number(r), 0);
      acting = r;
      ranks::start(r, epoch_number(), nullptr);
    }
  }

  [[nodiscard]] bool complete() const {
    return std::all_of(shots.begin(), shots.end(), [](const std::optional<shot>& s) { return s && s->log_closed; });
  }
  [[nodiscard]] bool finished() const {
    return std::all_of(all.begin(), all.end(), [](const live& r) { return r.returned; });
  }
  [[nodiscard]] std::vector<move> moves() const {
    using kind = move::kind;
    std::vector<move> some;
    if (complete()) return some;
    for (std::uint32_t r = 0; r < count(); ++r) {
      const live& me = all[r];
      if (!me.waiting && !me.returned && (!me.posted || me.got)) some.push_back({kind::rank, r, r});
    }
    for (const auto& [pair, packets] : under_way)
      if (!packets.empty()) some.push_back({kind::packet, pair.first, pair.second});
    for (const std::uint32_t r : due) some.push_back({kind::acknowledge, r, r});
    for (const auto& [pair, acks] : acknowledgements)
      if (!acks.empty()) some.push_back({kind::acknowledgement, pair.first, pair.second});
    for (const auto& [pair, facts] : facts_)
      if (!facts.empty()) some.push_back({kind::facts, pair.first, pair.second});
    for (std::uint32_t p = 0; p < barriers_.size(); ++p)
      if (known_[p] + 1 < records_.size()) some.push_back({kind::record, p, p});
    if (!wished_ && !barriers_[0].wanted()) some.push_back({kind::wish, 0, 0});
    return some;
  }
  /// To whom it comes.
  [[nodiscard]] std::uint32_t peer_of(const move& m) const {
    const bool of_rank = m.what != move::kind::facts && m.what != move::kind::record && m.what != move::kind::wish;
    return of_rank ? hosts_[m.to] : m.to;
  }
  void make(const move& m) {
    acting = m.to;
    switch (m.what) {
      case move::kind::rank: step(m.to); break;
      case move::kind::packet: deliver(m.from, m.to); break;
      case move::kind::acknowledge: acknowledge(m.to); break;
      case move::kind::acknowledgement: deliver_acknowledgement(m.from, m.to); break;
      case move::kind::facts: {
        const cut_facts facts = std::move(facts_[{m.from, m.to}].front());
        facts_[{m.from, m.to}].pop_front();
        REQUIRE(barriers_[m.to].on_facts(nodes_[m.from], facts).ok());
        break;
      }
      case move::kind::record: barriers_[m.to].on_record(records_[++known_[m.to]]); break;
      case move::kind::wish:
        wished_ = true;
        barriers_[0].wish();
        break;
    }
    apply(peer_of(m));
  }

  std::vector<std::optional<shot>> shots;
  std::uint64_t abandoned = 0;

 private:
  void waits_for_held(rank_number rank, epoch_number epoch, std::string why) override {
    if (!all[rank.value()].waiting) barriers_[hosts_[rank.value()]].abandon(epoch, std::move(why), rank);
  }
  void must_abandon(rank_number rank, epoch_number epoch, std::string why) override {
    barriers_[hosts_[rank.value()]].abandon(epoch, std::move(why));
  }
  void pass(std::uint32_t r) {
    all[r].waiting = false;
    ++all[r].pc;
    ++all[r].passed;
  }
  void capture(std::uint32_t r, epoch_number epoch) {
    live& me = all[r];
    shots[r] = shot{me.pc, me.passed, me.history, me.messages->cut(epoch), false};
  }
  void step(std::uint32_t r) {
    live& me = all[r];
    cut_barrier& barrier = barriers_[hosts_[r]];
    const op* o = next_op(r);
    if (o == nullptr) {
      me.returned = true;
      if (barrier.returned(rank_number(r)) == verdict::cut) capture(r, barrier.epoch());
    } else if (o->kind == 'S') {
      send(r);
    } else if (o->kind == 'P') {
      const verdict v = barrier.at_safe_point(rank_number(r));
      me.waiting = v == verdict::wait;
      if (!me.waiting) pass(r);
      if (v == verdict::cut) capture(r, barrier.epoch());
    } else {
      (void)receive(r);
    }
  }
  void apply(std::uint32_t peer) {
    for (;;) {
      std::vector<barrier_action> actions = barriers_[peer].take_actions();
      if (actions.empty()) return;
      for (barrier_action& a : actions) carry_out(peer, a);
    }
  }
  void carry_out(std::uint32_t peer, barrier_action& action) {
    if (auto* send_facts = std::get_if<cut_action::send>(&action)) {
      for (std::uint32_t to = 0; to < nodes_.size(); ++to)
        if (send_facts->to ? *send_facts->to == nodes_[to] : to != peer) facts_[{peer, to}].push_back(send_facts->facts);
    } else if (auto* v = std::get_if<cut_action::rank_verdict>(&action)) {
      const std::uint32_t r = v->rank.value();
      if (all[r].waiting) pass(r);
      if (v->verdict == verdict::cut) capture(r, v->epoch);
    } else if (auto* close = std::get_if<cut_action::close_late_log>(&action)) {
      const std::uint32_t r = close->rank.value();
      all[r].messages->close_late_log();
      if (!shots[r]) return;
      shots[r]->messages.absorb(all[r].messages->late_log());
      shots[r]->log_closed = true;
    } else if (auto* give_up = std::get_if<cut_action::give_up>(&action)) {
      ++abandoned;
      auto next = raise_floor(*records_.back(), barriers_[peer].view().incarnation, give_up->epoch);
      if (next) records_.push_back(std::make_shared<const job_record>(std::move(*next)));
    } else if (auto* released = std::get_if<cut_action::released>(&action)) {
      for (std::uint32_t r = 0; r < count(); ++r) {
        if (hosts_[r] != peer) continue;
        shots[r].reset();
        acting = r;
        all[r].messages->drop_late_log();
        all[r].messages->on_floor(released->epoch);
      }
    }
  }

  std::vector<std::shared_ptr<const job_record>> records_;
  std::vector<std::size_t> known_;  ///< per peer, which record
  std::vector<node_id> nodes_;
  std::deque<cut_barrier> barriers_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::deque<cut_facts>> facts_;
  bool wished_ = false;
};

/// Runs until nothing moves, without checkpoints; `forward`: whom it looks at first.
void run(ranks& job, bool forward) {
  const auto in_order = [&](std::uint32_t n) { return forward ? n : job.count() - 1 - n; };
  for (bool moved = true; moved;) {
    moved = false;
    for (std::uint32_t n = 0; n < job.count(); ++n) {
      const std::uint32_t r = job.acting = in_order(n);
      while (const op* o = job.next_op(r)) {
        if (o->kind == 'S') {
          job.send(r);
        } else if (o->kind == 'P') {
          ++job.all[r].pc;
        } else if (!job.receive(r)) {
          break;
        }
        moved = true;
      }
    }
    for (std::uint32_t n = 0; n < job.count(); ++n) {
      for (std::uint32_t m = 0; m < job.count(); ++m) {
        const std::uint32_t from = in_order(n), to = in_order(m);
        for (job.acting = to; !job.under_way[{from, to}].empty(); moved = true) job.deliver(from, to);
      }
    }
    for (std::uint32_t r = 0; r < job.count(); ++r) {
      if (!job.due.contains(r)) continue;
      job.acting = r;
      job.acknowledge(r);
      for (std::uint32_t to = 0; to < job.count(); ++to)
        for (job.acting = to; !job.acknowledgements[{r, to}].empty(); moved = true) job.deliver_acknowledgement(r, to);
    }
  }
}

/// What each rank has seen at the end, if all came to it and nothing is left over.
std::optional<std::vector<std::uint64_t>> end_of(const ranks& job) {
  std::vector<std::uint64_t> histories;
  for (std::uint32_t r = 0; r < job.count(); ++r) {
    const live& me = job.all[r];
    if (job.next_op(r) != nullptr || me.messages->unread() + me.messages->held() + me.messages->unacknowledged() > 0)
      return std::nullopt;
    histories.push_back(me.history);
  }
  return histories;
}

struct example {
  const char* name;
  std::vector<program> programs;
  std::vector<std::uint32_t> hosts;
  std::uint32_t peers;
  [[nodiscard]] bool one_outcome() const {
    return std::all_of(programs.begin(), programs.end(), [](const program& p) {
      return std::none_of(p.begin(), p.end(), [](const op& o) { return o.kind == 'A'; });
    });
  }
};

std::vector<example> examples() {
  return {
      {"ring", {{S(1), P, R(2)}, {S(2), P, R(0)}, {S(0), P, R(1)}}, {0, 1, 2}, 3},
      {"ring, two ranks on one peer", {{S(1), P, R(2)}, {S(2), P, R(0)}, {S(0), P, R(1)}}, {0, 0, 1}, 2},
      {"two rounds", {{S(1), P, S(1), R(2), P}, {R(0), P, R(0), S(2)}, {P, R(1), S(0), P}}, {0, 1, 2}, 3},
      {"any source", {{S(2), P, S(2)}, {S(2), P, S(2)}, {A, P, A, A, A}}, {0, 1, 2}, 3},
      {"any source, one peer has two", {{S(2), P, S(2)}, {S(2), P, S(2)}, {A, P, A, A, A}}, {0, 1, 1}, 2},
      {"master and workers", {{A, P, S(1), A, P, S(2)}, {S(0), P, R(0), P}, {S(0), P, R(0), P}}, {0, 1, 2}, 3},
      {"ping-pong beside one that computes", {{S(1), P, S(1), R(1), P}, {R(0), P, R(0), S(0), P}, {P, P}}, {0, 1, 2}, 3},
      {"misaligned", {{S(1), P, S(1), R(1)}, {R(0), R(0), P, S(0)}, {P}}, {0, 1, 2}, 3},
      {"misaligned, two ranks on one peer", {{S(1), P, S(1), R(1)}, {R(0), R(0), P, S(0)}, {P}}, {0, 1, 0}, 2},
  };
}

/// States per program; P2PDVM_CUT_STATES raises it for a long run.
std::size_t state_bound() {
  const char* text = std::getenv("P2PDVM_CUT_STATES");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : 20'000;
}

struct outcome {
  std::size_t states = 0, snapshots = 0, wrong = 0, stuck = 0, finished = 0, abandoned = 0;
  bool whole = false;
};

/// Restarts from it under two orders of delivery.
bool restarts(const example& e, const job& from, const std::vector<std::uint64_t>& expected) {
  for (const bool forward : {true, false}) {
    ranks again(e.programs, e.hosts);
    for (std::uint32_t r = 0; r < again.count(); ++r) {
      const shot& s = *from.shots[r];
      if (!s.messages.fits(again.count())) return false;
      again.acting = r;
      again.all[r].pc = s.pc;
      again.all[r].history = s.history;
      again.start(r, epoch_number(1), &s.messages);
    }
    for (std::uint32_t r = 0; r < again.count(); ++r) {
      again.acting = r;
      for (std::uint32_t other = 0; other < again.count(); ++other)
        if (other != r) again.all[r].messages->on_ready(rank_number(other));
    }
    run(again, forward);
    const auto end = end_of(again);
    if (!end || (e.one_outcome() && *end != expected)) return false;
  }
  return true;
}

outcome explore(const example& e) {
  ranks undisturbed(e.programs, e.hosts);
  for (std::uint32_t r = 0; r < undisturbed.count(); ++r) undisturbed.start(r, epoch_number(), nullptr);
  run(undisturbed, true);
  const auto expected = end_of(undisturbed);
  REQUIRE(expected);

  outcome out;
  random_generator random(1);
  std::unordered_set<digest256> seen;
  std::vector<std::vector<move>> todo(1);
  while (!todo.empty() && seen.size() < state_bound()) {
    if (random.chance(0.15)) std::swap(todo[random.below(todo.size())], todo.back());
    const std::vector<move> path = std::move(todo.back());
    todo.pop_back();
    job here(e.programs, e.hosts, e.peers);
    std::vector<byte_vector> came(e.peers);  // to each peer, in its order
    const auto note = [&](std::vector<byte_vector>& to, const move& m) {
      for (const auto b : {static_cast<std::uint8_t>(m.what), static_cast<std::uint8_t>(m.from), static_cast<std::uint8_t>(m.to)})
        to[here.peer_of(m)].push_back(static_cast<std::byte>(b));
    };
    std::uint64_t abandoned_before = 0;
    for (const move& m : path) {
      abandoned_before = here.abandoned;
      here.make(m);
      note(came, m);
    }
    out.abandoned += here.abandoned - abandoned_before;
    const std::vector<move> moves = here.moves();
    if (here.complete()) {
      ++out.snapshots;
      out.wrong += restarts(e, here, *expected) ? 0u : 1u;
    } else if (moves.empty()) {
      const auto end = end_of(here);
      const bool right = here.finished() && end && (!e.one_outcome() || *end == *expected);
      ++(right ? out.finished : out.stuck);
    }
    for (const move& m : moves) {
      std::vector<byte_vector> then = came;
      note(then, m);
      if (!seen.insert(crypto::hash(wire::encode(then))).second) continue;
      todo.push_back(path);
      todo.back().push_back(m);
    }
  }
  out.states = seen.size();
  out.whole = todo.empty();
  return out;
}

}  // namespace

TEST_CASE("snapshots of real endpoints restart rightly, under all interleavings of three ranks") {
  for (const example& e : examples()) {
    INFO(e.name);
    const outcome out = explore(e);
    if (std::getenv("P2PDVM_CUT_STATES") != nullptr)
      WARN(e.name << ": " << out.states << " states" << (out.whole ? "" : " (stopped at the bound)") << ", " << out.snapshots
                  << " complete snapshots, " << out.abandoned << " abandoned, " << out.finished << " finished without one");
    CHECK(out.wrong == 0);
    CHECK(out.stuck == 0);
    CHECK(out.snapshots + out.finished > 0);
  }
}
