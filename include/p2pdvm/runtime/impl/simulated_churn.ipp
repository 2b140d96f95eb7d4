#pragma once

#include <p2pdvm/runtime/simulated_churn.hpp>

#include <algorithm>
#include <utility>

namespace p2pdvm::runtime {

namespace detail {

/// How much longer a session lasts whose end the job could not survive, before that is asked again.
inline constexpr duration overtime = std::chrono::seconds(1);

}  // namespace detail

P2PDVM_DECL simulated_churn::simulated_churn(simulated_cluster& cluster, sim::session_model sessions,
                                             std::uint32_t replicas, std::uint64_t seed,
                                             observer watch)
    : cluster_(cluster),
      sessions_(sessions),
      replicas_(replicas),
      random_(seed ^ 0xc0a7c0a7u),
      watch_(std::move(watch)) {
  for (std::size_t i = 0; i < cluster_.size(); ++i) begin_session(i);
}

P2PDVM_DECL void simulated_churn::begin_session(std::size_t peer) {
  const duration length = sessions_.session(now(), static_cast<std::uint32_t>(peer), random_);
  if (length == duration::max()) return;
  cluster_.network().call_at(now() + length, [this, peer] { end_session(peer); });
}

P2PDVM_DECL void simulated_churn::end_session(std::size_t peer) {
  if (cluster_.outcome(peer)) return;
  if (!survivable(peer)) {
    cluster_.network().call_at(now() + detail::overtime, [this, peer] { end_session(peer); });
    return;
  }
  ++departures_;
  ++since_commit_;
  tell(peer, false);
  const bool process = random_.below(2) == 0;
  cluster_.crash(peer, process ? sim::crash_mode::reset : sim::crash_mode::silent);
  const duration pause = sessions_.absence(now(), static_cast<std::uint32_t>(peer), random_);
  cluster_.network().call_at(now() + pause, [this, peer] { come_back(peer); });
}

P2PDVM_DECL void simulated_churn::come_back(std::size_t peer) {
  const checkpoint::job_record* record = newest_record(cluster_);
  if (record == nullptr || record->state != checkpoint::job_state::running) return;  // too late
  ++returns_;
  tell(peer, true);
  cluster_.restart(peer);
  begin_session(peer);
}

P2PDVM_DECL bool simulated_churn::survivable(std::size_t peer) {
  const checkpoint::job_record* record = newest_record(cluster_, peer);
  if (record == nullptr || record->state != checkpoint::job_state::running ||
      record->needs_upkeep() || !record->previous_keepers.empty())
    return false;
  std::size_t living = 0;
  std::optional<std::size_t> other;
  for (std::size_t i = 0; i < cluster_.size(); ++i) {
    if (!cluster_.alive(i)) continue;
    ++living;
    if (i != peer) other = i;
  }
  if (!cluster_.alive(peer) || living < 3 || record->live_count() != living) return false;
  job* const known = cluster_.at(*other).current_job();
  if (known == nullptr || !known->now().whole) return false;
  if (committed_ != record->committed.epoch) {
    committed_ = record->committed.epoch;
    since_commit_ = 0;
  }
  // Before the first checkpoint there is nothing to be lost.
  return committed_ == epoch_number() || since_commit_ + 1 < std::max(replicas_, 2u);
}

P2PDVM_DECL void simulated_churn::tell(std::size_t peer, bool begins) {
  if (watch_) watch_(peer, now(), begins);
}

}  // namespace p2pdvm::runtime
