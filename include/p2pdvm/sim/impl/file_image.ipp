#pragma once

#include <p2pdvm/sim/disk.hpp>

#include <algorithm>
#include <utility>

namespace p2pdvm::sim::detail {

P2PDVM_DECL void file_image::put(std::uint64_t offset, byte_view bytes) {
  while (!bytes.empty()) {
    const std::uint64_t inside = offset % page_bytes;
    const auto count = static_cast<std::size_t>(
        std::min<std::uint64_t>(bytes.size(), page_bytes - inside));
    const byte_view part = bytes.first(count);
    const bool zeros = std::all_of(part.begin(), part.end(), [](std::byte b) { return b == std::byte{0}; });
    // A page that is not there reads as zeros: what a store holds in reserve costs nothing.
    if (!zeros || pages_.contains(offset / page_bytes)) {
      byte_vector& p = pages_[offset / page_bytes];
      if (p.size() < inside + count) p.resize(inside + count);
      std::memcpy(p.data() + inside, part.data(), count);
    }
    bytes = bytes.subspan(count);
    offset += count;
  }
}

P2PDVM_DECL std::size_t file_image::read(std::uint64_t offset, byte_span into) const {
  if (offset >= size_) return 0;
  const auto total = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), size_ - offset));
  for (std::size_t done = 0; done < total;) {
    const std::uint64_t at = offset + done;
    const auto count = static_cast<std::size_t>(
        std::min<std::uint64_t>(total - done, page_bytes - at % page_bytes));
    const auto found = pages_.find(at / page_bytes);
    const byte_view there = found == pages_.end() ? byte_view() : byte_view(found->second);
    const std::size_t inside = at % page_bytes;
    const std::size_t written = inside < there.size() ? std::min(count, there.size() - inside) : 0;
    if (written > 0) std::memcpy(into.data() + done, there.data() + inside, written);
    std::memset(into.data() + done + written, 0, count - written);
    done += count;
  }
  return total;
}

P2PDVM_DECL byte_vector file_image::copy(std::uint64_t offset, std::uint64_t length) const {
  if (offset >= size_) return {};
  byte_vector bytes(static_cast<std::size_t>(std::min(length, size_ - offset)));
  const std::size_t count = read(offset, bytes);
  bytes.resize(count);
  return bytes;
}

/// Bytes past the end are always zero, so that growing shows zeros.
P2PDVM_DECL void file_image::set_size(std::uint64_t size) {
  if (size < size_) {
    const std::uint64_t first_whole = (size + page_bytes - 1) / page_bytes;
    pages_.erase(pages_.lower_bound(first_whole), pages_.end());
    const auto partial = pages_.find(size / page_bytes);
    if (partial != pages_.end())
      partial->second.resize(std::min<std::size_t>(partial->second.size(), size % page_bytes));
  }
  size_ = size;
}

P2PDVM_DECL void file_image::write(std::uint64_t offset, byte_view bytes) {
  if (bytes.empty()) return;
  const std::uint64_t end = offset + bytes.size();
  history_.push_back({next_change_++, offset, copy(offset, bytes.size()), size_,
                      std::max(size_, end), bytes.size(), false});
  put(offset, bytes);
  size_ = std::max(size_, end);
}

P2PDVM_DECL void file_image::resize(std::uint64_t size) {
  if (size == size_) return;
  byte_vector cut = size < size_ ? copy(size, size_ - size) : byte_vector();
  history_.push_back({next_change_++, size, std::move(cut), size_, size, 0, true});
  set_size(size);
}

P2PDVM_DECL bool file_image::flip(std::uint64_t byte, unsigned bit) {
  if (byte >= size_) return false;
  std::byte b{};
  static_cast<void>(read(byte, byte_span(&b, 1)));
  b ^= std::byte{1} << (bit % 8);
  put(byte, byte_view(&b, 1));
  return true;
}

P2PDVM_DECL bool file_image::flip_in_page(std::size_t n, std::uint64_t byte, unsigned bit) {
  if (n >= pages_.size()) return false;
  const std::uint64_t first = std::next(pages_.begin(), static_cast<std::ptrdiff_t>(n))->first;
  return flip(first * page_bytes + byte % page_bytes, bit);
}

P2PDVM_DECL void file_image::settle(std::uint64_t end, bool durable) {
  for (change& c : history_)
    if (c.number < end && c.what == fate::open) c.what = durable ? fate::durable : fate::doomed;
  while (!history_.empty() && history_.front().what == fate::durable) history_.pop_front();
  named = named || durable;
}

/// Takes everything back, newest first, and then does again, oldest first, what survived.
P2PDVM_DECL void file_image::crash(random_generator& random) {
  std::vector<byte_vector> after(history_.size());
  for (std::size_t i = history_.size(); i > 0; --i) {
    const change& c = history_[i - 1];
    if (!c.is_resize) after[i - 1] = copy(c.offset, c.length);
    size_ = std::max(size_, c.size_before);
    put(c.offset, c.before);
    set_size(c.size_before);
  }
  for (std::size_t i = 0; i < history_.size(); ++i) redo(history_[i], after[i], random);
  history_.clear();
}

P2PDVM_DECL void file_image::redo(const change& c, byte_view after, random_generator& random) {
  const std::uint64_t draw = random.below(3);  // lost, kept or torn
  const bool kept = c.what == fate::durable || (c.what == fate::open && draw == 1);
  const bool torn = c.what == fate::open && draw == 2;
  if (!kept && !torn) return;
  if (c.is_resize) {
    set_size(c.size_after);
    return;
  }
  for (std::uint64_t done = 0; done < after.size();) {
    const std::uint64_t at = c.offset + done;
    const std::uint64_t count =
        std::min<std::uint64_t>(after.size() - done, sector_bytes - at % sector_bytes);
    if (kept || random.chance(0.5)) {
      put(at, after.subspan(static_cast<std::size_t>(done), static_cast<std::size_t>(count)));
      size_ = std::max(size_, at + count);
    }
    done += count;
  }
  // The new length may be on the disk although not all bytes are.
  if (torn && random.chance(0.5)) size_ = std::max(size_, c.offset + after.size());
}

}  // namespace p2pdvm::sim::detail
