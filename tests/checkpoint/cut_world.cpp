#include "cut_world.hpp"

namespace cut_test {

namespace {

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  random_generator g(a * 0x9e3779b97f4a7c15ull + b);
  return g();
}

}  // namespace

world::world(std::vector<program> programs, const std::vector<std::uint32_t>& hosts,
             std::uint64_t peers)
    : programs_(std::make_shared<const std::vector<program>>(std::move(programs))) {
  job_record first = *start(make::forming(ranks(), peers), hosts);
  records_.push_back(std::make_shared<const job_record>(std::move(first)));
  wishes.assign(peers, 1);
  ranks_.resize(ranks());
  for (live_rank& r : ranks_) {
    r.now.sent.resize(ranks());
    r.now.consumed.resize(ranks());
    r.now.window.resize(ranks());
    r.now.received.resize(ranks());
  }
  peers_.resize(peers);
  for (std::uint64_t i = 0; i < peers; ++i) {
    peers_[i].node = make::node(i);
    peers_[i].barrier.emplace(peers_[i].node, records_[0]);
    static_cast<void>(peers_[i].barrier->take_actions());  // nobody has facts yet
    for (const rank_number rank : records_[0]->ranks_of(peers_[i].node))
      peers_[i].barrier->rank_started(rank, 0);
  }
}

std::uint64_t world::host(std::uint32_t rank) const {
  const node_id& node = newest().host(rank_number(rank))->node;
  for (std::uint64_t i = 0; i < peers_.size(); ++i) {
    if (peers_[i].node == node) return i;
  }
  return 0;
}

incarnation_number world::incarnation_of(std::uint32_t rank) const {
  const auto& barrier = peers_[host(rank)].barrier;
  const bool here = barrier && barrier->view().local.count(rank_number(rank)) != 0;
  return here ? barrier->view().incarnation : incarnation_number();
}

const op* world::next_op(std::uint32_t rank) const {
  const program& p = (*programs_)[rank];
  const std::uint32_t pc = ranks_[rank].now.pc;
  return pc < p.size() ? &p[pc] : nullptr;
}

/// In sequence per source; among several sources the first from `preferred` on.
std::optional<rank_message> world::match(const rank_state& r, const op& o,
                                                std::uint32_t preferred) const {
  for (std::uint32_t i = 0; i < ranks(); ++i) {
    const std::uint32_t source = (preferred + i) % ranks();
    if (o.kind != 'A' && source != o.other) continue;
    for (const rank_message& m : r.mailbox) {
      if (m.source == source && m.sequence == r.consumed[source]) return m;
    }
  }
  return std::nullopt;
}

/// The epoch of a held message that alone could satisfy the rank's receive.
std::optional<epoch_number> world::needs_held(std::uint32_t rank) const {
  const live_rank& r = ranks_[rank];
  const op* o = next_op(rank);
  if (o == nullptr || (o->kind != 'R' && o->kind != 'A' && o->kind != 'W')) return std::nullopt;
  if (match(r.now, *o, 0)) return std::nullopt;
  for (const auto& [epoch, m] : r.held) {
    if ((o->kind == 'A' || m.source == o->other) && m.sequence == r.now.consumed[m.source])
      return epoch;
  }
  return std::nullopt;
}

bool world::rank_can_move(std::uint32_t rank) const {
  const live_rank& r = ranks_[rank];
  if (r.waiting || r.returned || incarnation_of(rank) == incarnation_number()) return false;
  const op* o = next_op(rank);
  if (o == nullptr || o->kind == 'S' || o->kind == 'P') return true;
  if (o->kind == 'W' && !r.standing) return true;
  if (match(r.now, *o, 0)) return true;
  const auto held = needs_held(rank);
  const auto& barrier = *peers_[host(rank)].barrier;
  return held && *held == barrier.epoch() && !barrier.view().given_up;
}

void world::send(std::uint32_t rank, std::uint32_t to) {
  rank_state& r = ranks_[rank].now;
  const rank_message m{rank, r.sent[to]++, mix(r.history, r.pc)};
  r.window[to].insert(m);
  packets_.insert({incarnation_of(rank), ranks_[rank].epoch, to, m});
}

void world::consume(std::uint32_t rank, const rank_message& m) {
  rank_state& r = ranks_[rank].now;
  r.mailbox.erase(m);
  ++r.consumed[m.source];
  r.history = mix(r.history, mix(m.source, m.body));
  ++r.pc;
}

void world::pass(std::uint32_t rank) {
  ranks_[rank].waiting = false;
  ++ranks_[rank].now.pc;
  ++ranks_[rank].now.passed;
}

