#pragma once

#include <p2pdvm/runtime/job.hpp>
#include <p2pdvm/runtime/member_square.hpp>

#include <algorithm>
#include <mutex>

namespace p2pdvm::runtime {

namespace detail {

/// One sentence of what a rank's program threw.
inline std::string describe(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const std::system_error& e) {
    const std::string text = e.what();  // "sentence: category text"
    const std::string tail = ": " + e.code().message();
    return text.ends_with(tail) && text.size() > tail.size() ? text.substr(0, text.size() - tail.size())
                                                             : text;
  } catch (const std::exception& e) {
    return e.what();
  } catch (...) {
    return "an exception that is no std::exception";
  }
}

}  // namespace detail

P2PDVM_DECL job::job(job_owner& owner, peer_context& context, job_identity who,
                     record_update newest,
                     std::optional<checkpoint::acceptor> acceptor)
    : owner_(owner),
      context_(context),
      who_(std::move(who)),
      keeper_(*this, context.machine, context.log, context.self, std::move(newest),
              std::move(acceptor)),
      traffic_(*this, context.exchange, context.machine.clock(), context.self.id(),
               who_.spec.ranks),
      lanes_(*this, context.machine.clock(),
             context.setting.shared_memory ? context.machine.neighbours() : nullptr, context.self.id()),
      store_(*this, context, who_.spec.id, who_.secret, who_.spec.receipts),
      restorer_(*this, context, who_.spec.id, who_.secret),
      outputs_(*this, context, who_.spec.id, who_.secret),
      roll_call_(*this, context.machine.clock(), context.self.id(), context.setting.hang_after),
      failure_timer_(context.machine.clock()),
      detector_(context.self.id(), context.setting.detector,
                random_generator(context.machine.entropy().next()), *this),
      policy_timer_(context.machine.clock()),
      commit_timer_(context.machine.clock()),
      detector_timer_(context.machine.clock()),
      eviction_timer_(context.machine.clock()),
      sweep_timer_(context.machine.clock()),
      abandon_timer_(context.machine.clock()),
      late_timer_(context.machine.clock()),
      inputs_timer_(context.machine.clock()),
      missing_timer_(context.machine.clock()),
      tell_timer_(context.machine.clock()),
      behind_timer_(context.machine.clock()),
      newcomers_timer_(context.machine.clock()) {
  const auto& every = context.setting.checkpoint_interval;
  if (!every) {
    policy_ = std::make_unique<checkpoint::adaptive_policy>();
  } else if (*every == duration::zero()) {
    policy_ = std::make_unique<checkpoint::no_checkpoints>();
  } else {
    policy_ = std::make_unique<checkpoint::fixed_policy>(*every);
  }
}

P2PDVM_DECL job::~job() {
  *alive_ = false;
  for (auto& [rank, runner] : runners_) retiring_.push_back(std::move(runner));
  runners_.clear();
  for (auto& r : retiring_) {
    traffic_.remove(r->number());
    r->cancel();
  }
  // Their frames unwind on this thread: nobody else runs ranks any more.
  const auto alive = [](const auto& r) { return r->alive(); };
  context_.token.unlock();
  while (std::any_of(retiring_.begin(), retiring_.end(), alive) &&
         context_.ranks.queue().drain(64) > 0) {
  }
  context_.token.lock();
}

P2PDVM_DECL void job::tell(event_kind kind, event e) {
  e.kind = kind;
  if (e.incarnation == incarnation_number()) e.incarnation = record().incarnation;
  context_.tell(std::move(e));
}

/// Copies lie in different failure domains. Where there are fewer domains than copies wanted
/// (several peers on one computer), every peer counts as one: better than fewer copies.
P2PDVM_DECL std::vector<store::member> job::holders() const {
  std::set<std::string> domains;
  for (const checkpoint::member& m : record().members) {
    if (m.live()) domains.insert(m.failure_domain);
  }
  const bool apart = domains.size() >= std::min<std::size_t>(who_.spec.replicas, record().live_count());
  std::vector<store::member> list;
  for (const checkpoint::member& m : record().members) {
    if (m.live()) list.push_back({m.node, m.key(), apart ? m.failure_domain : m.node.hex(), 1});
  }
  return list;
}

