#pragma once

#include <p2pdvm/checkpoint/cut.hpp>
#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <utility>

namespace p2pdvm::checkpoint {

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
  if (state_.given_up) return {};  // what is wrong with it may be in this very snapshot
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

P2PDVM_DECL void cut_barrier::abandon(epoch_number epoch, std::string reason,
                                      std::optional<rank_number> unless_cut) {
  if (!running() || epoch < state_.epoch) return;
  if (epoch > state_.epoch) {
    actions_.push_back(cut_action::need_record{});
    return;
  }
  learn_wish();  // a message of an epoch can come before the news of the wish for it
  const bool needless = unless_cut && has_cut(*unless_cut);
  if (!state_.given_up && !needless) {
    state_.given_up = true;
    actions_.push_back(cut_action::give_up{epoch, std::move(reason)});
  }
  settle();
}

// Conclusions from the facts.

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
  if (state_.logs_closed || state_.given_up) return;
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

}  // namespace p2pdvm::checkpoint
