#pragma once

#include <p2pdvm/runtime/scenario_run.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <utility>

namespace p2pdvm::runtime {

namespace detail {

inline constexpr duration retry_after = std::chrono::milliseconds(100);
inline constexpr duration minority_waits = std::chrono::seconds(60);
/// For those that a fault has hit, after all others have ended.
inline constexpr duration latecomers_max = std::chrono::seconds(60);
/// What a partition did may be written so long after it is over.
inline constexpr duration partition_wake = std::chrono::seconds(10);

/// Copies of each piece of a checkpoint.
inline constexpr std::uint32_t scenario_replicas = 3;

/// The sentence of a snapshot of which nobody who is there has all pieces.
inline bool says_lost(const std::string& text) {
  return text.find("cannot be read") != std::string::npos;
}

inline bool is_partition(scenario_fault::action what) {
  using action = scenario_fault::action;
  return what == action::isolate || what == action::mute || what == action::deafen;
}

}  // namespace detail

P2PDVM_DECL simulated_cluster::options scenario_run::cluster_of(const scenario& what,
                                                               const peal::program& program,
                                                               const scenario_watch& watch) {
  simulated_cluster::options how;
  how.outputs = watch.outputs;
  how.peers = what.peers;
  how.spares = what.spares;
  for (std::uint32_t i = 0; i < what.peers; ++i) {
    if (what.hides(i)) how.hidden.insert(i);
  }
  how.job.ranks = what.ranks;
  how.job.replicas = detail::scenario_replicas;
  how.job.receipts = what.receipts;
  how.job.options = what.options;
  for (const auto& o : program.options())
    if (o.kind == peal::program::kind::option) how.job.options.emplace(o.name, o.fallback);
  how.checkpoint_interval = what.checkpoint_interval;
  how.network.seed = what.seed;
  how.network.profile = what.profile;
  sim::network_conditions weather = sim::conditions_of(what.profile);
  weather.loss = what.loss;
  weather.reordering = what.reordering;
  weather.duplication = what.duplication;
  how.network.conditions = weather;
  return how;
}

P2PDVM_DECL scenario_run::scenario_run(const scenario& what, const peal::program& program,
                                       scenario_watch watch)
    : what_(what),
      watch_(std::move(watch)),
      random_(what.seed ^ 0xc0ffee),
      cluster_(program, cluster_of(what, program, watch_),
               [this](std::size_t peer, const event& e) { on_event(peer, e); }) {
  for (std::size_t i = 0; i < what_.faults.size(); ++i)
    if (what_.faults[i].after) triggered_.push_back(i);
}

P2PDVM_DECL bool scenario_run::to_end(duration limit) {
  return cluster_.run_until(
      [this] {
        before_step();
        return over();
      },
      limit);
}

P2PDVM_DECL bool scenario_run::over() {
  const time_point now = cluster_.network().now();
  if (to_minority_ && waits_ && now > minority_until_) return true;
  bool any = false, any_result = false, late = false;
  for (std::size_t i = 0; i < cluster_.size(); ++i) {
    const auto& outcome = cluster_.outcome(i);
    const bool ended = outcome.has_value();
    any |= ended;
    any_result |= ended && outcome->ok();
    if (!cluster_.alive(i) || ended) continue;
    if (must_end(i)) return false;
    late = true;
  }
  if (!late) return any;
  if (!any_result) return false;
  if (late_until_ == time_point_never) late_until_ = now + detail::latecomers_max;
  return now > late_until_;
}

/// Who was disturbed may find nobody afterwards, and who was never let in waits with it.
P2PDVM_DECL bool scenario_run::must_end(std::size_t peer) const { return admitted_.contains(peer) && !touched_.contains(peer); }

P2PDVM_DECL void scenario_run::on_event(std::size_t peer, const event& e) {
  if (gone_.contains(peer)) return;
  if (watch_.event) watch_.event(peer, e);
  if (e.kind == event_kind::joined && e.node) {
    if (const auto index = cluster_.index_of(*e.node)) admitted_.insert(*index);
  }
  if (e.kind == event_kind::started) {
    // Before that the job waits for its peers, also for those that will never come.
    for (std::size_t i = 0; members_.empty() && i < what_.faults.size(); ++i)
      if (!what_.faults[i].after)
        alarms_.emplace(cluster_.network().now() + what_.faults[i].at, alarm{i, {}});
    members_.insert(peer);
  }
  // A partition has two sides: the one that is taken for lost may find nobody afterwards.
  const bool divided = partitions_ > 0 || cluster_.network().now() < divided_until_;
  if (e.kind == event_kind::evicted && e.node && divided) {
    if (const auto index = cluster_.index_of(*e.node)) touched_.insert(*index);
  }
  if (e.kind == event_kind::recovering) recovering_ = true;
  if (e.kind == event_kind::no_majority && crashes_ > 0) waits_ = true;
  if (e.kind == event_kind::committed) {
    newest_epoch_ = std::max(newest_epoch_, e.epoch);
    committed_[e.incarnation] = std::max(committed_[e.incarnation], e.epoch);
  }
  if (e.kind == event_kind::rank_started) {
    const auto first = begun_from_.emplace(e.incarnation, e.epoch).first;
    first->second = std::min(first->second, e.epoch);
  }
  if (detail::says_lost(e.text)) says_lost_ = true;
  if (next_ == triggered_.size() || fuse_) return;
  const scenario_fault& f = what_.faults[triggered_[next_]];
  if (!may_take(f) || e.kind != f.after || ++seen_ < f.nth) return;
  fuse_ = f.steps;
  teller_ = peer;
}

P2PDVM_DECL void scenario_run::before_step() {
  if (!settled_ && settled()) {
    settled_ = true;
    epoch_then_ = newest_epoch_;
  }
  sound_alarms();
  if (!fuse_) return;
  if (*fuse_ > 0) {
    --*fuse_;
    return;
  }
  fuse_.reset();
  seen_ = 0;
  begin(triggered_[next_++]);
}

P2PDVM_DECL void scenario_run::sound_alarms() {
  while (!alarms_.empty() && alarms_.begin()->first <= cluster_.network().now()) {
    const alarm a = std::move(alarms_.extract(alarms_.begin()).mapped());
    if (!a.ends_on.empty()) {
      end(a);
    } else if (may_take(what_.faults[a.fault])) {
      begin(a.fault);
    } else {
      alarms_.emplace(cluster_.network().now() + detail::retry_after, a);
    }
  }
}

P2PDVM_DECL bool scenario_run::takes_away(const scenario_fault& f) {
  using action = scenario_fault::action;
  return f.what == action::crash_reset || f.what == action::crash_silent || f.what == action::leave;
}

/// With three replicas the second crash may come while the job recovers from the first.
P2PDVM_DECL bool scenario_run::may_take(const scenario_fault& f) const {
  if (!takes_away(f) || taken_ == 0) return true;
  if (disturbances_ > 0) return false;
  if (taken_ == 1 && f.in_recovery) return recovering_;
  return settled_ && newest_epoch_ > epoch_then_;
}

P2PDVM_DECL void scenario_run::begin(std::size_t fault) {
  const scenario_fault& f = what_.faults[fault];
  if (f.whom == scenario_fault::target::keepers) {
    crash_majority(fault);
    return;
  }
  const auto victim = victim_of(f);
  if (!victim) return;
  if (f.what == scenario_fault::action::leave) {
    tell(fault, *victim, true);
    left_.insert(*victim);
    ++taken_;
    unsettle();
    cluster_.leave(*victim);
  } else if (takes_away(f)) {
    crash(fault, *victim);
  } else {
    std::vector<std::size_t> victims;
    for (std::size_t i = 0; i < std::min<std::size_t>(f.group, cluster_.size()); ++i)
      victims.push_back((*victim + i) % cluster_.size());
    begin_disturbance(fault, victims);
  }
}

/// Whom the fault means, or anybody else who can be hit.
P2PDVM_DECL std::optional<std::size_t> scenario_run::victim_of(const scenario_fault& f) {
  std::vector<std::size_t> may;
  for (std::size_t i = 0; i < cluster_.size(); ++i)
    if (may_hit(f, i)) may.push_back(i);
  if (may.empty()) return std::nullopt;
  const std::size_t anyone = may[random_.below(may.size())];
  std::size_t wanted = anyone;
  if (f.whom == scenario_fault::target::peer) wanted = f.peer % cluster_.size();
  if (f.whom == scenario_fault::target::teller) wanted = teller_;
  if (f.whom == scenario_fault::target::maker) wanted = 0;
  return may_hit(f, wanted) ? wanted : anyone;
}

P2PDVM_DECL bool scenario_run::may_hit(const scenario_fault& f, std::size_t victim) {
  if (f.what == scenario_fault::action::rot) return true;  // its disk is there, also when it is down
  return takes_away(f) ? survivable(victim) : cluster_.alive(victim);
}

P2PDVM_DECL void scenario_run::crash(std::size_t fault, std::size_t victim) {
  const scenario_fault& f = what_.faults[fault];
  tell(fault, victim, true);
  gone_.insert(victim);
  touched_.insert(victim);
  crashed_.insert(victim);
  ++crashes_;
  ++taken_;
  unsettle();
  const bool silent = f.what == scenario_fault::action::crash_silent;
  cluster_.crash(victim, silent ? sim::crash_mode::silent : sim::crash_mode::reset);
  if (f.lasts > duration::zero())
    alarms_.emplace(cluster_.network().now() + f.lasts, alarm{fault, {victim}});
}

P2PDVM_DECL void scenario_run::crash_majority(std::size_t fault) {
  const checkpoint::job_record* record = newest_record(cluster_);
  if (record == nullptr || record->keepers.size() == 1) return;  // alone, with nobody to report
  std::size_t needed = record->keepers.size() / 2 + 1;
  const std::vector<node_id> keepers = record->keepers;
  for (const node_id& keeper : keepers) {
    const auto index = cluster_.index_of(keeper);
    if (needed == 0 || !index || !cluster_.alive(*index)) continue;
    crash(fault, *index);
    --needed;
  }
  to_minority_ = true;
  alarms_.clear();
  next_ = triggered_.size();
  minority_until_ = cluster_.network().now() + detail::minority_waits;
}

P2PDVM_DECL void scenario_run::begin_disturbance(std::size_t fault,
                                                 const std::vector<std::size_t>& victims) {
  const scenario_fault& f = what_.faults[fault];
  using action = scenario_fault::action;
  alarm over{fault, victims};
  for (const std::size_t victim : victims) {
    tell(fault, victim, true);
    touched_.insert(victim);
    if (f.what == action::stall) cluster_.machine(victim).stall(f.lasts);
    if (f.what == action::lose || f.what == action::delay) add_rules(f, victim, over);
    break_disk(f, victim);
  }
  if (detail::is_partition(f.what)) {
    ++partitions_;
    std::vector<const sim::machine*> inside, outside;
    for (std::size_t i = 0; i < cluster_.size(); ++i) {
      const bool in = std::find(victims.begin(), victims.end(), i) != victims.end();
      (in ? inside : outside).push_back(&cluster_.machine(i));
    }
    if (f.what == action::deafen) std::swap(inside, outside);
    over.rule = cluster_.network().partition(
        inside, outside,
        f.what == action::isolate ? sim::direction::both : sim::direction::forward);
  }
  if (f.lasts == duration::zero()) return;
  ++disturbances_;
  alarms_.emplace(cluster_.network().now() + f.lasts, std::move(over));
}

P2PDVM_DECL void scenario_run::add_rules(const scenario_fault& f, std::size_t victim, alarm& a) {
  sim::fault_rule rule;
  const bool loses = f.what == scenario_fault::action::lose;
  rule.action = loses ? sim::fault_action::drop : sim::fault_action::delay;
  rule.probability = loses ? f.share : 1;
  rule.delay = f.late;
  rule.from = cluster_.machine(victim).index();
  a.rule = cluster_.network().add_fault(rule);
  rule.to = std::exchange(rule.from, std::nullopt);
  a.other_rule = cluster_.network().add_fault(rule);
}

P2PDVM_DECL void scenario_run::break_disk(const scenario_fault& f, std::size_t victim) {
  using action = scenario_fault::action;
  sim::disk_image& disk = cluster_.machine(victim).storage();
  if (f.what == action::fail_write) disk.fail(sim::disk_operation::write, 1);
  if (f.what == action::fail_sync) disk.fail(sim::disk_operation::sync, 1);
  if (f.what == action::fail_read) disk.fail(sim::disk_operation::read, 1);
  if (f.what == action::fill_disk) disk.set_capacity(disk.used());
  if (f.what == action::rot) {
    for (std::uint32_t i = 0; i < f.bits; ++i) disk.rot();
    rotten_.insert(victim);
  }
  if (f.what == action::rot || f.what == action::fail_write || f.what == action::fail_sync || f.what == action::fail_read ||
      f.what == action::fill_disk)
    bad_disks_.insert(victim);
}

P2PDVM_DECL void scenario_run::end(const alarm& a) {
  const scenario_fault& f = what_.faults[a.fault];
  for (const std::size_t victim : a.ends_on) {
    if (f.what == scenario_fault::action::fill_disk)
      cluster_.machine(victim).storage().set_capacity(sim::machine_options().disk_bytes);
    if (!takes_away(f)) {
      tell(a.fault, victim, false);
    } else if (!cluster_.alive(victim) && running()) {
      gone_.erase(victim);
      tell(a.fault, victim, false);
      cluster_.restart(victim);
    }
  }
  if (a.rule) cluster_.network().heal(*a.rule);
  if (a.other_rule) cluster_.network().heal(*a.other_rule);
  if (takes_away(f)) return;
  if (detail::is_partition(f.what) && --partitions_ == 0)
    divided_until_ = cluster_.network().now() + detail::partition_wake;
  --disturbances_;
  unsettle();
}

P2PDVM_DECL void scenario_run::tell(std::size_t fault, std::size_t peer, bool begins) {
  if (watch_.fault)
    watch_.fault(peer, cluster_.network().now(), what_.faults[fault], begins);
}

P2PDVM_DECL void scenario_run::unsettle() {
  settled_ = false;
  recovering_ = false;
}

P2PDVM_DECL bool scenario_run::running() {
  const checkpoint::job_record* record = newest_record(cluster_);
  return record != nullptr && record->state == checkpoint::job_state::running;
}

/// The record is without the dead, and its keepers are as they should be.
P2PDVM_DECL bool scenario_run::settled() {
  const checkpoint::job_record* record = newest_record(cluster_);
  if (record == nullptr || record->needs_upkeep() || !record->previous_keepers.empty())
    return false;
  const auto is_away = [this](const node_id& node) {
    const auto index = cluster_.index_of(node);
    return index && (gone_.contains(*index) || left_.contains(*index));
  };
  return std::none_of(record->members.begin(), record->members.end(),
                      [&](const auto& m) { return m.live() && is_away(m.node); });
}

P2PDVM_DECL bool scenario_run::survivable(std::size_t victim) {
  if (!cluster_.alive(victim) || gone_.contains(victim) || left_.contains(victim)) return false;
  const checkpoint::job_record* record = newest_record(cluster_);
  if (record == nullptr || record->state != checkpoint::job_state::running) return false;
  // Of two members one is the only keeper, and who leaves will be none.
  const auto stays = [this](const checkpoint::member& m) {
    const auto index = cluster_.index_of(m.node);
    return m.live() && !(index && left_.contains(*index));
  };
  if (std::count_if(record->members.begin(), record->members.end(), stays) <= 2 || !reachable_without(victim, *record)) return false;
  // What the others know counts too: a change of keepers that only the victim saw through
  // needs, for them, the keepers of before.
  const checkpoint::job_record* known = newest_record(cluster_, victim);
  return known != nullptr && majority_without(victim, *record) && majority_without(victim, *known);
}

/// Those behind NATs reach nobody without somebody who is not.
P2PDVM_DECL bool scenario_run::reachable_without(std::size_t victim, const checkpoint::job_record& record) {
  return what_.hidden == 0 || std::any_of(record.members.begin(), record.members.end(), [&](const auto& m) {
           const auto index = cluster_.index_of(m.node);
           return m.live() && index && *index != victim && cluster_.alive(*index) && !left_.contains(*index) &&
                  !what_.hides(static_cast<std::uint32_t>(*index));
         });
}

P2PDVM_DECL bool scenario_run::majority_without(std::size_t victim,
                                                const checkpoint::job_record& record) {
  const auto remains = [&](const std::vector<node_id>& keepers) {
    const auto living = std::count_if(keepers.begin(), keepers.end(), [&](const node_id& k) {
      const auto index = cluster_.index_of(k);
      return index && *index != victim && cluster_.alive(*index);
    });
    return keepers.empty() || static_cast<std::size_t>(living) > keepers.size() / 2;
  };
  return remains(record.keepers) && remains(record.previous_keepers);
}

P2PDVM_DECL std::set<std::string> scenario_run::endings() {
  std::set<std::string> all;
  for (std::size_t i = 0; i < cluster_.size(); ++i) {
    if (gone_.contains(i)) continue;
    const auto& outcome = cluster_.outcome(i);
    if (!outcome) {
      if (members_.contains(i) && !left_.contains(i) && must_end(i)) all.insert(fmt::format("peer {} has no end", i));
    } else if (outcome->ok()) {
      all.insert(digest_of(**outcome).hex());
    } else {
      const errc code = outcome->error().code();
      // A rotten identity is another one.
      const bool disk = code == errc::io || code == errc::no_space || code == errc::corrupted ||
                        (code == errc::authentication && rotten_.contains(i));
      const bool lost = may_have_lost_copies() && detail::says_lost(outcome->error().message());
      const bool excused = code == errc::refused || code == errc::unreachable || lost ||
                           (disk && bad_disks_.contains(i));
      if (!excused) all.insert(fmt::format("peer {}: {}", i, outcome->error().message()));
    }
  }
  return all;
}

/// A sentence, or nothing when every incarnation went on from where the ones before it were.
P2PDVM_DECL std::string scenario_run::began_again() const {
  epoch_number newest;
  auto committed = committed_.begin();
  for (const auto& [incarnation, from] : begun_from_) {
    for (; committed != committed_.end() && committed->first < incarnation; ++committed)
      newest = std::max(newest, committed->second);
    if (from < newest)
      return fmt::format("incarnation {} began from checkpoint {}, but {} was committed before",
                         incarnation.value(), from.value(), newest.value());
  }
  return {};
}

P2PDVM_DECL bool scenario_run::may_have_lost_copies() const {
  std::set<std::size_t> without = rotten_;
  without.insert(bad_disks_.begin(), bad_disks_.end());  // commits with what the others keep, and says so
  if (without.empty()) return false;
  without.insert(crashed_.begin(), crashed_.end());
  return without.size() >= std::min<std::size_t>(detail::scenario_replicas, members_.size());
}

P2PDVM_DECL scenario_verdict scenario_run::judge(bool ended, const std::string& right) {
  using kind = scenario_verdict::kind;
  scenario_verdict v;
  v.digest = cluster_.digest();
  v.events = cluster_.network().events();
  const auto fail = [&v](kind what, const std::string& reason) {
    if (v.what != kind::right) return;
    v.what = what;
    v.reason = reason;
  };
  // What has lost more copies than there may be lost goes back, and says so.
  const bool may_go_back = says_lost_ && may_have_lost_copies();
  const bool may_wait = to_minority_ || may_go_back;
  if (!ended && !may_wait) fail(kind::no_end, "it does not end");
  if (const std::string again = began_again(); !again.empty() && !may_go_back) fail(kind::trouble, again);
  std::set<std::string> ends = endings();
  ends.erase(right);
  for (const std::string& end : ends) {
    if (end.ends_with("has no end")) {
      if (!may_wait) fail(kind::no_end, end);
    } else if (end.starts_with("peer ")) {
      fail(kind::trouble, end);
    } else {
      fail(kind::wrong_result, "it ends with " + end + ", undisturbed with " + right);
    }
  }
  const bool anyone = endings().contains(right);
  if (!anyone && !may_wait) fail(kind::no_end, "nobody has the result");
  return v;
}

P2PDVM_DECL void show(timeline& picture, std::size_t peer, time_point at,
                      const scenario_fault& fault, bool begins) {
  using action = scenario_fault::action;
  const std::string name = text_of(fault);
  if (!begins) {
    picture.on_fault_over(peer, at, name);
    return;
  }
  picture.on_fault(peer, at, name, fault.lasts > duration::zero());
  if (fault.what == action::crash_reset || fault.what == action::crash_silent)
    picture.on_down(peer, at);
}

P2PDVM_DECL result<std::string> undisturbed_digest(const scenario& what,
                                                   const peal::program& program) {
  scenario alone = what;
  alone.peers = 1;
  alone.spares = 0;
  alone.hidden = 0;
  alone.faults.clear();
  alone.checkpoint_interval = duration::zero();
  scenario_run run(alone, program);
  if (!run.to_end(std::chrono::hours(24)))
    return error(errc::timed_out, "the undisturbed run does not end");
  const auto& outcome = run.cluster().outcome(0);
  if (!outcome->ok()) return outcome->error();
  return digest_of(**outcome).hex();
}

P2PDVM_DECL scenario_verdict try_scenario(const scenario& what, const peal::program& program,
                                          scenario_watch watch, duration limit) {
  scenario_verdict v;
  v.what = scenario_verdict::kind::trouble;
  try {
    const auto right = undisturbed_digest(what, program);
    if (!right.ok()) {
      v.reason = right.error().message();
      return v;
    }
    scenario_run run(what, program, std::move(watch));
    const bool ended = run.to_end(limit);
    return run.judge(ended, *right);
  } catch (const std::exception& e) {
    v.reason = e.what();
    return v;
  }
}

P2PDVM_DECL std::string trace_line(std::size_t peer, const event& e) {
  std::string line = fmt::format("{:10.6f} peer {} {:14} i{} e{}", to_seconds(e.at.time_since_epoch()),
                                 peer, name_of(e.kind), e.incarnation.value(), e.epoch.value());
  if (e.rank) line += fmt::format(" rank {}", e.rank->value());
  if (e.node) line += " node " + e.node->brief();
  if (e.count != 0) line += fmt::format(" count {}", e.count);
  if (e.kind != event_kind::ticket && !e.text.empty()) line += ": " + e.text;
  return line;
}

}  // namespace p2pdvm::runtime
