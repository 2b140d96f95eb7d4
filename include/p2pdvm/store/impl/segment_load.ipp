#pragma once

#include <p2pdvm/store/segment_log.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <charconv>

namespace p2pdvm::store {

/// One segment while the log is opened.
struct segment_log::segment_scan {
  std::uint64_t limit = 0;  ///< no record reaches behind this
  std::uint64_t expected_end = 0;
  std::vector<segment::found_record> records;
  std::uint64_t tail_gap = 0;  ///< unreadable from here to `expected_end`
};

struct segment_log::loading {
  std::map<std::uint64_t, segment_scan> scans;
  std::vector<std::uint64_t> deleted;  ///< files that came back after they were removed
  bool may_come_back = false;          ///< the newest manifest lists files that were removed
  position durable;
  std::uint64_t suspect_below = 0;  ///< a lost record may have had any sequence below this
  std::uint64_t sequences_lost_max = 0;
};

namespace detail {

inline std::optional<std::uint64_t> segment_number(std::string_view name) {
  if (name.size() < 12 || !name.ends_with(".seg")) return std::nullopt;
  std::uint64_t number = 0;
  const char* last = name.data() + name.size() - 4;
  const auto [end, ec] = std::from_chars(name.data(), last, number);
  if (ec != std::errc() || end != last || number == 0) return std::nullopt;
  return number;
}

}  // namespace detail

P2PDVM_DECL result<> segment_log::load() {
  loading l;
  if (auto r = find_segments(l); !r) return r.error();
  if (auto r = scan_segments(l); !r) return r.error();
  if (auto r = find_evidence(l); !r) return r.error();
  if (auto r = judge(l); !r) return r.error();
  if (auto r = replay(l); !r) return r.error();
  loaded_bytes_ = used_;
  auto opened = disk_.open(folder_ + "/reserve", true);
  if (!opened) return fail(opened.error(), "open the store");
  reserve_ = std::move(*opened);
  // Without it the log works, but takes no ordinary data. A new log makes it with its first chunk.
  if (!chunks_.empty() || reserve_->size() > 0) restore_reserve();
  // From here on everything was understood, and what was cut off may go. Failure is harmless:
  // the next segment's manifest says the same.
  for (const std::uint64_t number : l.deleted) (void)disk_.remove(path(number));
  for (auto& [number, s] : segments_) {
    if (s.file_bytes <= s.end || number < durable_.segment) continue;
    if (auto file = file_of(number); file && (*file)->truncate(s.end)) {
      used_ -= s.file_bytes - s.end;
      s.file_bytes = s.end;
    }
  }
  // Decisions made without a removed segment must not meet it again after the next crash.
  if (l.may_come_back) {
    if (const auto rolled = roll(need::upkeep); !rolled) return rolled.error();
  }
  report_damage(l);
  return {};
}

P2PDVM_DECL result<> segment_log::find_segments(loading& l) {
  const auto names = disk_.list(folder_);
  if (!names) return fail(names.error(), "list the segments");
  std::map<std::uint64_t, segment::header> headers;
  for (const std::string& name : *names) {
    const auto number = detail::segment_number(name);
    if (!number) continue;
    last_number_ = std::max(last_number_, *number);
    segment_state& s = segments_[*number];
    auto file = file_of(*number);
    if (!file) return fail(file.error(), "open segment " + name);
    s.file_bytes = (*file)->size();
    auto h = segment::read_header(**file, *number);
    if (!h && h.error().code() == errc::unsupported_version) {
      return error(errc::unsupported_version,
                   disk_.describe(folder_) + " was written in format " + h.error().message() +
                       " by a newer p2pdvm (this one knows format 1); start that version, or "
                       "use another --data");
    }
    if (!h && h.error().code() != errc::corrupted) return fail(h.error(), "read segment " + name);
    segment_scan& scan = l.scans[*number];
    scan.limit = scan.expected_end = s.file_bytes;
    if (!h) continue;
    s.begin = h->records_begin;
    s.first_sequence = h->first_sequence;
    salt_ = h->salt;
    next_sequence_ = std::max(next_sequence_, h->first_sequence);
    headers.emplace(*number, std::move(*h));
  }
  if (headers.empty() && !segments_.empty()) {
    return error(errc::corrupted,
                 disk_.describe(path(segments_.begin()->first)) +
                     " has no readable header: it is cut off, damaged, or no segment of p2pdvm; "
                     "move the folder away to start empty (chunks are fetched again from others)");
  }
  for (const auto& [number, h] : headers) {  // the newest manifest has the last word
    if (!h.contents) continue;
    l.durable = std::max(l.durable, h.contents->durable);
    std::map<std::uint64_t, std::uint64_t> ends;
    l.may_come_back = false;
    for (const position& p : h.contents->ends) {
      ends[p.segment] = p.offset;
      l.may_come_back = l.may_come_back || !segments_.contains(p.segment);
    }
    for (auto& [older, scan] : l.scans) {
      if (older >= number) break;
      const auto end = ends.find(older);
      if (end == ends.end()) {
        l.deleted.push_back(older);
        continue;
      }
      scan.expected_end = end->second;
      scan.limit = std::min(end->second, segments_.at(older).file_bytes);
    }
    for (const std::uint64_t gone : l.deleted) {
      l.scans.erase(gone);
      segments_.erase(gone);
    }
  }
  return {};
}

P2PDVM_DECL result<> segment_log::scan_segments(loading& l) {
  for (auto& [number, scan] : l.scans) {
    auto file = file_of(number);
    if (!file) return fail(file.error(), "open a segment");
    const std::uint64_t begin = segments_.at(number).begin;
    segment::scanner scanner(**file, salt_, {number, begin}, scan.limit);
    for (;;) {
      auto found = scanner.next();
      if (!found) return fail(found.error(), "read the store");
      if (!*found) break;
      scan.records.push_back(std::move(**found));
    }
    scan.tail_gap = scanner.gap_begin();
  }
  return {};
}

/// How far the log is known to have been durable.
P2PDVM_DECL result<> segment_log::find_evidence(loading& l) {
  for (const auto& [number, scan] : l.scans) {
    for (const auto& found : scan.records) {
      next_sequence_ = std::max(next_sequence_, found.head.sequence + 1);
      if (found.head.type != record_type::synced) continue;
      const location where{found.at, found.head.sequence,
                           static_cast<std::uint32_t>(found.bytes()), found.head.body_bytes};
      const auto r = read(where);
      if (!r && r.error().code() != errc::corrupted) return fail(r.error(), "read the store");
      if (!r) continue;
      if (const auto p = wire::decode<position>(r->body.view())) l.durable = std::max(l.durable, *p);
    }
  }
  return {};
}

/// Tells damage (before `durable`: skipped and reported) from the place where a crash cut the
/// log short (behind it: the log ends there).
P2PDVM_DECL result<> segment_log::judge(loading& l) {
  needed_ = {};
  bool cut = false;
  bool lost_here = false;
  for (auto& [number, scan] : l.scans) {
    segment_state& s = segments_.at(number);
    // A damaged record may have been newer than anything that came before this segment.
    if (lost_here && s.first_sequence != 0) {
      l.suspect_below = s.first_sequence;
      lost_here = false;
    }
    s.end = s.begin;
    const auto gap = [&](std::uint64_t begin, std::uint64_t end) {
      if (begin >= end) return;
      lost_here = lost_here || position{number, begin} < l.durable;
      cut = position{number, end} > l.durable;
      l.sequences_lost_max += (end - begin) / segment::head_bytes + 1;
    };
    std::size_t kept = 0;
    for (const auto& found : scan.records) {
      if (cut) break;
      gap(found.gap_begin, found.at.offset);
      if (cut) break;
      if (found.at >= l.durable) {
        const auto whole =
            read({found.at, found.head.sequence, static_cast<std::uint32_t>(found.bytes()),
                  found.head.body_bytes});
        if (!whole && whole.error().code() != errc::corrupted) {
          return fail(whole.error(), "read the store");
        }
        cut = !whole;
        if (cut) break;
      }
      s.end = found.at.offset + found.bytes();
      ++kept;
    }
    if (kept < scan.records.size()) {
      scan.records.resize(kept);
    } else if (!cut) {
      // An unreadable end of the newest segment, not durable, is the ordinary torn tail.
      gap(scan.tail_gap, scan.expected_end);
      if (lost_here && !cut) s.end = std::max(s.end, scan.limit);
    }
    used_ += s.file_bytes;
    if (!scan.records.empty() || number == l.durable.segment) needed_ = {number, s.end};
  }
  if (lost_here) l.suspect_below = std::numeric_limits<std::uint64_t>::max();
  damage_found_ = damage_found_ || l.suspect_below != 0;
  cut_short_ = cut_short_ || cut;
  next_sequence_ += l.sequences_lost_max;
  durable_ = l.durable;
  return {};
}

P2PDVM_DECL result<> segment_log::replay(loading& l) {
  std::vector<const segment::found_record*> order;
  for (const auto& [number, scan] : l.scans) {
    for (const auto& found : scan.records) order.push_back(&found);
  }
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::pair(a->head.sequence, a->at) < std::pair(b->head.sequence, b->at);
  });
  for (auto& [number, s] : segments_) s.dead_at = needed_;
  replaying_ = true;
  for (const auto* found : order) {
    const location where{found->at, found->head.sequence,
                         static_cast<std::uint32_t>(found->bytes()), found->head.body_bytes};
    const byte_view key = found->key;
    switch (found->head.type) {
      case record_type::chunk:
        if (key.size() == chunk_id::size) apply_chunk(chunk_id(key), where);
        break;
      case record_type::pin_add:
        if (auto r = replay_pin(*found, where); !r) return r.error();
        break;
      case record_type::pin_drop:
        if (const auto p = wire::decode<pin>(key)) apply_drop(*p, where);
        break;
      case record_type::value:
        apply_value(std::string(as_text(key)), where,
                    where.body == 0 ? value_state::removed : value_state::present);
        break;
      case record_type::value_lost:
        apply_value(std::string(as_text(key)), where, value_state::lost);
        break;
      case record_type::synced: break;
      default: break;  // a later minor version's: not ours to interpret
    }
  }
  replaying_ = false;
  std::erase_if(chunks_, [](const auto& item) {
    return !item.second.present && item.second.pins == 0;
  });
  for (const auto& [p, entry] : pins_) {
    for (const chunk_id& id : entry.ids) {
      if (!chunks_.at(id).present) damaged_.insert(id);
    }
  }
  return {};
}

