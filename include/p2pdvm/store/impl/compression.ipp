#pragma once

#include <p2pdvm/store/compression.hpp>

#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <new>

namespace p2pdvm::store {

namespace detail {

/// The fastest that still finds what numbers have in common; more levels cost more than the bytes they save.
inline constexpr int zstd_level = 1;
inline constexpr std::size_t word_bytes = 8;
inline constexpr std::size_t sample_part_bytes = 1024;

/// What a thread needs to pack and unpack, kept for its next chunk: contexts and pages are dear to make.
struct packing_tools {
  struct release {
    void operator()(ZSTD_CCtx* c) const noexcept { ZSTD_freeCCtx(c); }
    void operator()(ZSTD_DCtx* d) const noexcept { ZSTD_freeDCtx(d); }
  };
  std::unique_ptr<ZSTD_CCtx, release> packs{ZSTD_createCCtx()};
  std::unique_ptr<ZSTD_DCtx, release> unpacks{ZSTD_createDCtx()};
  byte_vector words, out;

  packing_tools() {
    if (packs == nullptr || unpacks == nullptr) throw std::bad_alloc();
  }
  /// At least as many, of any content.
  static byte_span room(byte_vector& in, std::size_t bytes) {
    if (in.size() < bytes) in.resize(bytes);
    return byte_span(in).first(bytes);
  }
  /// Bytes of the frame; nothing when it does not fit.
  std::optional<std::size_t> compress(byte_view plain, byte_span to) {
    const std::size_t bytes = ZSTD_compressCCtx(packs.get(), to.data(), to.size(), plain.data(), plain.size(), zstd_level);
    if (ZSTD_isError(bytes) != 0) return std::nullopt;
    return bytes;
  }
  static packing_tools& here() {
    thread_local packing_tools tools;
    return tools;
  }
};

/// Eight words, of which each gets one byte of all (Warren, Hacker's Delight, 7-3). Twice is nothing.
inline void transpose(std::array<std::uint64_t, word_bytes>& x) noexcept {
  const auto exchange = [&x](std::size_t low, std::size_t high, int bits, std::uint64_t mask) {
    const std::uint64_t other = ((x[low] >> bits) ^ x[high]) & mask;
    x[high] ^= other;
    x[low] ^= other << bits;
  };
  for (std::size_t i = 0; i < 4; ++i) exchange(i, i + 4, 32, 0x00000000ffffffff);
  for (const std::size_t i : {0, 1, 4, 5}) exchange(i, i + 2, 16, 0x0000ffff0000ffff);
  for (const std::size_t i : {0, 2, 4, 6}) exchange(i, i + 1, 8, 0x00ff00ff00ff00ff);
}

/// Byte `b` of word `w` moves to place `w` of row `b`.
inline void split_words(byte_view from, byte_span to) {
  const std::size_t words = from.size() / word_bytes, eights = words / word_bytes * word_bytes;
  std::array<std::uint64_t, word_bytes> x;
  for (std::size_t w = 0; w < eights; w += word_bytes) {
    std::memcpy(x.data(), from.data() + w * word_bytes, sizeof x);
    transpose(x);
    for (std::size_t b = 0; b < word_bytes; ++b) std::memcpy(to.data() + b * words + w, &x[b], word_bytes);
  }
  for (std::size_t w = eights; w < words; ++w) {
    for (std::size_t b = 0; b < word_bytes; ++b) to[b * words + w] = from[w * word_bytes + b];
  }
  std::copy(from.begin() + static_cast<std::ptrdiff_t>(words * word_bytes), from.end(),
            to.begin() + static_cast<std::ptrdiff_t>(words * word_bytes));
}

inline void join_words(byte_view from, byte_span to) {
  const std::size_t words = from.size() / word_bytes, eights = words / word_bytes * word_bytes;
  std::array<std::uint64_t, word_bytes> x;
  for (std::size_t w = 0; w < eights; w += word_bytes) {
    for (std::size_t b = 0; b < word_bytes; ++b) std::memcpy(&x[b], from.data() + b * words + w, word_bytes);
    transpose(x);
    std::memcpy(to.data() + w * word_bytes, x.data(), sizeof x);
  }
  for (std::size_t w = eights; w < words; ++w) {
    for (std::size_t b = 0; b < word_bytes; ++b) to[w * word_bytes + b] = from[b * words + w];
  }
  std::copy(from.begin() + static_cast<std::ptrdiff_t>(words * word_bytes), from.end(),
            to.begin() + static_cast<std::ptrdiff_t>(words * word_bytes));
}

/// What packed bytes may take for it to pay.
constexpr std::size_t packed_bytes_max(std::size_t plain_bytes) { return plain_bytes - plain_bytes / packing_gain_part; }

}  // namespace detail

P2PDVM_DECL packing probe_packing(byte_view plain) {
  if (plain.size() < packed_plain_bytes_min || plain.size() > packed_plain_bytes_max) return packing::none;
  using detail::sample_part_bytes;
  // From two places, whole words of both.
  constexpr std::size_t bytes = 2 * sample_part_bytes;
  std::array<std::byte, bytes> sample, words;
  for (std::size_t part = 0; part < 2; ++part) {
    const std::size_t at = (1 + 2 * part) * (plain.size() / 4) / detail::word_bytes * detail::word_bytes;
    std::memcpy(sample.data() + part * sample_part_bytes, plain.data() + std::min(at, plain.size() - sample_part_bytes),
                sample_part_bytes);
  }
  detail::packing_tools& tools = detail::packing_tools::here();
  std::array<std::byte, detail::packed_bytes_max(bytes)> out;
  const auto whole = tools.compress(sample, out);
  if (whole && *whole <= bytes / 4) return packing::zstd;
  detail::split_words(sample, words);
  const auto split = tools.compress(words, out);
  if (split && (!whole || *split < *whole)) return packing::words;
  return whole ? packing::zstd : packing::none;
}

P2PDVM_DECL std::optional<byte_view> pack(byte_view plain, packing how, std::size_t room_bytes) {
  if (how == packing::none || plain.size() < packed_plain_bytes_min || plain.size() > packed_plain_bytes_max)
    return std::nullopt;
  detail::packing_tools& tools = detail::packing_tools::here();
  if (how == packing::words) {
    const byte_span split = tools.room(tools.words, plain.size());
    detail::split_words(plain, split);
    plain = split;
  }
  const std::size_t most = detail::packed_bytes_max(plain.size());
  if (most <= room_bytes + packed_head_bytes) return std::nullopt;
  const byte_span out = tools.room(tools.out, most - room_bytes);
  const auto frame = tools.compress(plain, out.subspan(packed_head_bytes));
  if (!frame) return std::nullopt;
  const auto bytes = static_cast<std::uint32_t>(plain.size());
  out[0] = static_cast<std::byte>(how);
  std::memcpy(out.data() + 1, &bytes, sizeof bytes);
  return out.first(packed_head_bytes + *frame);
}

P2PDVM_DECL std::optional<payload> unpack(byte_view packed, std::size_t bytes_max) {
  if (packed.size() <= packed_head_bytes) return std::nullopt;
  const auto how = static_cast<packing>(packed[0]);
  std::uint32_t bytes = 0;
  std::memcpy(&bytes, packed.data() + 1, sizeof bytes);
  if ((how != packing::zstd && how != packing::words) || bytes == 0 || bytes > std::min(bytes_max, packed_plain_bytes_max))
    return std::nullopt;
  const byte_view frame = packed.subspan(packed_head_bytes);
  if (ZSTD_getFrameContentSize(frame.data(), frame.size()) != bytes) return std::nullopt;
  detail::packing_tools& tools = detail::packing_tools::here();
  byte_span whole;
  payload plain = payload::unwritten(bytes, whole);
  const byte_span to = how == packing::words ? tools.room(tools.words, bytes) : whole;
  // It never writes behind `to`, nor needs a window of its own when all of it lies there.
  if (ZSTD_decompressDCtx(tools.unpacks.get(), to.data(), to.size(), frame.data(), frame.size()) != bytes) return std::nullopt;
  if (how == packing::words) detail::join_words(to, whole);
  return plain;
}

}  // namespace p2pdvm::store
