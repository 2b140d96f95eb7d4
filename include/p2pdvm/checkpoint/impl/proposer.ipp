#pragma once

#include <p2pdvm/checkpoint/impl/certificate.ipp>
#include <p2pdvm/checkpoint/proposer.hpp>
#include <p2pdvm/checkpoint/transitions.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <utility>

namespace p2pdvm::checkpoint {

P2PDVM_DECL proposer::proposer(const node_id& self, random_generator& random,
                               certified_record known, std::vector<certificate> links,
                               proposer_settings settings)
    : self_(self),
      random_(&random),
      settings_(settings),
      known_(std::move(known)),
      links_(std::move(links)),
      session_(random()) {
  P2PDVM_ASSERT(known_.record != nullptr);
  known_digest_ = known_.proof.statement.digest;
  counter_ = known_.proof.statement.ballot.counter;
  keeper_version_ = known_.record->keeper_version;
}

P2PDVM_DECL operation_id proposer::draw_operation() {
  std::array<std::uint64_t, 2> words{};
  for (auto& word : words) word = (*random_)();
  return operation_id(bytes_of(words));
}

P2PDVM_DECL result<std::uint64_t> proposer::propose(time_point now, transition change) {
  if (queue_.size() >= pending_writes_max)
    return error(errc::too_large, "too many writes of the job record wait for its keepers");
  const operation_id id = draw_operation();
  queue_.push_back({++last_number_, id, std::move(change)});
  if (phase_ == phase::idle) start_round(now);
  return last_number_;
}

P2PDVM_DECL time_point proposer::next_timer() const noexcept {
  return std::min(deadline_, upkeep_at_);
}

P2PDVM_DECL void proposer::start_next(time_point now) {
  conflicts_ = 0;
  silent_rounds_ = 0;
  phase_ = phase::idle;
  deadline_ = time_point_never;
  if (!queue_.empty()) start_round(now);
}

P2PDVM_DECL void proposer::start_round(time_point now) {
  ballot_ = ballot{++counter_, self_, session_};
  sets_.clear();
  asked_.clear();
  answered_.clear();
  newest_ = known_.record;
  newest_ballot_ = known_.proof.statement.ballot;
  newest_digest_ = known_digest_;
  phase_ = phase::preparing;
  deadline_ = now + settings_.round_time_max;
  add_sets(*known_.record);
  send_prepares();
}

P2PDVM_DECL void proposer::add_sets(const job_record& record) {
  for (const keeper_set* set : {&record.keepers, &record.previous_keepers}) {
    if (!set->empty() && std::find(sets_.begin(), sets_.end(), *set) == sets_.end())
      sets_.push_back(*set);
  }
}

P2PDVM_DECL void proposer::send_prepares() {
  const prepare_request request{known_.record->job, ballot_, keeper_version_, known_digest_};
  for (const keeper_set& set : sets_) {
    for (const node_id& keeper : set) {
      if (asked_.insert(keeper).second) messages_.push_back({keeper, request});
    }
  }
}

P2PDVM_DECL bool proposer::majorities_answered() const {
  return std::all_of(sets_.begin(), sets_.end(),
                     [&](const keeper_set& set) { return has_majority(set, answered_); });
}

P2PDVM_DECL void proposer::on_reply(time_point now, const node_id& from,
                                    const register_reply& reply) {
  if (asked_.count(from) == 0) return;
  std::visit(
      [&](const auto& r) {
        using type = std::decay_t<decltype(r)>;
        if (r.ballot != ballot_) return;
        if constexpr (std::is_same_v<type, promise_reply>) {
          if (phase_ == phase::preparing) on_promise(now, from, r);
        } else if constexpr (std::is_same_v<type, accepted_reply>) {
          if (phase_ == phase::accepting) on_accepted(now, from, r);
        } else {
          on_refused(now, from, r);
        }
      },
      reply);
}

P2PDVM_DECL void proposer::on_promise(time_point now, const node_id& from,
                                      const promise_reply& reply) {
  if (detail::among(answered_, from)) return;
  if (reply.accepted > newest_ballot_) {
    if (reply.digest == known_digest_) {
      newest_ = known_.record;
    } else {
      result<job_record> record = decode_record(reply.record);
      const bool wrong = !record || record->job != known_.record->job;
      if (wrong || crypto::hash(reply.record) != reply.digest) return;
      newest_ = std::make_shared<const job_record>(std::move(*record));
      keeper_version_ = std::max(keeper_version_, newest_->keeper_version);
    }
    newest_ballot_ = reply.accepted;
    newest_digest_ = reply.digest;
    counter_ = std::max(counter_, reply.accepted.counter);
  }
  answered_.push_back(from);
  if (!majorities_answered()) return;
  add_sets(*newest_);
  send_prepares();
  if (majorities_answered()) on_prepared(now);
}

/// The newest record found is the base when it is known to be chosen, else it is completed.
P2PDVM_DECL void proposer::on_prepared(time_point now) {
  if (newest_digest_ != known_digest_) return start_accept(now, *newest_);
  const job_record& base = *known_.record;
  const pending& write = queue_.front();
  if (base.contains(write.id)) return finish_write(now, chosen_event{write.number, known_});
  const auto reject = [&](error why) {
    finish_write(now, rejected_event{write.number, std::move(why)});
  };
  if (!base.is_live(self_))
    return reject(error(errc::refused, "this peer is no longer a member of the job"));
  result<job_record> next = write.change(base);
  if (!next) return reject(next.error());
  if (next->operations.size() == operations_max) next->operations.erase(next->operations.begin());
  next->operations.push_back(write.id);
  if (auto ok = check_keeper_step(base, *next); !ok) return reject(ok.error());
  if (auto ok = next->validate(); !ok) return reject(ok.error());
  start_accept(now, std::move(*next));
}

P2PDVM_DECL void proposer::start_accept(time_point now, job_record value) {
  value_ = std::move(value);
  sets_.clear();
  answered_.clear();
  if (newest_digest_ == known_digest_) add_sets(*known_.record);
  add_sets(value_);
  keeper_version_ = std::max(keeper_version_, value_.keeper_version);
  phase_ = phase::accepting;
  deadline_ = now + settings_.round_time_max;
  accept_request request{value_.job, ballot_, keeper_version_, wire::encode(value_)};
  proof_ = certificate{accept_statement::of(value_, request.record, ballot_), {}};
  asked_.clear();
  for (const keeper_set& set : sets_) asked_.insert(set.begin(), set.end());
  for (const node_id& keeper : asked_) messages_.push_back({keeper, request});
}

P2PDVM_DECL void proposer::on_accepted(time_point now, const node_id& from,
                                       const accepted_reply& reply) {
  if (detail::among(answered_, from)) return;
  if (crypto::node_id_of(reply.signature.key) != from) return;
  if (!crypto::verify(reply.signature.key, proof_.statement.signed_bytes(),
                      reply.signature.signature))
    return;
  answered_.push_back(from);
  proof_.signatures.push_back(reply.signature);
  if (majorities_answered()) on_chosen(now);
}

P2PDVM_DECL void proposer::on_refused(time_point now, const node_id&, const refused_reply& reply) {
  if (phase_ != phase::preparing && phase_ != phase::accepting) return;
  const bool news = reply.promised > ballot_ || reply.keeper_version > keeper_version_;
  if (!news) return;
  counter_ = std::max(counter_, reply.promised.counter);
  keeper_version_ = std::max(keeper_version_, reply.keeper_version);
  silent_rounds_ = 0;
  wait(now);
}

P2PDVM_DECL void proposer::on_chosen(time_point now) {
  const pending& write = queue_.front();
  const bool news = proof_.statement.ballot > known_.proof.statement.ballot;
  if (news) adopt(now, {std::make_shared<const job_record>(std::move(value_)), std::move(proof_)});
  if (known_.record->contains(write.id))
    return finish_write(now, chosen_event{write.number, known_});
  if (news) events_.push_back(chosen_event{0, known_});
  start_round(now);
}

/// `chosen` is newer than what was known.
P2PDVM_DECL void proposer::adopt(time_point now, certified_record chosen) {
  known_ = std::move(chosen);
  known_digest_ = known_.proof.statement.digest;
  counter_ = std::max(counter_, known_.proof.statement.ballot.counter);
  keeper_version_ = std::max(keeper_version_, known_.record->keeper_version);
  if (!known_.record->previous_keepers.empty()) {
    if (links_.size() == links_max) links_.erase(links_.begin());
    links_.push_back(known_.proof);
  }
  upkeep_at_ = time_point_never;
  const bool keeper = detail::among(known_.record->keepers, self_);
  if (keeper && known_.record->needs_upkeep()) {
    const auto bound = static_cast<std::uint64_t>(settings_.upkeep_delay.count());
    const std::uint64_t extra = random_->below(bound + 1);
    upkeep_at_ = now + settings_.upkeep_delay + duration(static_cast<std::int64_t>(extra));
  }
}

P2PDVM_DECL void proposer::finish_write(time_point now, proposer_event outcome) {
  const bool internal = queue_.front().number == 0;
  queue_.pop_front();
  const bool rejected = std::holds_alternative<rejected_event>(outcome);
  if (!internal || !rejected) events_.push_back(std::move(outcome));
  if (queue_.empty() && known_.record->needs_upkeep()) upkeep_at_ = rejected ? now + settings_.upkeep_delay : now;
  start_next(now);
}

P2PDVM_DECL void proposer::wait(time_point now) {
  const std::uint32_t doublings = std::min(conflicts_, settings_.backoff_doublings_max);
  ++conflicts_;
  const auto bound = static_cast<std::uint64_t>(settings_.backoff.count()) << doublings;
  const std::uint64_t delay = random_->below(bound + 1);
  phase_ = phase::waiting;
  deadline_ = now + duration(static_cast<std::int64_t>(delay));
}

P2PDVM_DECL void proposer::report_silence() {
  std::vector<node_id> silent;
  for (const node_id& keeper : asked_) {
    if (!detail::among(answered_, keeper)) silent.push_back(keeper);
  }
  // Built in place: moving it in as a variant makes GCC 12 warn of members it does not have.
  auto& event = events_.emplace_back(std::in_place_type<no_majority_event>);
  std::get<no_majority_event>(event) = {queue_.front().number, std::move(silent),
                                            asked_.size()};
}

P2PDVM_DECL void proposer::on_timer(time_point now) {
  if (now >= upkeep_at_) {
    upkeep_at_ = time_point_never;
    if (queue_.empty() && known_.record->needs_upkeep(newcomers_)) {
      queue_.push_back({0, draw_operation(), [newcomers = newcomers_](const job_record& r) { return upkeep(r, newcomers); }});
      start_round(now);
    }
  }
  if (now < deadline_) return;
  if (phase_ == phase::waiting) return start_round(now);
  if (++silent_rounds_ % settings_.silent_rounds_before_report == 0) report_silence();
  wait(now);
}

P2PDVM_DECL result<bool> proposer::learn(time_point now, job_record record, certificate proof,
                                         const std::vector<certificate>& links) {
  if (record.job != known_.record->job)
    return error(errc::wrong_job, "a record of another job was offered");
  if (proof.statement.ballot <= known_.proof.statement.ballot) return false;
  if (links.size() > links_max) return error(errc::too_large, "too many links to a job record");
  keeper_set trusted = known_.record->keepers;
  std::vector<certificate> passed;
  for (const certificate& link : links) {
    if (link.statement.keeper_version <= known_.record->keeper_version) continue;
    auto keepers = verify_link(record.job, link, trusted);
    if (!keepers) return keepers.error();
    trusted = std::move(*keepers);
    passed.push_back(link);
  }
  if (auto ok = verify(record, proof, trusted); !ok) return ok.error();
  if (auto ok = record.validate(); !ok) return ok.error();
  for (certificate& link : passed) {
    if (link.statement.keeper_version == record.keeper_version) continue;  // `adopt` adds it
    if (links_.size() == links_max) links_.erase(links_.begin());
    links_.push_back(std::move(link));
  }
  const bool keepers_changed = record.keepers != known_.record->keepers;
  adopt(now, {std::make_shared<const job_record>(std::move(record)), std::move(proof)});
  const bool retry = phase_ == phase::waiting && keepers_changed;
  const bool outdated = phase_ == phase::preparing;  // the promises may miss what was learned
  if (retry || outdated) start_round(now);
  return true;
}

}  // namespace p2pdvm::checkpoint