/// The state is taken as it is; only then does the rank belong to the new epoch.
void world::capture(std::uint32_t rank, epoch_number epoch) {
  live_rank& r = ranks_[rank];
  REQUIRE(r.epoch < epoch);
  r.shot = snapshot{r.now, {}};
  r.log_open = true;
  r.epoch = epoch;
  standing_cuts += r.standing || r.returned ? 1u : 0u;
  for (auto it = r.held.begin(); it != r.held.end();) {
    const auto& [held_epoch, m] = *it;
    if (held_epoch > epoch) {
      ++it;
      continue;
    }
    r.now.mailbox.insert(m);
    r.now.received[m.source].insert(m.sequence);
    it = r.held.erase(it);
  }
}

void world::step_rank(std::uint32_t rank) {
  live_rank& r = ranks_[rank];
  const rank_number number(rank);
  cut_barrier& barrier = barrier_of(rank);
  const op* o = next_op(rank);
  if (o == nullptr) {
    r.returned = true;
    if (barrier.returned(number) == verdict::cut) capture(rank, barrier.epoch());
  } else if (o->kind == 'S') {
    send(rank, o->other);
    ++r.now.pc;
  } else if (o->kind == 'P') {
    const verdict v = barrier.at_safe_point(number);
    r.waiting = v == verdict::wait;
    if (!r.waiting) pass(rank);
    if (v == verdict::cut) capture(rank, barrier.epoch());
  } else if (o->kind == 'W' && !r.standing) {
    r.standing = true;
    if (barrier.standing(number) == verdict::cut) capture(rank, barrier.epoch());
  } else if (const auto m = match(r.now, *o, 0)) {
    if (r.standing) barrier.left_standing(number);
    r.standing = false;
    consume(rank, *m);
  } else {
    barrier.abandon(barrier.epoch(), "a rank needs a held message");
  }
  apply(host(rank));
}

void world::deliver(const rank_packet& p) {
  if (p.incarnation < incarnation_of(p.to) || !peers_[host(p.to)].barrier) return;
  if (p.incarnation != incarnation_of(p.to)) {
    packets_.insert(p);  // its host has not started it yet; the sender would send again
    return;
  }
  live_rank& r = ranks_[p.to];
  const std::uint32_t source = p.message.source;
  const bool duplicate = r.now.received[source].count(p.message.sequence) != 0 ||
                         r.held.count({p.epoch, p.message}) != 0;
  if (!duplicate && p.epoch > r.epoch) {
    r.held.insert({p.epoch, p.message});
  } else if (!duplicate) {
    r.now.mailbox.insert(p.message);
    r.now.received[source].insert(p.message.sequence);
    if (r.log_open && p.epoch < r.epoch) r.shot->late.insert(p.message);
  }
  acks_.insert(p);
}

void world::seal(std::uint32_t rank) {
  live_rank& r = ranks_[rank];
  const byte_vector bytes = wire::encode(*r.shot);
  byte_vector id{std::byte{1}};
  append(id, crypto::hash(bytes).bytes());
  const chunk_id manifest(id);
  stored_.insert_or_assign(manifest, *r.shot);
  REQUIRE(barrier_of(rank).sealed(rank_number(rank), r.epoch, manifest, id).ok());
  apply(host(rank));
}

void world::release(std::uint64_t peer, epoch_number epoch) {
  for (const auto& [number, unused] : peers_[peer].barrier->view().local) {
    live_rank& r = ranks_[number.value()];
    if (r.epoch < epoch) r.epoch = epoch;
    r.shot.reset();
    r.log_open = false;
    for (auto it = r.held.begin(); it != r.held.end();) {
      if (it->first > epoch) {
        ++it;
        continue;
      }
      r.now.mailbox.insert(it->second);
      r.now.received[it->second.source].insert(it->second.sequence);
      it = r.held.erase(it);
    }
  }
}

void world::carry_out(std::uint64_t peer, barrier_action& action) {
  if (auto* send_facts = std::get_if<cut_action::send>(&action)) {
    for (std::uint64_t to = 0; to < peers_.size(); ++to) {
      const bool chosen = send_facts->to ? *send_facts->to == peers_[to].node : to != peer;
      if (chosen && peers_[to].barrier) facts_.push_back({peer, to, send_facts->facts});
    }
  } else if (auto* v = std::get_if<cut_action::rank_verdict>(&action)) {
    if (ranks_[v->rank.value()].waiting) pass(v->rank.value());
    if (v->verdict == verdict::cut) capture(v->rank.value(), v->epoch);
  } else if (auto* close = std::get_if<cut_action::close_late_log>(&action)) {
    ranks_[close->rank.value()].log_open = false;
  } else if (auto* proposal = std::get_if<cut_action::committable>(&action)) {
    peers_[peer].proposal = *proposal;
  } else if (auto* give_up = std::get_if<cut_action::give_up>(&action)) {
    ++abandoned;
    write(raise_floor(newest(), peers_[peer].barrier->view().incarnation, give_up->epoch));
  } else if (auto* released = std::get_if<cut_action::released>(&action)) {
    release(peer, released->epoch);
  } else if (std::get_if<cut_action::committed>(&action) != nullptr) {
    for (const auto& [number, unused] : peers_[peer].barrier->view().local)
      ranks_[number.value()].shot.reset();
  }
  // need_record and inform: every peer learns every record some time, a separate move.
}

