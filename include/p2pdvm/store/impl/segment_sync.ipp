#pragma once

#include <p2pdvm/store/segment_log.hpp>
#include <p2pdvm/wire/codec.hpp>

namespace p2pdvm::store {

P2PDVM_DECL void segment_log::sync(std::function<void(result<>)> done) {
  close_retired();
  if (broken_) (void)mend();
  asked_ = needed_;
  waiting_.push_back(std::move(done));
  if (!round_running_) start_round();
}

/// One sync of every file that has something new. With none, the reserve's sync only serves
/// to call back later.
P2PDVM_DECL void segment_log::start_round() {
  P2PDVM_ASSERT(!round_running_);
  round_running_ = true;
  round_callers_ = std::exchange(waiting_, {});
  round_owed_ = std::exchange(unreported_, std::nullopt);
  if (broken_) round_owed_ = broken_;
  round_failure_.reset();
  if (ends_owed_ && !broken_) {
    if (const auto rolled = roll(need::upkeep); !rolled) round_failure_ = rolled.error();
  }
  round_target_ = std::max(needed_, durable_);
  round_pending_ = 1;  // released below, so that no round ends before all are asked
  std::vector<std::uint64_t> dirty;
  for (const auto& [number, s] : segments_) {
    if (needed_ <= durable_ || number < durable_.segment || number > needed_.segment) continue;
    const std::uint64_t clean = number == durable_.segment ? durable_.offset : s.begin;
    if (s.end > clean) dirty.push_back(number);
  }
  bool deferred = false;
  for (const std::uint64_t number : dirty) {
    auto file = file_of(number);
    if (!file) {
      round_failure_ = fail(file.error(), "make data durable");
      continue;
    }
    segments_.at(number).syncing = true;
    ++round_pending_;
    deferred = true;
    (*file)->sync([this, number](result<> outcome) { on_synced(number, outcome); });
  }
  if (!deferred) {
    ++round_pending_;
    reserve_->sync([this](const result<>&) { on_synced(0, {}); });
  }
  --round_pending_;
}

P2PDVM_DECL void segment_log::on_synced(std::uint64_t number, const result<>& outcome) {
  if (const auto it = segments_.find(number); it != segments_.end()) it->second.syncing = false;
  if (!outcome) round_failure_ = fail(outcome.error(), "make data durable");
  if (--round_pending_ > 0) return;
  const std::shared_ptr<bool> alive = alive_;
  calling_back_ = true;
  finish_round();
  if (*alive) calling_back_ = false;
}

P2PDVM_DECL void segment_log::finish_round() {
  auto callers = std::exchange(round_callers_, {});
  if (round_failure_) {
    // Who asked meanwhile asked for something that is lost as well.
    for (auto& w : waiting_) callers.push_back(std::move(w));
    waiting_.clear();
    if (needed_ > asked_) unreported_ = round_failure_;
    lose_unsynced();
  } else if (round_target_ > durable_) {
    durable_ = round_target_;
    // The log's own word for it, on disk with the next sync: see `judge`.
    if (active_ != 0) {
      (void)append(record_type::synced, {}, wire::encode(durable_), need::upkeep);
    }
    reclaim();
  }
  round_running_ = false;
  const std::optional<error> failure = round_failure_ ? round_failure_ : round_owed_;
  if (!waiting_.empty()) start_round();
  const std::shared_ptr<bool> alive = alive_;
  for (auto& done : callers) {
    done(failure ? result<>(*failure) : result<>());
    if (!*alive) return;
  }
}

/// After a failed fsync the system may have dropped any of the unsynced bytes, and a second
/// one would report success all the same. So the log ends at what was durable before.
P2PDVM_DECL void segment_log::lose_unsynced() {
  active_ = 0;
  ends_written_ = false;
  ends_owed_ = true;
  compacting_ = {};
  for (auto& [number, s] : segments_) {
    if (number > durable_.segment) s.end = s.begin;
    if (number == durable_.segment) s.end = std::min(s.end, durable_.offset);
  }
  rebuild();
  if (!broken_ && ends_owed_) (void)roll(need::upkeep);  // else the next sync does, or fails
}

}  // namespace p2pdvm::store
