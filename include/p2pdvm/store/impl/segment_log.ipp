#pragma once

#include <p2pdvm/base/byte_size.hpp>
#include <p2pdvm/store/segment_log.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>

namespace p2pdvm::store {

P2PDVM_DECL segment_log::segment_log(host::disk& disk, std::string folder, options settings)
    : disk_(disk), folder_(std::move(folder)), options_(settings), salt_(settings.salt) {}

P2PDVM_DECL segment_log::options segment_log::options::within(std::uint64_t quota_bytes) {
  options how;
  how.quota_bytes = quota_bytes;
  how.segment_bytes = std::min(how.segment_bytes, quota_bytes / 16);
  how.reserve_bytes = std::min(how.reserve_bytes, quota_bytes / 8);
  return how;
}

P2PDVM_DECL segment_log::~segment_log() { *alive_ = false; }

P2PDVM_DECL result<std::unique_ptr<segment_log>> segment_log::open(host::disk& disk,
                                                                   std::string folder,
                                                                   options settings) {
  if (settings.segment_bytes < 1024 || settings.quota_bytes <= settings.reserve_bytes) {
    return error(errc::invalid_argument,
                 "a store needs segments of 1 KiB at least and a quota above its reserve of " +
                     std::to_string(settings.reserve_bytes) + " bytes");
  }
  std::unique_ptr<segment_log> log(new segment_log(disk, std::move(folder), settings));
  if (const auto loaded = log->load(); !loaded) return loaded.error();
  return log;
}

P2PDVM_DECL std::string segment_log::path(std::uint64_t number) const {
  std::string digits = std::to_string(number);
  if (digits.size() < 8) digits.insert(0, 8 - digits.size(), '0');
  return folder_ + "/" + digits + ".seg";
}

P2PDVM_DECL void segment_log::close_retired() {
  if (!calling_back_) retired_.clear();
}

P2PDVM_DECL error segment_log::fail(const error& why, const std::string& doing) const {
  const std::string where = disk_.describe(folder_);
  if (why.code() == errc::no_space) {
    return error(errc::no_space, "cannot " + doing + ": the disk of " + where +
                                     " is full; free some space there or use another --data");
  }
  return error(why.code(), "cannot " + doing + " in " + where + ": " + why.message());
}

P2PDVM_DECL result<host::file*> segment_log::file_of(std::uint64_t number) {
  segment_state& s = segments_.at(number);
  s.used_at = ++uses_;
  if (s.file) return s.file.get();
  segment_state* oldest = nullptr;
  std::size_t open_files = 0;
  for (auto& [n, other] : segments_) {
    if (!other.file) continue;
    ++open_files;
    if (n == active_ || other.syncing) continue;
    if (oldest == nullptr || other.used_at < oldest->used_at) oldest = &other;
  }
  if (open_files >= open_files_max && oldest != nullptr) oldest->file.reset();
  auto opened = disk_.open(path(number), false);
  if (!opened) return opened.error();
  s.file = std::move(*opened);
  return s.file.get();
}

P2PDVM_DECL result<> segment_log::claim_space(std::uint64_t bytes, need who) {
  std::uint64_t room = options_.quota_bytes - options_.reserve_bytes;
  // Where a lower quota than before was set, cleaning up needs some room all the same.
  if (who != need::ordinary) room = std::max(room, loaded_bytes_) + options_.reserve_bytes / (who == need::value ? 2 : 1);
  if (used_ + bytes > room) {
    return error(errc::no_space, "the store in " + disk_.describe(folder_) +
                                     " has used its quota of " + byte_size_text(options_.quota_bytes) +
                                     ", but for what is kept to clean up; give it a larger one with --quota");
  }
  // What cleaning up takes of the quota must not lie there twice.
  if (reserve_full_ && used_ + bytes + options_.reserve_bytes > options_.quota_bytes) release_reserve();
  if (who == need::ordinary && !reserve_full_ && (reserve_refused_ || !restore_reserve())) {
    return error(errc::no_space,
                 "cannot store data: the disk of " + disk_.describe(folder_) + " is full but for the " +
                     std::to_string(options_.reserve_bytes >> 20) +
                     " MiB that are kept to clean up; free some space there or use another --data");
  }
  return {};
}

P2PDVM_DECL result<> segment_log::write(std::uint64_t number, std::uint64_t offset,
                                        byte_view bytes, need who) {
  auto file = file_of(number);
  if (!file) return file.error();
  auto written = (*file)->write(offset, bytes);
  if (!written && written.error().code() == errc::no_space && who != need::ordinary) {
    release_reserve();
    written = (*file)->write(offset, bytes);
  }
  if (!written) (void)(*file)->truncate(offset);  // if it fails, the next append overwrites
  return written;
}

/// A segment that the folder's listing kept from us may be good: it is neither overwritten nor
/// passed over, for the next manifest would declare it deleted.
P2PDVM_DECL result<> segment_log::refuse_to_replace(std::uint64_t number) {
  const auto there = disk_.open(path(number), false);
  if (there) {
    return error(errc::io, disk_.describe(path(number)) +
                               " exists, but was not listed when the store was opened; nothing "
                               "was overwritten, start again");
  }
  if (there.error().code() == errc::not_found) return {};
  return fail(there.error(), "start a new segment");
}

/// Once a new segment has been asked for, the old one must never grow again: the new one's
/// manifest may be on disk whatever `replace` reported.
P2PDVM_DECL result<> segment_log::roll(need who) {
  active_ = 0;
  if (segments_.size() >= segment::segments_max) {
    return error(errc::no_space, "too many segments in " + disk_.describe(folder_));
  }
  if (auto r = refuse_to_replace(last_number_ + 1); !r) return r;
  segment::header h;
  h.number = ++last_number_;
  h.first_sequence = next_sequence_;
  h.salt = salt_;
  h.contents.emplace();
  h.contents->durable = durable_;
  for (const auto& [number, s] : segments_) h.contents->ends.push_back({number, s.end});
  const byte_vector bytes = segment::encode_header(h);
  if (const auto claimed = claim_space(bytes.size(), who); !claimed) return claimed.error();
  auto made = disk_.replace(path(h.number), bytes);
  if (!made && made.error().code() == errc::no_space && who != need::ordinary) {
    release_reserve();
    made = disk_.replace(path(h.number), bytes);
  }
  if (!made) return fail(made.error(), "start a new segment");
  segment_state& s = segments_[h.number];
  s.begin = s.end = s.file_bytes = bytes.size();
  s.first_sequence = h.first_sequence;
  used_ += bytes.size();
  active_ = h.number;
  ends_written_ = true;
  ends_owed_ = false;
  for (const std::uint64_t gone : std::exchange(removed_, {})) bury(gone);
  return {};
}

P2PDVM_DECL result<segment_log::location> segment_log::append(
    record_type type, byte_view key, byte_view body, need who,
    std::optional<std::uint64_t> sequence) {
  if (broken_) return *broken_;
  close_retired();
  const std::uint64_t bytes = segment::record_bytes(key.size(), body.size());
  if (const auto claimed = claim_space(bytes, who); !claimed) return claimed.error();
  if (active_ != 0) {
    const segment_state& s = segments_.at(active_);
    const bool full = s.end > s.begin && s.end + bytes > options_.segment_bytes;
    if (full && type != record_type::synced) active_ = 0;
  }
  if (active_ == 0) {
    if (const auto rolled = roll(who); !rolled) return rolled.error();
  }
  segment_state& s = segments_.at(active_);
  location where;
  where.at = {active_, s.end};
  where.sequence = sequence.value_or(next_sequence_);
  where.bytes = static_cast<std::uint32_t>(bytes);
  where.body = static_cast<std::uint32_t>(body.size());
  const byte_vector image =
      segment::encode_record(salt_, where.at, type, where.sequence, key, body);
  if (const auto written = write(active_, s.end, image, who); !written) {
    if (written.error().code() != errc::no_space) active_ = 0;
    return fail(written.error(), "store data");
  }
  s.end += bytes;
  used_ += s.end > s.file_bytes ? s.end - s.file_bytes : 0;
  s.file_bytes = std::max(s.file_bytes, s.end);
  if (type != record_type::synced) needed_ = {active_, s.end};
  if (!sequence) ++next_sequence_;
  return where;
}

P2PDVM_DECL result<segment_log::record> segment_log::read(const location& where) {
  auto file = file_of(where.at.segment);
  if (!file) return file.error();
  byte_span into;
  const payload whole = payload::unwritten(where.bytes, into);
  const auto got = (*file)->read(where.at.offset, into);
  if (!got) return got.error();
  const byte_view bytes = whole.view().first(*got);
  const auto head = segment::decode_head(salt_, where.at, bytes);
  if (!head || head->sequence != where.sequence || head->body_bytes != where.body) {
    return error(errc::corrupted);
  }
  record r{*head, {}, {}};
  const std::size_t body_at = segment::head_bytes + head->key_bytes;
  if (bytes.size() < body_at + head->body_bytes) return error(errc::corrupted);
  r.key = to_vector(bytes.subspan(segment::head_bytes, head->key_bytes));
  r.body = whole.slice(body_at, head->body_bytes);
  if (segment::checksum(r.body.view()) != head->body_checksum) return error(errc::corrupted);
  return r;
}

P2PDVM_DECL bool segment_log::contains(const chunk_id& id) const {
  const auto it = chunks_.find(id);
  return it != chunks_.end() && it->second.present;
}

P2PDVM_DECL std::uint64_t segment_log::sealed_bytes(const chunk_id& id) const {
  const auto it = chunks_.find(id);
  return it != chunks_.end() && it->second.present ? it->second.where.body : 0;
}

P2PDVM_DECL result<> segment_log::put(const chunk_id& id, byte_view sealed) {
  if (contains(id)) return {};
  if (sealed.size() > log_chunk_bytes_max) {
    return error(errc::too_large, "a chunk of " + std::to_string(sealed.size()) +
                                      " bytes is over the limit of a store");
  }
  const auto where = append(record_type::chunk, id.bytes(), sealed, need::ordinary);
  if (!where) return where.error();
  apply_chunk(id, *where);
  return {};
}

P2PDVM_DECL result<payload> segment_log::get(const chunk_id& id) {
  if (broken_) return *broken_;
  const auto it = chunks_.find(id);
  if (it == chunks_.end() || !it->second.present) {
    return error(errc::not_found, "chunk " + id.brief() + " is not stored here");
  }
  auto r = read(it->second.where);
  if (r && equal(r->key, id.bytes())) return std::move(r->body);
  if (!r && r.error().code() != errc::corrupted) {  // the next reading may find it again
    return fail(r.error(), "read chunk " + id.brief());
  }
  const std::string why = r ? "it is another one" : r.error().message();
  forget(id);
  return error(errc::corrupted, "chunk " + id.brief() + " in " + disk_.describe(folder_) +
                                    " cannot be read back (" + why +
                                    "); it has to be fetched from another holder");
}

P2PDVM_DECL result<> segment_log::add_pin(const pin& p, const std::vector<chunk_id>& ids) {
  std::vector<chunk_id> fresh(ids);
  std::sort(fresh.begin(), fresh.end());
  fresh.erase(std::unique(fresh.begin(), fresh.end()), fresh.end());
  for (const chunk_id& id : fresh) {
    if (!contains(id)) {
      return error(errc::not_found, "chunk " + id.brief() + " cannot be pinned: it is not here");
    }
  }
  const auto known = pins_.find(p);
  if (known != pins_.end()) {
    const auto& have = known->second.ids;
    std::erase_if(fresh, [&](const chunk_id& id) {
      return std::binary_search(have.begin(), have.end(), id);
    });
    if (fresh.empty()) return {};
  }
  std::size_t done = 0;
  do {
    const std::size_t count = std::min(fresh.size() - done, segment::ids_per_record_max);
    const auto first = fresh.begin() + static_cast<std::ptrdiff_t>(done);
    std::vector<chunk_id> part(first, first + static_cast<std::ptrdiff_t>(count));
    const auto where =
        append(record_type::pin_add, wire::encode(p), wire::encode(part), need::ordinary);
    if (!where) return where.error();
    apply_pin(p, std::move(part), *where);
    done += count;
  } while (done < fresh.size());
  return {};
}

P2PDVM_DECL result<> segment_log::drop_pin(const pin& p) {
  if (!pins_.contains(p)) return {};
  const auto where = append(record_type::pin_drop, wire::encode(p), {}, need::upkeep);
  if (!where) return where.error();
  apply_drop(p, *where);
  return {};
}

P2PDVM_DECL std::vector<pin> segment_log::pins() const {
  std::vector<pin> all;
  for (const auto& [p, entry] : pins_) all.push_back(p);
  return all;
}

P2PDVM_DECL std::vector<chunk_id> segment_log::pinned(const pin& p) const {
  const auto it = pins_.find(p);
  return it == pins_.end() ? std::vector<chunk_id>() : it->second.ids;
}

P2PDVM_DECL result<> segment_log::put_value(std::string_view name, byte_view value) {
  if (name.empty() || name.size() > log_name_bytes_max || value.size() > log_value_bytes_max) {
    return error(errc::too_large, "a value's name has 1 to 1024 bytes, and it 16 MiB at most");
  }
  if (broken_ && !mend()) return *broken_;
  const auto known = values_.find(name);
  const bool absent = known == values_.end() || known->second.state == value_state::removed;
  if (value.empty() && absent) return {};
  const auto where = append(record_type::value, as_bytes(name), value, need::value);
  if (!where) return where.error();
  apply_value(std::string(name), *where,
              value.empty() ? value_state::removed : value_state::present);
  return {};
}

P2PDVM_DECL result<byte_vector> segment_log::get_value(std::string_view name) {
  if (broken_) return *broken_;
  const auto it = values_.find(name);
  if (it == values_.end() || it->second.state == value_state::removed) {
    return error(errc::not_found, "no value '" + std::string(name) + "' is stored here");
  }
  result<record> r = error(errc::corrupted);
  if (it->second.state == value_state::present) r = read(it->second.where);
  if (r && as_text(r->key) == name) return to_vector(r->body.view());
  if (!r && r.error().code() != errc::corrupted) {
    return fail(r.error(), "read the value '" + std::string(name) + "'");
  }
  return error(errc::corrupted, "the value '" + std::string(name) + "' in " +
                                    disk_.describe(folder_) +
                                    " cannot be read back; part of that folder is damaged");
}

P2PDVM_DECL std::vector<chunk_id> segment_log::damaged() const {
  return {damaged_.begin(), damaged_.end()};
}

P2PDVM_DECL std::size_t segment_log::drop_unpinned() {
  if (damage_found_) return 0;
  return std::erase_if(chunks_, [&](const auto& item) {
    const chunk_entry& e = item.second;
    if (e.pins != 0) return false;
    kill(e.where);
    live_bytes_ -= e.where.body;
    return true;
  });
}

}  // namespace p2pdvm::store
