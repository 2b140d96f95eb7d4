#pragma once

#include <p2pdvm/runtime/job.hpp>

#include <algorithm>

namespace p2pdvm::runtime {

namespace detail {

inline peal::verdict to_peal(checkpoint::verdict v) {
  return v == checkpoint::verdict::cut    ? peal::verdict::cut
         : v == checkpoint::verdict::wait ? peal::verdict::wait
                                          : peal::verdict::pass;
}

}  // namespace detail

// --- ranks at their safe points ---

P2PDVM_DECL peal::verdict job::rank_arrives(rank_runner& r) {
  const checkpoint::verdict v = barrier_->at_safe_point(r.number());
  // A rank that is to cut is captured before anything else happens; `rank_captured` goes on.
  if (v == checkpoint::verdict::cut) {
    before_capture(r);
  } else {
    if (v == checkpoint::verdict::wait) blocking_.waits(r.number(), clock_now());
    pump_barrier();
  }
  return detail::to_peal(v);
}

P2PDVM_DECL peal::verdict job::rank_arrives_together(rank_runner& r, epoch_number wished) {
  const checkpoint::verdict v = barrier_->reached_together(r.number(), wished);
  if (v == checkpoint::verdict::cut) {
    before_capture(r);
  } else {
    if (v == checkpoint::verdict::wait) blocking_.waits(r.number(), clock_now());
    pump_barrier();
  }
  return detail::to_peal(v);
}

P2PDVM_DECL void job::before_capture(rank_runner& r) {
  blocking_.cuts(r.number(), clock_now());
  if (!leaving_ || barrier_->epoch() != leaving_epoch_) return;
  r.freeze(true);
  barrier_->freeze(r.number(), true);
}

P2PDVM_DECL void job::rank_captured(rank_runner& r, epoch_number epoch, peal::snapshot taken) {
  const time_point now = clock_now();
  cut_at_ = now;
  if (const duration patience = context_.setting.hang_after; patience > duration::zero() && !late_timer_.armed())
    late_timer_.after(patience, [this, epoch] { tell_late_ranks(epoch); });
  if (r.frozen()) traffic_.freeze(r.number(), true);
  event e;
  e.epoch = epoch;
  e.rank = r.number();
  e.seconds = to_seconds(blocking_.cut(r.number(), epoch, now));
  tell(event_kind::cut, std::move(e));
  store_.captured(r.number(), epoch, record().incarnation, std::move(taken));
  pump_barrier();
}

P2PDVM_DECL void job::capture(rank_runner& r) {
  before_capture(r);
  const epoch_number epoch = barrier_->epoch();
  peal::snapshot taken;
  try {
    taken = r.rank().capture(epoch);  // calls what the program gave to save its state
  } catch (...) {
    return fail("rank " + std::to_string(r.number().value()) + ": " +
                detail::describe(std::current_exception()));
  }
  rank_captured(r, epoch, std::move(taken));
}

P2PDVM_DECL void job::capture_if(rank_runner& r, checkpoint::verdict v) {
  if (v == checkpoint::verdict::cut) {
    capture(r);
  } else {
    pump_barrier();
  }
}

P2PDVM_DECL void job::rank_stands(rank_runner& r, bool standing) {
  if (r.rank().cancelled()) return;  // its barrier may be of another incarnation already
  if (!standing) {
    barrier_->left_standing(r.number());
    pump_barrier();
  } else if (r.rank().finished()) {
    capture_if(r, barrier_->returned(r.number()));
  } else {
    capture_if(r, barrier_->standing(r.number()));
  }
}

// --- the barrier's decisions ---

P2PDVM_DECL void job::pump_barrier() {
  if (!barrier_ || std::exchange(pumping_, true)) return;
  for (auto actions = barrier_->take_actions(); !actions.empty();
       actions = barrier_->take_actions()) {
    for (auto& action : actions) std::visit([this](auto& a) { act(a); }, action);
  }
  pumping_ = false;
}

P2PDVM_DECL void job::act(checkpoint::cut_action::send& a) {
  if (a.facts.want && a.facts.epoch != wish_told_) {
    wish_told_ = a.facts.epoch;
    event e;
    e.epoch = a.facts.epoch;
    tell(event_kind::wished, std::move(e));
  }
  if (a.to) return owner_.send(*a.to, std::move(a.facts));
  tell_all(a.facts);
}

P2PDVM_DECL void job::act(checkpoint::cut_action::rank_verdict& a) {
  const auto found = runners_.find(a.rank);
  if (found == runners_.end()) return;
  rank_runner& r = *found->second;
  if (a.verdict == checkpoint::verdict::cut) before_capture(r);
  if (a.verdict == checkpoint::verdict::pass) blocking_.passes(a.rank);
  if (r.rank().waits_at_safe_point()) r.rank().end_wait();
  if (a.verdict == checkpoint::verdict::cut) capture(r);
}

P2PDVM_DECL void job::act(checkpoint::cut_action::close_late_log& a) {
  const auto found = runners_.find(a.rank);
  if (found == runners_.end()) return;
  messaging::endpoint& end = found->second->endpoint();
  end.close_late_log();
  store_.close(a.rank, a.epoch, end.late_log());
}

P2PDVM_DECL void job::act(checkpoint::cut_action::committable& a) {
  commit_timer_.after(a.delay, [this, c = a] { propose_commit(c); });
}

P2PDVM_DECL void job::act(checkpoint::cut_action::give_up& a) {
  event e;
  e.epoch = a.epoch;
  e.text = a.reason;
  tell(event_kind::abandoned, std::move(e));
  keeper_.propose([i = record().incarnation, n = a.epoch](const checkpoint::job_record& r) {
    return checkpoint::raise_floor(r, i, n);
  });
}

P2PDVM_DECL void job::act(checkpoint::cut_action::released& a) {
  late_timer_.cancel();
  store_.drop(a.epoch);
  for (auto& [rank, r] : runners_) r->endpoint().on_floor(a.epoch);
  for (auto& [rank, r] : runners_) r->endpoint().check_held();
  if (leaving_ && a.epoch == leaving_epoch_) wish_to_leave();
  arm_policy();
}

P2PDVM_DECL void job::act(checkpoint::cut_action::committed& a) {
  const bool has_ranks = !runners_.empty();
  if (has_ranks) {
    commit_latency_ = std::max(clock_now() - cut_at_, commit_latency_ / 2);
    utilisation_->blocked(blocking_.last());
    utilisation_->committed(cut_at_);
    ++commits_;
  }
  abandon_delay_ = abandon_delay_min;
  event e;
  e.epoch = a.epoch;
  e.count = store_.replicas();
  if (has_ranks && e.count >= std::min<std::size_t>(spec().replicas, record().live_count())) copies_told_ = copies_told_none;
  if (has_ranks) e.seconds = to_seconds(clock_now() - cut_at_);
  tell(event_kind::committed, std::move(e));
  store_.committed(record());
  outputs_.committed(record());
  for (auto& [rank, r] : runners_) r->endpoint().drop_late_log();
  for (auto& [rank, r] : runners_) r->endpoint().check_held();
  late_timer_.cancel();
  if (leaving_ && a.epoch >= leaving_epoch_) {
    move_away();
  } else {
    spread_ranks();
  }
  arm_policy();
}

P2PDVM_DECL void job::act(checkpoint::cut_action::need_record& a) {
  if (a.from) return record_is_old(*a.from);
  for (const node_id& keeper : record().keepers) {
    if (keeper != self()) record_is_old(keeper);
  }
}

P2PDVM_DECL void job::act(checkpoint::cut_action::inform& a) {
  owner_.send(a.to, keeper_.update());
}

P2PDVM_DECL void job::must_abandon(epoch_number epoch, std::string why) {
  if (!barrier_) return;
  barrier_->abandon(epoch, std::move(why));
  pump_barrier();
}

P2PDVM_DECL void job::waits_for_held(rank_number rank, epoch_number epoch, std::string why) {
  const auto found = runners_.find(rank);
  if (!barrier_ || found == runners_.end() || found->second->rank().waits_at_safe_point()) return;
  barrier_->abandon(epoch, std::move(why), rank);
  pump_barrier();
}

P2PDVM_DECL void job::propose_commit(const checkpoint::cut_action::committable& c) {
  if (!barrier_ || barrier_->epoch() != c.epoch) return;
  const store::pin snapshot{record().job, record().incarnation, c.epoch};
  for (std::uint32_t r = 0; r < c.receipts.size(); ++r) {
    // Else its rank seals again with other holders.
    if (!store_.sufficient(snapshot, rank_number(r), c.receipts[r])) return;
  }
  const auto propose = [this, i = record().incarnation, c] {
    keeper_.propose([i, c](const checkpoint::job_record& r) {
      return c.final ? checkpoint::finish(r, i, c.epoch, c.manifests)
                     : checkpoint::commit(r, i, c.epoch, c.manifests);
    });
  };
  if (!c.final || spec().receipts == receipts_from::disk) return propose();
  // Nothing comes after it: what is only in memory would be the job's result.
  context_.log.sync([propose, alive = alive_](const result<>&) {
    if (*alive) propose();
  });
}

P2PDVM_DECL void job::drained(rank_number rank, epoch_number epoch, const drain_outcome& outcome) {
  event e;
  e.rank = rank;
  e.epoch = epoch;
  e.count = outcome.bytes_sent;
  tell(event_kind::drained, event(e));
  tell(event_kind::sealed, std::move(e));
  if (outcome.replicas < outcome.wanted && outcome.replicas < copies_told_) {
    copies_told_ = outcome.replicas;
    warn("of some pieces of checkpoints there " +
         (outcome.replicas == 1 ? std::string("is 1 copy") : "are " + std::to_string(outcome.replicas) + " copies") + " instead of " +
         std::to_string(outcome.wanted) + (outcome.trouble.empty() ? "" : ": " + outcome.trouble));
  }
  const auto told = barrier_->sealed(rank, epoch, outcome.manifest, outcome.receipts);
  if (!told.ok()) must_abandon(epoch, told.error().message());
  pump_barrier();
}

P2PDVM_DECL void job::drain_failed(rank_number rank, epoch_number epoch, const error& why) {
  if (end_unsaved(epoch, why)) return;
  if (abandon_timer_.armed() && abandon_epoch_ == epoch) return;
  abandon_epoch_ = epoch;
  // After the end, and for a leaving peer, the next try follows at once: not in a tight loop.
  abandon_timer_.after(abandon_delay_, [this, epoch, text = "the snapshot of rank " +
                                                            std::to_string(rank.value()) +
                                                            " cannot be stored: " + why.message()] {
    abandon_delay_ = std::min(abandon_delay_ * 2, abandon_delay_max);
    must_abandon(epoch, text);
  });
}

/// The last peer of a job whose ranks have all returned has the results, even where it cannot
/// store them.
P2PDVM_DECL bool job::end_unsaved(epoch_number epoch, const error& why) {
  const bool last = is_member() && record().live_count() == 1;
  if (!last || runners_.size() != record().ranks) return false;
  std::map<rank_number, std::shared_ptr<const peal::snapshot>> whole;
  for (const auto& [rank, runner] : runners_) {
    auto snapshot = store_.drained(rank, epoch);
    if (!runner->rank().finished() || snapshot == nullptr) return false;
    whole[rank] = std::move(snapshot);
  }
  warn("the results are only given, not kept: " + why.message());
  results_ = std::move(whole);
  outputs_.finish({epoch, std::vector<chunk_id>(record().ranks)});
  results_complete();
  return true;
}

P2PDVM_DECL void job::disk_noticed(const store::disk_notice& notice) {
  using kind = store::disk_notice::kind;
  event e;
  e.text = notice.text;
  if (notice.what == kind::refuses) {
    e.text = "this peer keeps no new pieces of checkpoints until it can again: " + notice.text;
    return tell(event_kind::warning, std::move(e));
  }
  damage_seen_ = damage_seen_ || notice.what == kind::damaged;
  e.count = 1;
  tell(notice.what == kind::healed ? event_kind::healed : event_kind::damaged, std::move(e));
}

P2PDVM_DECL void job::send_store(const node_id& to, const store::store_message& message) {
  if (to != self()) return owner_.send_store(to, message);
  // To this peer's own holder, but not from inside the caller.
  context_.machine.clock().call_at(clock_now(), [this, alive = alive_, message] {
    if (*alive) on_store_message(self(), message);
  });
}

// --- wishes ---

P2PDVM_DECL void job::wish() {
  if (!barrier_ || record().state != checkpoint::job_state::running || !is_member()) return;
  barrier_->wish();
  pump_barrier();
}

P2PDVM_DECL checkpoint::observation job::observe() const {
  std::set<node_id> hosts;
  std::uint32_t last = 0;
  for (const std::uint32_t host : record().host_of_rank) {
    if (hosts.empty() || host != last) hosts.insert(record().members[host].node);
    last = host;
  }
  checkpoint::observation seen;
  seen.failures_per_second = lifetimes_.failures_per_second(clock_now(), hosts);
  seen.blocking = std::max<duration>(blocking_.blocking(), std::chrono::microseconds(50));
  seen.commit_latency = commit_latency_;
  seen.recovery = recovery_;
  return seen;
}

P2PDVM_DECL void job::on(const node_id& from, lifetimes_told& told) {
  hear_member(from);
  lifetimes_.learn(told, clock_now());
}

/// What checkpoints and deaths have cost, beside what was expected of them.
P2PDVM_DECL void job::tell_utilisation() {
  if (!utilisation_ || commits_ == 0) return;
  const checkpoint::observation seen = observe();
  const duration pause = policy_->next(seen);
  event e;
  e.count = commits_;
  e.seconds = to_seconds(utilisation_->elapsed(clock_now()));
  e.achieved = utilisation_->achieved(clock_now());
  if (pause != duration::max())
    e.predicted = checkpoint::predicted_utilisation(pause, seen.failures_per_second, seen.blocking, seen.recovery);
  tell(event_kind::utilised, std::move(e));
}

P2PDVM_DECL void job::arm_policy() {
  if (record().state != checkpoint::job_state::running || !is_member()) return policy_timer_.cancel();
  // Who has no ranks sees no cuts: it knows neither when the last one was nor what one costs.
  if (record().ranks_of(self()).empty()) return policy_timer_.cancel();
  const duration pause = policy_->next(observe());
  if (pause == duration::max()) return policy_timer_.cancel();
  // What was computed before a rollback needs no saving any more.
  const time_point since = std::max(cut_at_, whole_at_);
  policy_timer_.at(std::max(since + pause, clock_now()), [this] { wish(); });
}

/// Those that cut have gone on; without the others their snapshots are worth nothing.
P2PDVM_DECL void job::tell_late_ranks(epoch_number epoch) {
  if (!barrier_ || barrier_->epoch() != epoch) return;
  rank_set late;
  const auto& facts = barrier_->view().ranks;
  for (std::uint32_t r = 0; r < facts.size(); ++r) {
    if (!facts[r].cut) late.add(rank_number(r));
  }
  if (late.empty()) return;
  const bool one = late.single().has_value();
  warn("checkpoint " + std::to_string(epoch.value()) + " waits for " + late.text() + ", which " + (one ? "has" : "have") +
       " come to no safe point since the others took it; until then the job goes on without a new checkpoint");
}

// --- where ranks run ---

/// After each commit: those who have joined, or come back, get ranks of those who have many, where that pays. All go back to the checkpoint
/// that was just taken, as for a leave (docs/decisions/0009-moves-roll-back.md).
P2PDVM_DECL void job::spread_ranks() {
  using namespace std::chrono_literals;
  if (record().state != checkpoint::job_state::running || !is_member() || recovering_ || !utilisation_) return;
  // One proposes; who is slow to see a commit finds another record.
  const auto first = std::find_if(record().members.begin(), record().members.end(), [](const auto& m) { return m.live(); });
  if (first == record().members.end() || first->node != self()) return;
  const time_point now = clock_now();
  checkpoint::spread_prospect what;
  // What was not measured yet takes longer than a commit, in which less is sent.
  what.cost = recovery_ > duration::zero() ? recovery_ : duration(2s) + 4 * commit_latency_;
  if (now - spread_at_ < std::max<duration>(20 * what.cost, 20s) && spread_at_ != time_point()) return;
  // Who has just come may go as soon.
  const duration settled = std::max<duration>(4 * what.cost, 10s);
  auto placement = checkpoint::even_placement_of(
      record(), [&](const node_id& node) { return node == self() || lifetimes_.seen(node, now) >= settled; }, distances(record()));
  if (placement.empty()) return;
  what.busiest = checkpoint::busiest(record().host_of_rank);
  what.busiest_then = checkpoint::busiest(placement);
  what.elapsed = utilisation_->elapsed(now);
  if (!checkpoint::pays(what)) return;
  spread_at_ = now;
  keeper_.propose([i = record().incarnation, n = record().committed.epoch, p = std::move(placement)](const checkpoint::job_record& r) {
    return checkpoint::spread_ranks(r, i, n, p);
  });
}

// --- leaving ---

P2PDVM_DECL void job::leave() {
  if (std::exchange(leaving_, true)) return;
  tell(event_kind::leaving);
  if (!barrier_ || record().state != checkpoint::job_state::running || !is_member())
    return owner_.on_left();
  if (no_majority_) return owner_.on_left();  // nobody can be given anything
  wish_to_leave();
}

P2PDVM_DECL void job::wish_to_leave() {
  for (auto& [rank, r] : runners_) {
    if (!r->frozen()) continue;  // that epoch was given up: on with it
    r->freeze(false);
    barrier_->freeze(rank, false);
    traffic_.freeze(rank, false);
    r->endpoint().ask_again();
    r->rank().thaw();
  }
  leaving_epoch_ = runners_.empty() ? record().committed.epoch : barrier_->leaving_epoch();
  if (runners_.empty() && record().live_count() > 1) return move_away();
  leaving_epoch_ = barrier_->wish(leaving_epoch_);
  pump_barrier();
}

P2PDVM_DECL void job::move_away() {
  if (record().live_count() == 1) return owner_.on_left();  // nobody to hand anything to
  keeper_.propose(
      [this, alive = alive_, me = self(),
       i = record().incarnation](const checkpoint::job_record& r) -> result<checkpoint::job_record> {
        if (!*alive) return error(errc::conflict, "this peer is gone");
        auto placement = checkpoint::placement_without(r, {me}, distances(r));
        if (placement.empty())
          return error(errc::lost, "no other peer can take over this peer's ranks");
        return checkpoint::move_ranks(r, i, r.committed.epoch, std::move(placement), {me});
      },
      [this](const result<>& written) {
        if (!written.ok() && is_member()) {
          event e;
          e.text = written.error().message();
          tell(event_kind::warning, std::move(e));
        }
        owner_.on_left();
      });
}

// --- the end ---

P2PDVM_DECL void job::restored(rank_number rank, epoch_number epoch,
                               std::shared_ptr<const peal::snapshot> snapshot,
                               std::uint64_t fetched) {
  event e;
  e.rank = rank;
  e.epoch = epoch;
  e.count = fetched;
  tell(event_kind::fetched, std::move(e));
  if (record().state == checkpoint::job_state::done) {
    results_[rank] = std::move(snapshot);
    return results_complete();
  }
  if (!wanted_.contains(rank) || epoch != record().committed.epoch) return;
  if (auto fits = rank_runner::check(*snapshot, record().ranks); !fits.ok())
    return restore_failed(rank, epoch, fits.error(), {});
  found_[rank] = std::move(snapshot);
  start_ranks();
  // What holders give each other would be in the way of what comes here.
  if (restorer_.idle()) store_.begin_survey_soon();
}

P2PDVM_DECL bool job::is_anybody_away() const {
  return std::any_of(record().members.begin(), record().members.end(), [](const checkpoint::member& m) { return !m.live(); });
}

/// What all members deny for good.
P2PDVM_DECL bool job::given_up_on(rank_number rank, epoch_number epoch, const chunks_gone& gone) {
  if (!gone.denied) {
    denials_.erase(rank);
    return false;
  }
  denial& d = denials_[rank];
  if (d.epoch != epoch) d = {epoch, clock_now()};
  return clock_now() - d.first >= (is_anybody_away() ? away_patience : denial_pause);
}

P2PDVM_DECL void job::restore_failed(rank_number rank, epoch_number epoch, const error& why, const chunks_gone& gone) {
  const std::string what = "checkpoint " + std::to_string(epoch.value()) + " of rank " +
                           std::to_string(rank.value()) + " cannot be read: ";
  const std::string here = "it is damaged in " + context_.machine.disk().describe("") +
                           ", and no other peer has a copy";
  const bool forgotten = spec().receipts == receipts_from::memory && record().members.size() == 1 && !alone_and_damaged();
  const std::string sentence =
      what + (alone_and_damaged() ? here + "; restore the folder from a copy, or remove it to give the job up"
              : forgotten         ? "it was in memory only, as --receipts memory allows, when this process was killed"
                                  : why.message());
  const bool final = record().state == checkpoint::job_state::done;
  if (why.code() != errc::lost || alone_and_damaged() || forgotten) {
    if (final) return end(error(errc::lost, sentence));
    if (record().previous.epoch.value() == 0) return fail(sentence);
    return fall_back(epoch, alone_and_damaged() ? what + here : sentence);
  }
  if (given_up_on(rank, epoch, gone)) {
    const std::string all = what + std::to_string(gone.missing) + " of " + std::to_string(gone.of) +
                            " chunks of it are gone, no peer of the job has them any more";
    const std::string advice = ", and p2pdvm fork --epoch " + std::to_string(epoch.value()) +
                               " makes a job of it where the folder of a peer that has them is brought back";
    missing_.insert(rank);
    if (!final && record().previous.epoch.value() != 0) return fall_back(epoch, all + advice);
    const std::string none_before = final ? std::string() : ", and there is no checkpoint before it to go back to";
    if (!is_anybody_away()) {
      if (final) return end(error(errc::lost, all + advice));
      return fail(all + none_before + advice);
    }
  }
  // Those who have the copies may only be away.
  if (std::exchange(missing_told_, epoch) != epoch)
    warn(sentence + "; the job waits for the peers that have copies of it: start them again with "
                    "--resume");
  missing_.insert(rank);
  if (missing_timer_.armed()) return;
  duration delay = missing_delay_;
  if (const auto denied = denials_.find(rank); denied != denials_.end() && clock_now() < denied->second.first + denial_pause)
    delay = std::min<duration>(delay, denied->second.first + denial_pause - clock_now());
  missing_timer_.after(delay, [this] { look_for_missing(); });
  missing_delay_ = std::min(missing_delay_ * 2, missing_delay_max);
}

/// Several ranks may find the same.
P2PDVM_DECL void job::fall_back(epoch_number unreadable, const std::string& sentence) {
  if (std::exchange(given_up_, unreadable) == unreadable) return;
  warn(sentence + "; the job goes back to the checkpoint before, " +
       std::to_string(record().previous.epoch.value()));
  keeper_.propose(
      [seen = record().incarnation, unreadable](const checkpoint::job_record& r) {
        return checkpoint::fall_back(r, seen, unreadable);
      },
      [this, unreadable](const result<>& written) {
        // Another write may have come between, and changed nothing of it.
        if (written.ok() || record().committed.epoch != unreadable) return;
        given_up_ = epoch_number();
        missing_timer_.after(missing_delay_min, [this] { look_for_missing(); });
      });
}

P2PDVM_DECL void job::chunks_known(rank_number rank, epoch_number epoch, const chunk_id& manifest,
                                   const std::vector<store::placed_chunk>& chunks) {
  if (record().state == checkpoint::job_state::running && wanted_.contains(rank)) store_.note_chunks(rank, epoch, manifest, chunks);
}

/// The rank that they belong to still runs: its next snapshot has them again.
P2PDVM_DECL void job::chunks_nowhere(rank_number rank, epoch_number epoch, std::size_t count) {
  if (!runners_.contains(rank)) return;  // it is just being restored
  warn("of checkpoint " + std::to_string(epoch.value()) + " of rank " + std::to_string(rank.value()) + " " + std::to_string(count) +
       " chunk" + (count == 1 ? " is" : "s are") + " on no peer any more; a new checkpoint is taken at once");
  wish();
}

P2PDVM_DECL void job::look_for_missing() {
  missing_timer_.cancel();
  const auto& base = record().committed;
  for (const rank_number rank : std::exchange(missing_, {}))
    restorer_.start(rank, base.epoch, base.manifests[rank.value()]);
}

P2PDVM_DECL void job::finish_job() {
  if (std::exchange(finishing_, true)) return;
  tell_utilisation();
  policy_timer_.cancel();
  detector_timer_.cancel();
  // Others may still want the results from it, but to it they mean nothing.
  if (context_.setting.storage_only) return end(std::map<std::string, byte_vector>());
  const auto& last = record().committed;
  for (std::uint32_t r = 0; r < record().ranks; ++r) {
    const rank_number rank(r);
    if (auto kept = store_.kept(rank, last.epoch)) {
      results_[rank] = std::move(kept);
    } else {
      restorer_.start(rank, last.epoch, last.manifests[r], [](rank_number, store::manifest& m) {
        std::erase_if(m.sections, [](const store::section& s) { return s.name.starts_with(peal::output_piece); });
      });
    }
  }
  outputs_.finish(last);
  results_complete();
}

P2PDVM_DECL std::shared_ptr<const peal::snapshot> job::snapshot_here(rank_number rank, epoch_number epoch) {
  auto kept = store_.kept(rank, epoch);
  return kept != nullptr ? kept : store_.drained(rank, epoch);
}

P2PDVM_DECL void job::output_written(const std::string& name, epoch_number epoch, std::uint64_t bytes) {
  event e;
  e.epoch = epoch;
  e.count = bytes;
  e.text = name;
  tell(event_kind::written, std::move(e));
}

P2PDVM_DECL void job::outputs_complete(const result<>& done) {
  if (!done.ok()) return end(done.error());
  outputs_complete_ = true;
  results_complete();
}

P2PDVM_DECL void job::results_complete() {
  if (results_.size() < record().ranks || !outputs_complete_ || ended_) return;
  std::map<std::string, byte_vector> joined;
  for (const auto& [rank, snapshot] : results_) {
    for (const auto& piece : snapshot->pieces()) {
      if (piece.name.starts_with("result/")) append(joined[piece.name.substr(7)], piece.whole().view());
    }
  }
  end(std::move(joined));
}

P2PDVM_DECL void job::end(result<std::map<std::string, byte_vector>> results) {
  if (std::exchange(ended_, true)) return;
  roll_call_.stop();
  missing_timer_.cancel();
  policy_timer_.cancel();
  detector_timer_.cancel();
  retire_all();
  owner_.on_end(results);
  // Who ends first waits for the others to have heard of it: they could not ask anybody later.
  if (!is_member()) return;
  tell_end(false);
  tell_end_by_links();
}

}  // namespace p2pdvm::runtime
