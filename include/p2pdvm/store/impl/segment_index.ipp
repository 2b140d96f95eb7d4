#pragma once

#include <p2pdvm/store/segment_log.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>

namespace p2pdvm::store {

P2PDVM_DECL void segment_log::revive(const location& where) {
  segments_.at(where.at.segment).live += where.bytes;
}

P2PDVM_DECL void segment_log::kill(const location& where) {
  segment_state& s = segments_.at(where.at.segment);
  P2PDVM_ASSERT(s.live >= where.bytes);
  s.live -= where.bytes;
  s.dead_at = needed_;
}

P2PDVM_DECL void segment_log::apply_chunk(const chunk_id& id, const location& where) {
  chunk_entry& e = chunks_[id];
  if (e.present) {
    kill(e.where);
    live_bytes_ -= e.where.body;
  }
  e.where = where;
  e.present = true;
  revive(where);
  live_bytes_ += where.body;
  damaged_.erase(id);
}

P2PDVM_DECL void segment_log::apply_pin(const pin& p, std::vector<chunk_id> ids,
                                        const location& where) {
  pin_entry& entry = pins_[p];
  entry.segments.insert(where.at.segment);
  revive(where);
  const auto same = std::find_if(entry.adds.begin(), entry.adds.end(), [&](const location& l) {
    return l.sequence == where.sequence;
  });
  if (same != entry.adds.end()) {  // a copy that compaction made
    kill(*same);
    *same = where;
    return;
  }
  entry.adds.push_back(where);
  std::sort(ids.begin(), ids.end());
  std::vector<chunk_id> all;
  all.reserve(entry.ids.size() + ids.size());
  std::set_union(entry.ids.begin(), entry.ids.end(), ids.begin(), ids.end(),
                 std::back_inserter(all));
  for (const chunk_id& id : ids) {
    chunk_entry& e = chunks_[id];
    if (!std::binary_search(entry.ids.begin(), entry.ids.end(), id)) ++e.pins;
    if (!e.present && e.where.at.segment != 0) apply_chunk(id, location(e.where));
  }
  entry.ids = std::move(all);
}

P2PDVM_DECL void segment_log::unpin(const chunk_id& id) {
  const auto it = chunks_.find(id);
  P2PDVM_ASSERT(it != chunks_.end());
  chunk_entry& e = it->second;
  P2PDVM_ASSERT(e.pins > 0);
  if (--e.pins > 0) return;
  if (e.present) {
    kill(e.where);
    live_bytes_ -= e.where.body;
    e.present = false;
  }
  if (replaying_) return;
  chunks_.erase(it);
  damaged_.erase(id);
}

P2PDVM_DECL void segment_log::forget(const chunk_id& id) {
  const auto it = chunks_.find(id);
  P2PDVM_ASSERT(it != chunks_.end());
  kill(it->second.where);
  live_bytes_ -= it->second.where.body;
  it->second.present = false;
  it->second.where = {};
  if (it->second.pins == 0) chunks_.erase(it);
  damaged_.insert(id);
}

/// True when the tombstone has nothing left to keep down; its record is dead then.
P2PDVM_DECL bool segment_log::settle(const tombstone& t) {
  if (t.segments.size() > 1 || !t.segments.contains(t.where.at.segment)) return false;
  kill(t.where);
  return true;
}

P2PDVM_DECL void segment_log::apply_drop(const pin& p, const location& where) {
  auto& drops = dropped_[p];
  auto same = std::find_if(drops.begin(), drops.end(), [&](const tombstone& t) {
    return t.where.sequence == where.sequence;
  });
  if (same == drops.end()) {
    same = drops.emplace(drops.end());
  } else {  // a copy that compaction made
    kill(same->where);
  }
  tombstone& t = *same;
  t.where = where;
  t.segments.insert(where.at.segment);
  revive(where);
  if (const auto it = pins_.find(p); it != pins_.end()) {
    for (const chunk_id& id : it->second.ids) unpin(id);
    for (const location& add : it->second.adds) kill(add);
    t.segments.merge(it->second.segments);
    pins_.erase(it);
  }
  if (settle(t)) drops.erase(same);
  if (drops.empty()) dropped_.erase(p);
}

P2PDVM_DECL void segment_log::apply_value(const std::string& name, const location& where,
                                          value_state state) {
  value_entry& v = values_[name];
  if (v.where.at.segment != 0) kill(v.where);
  v.where = where;
  v.state = state;
  v.segments.insert(where.at.segment);
  revive(where);
  if (state == value_state::removed && v.segments.size() == 1) {
    kill(where);
    values_.erase(name);
  }
}

/// Segment `number` is gone for good: what its records said needs no denial any more.
P2PDVM_DECL void segment_log::bury(std::uint64_t number) {
  for (auto& [p, entry] : pins_) entry.segments.erase(number);
  for (auto it = dropped_.begin(); it != dropped_.end();) {
    std::erase_if(it->second, [&](tombstone& t) {
      t.segments.erase(number);
      return settle(t);
    });
    it = it->second.empty() ? dropped_.erase(it) : std::next(it);
  }
  for (auto it = values_.begin(); it != values_.end();) {
    value_entry& v = it->second;
    v.segments.erase(number);
    const bool needless = v.state == value_state::removed && v.segments.size() == 1;
    if (needless) kill(v.where);
    it = needless ? values_.erase(it) : std::next(it);
  }
}

/// Where the index keeps the place of this very record, or null when the record is dead.
P2PDVM_DECL segment_log::location* segment_log::live_location(record_type type, byte_view key,
                                                              const location& where,
                                                              holders** segments) {
  *segments = nullptr;
  if (type == record_type::chunk && key.size() == chunk_id::size) {
    const auto it = chunks_.find(chunk_id(key));
    const bool here = it != chunks_.end() && it->second.present && it->second.where == where;
    return here ? &it->second.where : nullptr;
  }
  if (type == record_type::value || type == record_type::value_lost) {
    const auto it = values_.find(as_text(key));
    if (it == values_.end() || !(it->second.where == where)) return nullptr;
    *segments = &it->second.segments;
    return &it->second.where;
  }
  const auto p = wire::decode<pin>(key);
  if (!p) return nullptr;
  if (type == record_type::pin_add) {
    const auto it = pins_.find(*p);
    if (it == pins_.end()) return nullptr;
    *segments = &it->second.segments;
    const auto add = std::find(it->second.adds.begin(), it->second.adds.end(), where);
    return add == it->second.adds.end() ? nullptr : &*add;
  }
  const auto it = dropped_.find(*p);
  if (it == dropped_.end()) return nullptr;
  for (tombstone& t : it->second) {
    if (!(t.where == where)) continue;
    *segments = &t.segments;
    return &t.where;
  }
  return nullptr;
}

}  // namespace p2pdvm::store
