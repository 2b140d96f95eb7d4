#pragma once

#include <p2pdvm/base/assert.hpp>
#include <p2pdvm/peal/region_copier.hpp>

#include <algorithm>
#include <cstring>
#include <utility>

namespace p2pdvm::peal {

namespace detail {

/// Retired parts that are looked at for one that is free: they come back about in this order.
inline constexpr std::size_t spares_looked_at = 4;
/// More copies than are kept at any time: the committed one, the one before, the one that is being stored.
inline constexpr std::size_t spare_copies_max = 3;

}  // namespace detail

P2PDVM_DECL void changed_ranges::mark(std::size_t begin, std::size_t end) {
  if (begin >= end) return;
  const std::size_t first = begin / limits::chunk_bytes, last = (end - 1) / limits::chunk_bytes;
  if (chunks_.size() <= last) chunks_.resize(last + 1);
  std::fill(chunks_.begin() + static_cast<std::ptrdiff_t>(first),
            chunks_.begin() + static_cast<std::ptrdiff_t>(last + 1), true);
}

P2PDVM_DECL bool changed_ranges::any(std::size_t begin, std::size_t end) const noexcept {
  const std::size_t behind = std::min(chunks_.size(), (end + limits::chunk_bytes - 1) / limits::chunk_bytes);
  for (std::size_t c = begin / limits::chunk_bytes; c < behind; ++c) {
    if (chunks_[c]) return true;
  }
  return false;
}

P2PDVM_DECL std::vector<payload> region_copier::copy(byte_view region, const changed_ranges* changed) {
  const std::size_t part_bytes = limits::chunk_bytes_of(region.size());
  const std::size_t count = (region.size() + part_bytes - 1) / part_bytes;
  const bool same_shape = region.size() == bytes_ && last_.size() == count;
  std::vector<payload> parts;
  parts.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t begin = i * part_bytes, end = std::min(begin + part_bytes, region.size());
    if (same_shape && changed != nullptr && !changed->any(begin, end)) {
      parts.push_back(last_[i]);
      continue;
    }
    parts.push_back(part_for(region.subspan(begin, end - begin)));
    if (i < last_.size()) spare_.push_back(std::move(last_[i]));
  }
  while (spare_.size() > detail::spare_copies_max * count) spare_.pop_front();
  last_ = parts;
  bytes_ = region.size();
  return parts;
}

P2PDVM_DECL void region_copier::restored(const std::vector<payload>& parts) {
  bytes_ = 0;
  for (const payload& p : parts) bytes_ += p.size();
  const std::size_t part_bytes = limits::chunk_bytes_of(bytes_);
  last_.clear();
  if (parts.size() != 1) {
    last_ = parts;
    return;
  }
  for (std::size_t begin = 0; begin < bytes_; begin += part_bytes)
    last_.push_back(parts.front().slice(begin, std::min(part_bytes, bytes_ - begin)));
}

P2PDVM_DECL payload region_copier::part_for(byte_view bytes) {
  for (std::size_t n = std::min(spare_.size(), detail::spares_looked_at); n > 0; --n) {
    payload part = std::move(spare_.front());
    spare_.pop_front();
    const byte_span write = part.rewrite();
    if (write.size() == bytes.size()) {
      std::memcpy(write.data(), bytes.data(), bytes.size());
      return part;
    }
    if (write.empty()) spare_.push_back(std::move(part));  // somebody has it
  }
  return payload::copy_of(bytes);
}

}  // namespace p2pdvm::peal