// --- the record ---

P2PDVM_DECL void job::begin() {
  const checkpoint::job_record nothing;
  on_record(nothing);
}

P2PDVM_DECL void job::begin_resumed() {
  // Only with a running job on disk can ranks have begun here.
  if (record().state == checkpoint::job_state::running) lost_incarnation_ = record().incarnation;
  const bool has_ranks = !context_.setting.storage_only;
  doubtful_ = has_ranks && (context_.log.damage_found() || context_.log.cut_short());
  // The others are being started too: nobody is lost before they had time to.
  patient_until_ = clock_now() + std::chrono::seconds(10);
  begin();
  inputs_whole_ = record().state == checkpoint::job_state::done || store_.has_inputs(who_.spec.inputs);
  mend_inputs();
  roll_back_own();
}

/// A disk that has lost what was durable may have lost that ranks began here. So none begins before this process has seen, from a majority of
/// keepers, which incarnation the job is in, and has ended that one: all that begin later, begin after the ranks that died.
P2PDVM_DECL void job::settle_doubt() {
  if (!doubtful_ || ended_ || !is_member() || std::exchange(settling_, true)) return;
  keeper_.propose(
      [this, alive = alive_](const checkpoint::job_record& r) -> result<checkpoint::job_record> {
        if (!*alive) return error(errc::conflict, "this peer is gone");
        doubtful_ = false;
        if (r.state != checkpoint::job_state::running) return error(errc::conflict, "no rank has begun");
        lost_incarnation_ = r.incarnation;
        return checkpoint::rollback(r, r.incarnation);
      },
      [this, alive = alive_](const result<>&) {
        if (*alive) settling_ = false;
      });
}

/// What this peer's disk has lost of the inputs, every other member has.
P2PDVM_DECL void job::mend_inputs() {
  if (ended_) return;
  if (inputs_whole_) return start_ranks();
  std::vector<store::member> others = holders();
  std::erase_if(others, [this](const store::member& m) { return m.id == self(); });
  if (others.empty() || ++inputs_tries_ > inputs_tries_max)
    return end(error(errc::lost, "the job's input is damaged in " +
                                     context_.machine.disk().describe("") +
                                     ", and no other peer gives it; restore the folder from a copy, "
                                     "or remove it to give the job up"));
  restorer_.fetch_inputs(std::move(others), who_.spec.inputs, [this](const result<>& fetched) {
    inputs_whole_ = fetched.ok();
    // The others are perhaps only being started.
    inputs_timer_.after(std::chrono::seconds(fetched.ok() ? 0 : 1), [this] { mend_inputs(); });
  });
}

P2PDVM_DECL void job::roll_back_own() {
  if (record().state != checkpoint::job_state::running || !is_member()) return;
  if (context_.setting.storage_only) return;  // it has none
  keeper_.propose([seen = record().incarnation](const checkpoint::job_record& r) {
    return checkpoint::rollback(r, seen);
  });
}

