#pragma once

#include <p2pdvm/store/segment_format.hpp>
#include <p2pdvm/wire/codec.hpp>

#if !defined(XXH_INLINE_ALL)
#define XXH_INLINE_ALL
#endif
#include <xxhash.h>

#include <algorithm>
#include <cstring>

namespace p2pdvm::store::segment {

namespace detail {

inline constexpr std::uint32_t record_magic = 0xd5a6c37eu;
inline constexpr std::uint64_t header_magic = 0x67657364'70327076ull;
inline constexpr std::size_t manifest_bytes_max = std::size_t{32} << 20;
/// No format will have such a number: it is one that has rotted.
inline constexpr std::uint32_t format_version_max = 1000;
inline constexpr std::size_t head_covered = head_bytes - sizeof(std::uint64_t);

struct header_image {
  std::uint64_t magic;
  std::uint32_t version;  // these two fields stay where they are in every format
  std::uint32_t manifest_bytes;
  std::uint64_t number;
  std::uint64_t first_sequence;
  std::uint64_t salt;
  std::uint64_t manifest_checksum;
  std::uint64_t zero;
  std::uint64_t checksum;
};
static_assert(sizeof(header_image) == header_bytes);

inline std::uint64_t image_checksum(const header_image& image) {
  return checksum(bytes_of(image).first(header_bytes - sizeof(std::uint64_t)));
}

inline std::uint64_t place_seed(std::uint64_t salt, const position& at) {
  const std::uint64_t words[3] = {salt, at.segment, at.offset};
  return checksum(std::as_bytes(std::span(words)));
}

/// As `file.read`, but blocks that the disk has lost read as zeros, which are no record.
inline result<std::size_t> read_past_losses(host::file& file, std::uint64_t offset,
                                            byte_span into) {
  static constexpr std::uint64_t block_bytes = 4096;
  auto whole = file.read(offset, into);
  if (whole || whole.error().code() != errc::corrupted) return whole;
  std::size_t done = 0;
  while (done < into.size()) {
    const std::uint64_t left = block_bytes - (offset + done) % block_bytes;
    const byte_span block = into.subspan(
        done, static_cast<std::size_t>(std::min<std::uint64_t>(left, into.size() - done)));
    const auto got = file.read(offset + done, block);
    if (!got && got.error().code() != errc::corrupted) return got;
    if (!got) std::fill(block.begin(), block.end(), std::byte{0});
    done += got ? *got : block.size();
    if (got && *got < block.size()) break;
  }
  return done;
}

}  // namespace detail

P2PDVM_DECL std::uint64_t checksum(byte_view bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

P2PDVM_DECL byte_vector encode_header(const header& h) {
  P2PDVM_ASSERT(h.contents.has_value());
  const byte_vector listing = wire::encode(*h.contents);
  detail::header_image image{};
  image.magic = detail::header_magic;
  image.version = format_version;
  image.manifest_bytes = static_cast<std::uint32_t>(listing.size());
  image.number = h.number;
  image.first_sequence = h.first_sequence;
  image.salt = h.salt;
  image.manifest_checksum = checksum(listing);
  image.checksum = detail::image_checksum(image);
  byte_vector bytes;
  append(bytes, bytes_of(image));
  append(bytes, bytes_of(image));
  append(bytes, listing);
  bytes.resize(aligned(bytes.size()));
  return bytes;
}

P2PDVM_DECL result<header> read_header(host::file& file, std::uint64_t number) {
  detail::header_image images[2] = {};
  const auto got = file.read(0, std::as_writable_bytes(std::span(images)));
  if (!got) return got.error();
  const detail::header_image* good = nullptr;
  for (const auto& image : images) {
    if (image.magic == detail::header_magic && image.checksum == detail::image_checksum(image) &&
        image.version == format_version && image.number == number) {
      good = &image;
    }
  }
  if (good == nullptr) {
    const std::uint32_t version = images[0].version;
    const bool whole = *got >= manifest_offset;
    const bool foreign = whole ? images[1].version == version && version != format_version : *got >= 12 && version > format_version;
    if (foreign && images[0].magic == detail::header_magic && version <= detail::format_version_max) {
      return error(errc::unsupported_version, std::to_string(images[0].version));
    }
    return error(errc::corrupted);
  }
  header h;
  h.number = number;
  h.first_sequence = good->first_sequence;
  h.salt = good->salt;
  h.records_begin = aligned(manifest_offset + good->manifest_bytes);
  if (good->manifest_bytes > detail::manifest_bytes_max) return error(errc::corrupted);
  byte_vector listing(good->manifest_bytes);
  const auto listed = detail::read_past_losses(file, manifest_offset, listing);
  if (!listed) return listed.error();
  if (*listed == listing.size() && checksum(listing) == good->manifest_checksum) {
    if (auto contents = wire::decode<manifest>(listing)) h.contents = std::move(*contents);
  }
  return h;
}

P2PDVM_DECL byte_vector encode_record(std::uint64_t salt, const position& at, record_type type,
                                      std::uint64_t sequence, byte_view key, byte_view body) {
  record_head head{};
  head.magic = detail::record_magic;
  head.type = type;
  head.key_bytes = static_cast<std::uint16_t>(key.size());
  head.body_bytes = static_cast<std::uint32_t>(body.size());
  head.sequence = sequence;
  head.body_checksum = checksum(body);
  byte_vector bytes;
  bytes.reserve(record_bytes(key.size(), body.size()));
  append(bytes, bytes_of(head));
  append(bytes, key);
  // The key stands behind the checksum, so hash both parts as if the checksum were zero.
  head.checksum = checksum(bytes, detail::place_seed(salt, at));
  std::memcpy(bytes.data() + detail::head_covered, &head.checksum, sizeof head.checksum);
  append(bytes, body);
  bytes.resize(record_bytes(key.size(), body.size()));
  return bytes;
}

P2PDVM_DECL std::optional<record_head> decode_head(std::uint64_t salt, const position& at,
                                                   byte_view bytes) {
  if (bytes.size() < head_bytes) return std::nullopt;
  record_head head{};
  std::memcpy(&head, bytes.data(), head_bytes);
  if (head.magic != detail::record_magic || head.zero != 0) return std::nullopt;
  if (head.key_bytes > log_name_bytes_max || head.body_bytes > body_bytes_max) return std::nullopt;
  if (bytes.size() < head_bytes + head.key_bytes) return std::nullopt;
  byte_vector covered = to_vector(bytes.first(head_bytes + head.key_bytes));
  std::memset(covered.data() + detail::head_covered, 0, sizeof head.checksum);
  if (checksum(covered, detail::place_seed(salt, at)) != head.checksum) return std::nullopt;
  return head;
}

P2PDVM_DECL result<byte_view> scanner::window(std::uint64_t offset, std::size_t bytes,
                                              std::size_t ahead) {
  const std::uint64_t left = end_ > offset ? end_ - offset : 0;
  bytes = static_cast<std::size_t>(std::min<std::uint64_t>(bytes, left));
  if (offset < window_begin_ || offset + bytes > window_begin_ + window_.size()) {
    window_.resize(static_cast<std::size_t>(std::min<std::uint64_t>(std::max(bytes, ahead), left)));
    window_begin_ = offset;
    const auto got = detail::read_past_losses(file_, offset, window_);
    if (!got) {
      window_.clear();
      return got.error();
    }
    window_.resize(*got);
  }
  const std::size_t skip = static_cast<std::size_t>(offset - window_begin_);
  if (skip >= window_.size()) return byte_view();
  return byte_view(window_).subspan(skip, std::min(bytes, window_.size() - skip));
}

P2PDVM_DECL result<std::optional<found_record>> scanner::next() {
  static constexpr std::size_t longest_head = head_bytes + log_name_bytes_max;
  gap_begin_ = at_.offset;
  for (; at_.offset + head_bytes <= end_; at_.offset += 8) {
    const bool searching = at_.offset != gap_begin_;
    auto bytes = window(at_.offset, longest_head, searching ? 65536 : 4096);
    if (!bytes) return bytes.error();
    const auto head = decode_head(salt_, at_, *bytes);
    if (!head) continue;
    found_record found;
    found.at = at_;
    found.head = *head;
    found.key = to_vector(bytes->subspan(head_bytes, head->key_bytes));
    found.gap_begin = gap_begin_;
    if (found.bytes() > end_ - at_.offset) continue;
    at_.offset += found.bytes();
    return std::optional<found_record>(std::move(found));
  }
  if (gap_begin_ >= end_) gap_begin_ = end_;
  return std::optional<found_record>();
}

}  // namespace p2pdvm::store::segment
