/// Peers with acceptors and proposers over a network that loses, doubles and reorders, and the
/// checks that what they chose is one chain.
#pragma once

#include "make.hpp"
#include "support/test.hpp"

#include <p2pdvm/checkpoint/register.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

class register_world {
 public:
  p2pdvm::random_generator random;
  double loss = 0;
  double duplication = 0;
  int rejections = 0;
  int silence_reports = 0;
  std::size_t silent = 0, asked = 0;  ///< of the last such report

  /// The founder alone would have one keeper; a later record is accepted by all its keepers.
  register_world(std::uint64_t seed, const make::job_record& first) : random(seed) {
    using namespace p2pdvm::checkpoint;
    const std::size_t total = 10;
    for (std::uint64_t i = 0; i < total; ++i) peers_.push_back(std::make_unique<peer_state>(i));
    const p2pdvm::byte_vector bytes = p2pdvm::wire::encode(first);
    const ballot at{1, make::node(0), 0};
    certificate proof{accept_statement::of(first, bytes, at), {}};
    for (auto& p : peers_) {
      p->keeper = std::make_unique<acceptor>(make::job(), p->self);
      const bool keeps = std::count(first.keepers.begin(), first.keepers.end(), p->self.id()) != 0;
      if (!keeps) continue;
      const auto out = p->keeper->on_request(
          make::node(0), accept_request{make::job(), at, first.keeper_version, bytes});
      p->disk = *out.persist;
      proof.signatures.push_back(std::get<accepted_reply>(*out.reply).signature);
    }
    first_ = {std::make_shared<const job_record>(first), proof};
    note(first_);
    for (auto& p : peers_) make_writer(*p, first_, {});
  }

  p2pdvm::checkpoint::proposer& peer(std::uint64_t i) { return *peers_[i]->writer; }
  const make::job_record& newest() const { return *chosen_.rbegin()->second.record; }
  std::size_t chosen_count() const {
    std::set<p2pdvm::digest256> distinct;
    for (const auto& [ballot, c] : chosen_) distinct.insert(c.proof.statement.digest);
    return distinct.size();
  }
  std::string reason(std::uint64_t i) const { return peers_[i]->reason; }
  std::size_t crashed() const {
    return static_cast<std::size_t>(std::count_if(peers_.begin(), peers_.end(),
                                                  [](const auto& p) { return p->down; }));
  }
  std::uint64_t some_live_member() {
    for (;;) {
      const std::uint64_t i = random.below(peers_.size());
      if (!peers_[i]->down && newest().is_live(peers_[i]->self.id())) return i;
    }
  }
  std::size_t unanswered() const {
    std::size_t n = 0;
    for (const auto& p : peers_) n += p->waiting;
    return n;
  }

  void propose(std::uint64_t i, p2pdvm::checkpoint::proposer::transition change) {
    peer_state& p = *peers_[i];
    if (p.down) return;
    REQUIRE(p.writer->propose(now_, std::move(change)).ok());
    ++p.waiting;
    collect(p);
  }
  void crash(std::uint64_t i) {
    peers_[i]->down = true;
    peers_[i]->waiting = 0;
  }
  /// The acceptor from its disk; the proposer anew, with the first record it ever knew.
  void restart(std::uint64_t i) {
    peer_state& p = *peers_[i];
    if (!p.down) return;
    p.down = false;
    if (p.disk.empty()) {
      p.keeper = std::make_unique<make::acceptor>(make::job(), p.self);
    } else {
      p.keeper = std::make_unique<make::acceptor>(
          *make::acceptor::restore(make::job(), p.self, p.disk));
    }
    const make::certified_record kept = p.writer->known();
    const std::vector<make::certificate> links = p.writer->links();
    if (random.chance(0.5)) {
      make_writer(p, first_, {});
    } else {
      make_writer(p, kept, links);
    }
  }
  void restart_one() {
    for (std::uint64_t i = 0; i < peers_.size(); ++i) {
      if (peers_[i]->down) return restart(i);
    }
  }
  /// No record reaches this peer any more.
  void isolate(std::uint64_t i) { peers_[i]->isolated = true; }

