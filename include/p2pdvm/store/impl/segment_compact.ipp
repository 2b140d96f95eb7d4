#pragma once

#include <p2pdvm/store/segment_log.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>

namespace p2pdvm::store {

/// Deletes segments whose last record was killed by something that is durable, and that are
/// durable themselves: should a crash bring one back, it must not look like a cut log. The
/// newest always stays: segment numbers must not start again.
P2PDVM_DECL void segment_log::reclaim() {
  if (broken_ || !ends_written_) return;
  const std::uint64_t newest = segments_.rbegin()->first;
  for (auto it = segments_.begin(); it != segments_.end();) {
    segment_state& s = it->second;
    const std::uint64_t number = it->first;
    const bool dead = s.live == 0 && number != active_ && number != newest;
    const bool durable = s.dead_at <= durable_ && position{number, s.end} <= durable_;
    if (!dead || !durable || s.syncing || !disk_.remove(path(number))) {
      ++it;
      continue;
    }
    if (compacting_.segment == number) compacting_ = {};
    used_ -= s.file_bytes;
    retired_.push_back(std::move(s.file));  // may be calling us
    removed_.insert(number);
    it = segments_.erase(it);
  }
}

P2PDVM_DECL void segment_log::release_reserve() {
  reserve_full_ = false;
  (void)reserve_->truncate(0);
}

P2PDVM_DECL bool segment_log::restore_reserve() {
  if (used_ + options_.reserve_bytes > options_.quota_bytes) {
    if (reserve_->size() > 0) release_reserve();
    return false;
  }
  // Where the file system can, this takes the space and writes nothing.
  const auto taken = reserve_->size() == options_.reserve_bytes ? result<>() : reserve_->truncate(options_.reserve_bytes);
  reserve_full_ = taken.ok();
  // What failed for another reason may succeed the next time.
  reserve_refused_ = !taken.ok() && taken.error().code() == errc::no_space;
  return reserve_full_;
}

P2PDVM_DECL bool segment_log::mostly_dead(const segment_state& s) const {
  return s.live * 2 < s.end - s.begin;
}

/// Picks the closed segment with the least live bytes that is worth moving.
P2PDVM_DECL bool segment_log::choose() {
  const std::uint64_t fragment = options_.segment_bytes / 8;
  if (active_ != 0) {
    const segment_state& s = segments_.at(active_);
    if (mostly_dead(s) && s.end - s.begin >= fragment) active_ = 0;
  }
  std::uint64_t best = 0;
  for (const auto& [number, s] : segments_) {
    if (number == active_ || s.live == 0 || s.syncing) continue;
    if (!mostly_dead(s) && s.end - s.begin >= fragment) continue;
    if (best == 0 || s.live < segments_.at(best).live) best = number;
  }
  if (best == 0) return false;
  compacting_ = {best, segments_.at(best).begin};
  return true;
}

/// Bytes moved; 0 for a dead record.
P2PDVM_DECL result<std::size_t> segment_log::move_record(const segment::found_record& found) {
  const location where{found.at, found.head.sequence, static_cast<std::uint32_t>(found.bytes()),
                       found.head.body_bytes};
  holders* segments = nullptr;
  location* place = live_location(found.head.type, found.key, where, &segments);
  if (place == nullptr) return std::size_t{0};
  record_type type = found.head.type;
  auto r = read(where);
  if (!r && r.error().code() != errc::corrupted) return r.error();
  payload body = r ? std::move(r->body) : payload();
  if (!r && type == record_type::chunk) {
    forget(chunk_id(found.key));
    return std::size_t{0};
  }
  if (!r && type == record_type::value) type = record_type::value_lost;
  if (!r && type == record_type::pin_add) {
    const auto p = wire::decode<pin>(found.key);
    body = payload(wire::encode(pins_.at(*p).ids));
  }
  const auto copy = append(type, found.key, body.view(), need::upkeep, where.sequence);
  if (!copy) return copy.error();
  // `append` may have made a segment and so buried tombstones, this very one included.
  place = live_location(found.head.type, found.key, where, &segments);
  if (place == nullptr) return std::size_t{0};
  kill(where);
  revive(*copy);
  *place = *copy;
  if (segments != nullptr) segments->insert(copy->at.segment);
  if (type == record_type::value_lost) {
    values_.find(as_text(found.key))->second.state = value_state::lost;
  }
  return static_cast<std::size_t>(copy->bytes);
}

/// Live records whose heads became unreadable after the log was opened, so that no walk over
/// the segment meets them: the index knows them still. False when the disk refuses.
P2PDVM_DECL bool segment_log::move_stranded(std::uint64_t number) {
  if (segments_.at(number).live == 0) return true;
  std::vector<segment::found_record> left;
  const auto note = [&](record_type type, const location& where, byte_view key) {
    if (where.at.segment != number) return;
    segment::found_record found;
    found.at = where.at;
    found.head.type = type;
    found.head.key_bytes = static_cast<std::uint16_t>(key.size());
    found.head.body_bytes = where.body;
    found.head.sequence = where.sequence;
    found.key = to_vector(key);
    left.push_back(std::move(found));
  };
  for (const auto& [id, e] : chunks_) {
    if (e.present) note(record_type::chunk, e.where, id.bytes());
  }
  for (const auto& [p, entry] : pins_) {
    for (const location& add : entry.adds) note(record_type::pin_add, add, wire::encode(p));
  }
  for (const auto& [p, drops] : dropped_) {
    for (const tombstone& t : drops) note(record_type::pin_drop, t.where, wire::encode(p));
  }
  for (const auto& [name, v] : values_) {
    if (v.state == value_state::lost) {
      note(record_type::value_lost, v.where, as_bytes(name));
    } else {
      note(record_type::value, v.where, as_bytes(name));
    }
  }
  std::sort(left.begin(), left.end(),
            [](const auto& a, const auto& b) { return a.at < b.at; });
  for (const auto& found : left) {
    if (!move_record(found)) return false;
  }
  return true;
}

/// Whether dead segments wait for a newer one to be made: see `reclaim`.
P2PDVM_DECL bool segment_log::needs_newer() const {
  if (active_ != 0) return false;
  const auto worth_it = [&](const segment_state& s) {
    return s.live == 0 && s.end - s.begin >= options_.segment_bytes / 8;
  };
  if (ends_written_) return worth_it(segments_.rbegin()->second);
  return std::any_of(segments_.begin(), segments_.end(),
                     [&](const auto& item) { return worth_it(item.second); });
}

P2PDVM_DECL std::size_t segment_log::compact(std::size_t bytes_budget) {
  close_retired();
  if (broken_) return 0;
  if (!reserve_full_ && (reserve_refused_ || !segments_.empty())) restore_reserve();
  if (segments_.empty()) return 0;
  reclaim();
  std::size_t moved = 0;
  std::size_t looked_at = 0;
  while (moved + looked_at < std::max<std::size_t>(bytes_budget, 1)) {
    if (compacting_.segment == 0 && !choose()) break;
    auto file = file_of(compacting_.segment);
    if (!file) break;
    segment::scanner scanner(**file, salt_, compacting_,
                             segments_.at(compacting_.segment).end);
    auto found = scanner.next();
    if (!found) break;
    if (!*found || segments_.at(compacting_.segment).live == 0) {
      if (!move_stranded(compacting_.segment)) break;
      compacting_ = {};
      continue;
    }
    const auto done = move_record(**found);
    if (!done) break;
    moved += *done;
    looked_at += segment::head_bytes;
    compacting_.offset = (*found)->at.offset + (*found)->bytes();
  }
  if (needs_newer() && roll(need::upkeep)) reclaim();
  return moved + looked_at;
}

}  // namespace p2pdvm::store
