/// The bytes of a segment: its header, its records, and how records are found again after damage.
///
/// A segment starts with two equal copies of a 64-byte header and a manifest (which segments
/// exist, and where each ends); `host::disk::replace` makes that part, so it is never torn.
/// Records follow, 8-byte aligned: head (40 bytes), key, body, zero padding. The checksum of a
/// head covers its key, its place and the folder's salt, so that neither a stale record nor
/// bytes that a stranger put into a chunk pass for a record of this place.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/result.hpp>
#include <p2pdvm/host/host.hpp>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace p2pdvm::store {

inline constexpr std::size_t log_chunk_bytes_max = std::size_t{16} << 20;
inline constexpr std::size_t log_value_bytes_max = std::size_t{16} << 20;
inline constexpr std::size_t log_name_bytes_max = 1024;

namespace segment {

inline constexpr std::uint32_t format_version = 1;
inline constexpr std::size_t header_bytes = 64;
inline constexpr std::size_t manifest_offset = 2 * header_bytes;
inline constexpr std::size_t head_bytes = 40;
inline constexpr std::size_t body_bytes_max = std::size_t{16} << 20;
/// Ids in one pin-add record; longer lists take several records.
inline constexpr std::size_t ids_per_record_max = 65536;
inline constexpr std::size_t segments_max = std::size_t{1} << 20;

/// A point in append order: everything in older segments, and this one up to `offset`.
struct position {
  std::uint64_t segment = 0;
  std::uint64_t offset = 0;
  friend auto operator<=>(const position&, const position&) = default;
  template <class F>
  void fields(F&& f) {
    f(segment), f(offset);
  }
};

/// The segments that exist when a new one is made. What is older and not listed is deleted,
/// even if its file comes back; what lies behind an `end` was never part of the log.
struct manifest {
  position durable;
  std::vector<position> ends;
  template <class F>
  void fields(F&& f) {
    f(durable), f(ends);
  }
};

struct header {
  std::uint64_t number = 0;
  std::uint64_t first_sequence = 0;  ///< every older segment's records have lower ones
  std::uint64_t salt = 0;
  std::uint64_t records_begin = 0;
  std::optional<manifest> contents;  ///< absent when damaged
};

enum class record_type : std::uint16_t {
  chunk = 1,   ///< key: id, body: sealed bytes
  pin_add,     ///< key: pin, body: ids
  pin_drop,    ///< key: pin
  value,       ///< key: name; an empty body removes the name
  value_lost,  ///< key: name; an older value must not be taken for the current one
  synced,      ///< body: position up to which everything is durable
};

struct record_head {
  std::uint32_t magic;
  record_type type;
  std::uint16_t key_bytes;
  std::uint32_t body_bytes;
  std::uint32_t zero;
  /// Order of replay. A copy made by compaction keeps it, so that copies are idempotent.
  std::uint64_t sequence;
  std::uint64_t body_checksum;
  std::uint64_t checksum;
};
static_assert(sizeof(record_head) == head_bytes);

[[nodiscard]] constexpr std::uint64_t aligned(std::uint64_t n) noexcept { return (n + 7) & ~7ull; }
[[nodiscard]] constexpr std::uint64_t record_bytes(std::size_t key, std::size_t body) noexcept {
  return aligned(head_bytes + key + body);
}

[[nodiscard]] std::uint64_t checksum(byte_view bytes, std::uint64_t seed = 0);

[[nodiscard]] byte_vector encode_header(const header& h);
/// `unsupported_version`, or `corrupted` when neither copy is a header of segment `number`.
result<header> read_header(host::file& file, std::uint64_t number);

/// Bytes of a record for one place.
[[nodiscard]] byte_vector encode_record(std::uint64_t salt, const position& at, record_type type,
                                        std::uint64_t sequence, byte_view key, byte_view body);
/// The head at the start of `bytes` when it and its key are whole and meant for `at`.
[[nodiscard]] std::optional<record_head> decode_head(std::uint64_t salt, const position& at,
                                                     byte_view bytes);

struct found_record {
  position at;
  record_head head{};
  byte_vector key;
  /// Where unreadable bytes before this record begin; `at.offset` when there are none.
  std::uint64_t gap_begin = 0;
  [[nodiscard]] std::uint64_t bytes() const noexcept {
    return record_bytes(head.key_bytes, head.body_bytes);
  }
};

/// Walks over the records of one segment, past bytes that are none and past blocks that the
/// disk has lost. Bodies are not read.
class scanner {
 public:
  /// `file` must outlive the scanner.
  scanner(host::file& file, std::uint64_t salt, position begin, std::uint64_t end)
      : file_(file), salt_(salt), at_(begin), end_(end) {}
  /// Nothing at the end; then `gap_begin()` is where trailing unreadable bytes begin.
  result<std::optional<found_record>> next();
  [[nodiscard]] std::uint64_t gap_begin() const noexcept { return gap_begin_; }

 private:
  result<byte_view> window(std::uint64_t offset, std::size_t bytes, std::size_t ahead);

  host::file& file_;
  std::uint64_t salt_;
  position at_;
  std::uint64_t end_;
  std::uint64_t gap_begin_ = 0;
  byte_vector window_;
  std::uint64_t window_begin_ = 0;
};

}  // namespace segment
}  // namespace p2pdvm::store

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/store/impl/segment_format.ipp>
#endif
