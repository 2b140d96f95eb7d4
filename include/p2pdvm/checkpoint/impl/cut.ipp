#pragma once

#include <p2pdvm/checkpoint/cut.hpp>
#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <tuple>
#include <utility>

namespace p2pdvm::checkpoint {

namespace detail {

/// Grows along the line of chosen records, but for writes that do not concern the barrier.
inline auto record_age(const job_record& r) {
  return std::tuple(r.incarnation, r.next_epoch(), r.roster, r.state);
}

}  // namespace detail

P2PDVM_DECL cut_barrier::cut_barrier(const node_id& self, std::shared_ptr<const job_record> record)
    : self_(self), record_(std::move(record)) {
  P2PDVM_ASSERT(record_ != nullptr);
  P2PDVM_ASSERT(record_->state != job_state::forming);
  begin_incarnation();
  cut_facts question = keyed();
  question.ask = true;
  actions_.push_back(cut_action::send{std::nullopt, std::move(question)});
}

P2PDVM_DECL void cut_barrier::begin_incarnation() {
  state_ = {};
  state_.incarnation = record_->incarnation;
  state_.epoch = record_->next_epoch();
  state_.ranks.resize(record_->ranks);
  outbox_ = keyed();
}

P2PDVM_DECL cut_barrier::local_rank& cut_barrier::local(rank_number rank) {
  const auto found = state_.local.find(rank);
  P2PDVM_ASSERT(found != state_.local.end());
  return found->second;
}

P2PDVM_DECL bool cut_barrier::has_cut(rank_number rank) const {
  P2PDVM_ASSERT(rank.value() < state_.ranks.size());
  return state_.ranks[rank.value()].cut;
}

/// The outstanding epoch expects this local rank to cut.
P2PDVM_DECL bool cut_barrier::wants(rank_number rank) const {
  return running() && state_.wanted && !has_cut(rank) && !state_.local.at(rank).frozen;
}

P2PDVM_DECL cut_facts cut_barrier::keyed() const {
  cut_facts f;
  f.incarnation = state_.incarnation;
  f.epoch = state_.epoch;
  return f;
}

P2PDVM_DECL cut_facts cut_barrier::own_facts() const {
  cut_facts f = keyed();
  f.want = state_.wanted;
  for (const auto& [rank, unused] : state_.local) {
    const rank_facts& known = state_.ranks[rank.value()];
    if (known.returned) f.returned.push_back(rank);
    if (known.cut) {
      f.cut.push_back({rank, known.announced, known.cut_returned});
    } else if (known.announced) {
      f.passed.push_back({rank, *known.announced});
    }
    if (known.seal) f.sealed.push_back(*known.seal);
  }
  return f;
}

template <class P>
bool cut_barrier::every_rank(P predicate) const {
  return std::all_of(state_.ranks.begin(), state_.ranks.end(), predicate);
}

P2PDVM_DECL std::optional<std::uint64_t> cut_barrier::cut_index() const {
  std::uint64_t most = 0;
  for (const rank_facts& known : state_.ranks) {
    if (!known.announced && !known.cut) return std::nullopt;
    most = std::max(most, known.announced.value_or(0));
  }
  return most + 1;
}

// --- local ranks ---

P2PDVM_DECL void cut_barrier::rank_started(rank_number rank, std::uint64_t passed) {
  P2PDVM_ASSERT(rank.value() < state_.ranks.size());
  local_rank started;
  started.passed = passed;
  state_.local.insert_or_assign(rank, started);
  announce(rank);
  settle();
}

P2PDVM_DECL void cut_barrier::rank_removed(rank_number rank) { state_.local.erase(rank); }

P2PDVM_DECL void cut_barrier::freeze(rank_number rank, bool frozen) {
  P2PDVM_ASSERT(local(rank).at != local_rank::place::waiting);
  local(rank).frozen = frozen;
  if (!frozen && !facts(rank).announced) announce(rank);
  settle();
}

P2PDVM_DECL verdict cut_barrier::at_safe_point(rank_number rank) {
  local_rank& here = local(rank);
  P2PDVM_ASSERT(here.at == local_rank::place::running);
  if (!wants(rank)) {
    ++here.passed;
    return verdict::pass;
  }
  const auto index = cut_index();
  if (!index) {
    here.at = local_rank::place::waiting;
    return verdict::wait;
  }
  ++here.passed;
  if (here.passed < *index) return verdict::pass;
  cut_now(rank);
  settle();
  return verdict::cut;
}

P2PDVM_DECL verdict cut_barrier::standing(rank_number rank) {
  P2PDVM_ASSERT(local(rank).at == local_rank::place::running);
  local(rank).at = local_rank::place::standing;
  const verdict v = wants(rank) ? verdict::cut : verdict::pass;
  if (v == verdict::cut) cut_now(rank);
  settle();
  return v;
}

P2PDVM_DECL void cut_barrier::left_standing(rank_number rank) {
  P2PDVM_ASSERT(local(rank).at == local_rank::place::standing);
  local(rank).at = local_rank::place::running;
}

P2PDVM_DECL verdict cut_barrier::returned(rank_number rank) {
  P2PDVM_ASSERT(local(rank).at == local_rank::place::running);
  local(rank).at = local_rank::place::returned;
  facts(rank).returned = true;
  const auto has_returned = [&](const auto& entry) { return facts(entry.first).returned; };
  if (std::all_of(state_.local.begin(), state_.local.end(), has_returned)) {
    for (const auto& [other, unused] : state_.local) outbox_.returned.push_back(other);
  }
  const verdict v = wants(rank) ? verdict::cut : verdict::pass;
  if (v == verdict::cut) cut_now(rank);
  settle();
  return v;
}

P2PDVM_DECL epoch_number cut_barrier::carried_wish() const noexcept {
  const bool wish = running() && (state_.wanted || state_.wished_quietly);
  return wish ? state_.epoch : epoch_number();
}

P2PDVM_DECL verdict cut_barrier::reached_together(rank_number rank, epoch_number carried) {
  local_rank& here = local(rank);
  P2PDVM_ASSERT(here.at == local_rank::place::running);
  if (running() && carried > state_.epoch) {
    here.at = local_rank::place::waiting;
    here.together = carried;
    actions_.push_back(cut_action::need_record{});
    return verdict::wait;
  }
  if (carried == state_.epoch) learn_wish();  // announces the index before this one
  ++here.passed;
  if (carried != state_.epoch || !wants(rank)) return verdict::pass;
  cut_now(rank);
  settle();
  return verdict::cut;
}

P2PDVM_DECL epoch_number cut_barrier::wish(epoch_number at_least) {
  if (at_least > state_.epoch) {
    state_.wished_later = std::max(state_.wished_later, at_least);
    return at_least;
  }
  learn_wish();
  settle();
  return state_.epoch;
}

P2PDVM_DECL epoch_number cut_barrier::wish_quietly() {
  state_.wished_quietly = true;
  return state_.epoch;
}

P2PDVM_DECL epoch_number cut_barrier::leaving_epoch() const {
  const bool any_cut = std::any_of(state_.local.begin(), state_.local.end(),
                                   [&](const auto& entry) { return has_cut(entry.first); });
  return any_cut ? state_.epoch.next() : state_.epoch;
}

P2PDVM_DECL result<> cut_barrier::sealed(rank_number rank, epoch_number epoch,
                                         const chunk_id& manifest, byte_vector receipts) {
  if (epoch != state_.epoch || state_.local.count(rank) == 0) return {};
  P2PDVM_ASSERT(facts(rank).cut);
  P2PDVM_ASSERT(state_.logs_closed);
  if (receipts.size() > receipts_bytes_max)
    return error(errc::too_large, "the receipts of a rank's snapshot are over their limit");
  auto& seal = facts(rank).seal;
  if (seal && seal->manifest != manifest)
    return error(errc::misuse, "a rank's snapshot was sealed twice with different contents");
  seal = sealed_fact{rank, manifest, std::move(receipts)};
  state_.commit_proposed = false;
  outbox_.sealed.push_back(*seal);
  settle();
  return {};
}

P2PDVM_DECL void cut_barrier::abandon(epoch_number epoch, std::string reason) {
  if (!running() || epoch < state_.epoch) return;
  if (epoch > state_.epoch) {
    actions_.push_back(cut_action::need_record{});
    return;
  }
  learn_wish();  // a message of an epoch can come before the news of the wish for it
  if (!state_.given_up) {
    state_.given_up = true;
    actions_.push_back(cut_action::give_up{epoch, std::move(reason)});
  }
  settle();
}

// --- conclusions ---

P2PDVM_DECL void cut_barrier::learn_wish() {
  if (state_.wanted || !running()) return;
  state_.wanted = true;
  outbox_.want = true;
  for (const auto& [rank, unused] : state_.local) announce(rank);
}

P2PDVM_DECL void cut_barrier::announce(rank_number rank) {
  if (!wants(rank)) return;
  const local_rank& here = local(rank);
  if (here.at == local_rank::place::standing || here.at == local_rank::place::returned) {
    give_verdict(rank, verdict::cut);
    cut_now(rank);
    return;
  }
  if (!facts(rank).announced) facts(rank).announced = here.passed;
  outbox_.passed.push_back({rank, *facts(rank).announced});
}

P2PDVM_DECL void cut_barrier::cut_now(rank_number rank) {
  rank_facts& known = facts(rank);
  known.cut = true;
  known.cut_returned = local(rank).at == local_rank::place::returned;
  outbox_.cut.push_back({rank, known.announced, known.cut_returned});
}

P2PDVM_DECL void cut_barrier::give_verdict(rank_number rank, verdict v) {
  actions_.push_back(cut_action::rank_verdict{rank, v, state_.epoch});
}

P2PDVM_DECL void cut_barrier::settle() {
  const bool ended = every_rank([](const rank_facts& known) { return known.returned; });
  if (ended) learn_wish();  // for the final epoch: every rank is standing
  if (running() && state_.wanted) {
    decide_waiting();
    decide_logs();
    propose_commit();
  }
  flush();
}

P2PDVM_DECL void cut_barrier::decide_waiting() {
  const auto index = cut_index();
  if (!index) return;
  for (auto& [rank, here] : state_.local) {
    if (here.at != local_rank::place::waiting || here.together > state_.epoch) continue;
    here.at = local_rank::place::running;
    ++here.passed;
    const verdict v = here.passed < *index ? verdict::pass : verdict::cut;
    give_verdict(rank, v);
    if (v == verdict::cut) cut_now(rank);
  }
}

P2PDVM_DECL void cut_barrier::decide_logs() {
  if (state_.logs_closed) return;
  if (!every_rank([](const rank_facts& known) { return known.cut; })) return;
  state_.logs_closed = true;
  for (const auto& [rank, unused] : state_.local)
    actions_.push_back(cut_action::close_late_log{rank, state_.epoch});
}

P2PDVM_DECL void cut_barrier::propose_commit() {
  if (state_.commit_proposed || state_.given_up) return;
  if (!every_rank([](const rank_facts& known) { return known.cut && known.seal; })) return;
  state_.commit_proposed = true;
  cut_action::committable proposal;
  proposal.epoch = state_.epoch;
  proposal.final = every_rank([](const rank_facts& known) { return known.cut_returned; });
  for (const rank_facts& known : state_.ranks) {
    proposal.manifests.push_back(known.seal->manifest);
    proposal.receipts.push_back(known.seal->receipts);
  }
  proposal.delay = commit_delay();
  actions_.push_back(std::move(proposal));
}

P2PDVM_DECL duration cut_barrier::commit_delay() const {
  const auto place = [&](const node_id& node) {
    return crypto::hash(wire::encode(std::pair(std::pair(state_.incarnation, state_.epoch), node)));
  };
  const digest256 mine = place(self_);
  duration delay{};
  for (const member& m : record_->members) {
    if (m.live() && m.node != self_ && place(m.node) < mine) delay += commit_stagger;
  }
  return std::min<duration>(delay, commit_stagger_max);
}

P2PDVM_DECL void cut_barrier::flush() {
  if (outbox_.empty()) return;
  actions_.push_back(cut_action::send{std::nullopt, std::exchange(outbox_, keyed())});
}

// --- other members ---

P2PDVM_DECL result<> cut_barrier::check(const cut_facts& f) const {
  const std::uint32_t ranks = record_->ranks;
  const auto bad = [](const char* what) {
    return error(errc::malformed, std::string("facts about a checkpoint name ") + what);
  };
  const auto unknown = [&](const auto& fact) { return fact.rank.value() >= ranks; };
  if (std::any_of(f.returned.begin(), f.returned.end(),
                  [&](rank_number rank) { return rank.value() >= ranks; }))
    return bad("a rank that does not exist");
  if (std::any_of(f.passed.begin(), f.passed.end(), unknown) ||
      std::any_of(f.cut.begin(), f.cut.end(), unknown) ||
      std::any_of(f.sealed.begin(), f.sealed.end(), unknown))
    return bad("a rank that does not exist");
  constexpr std::uint64_t index_max = std::uint64_t{1} << 62;
  for (const passed_fact& fact : f.passed) {
    if (fact.passed > index_max) return bad("an impossible number of safe points");
  }
  for (const cut_fact& fact : f.cut) {
    if (fact.passed.value_or(0) > index_max) return bad("an impossible number of safe points");
  }
  for (const sealed_fact& fact : f.sealed) {
    if (fact.receipts.size() > receipts_bytes_max) return bad("receipts over their limit");
  }
  return {};
}

/// A peer speaks for the ranks that it hosts; if the record disagrees, one of the two is old.
P2PDVM_DECL bool cut_barrier::hosts_fit(const node_id& from, const cut_facts& f) const {
  const auto index = record_->index_of(from);
  const auto hosts = [&](rank_number rank) {
    const member* host = record_->host(rank);
    return host != nullptr && index && host == &record_->members[*index];
  };
  const auto own = [&](const auto& fact) { return hosts(fact.rank); };
  return std::all_of(f.returned.begin(), f.returned.end(), hosts) &&
         std::all_of(f.passed.begin(), f.passed.end(), own) &&
         std::all_of(f.cut.begin(), f.cut.end(), own) &&
         std::all_of(f.sealed.begin(), f.sealed.end(), own);
}

P2PDVM_DECL void cut_barrier::refuse_for_now(const node_id& from) {
  state_.ask.insert(from);
  actions_.push_back(cut_action::need_record{from});
}

P2PDVM_DECL void cut_barrier::inform_once(const node_id& to) {
  if (state_.informed.insert(to).second) actions_.push_back(cut_action::inform{to});
}

P2PDVM_DECL void cut_barrier::answer(const node_id& from) {
  cut_facts own = own_facts();
  if (!own.empty()) actions_.push_back(cut_action::send{from, std::move(own)});
}

P2PDVM_DECL result<> cut_barrier::on_facts(const node_id& from, const cut_facts& f) {
  if (auto ok = check(f); !ok) return ok;
  if (from == self_) return {};
  if (f.ask) answer(from);
  const auto theirs = std::pair(f.incarnation, f.epoch);
  const auto mine = std::pair(state_.incarnation, state_.epoch);
  if (theirs < mine) inform_once(from);
  if (f.incarnation < state_.incarnation) return {};
  if (theirs > mine || !hosts_fit(from, f)) {
    refuse_for_now(from);
    return {};
  }
  for (const rank_number rank : f.returned) facts(rank).returned = true;
  if (theirs == mine) {
    const bool news = f.want || !f.passed.empty() || !f.cut.empty() || !f.sealed.empty();
    if (news) learn_wish();
    absorb(f);
  }
  settle();
  return {};
}

P2PDVM_DECL void cut_barrier::absorb(const cut_facts& f) {
  const auto foreign = [&](rank_number rank) { return state_.local.count(rank) == 0; };
  for (const passed_fact& fact : f.passed) {
    rank_facts& known = facts(fact.rank);
    if (foreign(fact.rank) && !known.announced) known.announced = fact.passed;
  }
  for (const cut_fact& fact : f.cut) {
    rank_facts& known = facts(fact.rank);
    if (!foreign(fact.rank) || known.cut) continue;
    known.cut = true;
    known.cut_returned = fact.returned;
    if (!known.announced) known.announced = fact.passed;
  }
  for (const sealed_fact& fact : f.sealed) {
    auto& seal = facts(fact.rank).seal;
    if (!foreign(fact.rank) || (seal && seal->manifest != fact.manifest)) continue;
    if (seal && seal->receipts == fact.receipts) continue;
    seal = fact;
    state_.commit_proposed = false;
  }
}

P2PDVM_DECL void cut_barrier::on_record(std::shared_ptr<const job_record> record) {
  P2PDVM_ASSERT(record != nullptr);
  if (detail::record_age(*record) <= detail::record_age(*record_)) return;
  const std::shared_ptr<const job_record> old = std::exchange(record_, std::move(record));
  if (record_->incarnation != state_.incarnation) {
    if (state_.wanted) actions_.push_back(cut_action::released{state_.epoch});
    const std::set<node_id> ask = std::exchange(state_.ask, {});
    begin_incarnation();
    state_.ask = ask;
  } else if (record_->next_epoch() != state_.epoch) {
    end_epoch(*old);
  }
  for (const member& m : record_->members) {
    if (m.live() && m.node != self_ && !old->is_live(m.node)) answer(m.node);
  }
  for (const node_id& node : std::exchange(state_.ask, {})) {
    cut_facts question = keyed();
    question.ask = true;
    if (record_->is_live(node)) actions_.push_back(cut_action::send{node, std::move(question)});
  }
  const bool due = state_.wished_later != epoch_number() && state_.wished_later <= state_.epoch;
  if (due) {
    state_.wished_later = {};
    learn_wish();
  }
  settle();
}

/// The outstanding epoch was committed or given up: waiting ranks go on, facts are forgotten.
P2PDVM_DECL void cut_barrier::end_epoch(const job_record& old) {
  const bool committed = record_->committed.epoch > old.committed.epoch;
  const bool floor_first = record_->floor < record_->committed.epoch;
  const auto release = [&] {
    if (record_->floor > old.floor) actions_.push_back(cut_action::released{record_->floor});
  };
  if (floor_first) release();
  if (committed) actions_.push_back(cut_action::committed{record_->committed.epoch});
  if (!floor_first) release();

  state_.epoch = record_->next_epoch();
  state_.wanted = state_.wished_quietly = state_.given_up = false;
  state_.logs_closed = state_.commit_proposed = false;
  state_.informed.clear();
  for (rank_facts& known : state_.ranks) {
    const bool returned = known.returned;
    known = {};
    known.returned = returned;
  }
  outbox_ = keyed();
  bool cut_together = false;
  for (auto& [rank, here] : state_.local) {
    if (here.at != local_rank::place::waiting) continue;
    cut_together = cut_together || here.together == state_.epoch;
    if (here.together >= state_.epoch) continue;
    here.at = local_rank::place::running;
    ++here.passed;
    give_verdict(rank, verdict::pass);
  }
  if (cut_together) learn_wish();
  for (auto& [rank, here] : state_.local) {
    if (here.at != local_rank::place::waiting || here.together != state_.epoch) continue;
    here.at = local_rank::place::running;
    ++here.passed;
    give_verdict(rank, verdict::cut);
    cut_now(rank);
  }
}

}  // namespace p2pdvm::checkpoint