P2PDVM_DECL void job::note_members(const checkpoint::job_record& previous) {
  const time_point now = clock_now();
  std::vector<node_id> live;
  for (std::uint32_t i = 0; i < record().members.size(); ++i) {
    const checkpoint::member& m = record().members[i];
    const bool was = previous.is_live(m.node, i);
    if (m.live()) live.push_back(m.node);
    if (m.live() == was) continue;
    event e;
    e.node = m.node;
    if (m.live()) {
      lifetimes_.joined(m.node, now, previous.state == checkpoint::job_state::running);
      told_old_.erase(m.node);
      denials_.clear();  // it may have what the others have not
      tell(event_kind::joined, std::move(e));
      continue;
    }
    const bool left = (m.flags & checkpoint::member::left) != 0;
    if (left) {
      lifetimes_.left(m.node, now);
    } else {
      lifetimes_.died(m.node, now);
    }
    lost_.erase(m.node);
    ways_.forget(m.node);
    tell(left ? event_kind::left : event_kind::evicted, std::move(e));
    if (m.node != self()) {
      store_.on_member_lost(m.node);
      restorer_.on_member_lost(m.node);
      outputs_.on_member_lost(m.node);
    }
  }
  store_.set_members(holders(), who_.spec.replicas);
  store_.follow(record());
  restorer_.set_members(holders(), who_.spec.replicas);
  outputs_.set_members(holders(), who_.spec.replicas);
  if (!missing_.empty()) missing_timer_.after(missing_delay_min, [this] { look_for_missing(); });
  if (context_.exchange != nullptr) {
    detector_.set_members(now, is_member() ? live : std::vector<node_id>());
    arm_detector();
  }
}

P2PDVM_DECL void job::on_record(const checkpoint::job_record& previous) {
  const checkpoint::job_record& now = record();
  heard_last_.reset();
  begins_ = previous.state == checkpoint::job_state::forming && now.state != checkpoint::job_state::forming;
  tell_followers();
  record_asks_ = 0;
  record_at_ = clock_now();
  told_behind_.clear();
  if (std::exchange(no_majority_, false)) tell(event_kind::majority_again);
  const auto links = member_square(now, self()).links();
  links_ = std::set<node_id>(links.begin(), links.end());
  cut_off_ = member_square(now, self()).cut_off();
  std::erase_if(ready_askers_, [&](const auto& asker) { return !now.is_live(asker.first); });
  owner_.on_members(previous, now);
  note_members(previous);
  if (now.incarnation != previous.incarnation) retire_all();
  traffic_.on_record(now);
  const checkpoint::member* const me = now.find(self());
  if (previous.is_live(self()) && me != nullptr && (me->flags & checkpoint::member::evicted) != 0) {
    event e;
    e.text = "the other peers took this one for lost; it asks to come back";
    tell(event_kind::warning, std::move(e));
    lost_.clear();
    owner_.on_evicted();
  }
  if (now.state == checkpoint::job_state::running) {
    if (!barrier_) {
      begin_running();
    } else {
      barrier_->on_record(keeper_.newest_shared());
      if (now.incarnation != previous.incarnation) {
        tell_moved(previous);
        begin_incarnation();
      } else if (now.host_of_rank != previous.host_of_rank) {
        follow_placement();
      }
      greet_newcomers(previous);
      const bool died = std::any_of(previous.members.begin(), previous.members.end(), [&](const auto& m) {
        return m.live() && !now.is_live(m.node);
      });
      if (died && now.members.size() > member_square::width) barrier_->repeat();
    }
  } else if (barrier_) {
    barrier_->on_record(keeper_.newest_shared());
  }
  pump_barrier();
  if (now.state == checkpoint::job_state::done) finish_job();
  if (now.state == checkpoint::job_state::failed) end(error(errc::misuse, now.failure));
  note_newcomers(previous);
  maintain_keepers();
  settle_doubt();
  hear_early();
  if (!ended_) return;
  tell_end_by_links();
  owner_.on_end_seen(self());
}

P2PDVM_DECL void job::on_chosen() {
  const bool forming = record().state == checkpoint::job_state::forming || begins_;
  if (forming && record().members.size() > member_square::width) {
    if (!tell_timer_.armed()) tell_timer_.after(forming_pause, [this] { tell_all(keeper_.update()); });
    return;
  }
  tell_timer_.cancel();
  tell_all(keeper_.update());
}

P2PDVM_DECL void job::be_followed_by(const node_id& who) {
  if (followers_.keep(who)) tell_followers();
}