  /// Delivers up to `steps` messages in random order; timers fire when nothing is on its way.
  void run(std::uint64_t steps) {
    for (std::uint64_t i = 0; i < steps; ++i) {
      if (!step()) return;
    }
  }
  template <class P>
  void run_until(P done) {
    for (int i = 0; i < 100000 && !done(); ++i) step();
    REQUIRE(done());
  }
  /// Until nobody has anything to do, or virtual time has passed.
  void settle(p2pdvm::duration time = std::chrono::hours(1)) {
    const p2pdvm::time_point end = now_ + time;
    for (int i = 0; i < 300000; ++i) {
      if (now_ > end || !step()) return;
    }
    FAIL("the proposers never come to rest");
  }

  /// Chosen records in the order of their ballots extend one another; no write was done
  /// twice; no ballot has two values; certificates hold.
  void check() {
    std::vector<p2pdvm::checkpoint::operation_id> line;
    const make::job_record* last = nullptr;
    for (const auto& [ballot, c] : chosen_) {
      const auto& ops = c.record->operations;
      REQUIRE(ops.size() >= line.size());
      REQUIRE(std::equal(line.begin(), line.end(), ops.begin()));
      REQUIRE(std::set(ops.begin(), ops.end()).size() == ops.size());
      if (last != nullptr) {
        if (ops.size() == line.size()) REQUIRE(*c.record == *last);
        REQUIRE(c.record->floor >= last->floor);
        REQUIRE(c.record->incarnation >= last->incarnation);
        REQUIRE(c.record->keeper_version >= last->keeper_version);
      }
      line = ops;
      last = c.record.get();
      REQUIRE(p2pdvm::checkpoint::verify(*c.record, c.proof, c.record->keepers).ok());
    }
  }

 private:
  struct peer_state {
    explicit peer_state(std::uint64_t number) : self(make::identity(number)), random(number) {}
    p2pdvm::crypto::identity self;
    p2pdvm::random_generator random;
    std::unique_ptr<make::acceptor> keeper;
    std::unique_ptr<make::proposer> writer;
    p2pdvm::byte_vector disk;
    std::size_t waiting = 0;
    bool down = false;
    bool isolated = false;
    std::string reason;
  };
  struct request {
    p2pdvm::node_id from, to;
    make::register_request body;
  };
  struct reply {
    p2pdvm::node_id from, to;
    make::register_reply body;
  };
  struct news {
    p2pdvm::node_id to;
    make::certified_record record;
    std::vector<make::certificate> links;
  };
  using message = std::variant<request, reply, news>;

  peer_state* at(const p2pdvm::node_id& node) {
    for (auto& p : peers_) {
      if (p->self.id() == node) return p.get();
    }
    return nullptr;
  }

  void make_writer(peer_state& p, const make::certified_record& known,
                   const std::vector<make::certificate>& links) {
    p.random = p2pdvm::random_generator(random());
    p.writer = std::make_unique<make::proposer>(p.self.id(), p.random, known, links);
  }

  void note(const make::certified_record& c) {
    const auto [entry, fresh] = chosen_.emplace(c.proof.statement.ballot, c);
    if (!fresh) REQUIRE(entry->second.proof.statement.digest == c.proof.statement.digest);
  }

  void send(message m) {
    if (random.chance(loss)) return;
    if (random.chance(duplication)) net_.push_back(m);
    net_.push_back(std::move(m));
  }

