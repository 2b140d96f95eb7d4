#pragma once

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/store/chunker.hpp>

#include <algorithm>
#include <cstring>
#include <set>
#include <string_view>

namespace p2pdvm::store {

namespace detail {

inline std::uint64_t derived_number(const crypto::secret_key& secret, std::string_view purpose) {
  const crypto::secret_key key = crypto::derive(secret, purpose);
  std::uint64_t number = 0;
  std::memcpy(&number, key.bytes().data(), sizeof number);
  return number;
}

/// An upper bound of what a section adds to the encoded manifest.
inline std::size_t manifest_share(const section_data& s) {
  const std::size_t bytes = s.size();
  const std::size_t piece = s.bulk ? limits::chunk_bytes_of(bytes) : content_chunk_bytes_min;
  const std::size_t chunks = bytes / piece + 1;
  return s.name.size() + 32 + chunks * (chunk_id::size + sizeof(std::uint32_t));
}

inline result<> check_sections(const std::vector<section_data>& sections) {
  if (sections.size() > sections_max)
    return error(errc::invalid_argument, "a rank's state has more than " +
                                             std::to_string(sections_max) + " parts");
  std::set<std::string_view> names;
  std::size_t manifest_bytes = 32;
  for (const section_data& s : sections) {
    if (s.name.empty() || s.name.size() > section_name_bytes_max)
      return error(errc::invalid_argument,
                   "a part of a rank's state needs a name of 1 to " +
                       std::to_string(section_name_bytes_max) + " bytes");
    if (!names.insert(s.name).second)
      return error(errc::invalid_argument,
                   "two parts of a rank's state are named '" + s.name + "'");
    manifest_bytes += manifest_share(s);
  }
  if (manifest_bytes > manifest_bytes_max)
    return error(errc::invalid_argument,
                 "a rank's state is too large for one snapshot; use more ranks");
  return {};
}

}  // namespace detail

P2PDVM_DECL chunker::chunker(const crypto::secret_key& job_secret, rank_number rank, compression compressing)
    : codec_(job_secret),
      rank_(rank),
      compression_(compressing),
      seed_(detail::derived_number(job_secret, "p2pdvm dirty detection 1")) {
  // Secret, so that the sizes of sealed chunks say little about what is in them.
  random_generator random(detail::derived_number(job_secret, "p2pdvm chunk boundaries 1"));
  for (std::uint64_t& g : gear_) g = random();
}

P2PDVM_DECL result<> chunker::start(epoch_number epoch, std::vector<section_data> sections) {
  if (auto valid = detail::check_sections(sections); !valid) return valid;
  next_.clear();
  next_arrays_.clear();
  next_packings_.clear();
  blobs_.clear();
  blob_ = 0;
  offset_ = 0;
  before_.reset();
  out_ = {};
  out_.manifest.rank = rank_;
  out_.manifest.epoch = epoch;
  plan(std::move(sections));
  return {};
}

P2PDVM_DECL void chunker::plan(std::vector<section_data> sections) {
  constexpr std::size_t none = ~std::size_t{0};
  std::size_t pack = none;
  std::vector<byte_vector> packs;
  std::vector<std::size_t> pack_blobs;
  for (std::size_t s = 0; s < sections.size(); ++s) {
    section_data& from = sections[s];
    const std::size_t bytes = from.size();
    section& to = out_.manifest.sections.emplace_back();
    to.name = std::move(from.name);
    to.bytes = bytes;
    to.bulk = from.bulk;
    if (bytes == 0) continue;
    if (from.bulk) {
      blobs_.push_back({std::move(from.parts), bytes, limits::chunk_bytes_of(bytes), {s}});
    } else if (bytes > content_defined_above_bytes) {
      blobs_.push_back({std::move(from.parts), bytes, 0, {s}});
    } else if (bytes > tiny_section_bytes) {
      blobs_.push_back({std::move(from.parts), bytes, bytes, {s}});
    } else {
      if (pack == none || packs[pack].size() + bytes > limits::chunk_bytes) {
        pack = packs.size();
        packs.emplace_back();
        pack_blobs.push_back(blobs_.size());
        blobs_.push_back({{}, 0, limits::chunk_bytes, {}});
      }
      to.skip = static_cast<std::uint32_t>(packs[pack].size());
      append(packs[pack], from.parts.front().view());
      blobs_[pack_blobs[pack]].owners.push_back(s);
    }
  }
  for (std::size_t p = 0; p < packs.size(); ++p) {
    blob& b = blobs_[pack_blobs[p]];
    b.bytes = packs[p].size();
    b.parts.add_page({payload(std::move(packs[p]))});
  }
}

P2PDVM_DECL bool chunker::step(std::size_t chunk_budget) {
  while (blob_ < blobs_.size()) {
    if (chunk_budget == 0) return false;
    const blob& b = blobs_[blob_];
    const std::size_t end = chunk_end(b, offset_);
    const std::size_t index = b.piece == 0 ? next_packings_[out_.manifest.sections[b.owners.front()].name].size() : offset_ / b.piece;
    measured_chunk chunk = measure_chunk(b, index, offset_, end, next_, before_);
    if (chunk.computed) --chunk_budget;
    before_ = chunk.how;
    add_chunk(b, std::move(chunk));
    offset_ = end;
    if (end == b.bytes) {
      ++blob_;
      offset_ = 0;
      before_.reset();
    }
  }
  return true;
}

P2PDVM_DECL chunked_snapshot chunker::take() {
  P2PDVM_ASSERT(blob_ == blobs_.size());
  known_ = std::move(next_);
  next_.clear();
  arrays_ = std::move(next_arrays_);
  next_arrays_.clear();
  packings_ = std::move(next_packings_);
  next_packings_.clear();
  blobs_.clear();
  blob_ = 0;
  return std::move(out_);
}

P2PDVM_DECL std::size_t chunker::chunk_end(const blob& b, std::size_t begin) const {
  const std::size_t rest = b.bytes - begin;
  if (b.piece != 0) return begin + std::min(b.piece, rest);
  return begin + content_chunk(b.parts.front().view().subspan(begin));
}

P2PDVM_DECL payload chunker::chunk_of(const blob& b, std::size_t begin, std::size_t end) const {
  if (b.parts.size() == 1) return b.parts.front().slice(begin, end - begin);
  const payload& part = b.parts[begin / b.piece];
  P2PDVM_ASSERT(part.size() == end - begin);
  return part;
}

/// FastCDC (Xia et al., 2016) with normalised chunking: a rolling gear hash of the last 64
/// bytes, whose highest bits must vanish: more of them before the average size than behind it.
P2PDVM_DECL std::size_t chunker::content_chunk(byte_view rest) const {
  constexpr int strict_shift = 64 - 18;
  constexpr int loose_shift = 64 - 14;
  const std::size_t end = std::min(rest.size(), content_chunk_bytes_max);
  const std::size_t average = std::min(end, content_chunk_bytes_average);
  std::uint64_t h = 0;
  std::size_t i = content_chunk_bytes_min;
  for (; i < average; ++i) {
    h = (h << 1) + gear_[std::to_integer<std::uint8_t>(rest[i])];
    if ((h >> strict_shift) == 0) return i + 1;
  }
  for (; i < end; ++i) {
    h = (h << 1) + gear_[std::to_integer<std::uint8_t>(rest[i])];
    if ((h >> loose_shift) == 0) return i + 1;
  }
  return end;
}

/// Of the chunk that stood in the same place in the last epoch, when it is in the same memory.
P2PDVM_DECL const fingerprint* chunker::same_as_before(const blob& b, std::size_t begin, const payload& plain) const {
  const auto before = arrays_.find(out_.manifest.sections[b.owners.front()].name);
  const std::size_t index = begin / b.piece;
  if (before == arrays_.end() || index >= before->second.chunks.size()) return nullptr;
  const array::chunk& old = before->second.chunks[index];
  return old.plain.data() == plain.data() && old.plain.size() == plain.size() ? &old.print : nullptr;
}

P2PDVM_DECL packing chunker::packing_of(const blob& b, std::size_t index, byte_view plain,
                                        const std::optional<packing>& before) const {
  const auto places = packings_.find(out_.manifest.sections[b.owners.front()].name);
  bool due = !before || *before != packing::none || index % packing_first_probe_period == 0;
  if (places != packings_.end() && index < places->second.size())
    due = places->second[index] != packing::none || (index + out_.manifest.epoch.value()) % packing_probe_period == 0;
  return due ? probe_packing(compression_, plain) : packing::none;
}

P2PDVM_DECL chunker::measured_chunk chunker::measure_chunk(const blob& b, std::size_t index, std::size_t begin, std::size_t end,
                                                           const memory& seen, const std::optional<packing>& before_it) const {
  measured_chunk chunk;
  chunk.plain = chunk_of(b, begin, end);
  const bool bulk = out_.manifest.sections[b.owners.front()].bulk;
  const fingerprint* const before = bulk ? same_as_before(b, begin, chunk.plain) : nullptr;
  chunk.computed = before == nullptr;
  chunk.print = before != nullptr ? *before : fingerprint_of(chunk.plain.view(), seed_);
  const auto bytes = static_cast<std::uint32_t>(chunk.plain.size());
  for (const memory* m : {&seen, &known_}) {
    const auto found = m->find(chunk.print);
    if (found == m->end() || found->second.named.bytes != bytes) continue;
    chunk.named = found->second.named;
    chunk.how = found->second.how;
    return chunk;
  }
  chunk.named = {codec_.id(chunk.plain.view()), bytes};
  chunk.fresh = true;
  chunk.how = packing_of(b, index, chunk.plain.view(), before_it);
  return chunk;
}

P2PDVM_DECL std::vector<chunker::slice> chunker::slices(std::size_t slice_bytes, std::size_t sealed_bytes) const {
  std::vector<slice> all;
  slice next;
  const auto end_slice = [&] {
    if (next.begin == next.end) return;
    next.seals = next.work <= sealed_bytes;
    if (next.seals) sealed_bytes -= next.work;
    all.push_back(next);
    next.begin = next.end;
    next.work = 0;
  };
  for (next.blob = 0; next.blob < blobs_.size(); ++next.blob) {
    const blob& b = blobs_[next.blob];
    next.begin = next.end = 0;
    while (next.end < b.bytes) {
      // Where the content says where chunks end, only one after the other can be found.
      const std::size_t begin = next.end, end = b.piece == 0 ? b.bytes : chunk_end(b, begin);
      const bool same = b.piece != 0 && out_.manifest.sections[b.owners.front()].bulk &&
                        same_as_before(b, begin, chunk_of(b, begin, end)) != nullptr;
      next.end = end;
      if (!same) next.work += end - begin;
      if (next.work >= slice_bytes) end_slice();
    }
    end_slice();
  }
  return all;
}

P2PDVM_DECL chunker::measured_slice chunker::measure(const slice& s) const {
  const blob& b = blobs_.at(s.blob);
  measured_slice measured;
  memory seen;
  std::optional<packing> before;
  for (std::size_t begin = s.begin; begin < s.end;) {
    const std::size_t end = chunk_end(b, begin);
    const std::size_t index = b.piece == 0 ? measured.size() : begin / b.piece;
    measured_chunk chunk = measure_chunk(b, index, begin, end, seen, before);
    before = chunk.how;
    if (chunk.fresh) seen.emplace(chunk.print, known_chunk{chunk.named, chunk.how});
    if (chunk.fresh && s.seals) chunk.sealed = codec_.seal(chunk.named.id, chunk.plain.view(), chunk.how);
    measured.push_back(std::move(chunk));
    begin = end;
  }
  return measured;
}

P2PDVM_DECL void chunker::add(std::vector<measured_slice> measured) {
  for (measured_slice& s : measured) {
    for (measured_chunk& chunk : s) {
      P2PDVM_ASSERT(blob_ < blobs_.size());
      const blob& b = blobs_[blob_];
      offset_ += chunk.plain.size();
      const bool last = offset_ == b.bytes;
      add_chunk(b, std::move(chunk));
      if (!last) continue;
      ++blob_;
      offset_ = 0;
    }
  }
  P2PDVM_ASSERT(blob_ == blobs_.size());
}

P2PDVM_DECL void chunker::add_chunk(const blob& b, measured_chunk chunk) {
  const section& whole = out_.manifest.sections[b.owners.front()];
  next_packings_[whole.name].push_back(chunk.how);
  if (whole.bulk) next_arrays_[whole.name].chunks.push_back({chunk.plain, chunk.print});
  auto found = next_.find(chunk.print);
  if (found == next_.end()) {
    if (chunk.fresh) ++out_.dirty;
    found = next_.emplace(chunk.print, known_chunk{chunk.named, chunk.how}).first;
    const std::size_t first = b.owners.front();
    const std::size_t index = out_.manifest.sections[first].chunks.size();
    out_.chunks.push_back({{chunk.named.id, chunk.named.bytes, stripe_of(rank_, first, index)},
                           std::move(chunk.plain), std::move(chunk.sealed), chunk.how});
  }
  for (const std::size_t owner : b.owners)
    out_.manifest.sections[owner].chunks.push_back(found->second.named);
}

}  // namespace p2pdvm::store