P2PDVM_DECL void job::tell_followers() {
  if (followers_.size() == 0) return;
  for (auto& [who, news] : followers_.tell(keeper_.certified_newest(), keeper_.links()))
    owner_.send(who, std::move(news));
}

P2PDVM_DECL void job::tell_all(const common_news& news) {
  const bool is_record = std::holds_alternative<record_update>(news);
  for (const auto& to : member_square(record(), self()).recipients()) {
    if (!to.passes_on && is_record && followers_.told(to.node, keeper_.newest_shared())) continue;
    if (to.passes_on) {
      owner_.send(to.node, passed_on{self(), true, news});
    } else {
      std::visit([&](const auto& n) { owner_.send(to.node, n); }, news);
    }
  }
}

P2PDVM_DECL void job::greet_newcomers(const checkpoint::job_record& previous) {
  for (const node_id& link : links_) {
    if (previous.is_live(link)) continue;
    announce_ready(ranks_here(), link);
    owner_.send(link, lifetimes_.all(clock_now()));
  }
}

P2PDVM_DECL void job::note_newcomers(const checkpoint::job_record& previous) {
  const checkpoint::job_record& now = record();
  std::erase_if(newcomers_, [&](const auto& n) { return !now.is_live(n.first); });
  if (context_.exchange == nullptr) return;
  for (std::uint32_t i = 0; i < now.members.size(); ++i) {
    const checkpoint::member& m = now.members[i];
    if (m.live() && m.node != self() && !previous.is_live(m.node, i)) newcomers_.emplace(m.node, clock_now());
  }
  if (previous.is_live(self()) || !now.is_live(self())) return;
  int greetings = 0;
  for (const checkpoint::member& m : now.members) {
    if (m.live() && context_.exchange->connected(m.node) && ++greetings <= greetings_max) owner_.send(m.node, lifetimes_.all(clock_now()));
  }
}

P2PDVM_DECL void job::hear_member(const node_id& from) {
  if (newcomers_.erase(from) > 0) maintain_keepers();
}

P2PDVM_DECL void job::maintain_keepers() {
  const checkpoint::job_record& now = record();
  if (!now.needs_upkeep() || !now.previous_keepers.empty()) return;
  std::erase_if(newcomers_, [&](const auto& n) { return clock_now() - n.second >= newcomer_patience; });
  std::set<node_id> newcomers;
  for (const auto& [node, since] : newcomers_) newcomers.insert(node);
  keeper_.set_newcomers(newcomers);
  if (!newcomers.empty() && !newcomers_timer_.armed()) newcomers_timer_.after(newcomer_patience, [this] { maintain_keepers(); });
  if (!now.needs_upkeep(newcomers)) return;
  for (const checkpoint::member& m : now.members) {
    if (!m.live() || detector_.is_suspected(m.node)) continue;
    if (m.node == self())
      keeper_.propose([newcomers = std::move(newcomers)](const checkpoint::job_record& r) { return checkpoint::upkeep(r, newcomers); });
    return;
  }
}

P2PDVM_DECL void job::on_no_majority(const std::vector<node_id>& silent, std::size_t asked) {
  for (const node_id& link : links_) record_is_old(link);  // keepers may have been replaced
  if (asked == 1 && silent.front() == self()) return;  // `on_keeper_failed` has told
  if (std::exchange(no_majority_, true)) return;
  event e;
  e.text = std::to_string(silent.size()) + " of " + std::to_string(asked) +
           " keepers of the job record do not answer; the job waits until a majority is back: "
           "start the missing peers again with --resume, or stop with Ctrl-C and go on later "
           "with --resume";
  tell(event_kind::no_majority, std::move(e));
  // There will be no last checkpoint, and nobody to give anything to.
  if (leaving_ || patient_until_ == time_point_never) owner_.on_left();
}

P2PDVM_DECL void job::on_keeper_failed(const error& why) {
  warn("this peer does not keep the job record for now: " + why.message());
}

