// The barrier's other half: facts of other members, and new records.
#pragma once

#include <p2pdvm/checkpoint/cut.hpp>

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

P2PDVM_DECL void cut_barrier::repeat_to(const node_id& member) {
  if (!record_->is_live(member)) return;
  state_.informed.erase(member);
  cut_facts all = own_facts();
  all.ask = true;
  actions_.push_back(cut_action::send{member, std::move(all)});
}

P2PDVM_DECL void cut_barrier::repeat() {
  cut_facts all = own_facts();
  if (!all.empty()) actions_.push_back(cut_action::send{std::nullopt, std::move(all)});
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