void world::apply(std::uint64_t peer) {
  for (barrier_action& action : peers_[peer].barrier->take_actions()) carry_out(peer, action);
}

/// The register, linearised: a write that conflicts has no effect.
void world::write(result<job_record> next) {
  if (!next) return;
  if (next->committed.epoch > newest().committed.epoch) ++commits;
  records_.push_back(std::make_shared<const job_record>(std::move(*next)));
}

void world::learn(std::uint64_t peer) {
  peer_world& p = peers_[peer];
  const auto& record = records_[++p.record];
  const bool new_incarnation = record->incarnation != p.barrier->view().incarnation;
  p.barrier->on_record(record);
  p.proposal.reset();
  apply(peer);
  if (new_incarnation) restart_ranks(peer);
}

void world::restart_ranks(std::uint64_t peer) {
  const job_record& record = *records_[peers_[peer].record];
  for (const rank_number number : record.ranks_of(peers_[peer].node)) {
    if (host(number.value()) != peer) continue;  // it has moved on since this record
    live_rank& r = ranks_[number.value()];
    r = {};
    r.now.sent.resize(ranks());
    r.now.consumed.resize(ranks());
    r.now.window.resize(ranks());
    r.now.received.resize(ranks());
    if (record.committed.epoch != epoch_number(0)) {
      const snapshot& shot = stored_.at(record.committed.manifests[number.value()]);
      r.now = shot.at_cut;
      for (const rank_message& m : shot.late) {
        r.now.mailbox.insert(m);
        r.now.received[m.source].insert(m.sequence);
      }
    }
    r.epoch = record.floor < record.committed.epoch ? record.committed.epoch : record.floor;
    peers_[peer].barrier->rank_started(number, r.now.passed);
    for (std::uint32_t to = 0; to < ranks(); ++to) {
      for (const rank_message& m : r.now.window[to])
        packets_.insert({record.incarnation, r.epoch, to, m});
    }
  }
  apply(peer);
}

void world::kill(std::uint64_t peer) {
  peers_[peer].barrier.reset();
  peers_[peer].proposal.reset();
  write(evict(newest(), {peers_[peer].node}));
}

bool world::finished() const {
  return std::all_of(ranks_.begin(), ranks_.end(), [](const live_rank& r) { return r.returned; });
}

bool world::snapshot_complete() const {
  return std::all_of(ranks_.begin(), ranks_.end(), [&](const live_rank& r) {
    return r.shot && !r.log_open && r.epoch == newest().next_epoch();
  });
}

std::vector<world::move> world::moves() const {
  using kind = move::kind;
  std::vector<move> all;
  if (snapshots_only && snapshot_complete()) return all;
  std::size_t i = 0;
  for (std::uint32_t r = 0; r < ranks(); ++r) {
    if (rank_can_move(r)) all.push_back({kind::rank, r});
    const bool drained = ranks_[r].shot && !ranks_[r].log_open && peers_[host(r)].barrier;
    if (!drained || snapshots_only) continue;
    const auto& barrier = *peers_[host(r)].barrier;
    const bool local = barrier.view().local.count(rank_number(r)) != 0;
    if (local && barrier.view().logs_closed && !barrier.view().ranks[r].seal)
      all.push_back({kind::seal, r});
  }
  for (i = 0; i < packets_.size(); ++i) all.push_back({kind::packet, i});
  for (i = 0; i < acks_.size(); ++i) all.push_back({kind::ack, i});
  std::set<std::pair<std::uint64_t, std::uint64_t>> pairs;
  for (i = 0; i < facts_.size(); ++i) {
    const bool first = pairs.insert({facts_[i].from, facts_[i].to}).second;
    if (first || !snapshots_only) all.push_back({kind::facts, i});
  }
  for (i = 0; i < peers_.size(); ++i) {
    if (!peers_[i].barrier) continue;
    if (peers_[i].record + 1 < records_.size()) all.push_back({kind::record, i});
    if (wishes[i] > 0 && !peers_[i].barrier->wanted()) all.push_back({kind::wish, i});
    if (peers_[i].proposal) all.push_back({kind::commit, i});
  }
  return all;
}