P2PDVM_DECL void job::warn(std::string text) {
  event e;
  e.text = std::move(text);
  tell(event_kind::warning, std::move(e));
}

/// One that answers is enough; all who are ahead say so at once.
P2PDVM_DECL void job::record_is_old(const node_id& from) {
  // What is said at the beginning of a large job overtakes the record, which follows through others.
  if (record().state == checkpoint::job_state::forming && who_.spec.peers > member_square::width) {
    if (behind_timer_.armed()) return;
    return behind_timer_.after(behind_pause, [this, from] {
      if (record().state == checkpoint::job_state::forming) owner_.send(from, record_request());
    });
  }
  if (clock_now() - record_asked_at_ >= record_ask_pause) record_asks_ = 0;
  if (record_asks_ == record_asks_max) return;
  ++record_asks_;
  record_asked_at_ = clock_now();
  owner_.send(from, record_request());
}

/// Links say it unasked.
P2PDVM_DECL void job::ask_ready(const node_id& host) {
  if (!links_.contains(host)) owner_.send(host, ready_request{record().incarnation});
}

// --- ranks ---

P2PDVM_DECL void job::begin_running() {
  barrier_.emplace(self(), keeper_.newest_shared());
  event e;
  e.count = record().ranks;
  tell(event_kind::started, std::move(e));
  cut_at_ = clock_now();
  utilisation_.emplace(cut_at_);
  begin_incarnation();
  roll_call_.begin();
  arm_policy();
}

P2PDVM_DECL void job::begin_incarnation() {
  rollback_at_ = clock_now();
  recovering_ = true;
  if (record().incarnation.value() > 1) {
    event e;
    e.epoch = record().committed.epoch;
    tell(event_kind::recovering, std::move(e));
  }
  commit_timer_.cancel();
  abandon_timer_.cancel();
  late_timer_.cancel();
  store_.abandon_all();
  restorer_.cancel_all();
  outputs_.committed(record());
  roll_call_.reset();
  blocking_.reset();
  wanted_.clear();
  found_.clear();
  missing_.clear();
  missing_timer_.cancel();
  missing_delay_ = missing_delay_min;
  may_start_ = false;
  if (doubtful_ || record().incarnation <= lost_incarnation_) return;
  for (const rank_number rank : record().ranks_of(self())) want_rank(rank);
  // A process that comes back must know which incarnation's ranks died with it: else it would
  // begin them again among others that are in the middle.
  context_.log.sync_values([this, alive = alive_, i = record().incarnation](const result<>&) {
    if (!*alive || record().incarnation != i) return;
    may_start_ = true;
    start_ranks();
  });
}

/// Ranks that were here, and run elsewhere although this peer is there.
P2PDVM_DECL void job::tell_moved(const checkpoint::job_record& previous) {
  if (!is_member()) return;
  for (const rank_number rank : previous.ranks_of(self())) {
    const checkpoint::member* const host = record().host(rank);
    if (host == nullptr || host->node == self()) continue;
    event e;
    e.rank = rank;
    e.node = host->node;
    tell(event_kind::moved, std::move(e));
  }
}

P2PDVM_DECL void job::follow_placement() {
  const auto mine = record().ranks_of(self());
  std::vector<rank_number> gone;
  for (const auto& [rank, runner] : runners_) {
    if (std::find(mine.begin(), mine.end(), rank) == mine.end()) gone.push_back(rank);
  }
  for (const rank_number rank : gone) {
    barrier_->rank_removed(rank);
    retire(rank);
    event e;
    e.rank = rank;
    if (const auto* host = record().host(rank)) e.node = host->node;
    tell(event_kind::moved, std::move(e));
  }
  // A program may talk to the others before its restore(), or in a collective right after it;
  // so ranks that come here begin again together with all others, at the checkpoint that was
  // committed for the move.
  const bool arrives = std::any_of(mine.begin(), mine.end(), [&](rank_number rank) {
    return !runners_.contains(rank) && !wanted_.contains(rank);
  });
  if (arrives) roll_back_own();
}

