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

P2PDVM_DECL chunker::chunker(const crypto::secret_key& job_secret, rank_number rank)
    : codec_(job_secret),
      rank_(rank),
      seed_(detail::derived_number(job_secret, "p2pdvm dirty detection 1")) {
  // Secret, so that the sizes of sealed chunks say little about what is in them.
  random_generator random(detail::derived_number(job_secret, "p2pdvm chunk boundaries 1"));
  for (std::uint64_t& g : gear_) g = random();
}

P2PDVM_DECL result<> chunker::start(epoch_number epoch, std::vector<section_data> sections) {
  if (auto valid = detail::check_sections(sections); !valid) return valid;
  next_.clear();
  next_arrays_.clear();
  blobs_.clear();
  blob_ = 0;
  offset_ = 0;
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
    b.parts.emplace_back(std::move(packs[p]));
  }
}

P2PDVM_DECL bool chunker::step(std::size_t chunk_budget) {
  while (blob_ < blobs_.size()) {
    if (chunk_budget == 0) return false;
    const blob& b = blobs_[blob_];
    const std::size_t end = chunk_end(b, offset_);
    if (add_chunk(b, chunk_of(b, offset_, end))) --chunk_budget;
    offset_ = end;
    if (end == b.bytes) {
      ++blob_;
      offset_ = 0;
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
  const payload& part = b.parts.at(begin / b.piece);
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
P2PDVM_DECL const fingerprint* chunker::same_as_before(const blob& b, const payload& plain) {
  const auto before = arrays_.find(out_.manifest.sections[b.owners.front()].name);
  const std::size_t index = offset_ / b.piece;
  if (before == arrays_.end() || index >= before->second.chunks.size()) return nullptr;
  const array::chunk& old = before->second.chunks[index];
  return old.plain.data() == plain.data() && old.plain.size() == plain.size() ? &old.print : nullptr;
}

P2PDVM_DECL bool chunker::add_chunk(const blob& b, payload plain) {
  const section& whole = out_.manifest.sections[b.owners.front()];
  const fingerprint* const before_print = whole.bulk ? same_as_before(b, plain) : nullptr;
  const fingerprint print = before_print != nullptr ? *before_print : fingerprint_of(plain.view(), seed_);
  if (whole.bulk) next_arrays_[whole.name].chunks.push_back({plain, print});
  const auto bytes = static_cast<std::uint32_t>(plain.size());
  auto found = next_.find(print);
  if (found == next_.end()) {
    const auto before = known_.find(print);
    const bool clean = before != known_.end() && before->second.bytes == bytes;
    const chunk_reference made =
        clean ? before->second : chunk_reference{codec_.id(plain.view()), bytes};
    if (!clean) ++out_.dirty;
    found = next_.emplace(print, made).first;
    const std::size_t first = b.owners.front();
    const std::size_t index = out_.manifest.sections[first].chunks.size();
    out_.chunks.push_back({{made.id, bytes, stripe_of(rank_, first, index)}, std::move(plain)});
  }
  for (const std::size_t owner : b.owners)
    out_.manifest.sections[owner].chunks.push_back(found->second);
  return before_print == nullptr;
}

}  // namespace p2pdvm::store