void world::make(const move& m) {
  using kind = move::kind;
  const auto at = [&](auto& set) {
    return std::next(set.begin(), static_cast<std::ptrdiff_t>(m.index));
  };
  const auto take = [&](auto& set) {
    auto node = set.extract(at(set));
    return node.value();
  };
  switch (m.what) {
    case kind::rank: return step_rank(static_cast<std::uint32_t>(m.index));
    case kind::seal: return seal(static_cast<std::uint32_t>(m.index));
    case kind::packet: return deliver(take(packets_));
    case kind::ack: {
      const rank_packet p = take(acks_);
      if (p.incarnation == incarnation_of(p.message.source))
        ranks_[p.message.source].now.window[p.to].erase(p.message);
      return;
    }
    case kind::facts: {
      const facts_packet p = *at(facts_);
      facts_.erase(at(facts_));
      if (!peers_[p.to].barrier) return;
      REQUIRE(peers_[p.to].barrier->on_facts(peers_[p.from].node, p.facts).ok());
      return apply(p.to);
    }
    case kind::record: return learn(m.index);
    case kind::wish:
      --wishes[m.index];
      peers_[m.index].barrier->wish();
      return apply(m.index);
    case kind::commit: {
      const auto proposal = *std::exchange(peers_[m.index].proposal, std::nullopt);
      const auto incarnation = peers_[m.index].barrier->view().incarnation;
      write(proposal.final ? finish(newest(), incarnation, proposal.epoch, proposal.manifests)
                           : commit(newest(), incarnation, proposal.epoch, proposal.manifests));
      return;
    }
  }
}

byte_vector world::fingerprint() const {
  byte_vector bytes;
  wire::writer w(bytes);
  w(ranks_);
  w(packets_);
  w(acks_);
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::vector<cut_facts>> facts;
  for (const facts_packet& f : facts_) facts[{f.from, f.to}].push_back(f.facts);
  w(facts);  // the order between different pairs is no state
  w(static_cast<std::uint64_t>(records_.size()));
  for (const peer_world& p : peers_) {
    w(p.record);
    w(p.proposal.has_value());
    if (p.barrier) w(p.barrier->view());
  }
  w(wishes);
  return bytes;
}

bool world::restart_is_right() const {
  for (const std::uint32_t preferred : {0u, ranks() - 1}) {
    std::vector<rank_state> now;
    std::map<std::tuple<std::uint32_t, std::uint32_t, std::uint64_t>, std::uint64_t> bodies;
    for (std::uint32_t r = 0; r < ranks(); ++r) {
      now.push_back(ranks_[r].shot->at_cut);
      for (const rank_message& m : ranks_[r].shot->late) {
        now[r].mailbox.insert(m);
        now[r].received[m.source].insert(m.sequence);
      }
      for (const rank_message& m : now[r].mailbox) bodies[{r, m.source, m.sequence}] = m.body;
    }
    for (std::uint32_t r = 0; r < ranks(); ++r) {
      for (std::uint32_t to = 0; to < ranks(); ++to) {
        for (const rank_message& m : ranks_[r].shot->at_cut.window[to]) {
          const auto known = bodies.find({to, r, m.sequence});
          if (known != bodies.end() && known->second != m.body) return false;
          if (now[to].received[r].insert(m.sequence).second) now[to].mailbox.insert(m);
        }
      }
    }
    for (bool moved = true; moved;) {
      moved = false;
      for (std::uint32_t r = 0; r < ranks(); ++r) {
        rank_state& s = now[r];
        while (s.pc < (*programs_)[r].size()) {
          const op& o = (*programs_)[r][s.pc];
          if (o.kind == 'S') {
            const rank_message m{r, s.sent[o.other]++, mix(s.history, s.pc)};
            if (!now[o.other].received[r].insert(m.sequence).second) return false;
            now[o.other].mailbox.insert(m);
          } else if (o.kind != 'P') {
            const auto m = match(s, o, preferred);
            if (!m) break;
            s.mailbox.erase(*m);
            ++s.consumed[m->source];
            s.history = mix(s.history, mix(m->source, m->body));
          }
          ++s.pc;
          moved = true;
        }
      }
    }
    for (std::uint32_t r = 0; r < ranks(); ++r) {
      if (now[r].pc < (*programs_)[r].size() || !now[r].mailbox.empty()) return false;
    }
  }
  return true;
}

}  // namespace cut_test