P2PDVM_DECL void job::want_rank(rank_number rank) {
  wanted_.insert(rank);
  const auto& base = record().committed;
  if (base.epoch == epoch_number()) {
    found_[rank] = nullptr;
  } else if (auto kept = store_.kept(rank, base.epoch)) {
    found_[rank] = std::move(kept);
  } else {
    restorer_.start(rank, base.epoch, base.manifests[rank.value()]);
  }
}

P2PDVM_DECL void job::start_ranks() {
  if (!may_start_ || !inputs_whole_) return;
  std::vector<rank_number> started;
  for (const rank_number rank : std::vector<rank_number>(wanted_.begin(), wanted_.end())) {
    const auto found = found_.find(rank);
    const bool unwinding = std::any_of(retiring_.begin(), retiring_.end(), [&](const auto& r) {
      return r->number() == rank && r->alive();
    });
    if (found == found_.end() || unwinding) continue;
    auto from = std::move(found->second);
    found_.erase(found);
    wanted_.erase(rank);
    start_rank(rank, std::move(from));
    started.push_back(rank);
  }
  if (started.empty()) return;
  announce_ready(started);
  // After the announcement, so that both sides count credit from the same point.
  for (const rank_number rank : started) {
    if (const auto r = runners_.find(rank); r != runners_.end()) r->second->endpoint().send_waiting();
  }
  pump_barrier();
}

P2PDVM_DECL void job::start_rank(rank_number rank, std::shared_ptr<const peal::snapshot> from) {
  rank_runner::setting s;
  s.self = rank;
  s.ranks = record().ranks;
  s.incarnation = record().incarnation;
  s.epoch = from == nullptr ? epoch_number() : record().committed.epoch;
  s.floor = record().floor;
  s.seed = who_.spec.seed();
  s.start = std::move(from);
  rank_runner_owner& owner = *this;
  auto runner = std::make_unique<rank_runner>(owner, traffic_, context_.token, context_.ranks,
                                              context_.machine.clock(), s);
  rank_runner& r = *runner;
  runners_[rank] = std::move(runner);
  traffic_.add(r.endpoint());
  barrier_->rank_started(rank, r.rank().safe_points());
  event e;
  e.rank = rank;
  e.epoch = s.epoch;
  tell(event_kind::rank_started, std::move(e));
  if (r.rank().finished()) {
    capture_if(r, barrier_->returned(rank));
  } else {
    r.spawn(context_.program.body());
  }
}

P2PDVM_DECL std::vector<rank_number> job::ranks_here() const {
  std::vector<rank_number> mine;
  for (const auto& [rank, runner] : runners_) mine.push_back(rank);
  return mine;
}

P2PDVM_DECL void job::announce_ready(const std::vector<rank_number>& ranks) {
  for (const node_id& link : links_) announce_ready(ranks, link);
  for (const auto& [asker, incarnation] : ready_askers_) {
    if (incarnation == record().incarnation) announce_ready(ranks, asker);
  }
  on_ready(self(), ready_notice{record().incarnation, ranks});
}

P2PDVM_DECL void job::announce_ready(const std::vector<rank_number>& ranks, const node_id& to) {
  if (!ranks.empty()) owner_.send(to, ready_notice{record().incarnation, ranks});
}

/// The ranks of all who say so unasked are ready.
P2PDVM_DECL bool job::whole() const {
  for (std::uint32_t r = 0; r < record().ranks; ++r) {
    const rank_number rank(r);
    const checkpoint::member* const host = record().host(rank);
    if (host == nullptr) return false;
    if ((host->node == self() || links_.contains(host->node)) && !traffic_.ready(rank)) return false;
  }
  return true;
}