P2PDVM_DECL result<> segment_log::replay_pin(const segment::found_record& found,
                                             const location& where) {
  const auto p = wire::decode<pin>(found.key);
  if (!p) return {};
  auto r = read(where);
  if (!r && r.error().code() != errc::corrupted) return fail(r.error(), "read the store");
  auto ids = r ? wire::decode<std::vector<chunk_id>>(r->body.view()) : error(errc::corrupted);
  if (!ids) {
    damage_found_ = true;
    pins_[*p].segments.insert(where.at.segment);  // the pin is known, its chunks are not
    return {};
  }
  apply_pin(*p, std::move(*ids), where);
  return {};
}

/// Values that a lost record may have replaced are marked in the log itself, because the
/// damaged segment will be compacted away one day.
P2PDVM_DECL void segment_log::report_damage(const loading& l) {
  std::vector<std::string> suspects;
  for (const auto& [name, v] : values_) {
    if (v.state == value_state::lost || v.where.sequence >= l.suspect_below) continue;
    suspects.push_back(name);
  }
  for (const std::string& name : suspects) {
    const auto where = append(record_type::value_lost, as_bytes(name), {}, need::upkeep);
    if (where) {
      apply_value(name, *where, value_state::lost);
    } else {
      values_.at(name).state = value_state::lost;
    }
  }
}

