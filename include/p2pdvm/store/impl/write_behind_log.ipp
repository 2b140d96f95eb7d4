#pragma once

#include <p2pdvm/store/segment_format.hpp>
#include <p2pdvm/store/write_behind_log.hpp>

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

namespace p2pdvm::store {

P2PDVM_DECL write_behind_log::write_behind_log(host::clock& clock, std::unique_ptr<chunk_log> below,
                                               std::size_t memory_bytes_max)
    : clock_(clock), below_(std::move(below)), memory_bytes_max_(memory_bytes_max), write_timer_(clock), confirm_timer_(clock) {
  P2PDVM_ASSERT(below_ != nullptr);
}

P2PDVM_DECL write_behind_log::~write_behind_log() {
  *alive_ = false;
  (void)write_all();  // the next start finds what is missing
}

P2PDVM_DECL void write_behind_log::receipts_from_memory(bool wanted) {
  if (from_memory_ && !wanted) (void)write_all();  // what fails will be tried again
  from_memory_ = wanted;
}

P2PDVM_DECL void write_behind_log::arm(duration delay) {
  if (!write_timer_.armed()) write_timer_.after(delay, [this] { write_some(); });
}

// --- what is in memory ---

P2PDVM_DECL bool write_behind_log::contains(const chunk_id& id) const {
  return chunks_.contains(id) || below_->contains(id);
}

P2PDVM_DECL result<> write_behind_log::put(const chunk_id& id, byte_view sealed) {
  return put_shared(id, payload::copy_of(sealed));
}

P2PDVM_DECL result<> write_behind_log::put_shared(const chunk_id& id, const payload& sealed) {
  if (chunks_.contains(id)) return {};
  // What is below may be about to go.
  if (below_->contains(id) && dropping_.empty()) return {};
  if (!from_memory_ || bytes_ + sealed.size() + unwritten_overhead_bytes > memory_bytes_max_) {
    unconfirmed_below_ = true;
    return below_->put_shared(id, sealed);
  }
  if (sealed.size() > log_chunk_bytes_max)
    return error(errc::too_large, "a chunk of " + std::to_string(sealed.size()) + " bytes is over the limit of a store");
  chunks_[id].sealed = sealed;
  last_put_ = clock_.now();
  if (order_.empty()) first_put_ = last_put_;
  order_.push_back(id);
  bytes_ += sealed.size() + unwritten_overhead_bytes;
  sealed_bytes_ += sealed.size();
  arm(write_behind_delay);
  return {};
}

P2PDVM_DECL void write_behind_log::forget(const chunk_id& id) {
  const auto found = chunks_.find(id);
  bytes_ -= found->second.sealed.size() + unwritten_overhead_bytes;
  if (!found->second.written) sealed_bytes_ -= found->second.sealed.size();
  if (syncing_) gone_chunks_.insert(id);
  chunks_.erase(found);
}

P2PDVM_DECL result<payload> write_behind_log::get(const chunk_id& id) {
  const auto found = chunks_.find(id);
  return found == chunks_.end() ? below_->get(id) : found->second.sealed;
}

P2PDVM_DECL result<> write_behind_log::add_pin(const pin& p, const std::vector<chunk_id>& ids) {
  if (const auto drop = dropping_.find(p); drop != dropping_.end()) {  // it is another one from now on
    if (auto written = write_pins(); !written) return written;
    carry_out(drop);
  }
  std::vector<chunk_id> here, there;
  for (const chunk_id& id : ids) {
    const auto found = chunks_.find(id);
    if (found == chunks_.end() && !below_->contains(id))
      return error(errc::not_found, "chunk " + id.brief() + " cannot be pinned: it is not here");
    (from_memory_ || (found != chunks_.end() && !found->second.written) ? here : there).push_back(id);
  }
  if (!there.empty() || (ids.empty() && !from_memory_)) {
    unconfirmed_below_ = true;
    if (auto pinned = below_->add_pin(p, there); !pinned) return pinned;
  }
  if (here.empty() && !from_memory_) return {};
  auto& have = pins_[p];
  for (const chunk_id& id : here) {
    if (!have.insert(id).second) continue;
    if (const auto found = chunks_.find(id); found != chunks_.end()) ++found->second.pins;
  }
  arm(write_behind_delay);
  return {};
}

P2PDVM_DECL result<> write_behind_log::drop_pin(const pin& p) {
  std::set<chunk_id> on_disk;
  if (const auto found = pins_.find(p); found != pins_.end()) {
    for (const chunk_id& id : std::exchange(found->second, {})) {
      const auto here = chunks_.find(id);
      if (here == chunks_.end() || here->second.written) on_disk.insert(id);
      if (here != chunks_.end() && --here->second.pins == 0) forget(id);
    }
    pins_.erase(found);
  }
  written_pins_.erase(p);
  if (syncing_) gone_pins_.insert(p);
  const auto drop = dropping_.emplace(p, std::set<chunk_id>()).first;
  drop->second.merge(on_disk);
  if (!from_memory_ && order_.empty() && write_pins().ok()) {
    carry_out(drop);
  } else {
    arm(write_behind_delay);
  }
  return {};
}

P2PDVM_DECL std::vector<pin> write_behind_log::pins() const {
  std::vector<pin> all = below_->pins();
  std::erase_if(all, [&](const pin& p) { return dropping_.contains(p); });
  for (const auto& [p, ids] : pins_) all.push_back(p);
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

P2PDVM_DECL std::vector<chunk_id> write_behind_log::pinned(const pin& p) const {
  std::vector<chunk_id> all;
  if (!dropping_.contains(p)) all = below_->pinned(p);
  if (const auto found = pins_.find(p); found != pins_.end()) all.insert(all.end(), found->second.begin(), found->second.end());
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

P2PDVM_DECL void write_behind_log::confirm(std::function<void(result<>)> done) {
  if (!from_memory_ || unconfirmed_below_) {
    unconfirmed_below_ = false;
    return below_->sync([this, alive = alive_, done = std::move(done)](const result<>& synced) {
      if (*alive && !synced) unconfirmed_below_ = true;
      done(synced);
    });
  }
  if (!has_older()) {
    waiting_.push_back(std::move(done));
    if (!confirm_timer_.armed()) confirm_timer_.at(clock_.now(), [this] { complete(); });
    return;
  }
  waiting_older_.push_back(std::move(done));
  if (!syncing_) write_timer_.at(clock_.now(), [this] { write_some(); });
}

P2PDVM_DECL bool write_behind_log::has_older() const {
  return std::adjacent_find(pins_.begin(), pins_.end(), [](const auto& one, const auto& next) {
           return one.first.job == next.first.job;
         }) != pins_.end();
}

P2PDVM_DECL void write_behind_log::confirm_waiting() {
  if (waiting_older_.empty()) return;
  if (has_older()) return write_timer_.at(clock_.now(), [this] { write_some(); });
  for (auto& done : std::exchange(waiting_older_, {})) waiting_.push_back(std::move(done));
  if (!confirm_timer_.armed()) confirm_timer_.at(clock_.now(), [this] { complete(); });
}

P2PDVM_DECL void write_behind_log::complete() {
  const std::shared_ptr<bool> alive = alive_;
  for (const auto& done : std::exchange(waiting_, {})) {
    done({});
    if (!*alive) return;
  }
}

// --- to disk ---

P2PDVM_DECL void write_behind_log::write_some() {
  const time_point due = std::min(last_put_ + write_behind_delay, first_put_ + write_behind_delay_max);
  if (!writing_ && !order_.empty() && waiting_older_.empty() && clock_.now() < due)
    return write_timer_.at(due, [this] { write_some(); });
  writing_ = true;
  auto written = write_chunks(write_behind_bytes_per_turn);
  writing_ = !order_.empty();
  if (written.ok() && writing_) return arm(waiting_older_.empty() ? std::chrono::milliseconds(1) : duration::zero());
  if (auto pinned = write_pins(); written.ok()) {
    written = pinned;
  } else if (pinned.ok()) {
    carry_out_drops();  // which may be what makes room
  }
  // Until then it stays in memory, which is what its receipt promises.
  if (!written.ok()) return arm(write_behind_retry);
  carry_out_drops();
  begin_sync();
}

P2PDVM_DECL result<> write_behind_log::write_all() {
  if (auto written = write_chunks(std::numeric_limits<std::size_t>::max()); !written) return written;
  if (auto written = write_pins(); !written) return written;
  carry_out_drops();
  return {};
}

P2PDVM_DECL result<> write_behind_log::write_chunks(std::size_t bytes_max) {
  for (std::size_t done = 0; !order_.empty() && done < bytes_max; order_.pop_front()) {
    const auto found = chunks_.find(order_.front());
    if (found == chunks_.end() || found->second.written) continue;
    if (auto stored = below_->put_shared(found->first, found->second.sealed); !stored) return stored;
    found->second.written = true;
    sealed_bytes_ -= found->second.sealed.size();
    written_.push_back(found->first);
    done += found->second.sealed.size();
  }
  return {};
}

/// Those of chunks that are below; what is nowhere any more was found damaged there.
P2PDVM_DECL result<> write_behind_log::write_pins() {
  result<> outcome;
  for (auto& [p, ids] : pins_) {
    std::set<chunk_id>& done = written_pins_[p];
    std::vector<chunk_id> now;
    for (auto id = ids.begin(); id != ids.end();) {
      const auto here = chunks_.find(*id);
      const bool below = here == chunks_.end() ? below_->contains(*id) : here->second.written;
      if (here == chunks_.end() && !below) {
        id = ids.erase(id);
        continue;
      }
      if (below && !done.contains(*id)) now.push_back(*id);
      ++id;
    }
    if (now.empty() && !ids.empty()) continue;
    if (auto pinned = below_->add_pin(p, now); pinned.ok()) {
      done.insert(now.begin(), now.end());
    } else {
      outcome = pinned;
    }
  }
  return outcome;
}

P2PDVM_DECL void write_behind_log::carry_out(pinned_chunks::iterator drop) {
  const auto& [p, ids] = *drop;
  std::vector<chunk_id> there;
  for (const chunk_id& id : ids) {
    if (below_->contains(id)) there.push_back(id);
  }
  // The log below must have had a pin to let go of a chunk.
  if (!there.empty()) (void)below_->add_pin(p, there);
  const std::vector<chunk_id> dropped = below_->pinned(p);
  // What fails is tried again, like all garbage, after the next commit.
  (void)below_->drop_pin(p);
  // Put again meanwhile, and not pinned by anything yet.
  for (const chunk_id& id : dropped) {
    const auto here = chunks_.find(id);
    if (here == chunks_.end() || !here->second.written || below_->contains(id)) continue;
    write_again({id});
    if (syncing_) gone_chunks_.insert(id);
  }
  dropping_.erase(drop);
}

P2PDVM_DECL void write_behind_log::carry_out_drops() {
  while (!dropping_.empty()) carry_out(dropping_.begin());
}

P2PDVM_DECL void write_behind_log::begin_sync() {
  if (syncing_) return;  // whose end goes on
  syncing_ = true;
  below_->sync([this, alive = alive_, chunks = std::exchange(written_, {}), pins = std::exchange(written_pins_, {})](const result<>& synced) {
    if (*alive) end_sync(synced, chunks, pins);
  });
}

P2PDVM_DECL void write_behind_log::end_sync(const result<>& synced, const std::vector<chunk_id>& chunks, const pinned_chunks& pins) {
  syncing_ = false;
  const auto gone_chunks = std::exchange(gone_chunks_, {});
  const auto gone_pins = std::exchange(gone_pins_, {});
  if (!synced) {
    // The log below has gone back to what is durable.
    write_again(chunks);
    write_again(std::exchange(written_, {}));
    written_pins_.clear();
    return arm(write_behind_retry);
  }
  for (const chunk_id& id : chunks) {
    const auto found = chunks_.find(id);
    if (found != chunks_.end() && found->second.written && !gone_chunks.contains(id)) forget(id);
  }
  for (const auto& [p, ids] : pins) {
    const auto found = pins_.find(p);
    if (found == pins_.end() || gone_pins.contains(p)) continue;
    for (const chunk_id& id : ids) found->second.erase(id);
    if (found->second.empty()) pins_.erase(found);
  }
  if (!all_durable()) arm(write_behind_delay);
  confirm_waiting();
}

P2PDVM_DECL void write_behind_log::write_again(const std::vector<chunk_id>& chunks) {
  for (const chunk_id& id : chunks) {
    const auto found = chunks_.find(id);
    if (found == chunks_.end() || !std::exchange(found->second.written, false)) continue;
    order_.push_back(id);
    sealed_bytes_ += found->second.sealed.size();
  }
}

P2PDVM_DECL void write_behind_log::sync(std::function<void(result<>)> done) {
  if (all_durable()) return below_->sync(std::move(done));
  const auto written = write_all();
  below_->sync([written, done = std::move(done)](const result<>& synced) { done(written.ok() ? synced : written); });
}

}  // namespace p2pdvm::store