P2PDVM_DECL void job::on_ready(const node_id& from, const ready_notice& notice) {
  traffic_.on_ready(from, notice);
  if (!recovering_ || !whole()) return;
  recovering_ = false;
  whole_at_ = clock_now();
  arm_policy();
  if (record().incarnation.value() <= 1) return;
  utilisation_->recovered(whole_at_);
  recovery_ = clock_now() - rollback_at_;
  event e;
  e.epoch = record().committed.epoch;
  e.seconds = to_seconds(recovery_);
  tell(event_kind::recovered, std::move(e));
}

P2PDVM_DECL void job::retire(rank_number rank) {
  auto found = runners_.extract(rank);
  if (!found) return;
  traffic_.remove(rank);
  found.mapped()->cancel();
  retiring_.push_back(std::move(found.mapped()));
  sweep_later();
}

P2PDVM_DECL void job::retire_all() {
  for (const rank_number rank : ranks_here()) retire(rank);
}

/// Runners are never destroyed from inside their own calls.
P2PDVM_DECL void job::sweep_later() {
  if (sweep_timer_.armed()) return;
  sweep_timer_.at(clock_now(), [this] {
    std::erase_if(retiring_, [](const auto& r) { return !r->alive(); });
    start_ranks();
  });
}

P2PDVM_DECL void job::rank_ended(rank_runner& r, std::exception_ptr failure) {
  if (r.rank().cancelled()) return sweep_later();
  if (failure) return fail_of(r, "rank " + std::to_string(r.number().value()) + ": " + detail::describe(failure));
  event e;
  e.rank = r.number();
  tell(event_kind::rank_returned, std::move(e));
  r.rank().finish();
}

P2PDVM_DECL void job::fail(std::string sentence) {
  if (sentence.size() > limits::error_text_max) sentence.resize(limits::error_text_max);
  keeper_.propose([sentence](const checkpoint::job_record& r) { return checkpoint::fail(r, sentence); });
}

P2PDVM_DECL result<payload> job::job_input(std::string_view name) {
  const auto declared = who_.spec.inputs.find(std::string(name));
  if (declared == who_.spec.inputs.end()) {
    for (const auto& o : context_.program.options()) {
      if (o.name == name && o.kind == peal::program::kind::input) return payload();
    }
    return error(errc::invalid_argument, "the program declares no input '" + std::string(name) + "'");
  }
  auto& cached = inputs_[declared->first];
  if (cached.size() == declared->second.bytes) return cached;
  auto bytes = store_.read_input(declared->second);
  if (!bytes.ok()) return bytes.error();
  cached = payload(std::move(*bytes));
  return cached;
}

P2PDVM_DECL result<std::string> job::job_option(std::string_view name) const {
  const auto found = who_.spec.options.find(std::string(name));
  if (found != who_.spec.options.end()) return found->second;
  return error(errc::invalid_argument, "the program declares no option '" + std::string(name) + "'");
}

P2PDVM_DECL result<> job::declares_output(std::string_view name) const {
  for (const auto& o : context_.program.options()) {
    if (o.name == name && o.kind == peal::program::kind::output) return {};
  }
  return error(errc::invalid_argument, "the program declares no output '" + std::string(name) + "'");
}

P2PDVM_DECL void job::rank_explains(rank_runner& r, std::string sentence) {
  event e;
  e.rank = r.number();
  e.text = std::move(sentence);
  tell(event_kind::explained, std::move(e));
}

P2PDVM_DECL void job::hold_still() {
  patient_until_ = time_point_never;
  eviction_timer_.cancel();
}

P2PDVM_DECL job::status job::now() const {
  status s;
  s.ranks_here = runners_.size();
  s.ranks_ready = traffic_.ready_count();
  s.whole = whole();
  s.live_peers = record().live_count();
  s.committed = record().committed.epoch;
  s.stalls = stalls();
  for (const auto& [rank, r] : runners_) {
    const std::uint64_t points = r->rank().safe_points();
    s.safe_points = s.safe_points == 0 ? points : std::min(s.safe_points, points);
  }
  return s;
}

}  // namespace p2pdvm::runtime