/// After a failed sync: the index of what is durable.
P2PDVM_DECL void segment_log::rebuild() {
  chunks_.clear();
  pins_.clear();
  dropped_.clear();
  values_.clear();
  damaged_.clear();
  live_bytes_ = 0;
  loading l;
  l.durable = durable_;
  const std::uint64_t used = used_;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ends;
  for (auto& [number, s] : segments_) {
    ends.emplace_back(number, s.end);
    s.live = 0;
    used_ -= s.file_bytes;
    segment_scan& scan = l.scans[number];
    scan.limit = scan.expected_end = s.end;
  }
  result<> done = scan_segments(l);
  if (done) done = judge(l);
  if (done) done = replay(l);
  if (!done) {
    broken_ = error(done.error().code(), done.error().message() + " (after a failed sync)");
    // As before, for the next try.
    used_ = used;
    for (const auto& [number, end] : ends) segments_.at(number).end = end;
    needed_ = durable_;
    return;
  }
  report_damage(l);
}

/// What could not be read back may be readable by now. Tried less and less often.
P2PDVM_DECL bool segment_log::mend() {
  ++mending_;
  if ((mending_ & (mending_ - 1)) != 0) return false;
  broken_.reset();
  rebuild();
  if (broken_) return false;
  mending_ = 0;
  if (ends_owed_) (void)roll(need::upkeep);
  return true;
}

}  // namespace p2pdvm::store
