#pragma once

#include <p2pdvm/base/assert.hpp>
#include <p2pdvm/base/copy_past_caches.hpp>
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
/// A whole region from this size on may leave the caches when it is copied, whatever is done.
inline constexpr std::size_t past_caches_bytes_min = std::size_t{8} << 20;
/// Copies after which the slower way is tried again.
inline constexpr std::uint32_t way_tried_again = 64;

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

P2PDVM_DECL void quicker_way::took(duration time) {
  double& known = seconds_[second_ ? 1 : 0];
  const double now = to_seconds(time);
  // What was held up by others says little.
  known = known == 0 || now < known ? now : known + (now - known) / 8;
  ++taken_;
  const bool quicker = seconds_[1] < seconds_[0];
  const bool other = taken_ < tries || taken_ % detail::way_tried_again == 0;
  second_ = taken_ < tries ? !second_ : quicker != other;
}

P2PDVM_DECL void region_copier::took(duration time) {
  if (measured_) way_.took(time);
}

P2PDVM_DECL payload_list region_copier::copy(byte_view region, const changed_ranges* changed) {
  const std::size_t part_bytes = limits::chunk_bytes_of(region.size());
  const std::size_t count = (region.size() + part_bytes - 1) / part_bytes;
  const bool same_shape = region.size() == bytes_ && last_.size() == count;
  const bool large = changed == nullptr && region.size() >= detail::past_caches_bytes_min;
  const bool past_caches = large && !way_.second();
  if (!same_shape) way_ = quicker_way();
  measured_ = large && spare_.size() > count;  // else new memory is taken, which the system has to clear
  const auto is_kept = [&](std::size_t begin, std::size_t end) {  // bytes
    return same_shape && changed != nullptr && !changed->any(begin, std::min(end, region.size()));
  };
  payload_list parts;
  for (std::size_t first = 0; first < count; first += payload_list::page_size) {
    const std::size_t behind = std::min(first + payload_list::page_size, count);
    if (is_kept(first * part_bytes, behind * part_bytes)) {
      parts.share_page(last_, first / payload_list::page_size);
      continue;
    }
    std::vector<payload> page;
    page.reserve(behind - first);
    for (std::size_t i = first; i < behind; ++i) {
      const std::size_t begin = i * part_bytes, end = std::min(begin + part_bytes, region.size());
      if (is_kept(begin, end)) {
        page.push_back(last_[i]);
        continue;
      }
      page.push_back(part_for(region.subspan(begin, end - begin), past_caches));
      if (i < last_.size()) spare_.push_back(last_[i]);
    }
    parts.add_page(std::move(page));
  }
  while (spare_.size() > detail::spare_copies_max * count) spare_.pop_front();
  last_ = parts;
  bytes_ = region.size();
  return parts;
}

P2PDVM_DECL void region_copier::restored(const payload_list& parts) {
  bytes_ = parts.bytes();
  last_ = parts;
  if (parts.size() != 1) return;
  const std::size_t part_bytes = limits::chunk_bytes_of(bytes_);
  std::vector<payload> pieces;
  for (std::size_t begin = 0; begin < bytes_; begin += part_bytes)
    pieces.push_back(parts.front().slice(begin, std::min(part_bytes, bytes_ - begin)));
  last_ = std::move(pieces);
}

P2PDVM_DECL payload region_copier::part_for(byte_view bytes, bool past_caches) {
  for (std::size_t n = std::min(spare_.size(), detail::spares_looked_at); n > 0; --n) {
    payload part = std::move(spare_.front());
    spare_.pop_front();
    const byte_span write = part.rewrite();
    if (write.size() == bytes.size()) {
      if (past_caches) {
        copy_past_caches(write.data(), bytes);
      } else {
        std::memcpy(write.data(), bytes.data(), bytes.size());
      }
      return part;
    }
    if (write.empty()) spare_.push_back(std::move(part));  // somebody has it
  }
  return payload::copy_of(bytes);
}

}  // namespace p2pdvm::peal
