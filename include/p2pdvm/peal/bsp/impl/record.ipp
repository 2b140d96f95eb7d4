#pragma once

#include <p2pdvm/peal/bsp/record.hpp>
#include <p2pdvm/peal/rank.hpp>
#include <p2pdvm/peal/waiting.hpp>

#include <algorithm>
#include <array>
#include <utility>

namespace p2pdvm::bsp::detail {

P2PDVM_DECL std::string text_of(const place& where) {
  return std::string(peal::file_part(where.file)) + ":" + std::to_string(where.line);
}

/// Of memory, for what the next superstep may need.
inline constexpr std::size_t kept_bytes_max = std::size_t{64} << 20;

P2PDVM_DECL bool letter::continues(const record_head& head) const noexcept {
  const bool put = head.kind == record_kind::put;
  if (last_at_ == 0 || (!put && head.kind != record_kind::get) || (put && head.bytes > series_bytes_max)) return false;
  return (last_.kind == head.kind || last_.kind == (put ? record_kind::put_series : record_kind::get_series)) && last_.slot == head.slot &&
         last_.bytes == head.bytes && last_.line == head.line && last_.file == head.file && last_.element_bytes == head.element_bytes;
}

P2PDVM_DECL void letter::add(const record_head& head, byte_view data, byte_view more) {
  if (continues(head)) {
    if (last_.kind == head.kind) {  // the second one makes it a series
      const byte_view first = bytes_of(last_.offset);
      bytes_.insert(bytes_.begin() + static_cast<std::ptrdiff_t>(last_at_ + sizeof last_), first.begin(), first.end());
      last_.kind = head.kind == record_kind::put ? record_kind::put_series : record_kind::get_series;
      last_.offset = 1;
    }
    ++last_.offset;
    std::memcpy(bytes_.data() + last_at_, &last_, sizeof last_);
    if (data.size() == sizeof(std::uint64_t)) {  // most are: written at once
      std::array<std::byte, sizeof head.offset + sizeof(std::uint64_t)> both;
      std::memcpy(both.data(), &head.offset, sizeof head.offset);
      std::memcpy(both.data() + sizeof head.offset, data.data(), sizeof(std::uint64_t));
      bytes_.insert(bytes_.end(), both.begin(), both.end());
      return;
    }
    append(bytes_, bytes_of(head.offset));
  } else {
    last_ = head;
    last_at_ = bytes_.size();
    append(bytes_, bytes_of(head));
  }
  append(bytes_, data);
  append(bytes_, more);
  bytes_.resize(static_cast<std::size_t>(aligned(bytes_.size())));
}

P2PDVM_DECL byte_vector letter::take() {
  byte_vector fresh;
  fresh.reserve(std::min(bytes_.size(), kept_bytes_max));
  fresh.resize(head_bytes);
  last_at_ = 0;
  return std::exchange(bytes_, std::move(fresh));
}

P2PDVM_DECL std::vector<record> records_of(byte_view message, std::size_t offset) {
  const auto damaged = [] { peal::detail::throw_misuse("a message of a superstep is damaged"); };
  std::vector<record> all;
  while (offset < message.size()) {
    record r;
    if (message.size() - offset < sizeof r.head) damaged();
    std::memcpy(&r.head, message.data() + offset, sizeof r.head);
    r.data = offset + sizeof r.head;
    const std::uint64_t room = (message.size() - r.data) / alignment * alignment;
    std::uint64_t bytes = 0;
    if (r.head.kind == record_kind::put_series || r.head.kind == record_kind::get_series) {
      if (r.head.offset < 1 || (r.head.kind == record_kind::put_series && r.head.bytes > series_bytes_max)) damaged();
      const std::uint64_t step = series_step(r.head);
      if (static_cast<std::uint64_t>(r.head.offset) > room / step) damaged();
      bytes = static_cast<std::uint64_t>(r.head.offset) * step;
    } else if (r.head.kind != record_kind::get) {
      bytes = r.head.bytes;
    }
    if (bytes > room) damaged();
    offset = r.data + static_cast<std::size_t>(aligned(bytes));
    all.push_back(r);
  }
  return all;
}

}  // namespace p2pdvm::bsp::detail