  void collect(peer_state& p) {
    for (auto& m : p.writer->take_messages()) {
      if (const auto* a = std::get_if<make::accept_request>(&m.request)) {
        const auto [entry, fresh] = proposed_.emplace(a->ballot, a->record);
        if (!fresh) REQUIRE(entry->second == a->record);
      }
      send(request{p.self.id(), m.to, std::move(m.request)});
    }
    for (auto& e : p.writer->take_events()) {
      if (const auto* c = std::get_if<make::chosen_event>(&e)) {
        note(c->chosen);
        if (c->operation != 0) --p.waiting;
        for (auto& other : peers_) {
          if (other.get() != &p && random.chance(0.8))
            send(news{other->self.id(), c->chosen, p.writer->links()});
        }
      } else if (const auto* r = std::get_if<make::rejected_event>(&e)) {
        ++rejections;
        --p.waiting;
        p.reason = r->why.message();
      } else {
        const auto& report = std::get<make::no_majority_event>(e);
        silent = report.silent.size();
        asked = report.asked;
        ++silence_reports;
        ask_around(p);
      }
    }
  }

  /// What a driver does when too few of the keepers that it knows of answer.
  void ask_around(peer_state& p) {
    for (auto& other : peers_) {
      if (other.get() == &p || other->down || p.isolated) continue;
      const auto& known = other->writer->known();
      auto learned = p.writer->learn(now_, *known.record, known.proof, other->writer->links());
      if (!learned.ok()) REQUIRE(learned.error().code() == p2pdvm::errc::authentication);
    }
  }

  void deliver(const message& m) {
    if (const auto* r = std::get_if<request>(&m)) {
      peer_state* p = at(r->to);
      if (p == nullptr || p->down) return;
      auto out = p->keeper->on_request(r->from, r->body);
      if (out.persist && random.chance(loss / 4)) return crash_before_disk(*p);
      if (out.persist) p->disk = *out.persist;
      if (out.reply) send(reply{r->to, r->from, *out.reply});
    } else if (const auto* answer = std::get_if<reply>(&m)) {
      peer_state* p = at(answer->to);
      if (p->down) return;
      p->writer->on_reply(now_, answer->from, answer->body);
      collect(*p);
    } else {
      const news& n = std::get<news>(m);
      peer_state* p = at(n.to);
      if (p->down || p->isolated) return;
      learn(*p, n);
      collect(*p);
    }
  }

  /// A sender that restarted without its links cannot convince a peer that fell behind; then
  /// that peer asks the others, of whom one can.
  void learn(peer_state& p, const news& n) {
    auto learned = p.writer->learn(now_, *n.record.record, n.record.proof, n.links);
    for (auto& other : peers_) {
      if (learned.ok() || other.get() == &p) continue;
      REQUIRE(learned.error().code() == p2pdvm::errc::authentication);
      const auto& known = other->writer->known();
      learned = p.writer->learn(now_, *known.record, known.proof, other->writer->links());
    }
    REQUIRE(learned.ok());
  }

  /// The machine stops between the decision and the disk, and comes back at once.
  void crash_before_disk(peer_state& p) {
    const auto i = static_cast<std::uint64_t>(
        std::find_if(peers_.begin(), peers_.end(),
                     [&](const auto& q) { return q.get() == &p; }) - peers_.begin());
    crash(i);
    restart(i);
  }

  bool step() {
    if (!net_.empty()) {
      const std::size_t i = random.below(net_.size());
      const message m = net_[i];
      net_[i] = net_.back();
      net_.pop_back();
      deliver(m);
      return true;
    }
    peer_state* due = nullptr;
    for (auto& p : peers_) {
      if (p->down || p->writer->next_timer() == p2pdvm::time_point_never) continue;
      if (due == nullptr || p->writer->next_timer() < due->writer->next_timer()) due = p.get();
    }
    if (due == nullptr) return false;
    now_ = std::max(now_, due->writer->next_timer());
    due->writer->on_timer(now_);
    collect(*due);
    return true;
  }

  std::vector<std::unique_ptr<peer_state>> peers_;
  std::vector<message> net_;
  std::map<make::ballot, make::certified_record> chosen_;
  std::map<make::ballot, p2pdvm::byte_vector> proposed_;
  make::certified_record first_;
  p2pdvm::time_point now_{};
};
