/// The fused message of one superstep between two ranks.
#pragma once

#include <p2pdvm/base/bytes.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <string>
#include <vector>

namespace p2pdvm::bsp::detail {

/// A line of the program, also of one in another language.
struct place {
  const char* file = "";
  std::uint32_t line = 0;
  place(const std::source_location& where) noexcept : file(where.file_name()), line(where.line()) {}  // NOLINT: is one
  place(const char* name, std::uint32_t number) noexcept : file(name), line(number) {}
};

[[nodiscard]] std::string text_of(const place& where);

/// How a rank came to the end of a superstep.
enum class ending : std::uint16_t { sync, safe_sync, left };

/// In front of what a rank has for another one in a superstep, its letter; copied as it is (all ranks are little-endian).
struct superstep_head {
  ending end = ending::sync;
  std::uint16_t file = 0;  ///< peal::rank::file_number
  std::uint32_t line = 0;
  std::uint64_t wished = 0;         ///< epoch, with `safe_sync`
  std::uint64_t registrations = 0;  ///< digest of what is registered, in order
  std::uint32_t registered = 0;     ///< how many
  std::uint32_t folds = 0;
  std::uint64_t bytes = 0;          ///< of this letter, with its head
  std::uint64_t message_bytes = 0;  ///< of the message that begins with it, in all its parts: what follows is to be passed on
  std::uint32_t ranks = 0;          ///< that take part
  std::uint32_t origin = 0;         ///< whose letter it is
  float work = 0;                   ///< seconds since the end of the superstep before
  float words = 0;                  ///< of 8 bytes, that the origin sends to all others
};
inline constexpr std::size_t head_bytes = sizeof(superstep_head);
static_assert(head_bytes == 64);
/// In front of a letter that the receiver is to pass on.
struct enclosure_head {
  std::uint32_t destination = 0;
  std::uint32_t reserved = 0;
  std::uint64_t bytes = 0;
};
/// What is larger is sent in parts of this size.
inline constexpr std::size_t part_bytes_max = std::size_t{1} << 30;

/// `far`: the sender does not know that all others are near. Series: puts or gets, one after another, that have all but place and value in common.
enum class record_kind : std::uint16_t { put, get, send, fold, far, put_series, get_series };

/// In front of each operation's data; `bytes` of data follow, for a get none, and then what is missing to a multiple of `alignment`. In a series
/// each one's offset follows, with its data behind it, likewise.
struct record_head {
  record_kind kind = record_kind::put;
  std::uint16_t file = 0;
  std::uint32_t slot = 0;    ///< registration, or number of the fold
  std::int64_t offset = 0;   ///< in bytes, or the tag of a send, or how many a series has
  std::uint64_t bytes = 0;   ///< of each of a series
  std::uint32_t line = 0;
  std::uint32_t element_bytes = 0;
};
static_assert(sizeof(record_head) == 32);
inline constexpr std::size_t alignment = 8;
/// Larger puts have a head of their own.
inline constexpr std::size_t series_bytes_max = 256;

[[nodiscard]] constexpr std::uint64_t aligned(std::uint64_t bytes) noexcept { return (bytes + alignment - 1) / alignment * alignment; }

/// Of one put or get of a series, with its offset.
[[nodiscard]] constexpr std::uint64_t series_step(const record_head& head) noexcept {
  return sizeof(std::int64_t) + (head.kind == record_kind::put_series ? aligned(head.bytes) : 0);
}

/// What a rank has for another one in a superstep, as it grows.
class letter {
 public:
  letter() : bytes_(head_bytes) {}
  void add(const record_head& head, byte_view data, byte_view more = {});
  [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }
  [[nodiscard]] bool empty() const noexcept { return bytes_.size() == head_bytes; }
  /// All of it, its head still to be written; then it is empty, and has memory for about as much again.
  [[nodiscard]] byte_vector take();

 private:
  [[nodiscard]] bool continues(const record_head& head) const noexcept;

  byte_vector bytes_;
  record_head last_;         ///< record,
  std::size_t last_at_ = 0;  ///< where its head is; 0: there is none
};

struct record {
  record_head head;
  std::size_t data = 0;  ///< where its data starts in the message
};

/// The records of a message from `offset` on; throws when they do not fit it.
[[nodiscard]] std::vector<record> records_of(byte_view message, std::size_t offset);

[[nodiscard]] constexpr bool is_put(record_kind kind) noexcept { return kind == record_kind::put || kind == record_kind::put_series; }
[[nodiscard]] constexpr bool is_get(record_kind kind) noexcept { return kind == record_kind::get || kind == record_kind::get_series; }

/// Calls `f(offset, data)` for each of the puts or gets that the record stands for; `data` of a get is empty.
template <class F>
void each_access(const record& r, byte_view message, F&& f) {
  const std::size_t bytes = is_put(r.head.kind) ? static_cast<std::size_t>(r.head.bytes) : 0;
  if (r.head.kind == record_kind::put || r.head.kind == record_kind::get) return f(r.head.offset, message.subspan(r.data, bytes));
  const std::size_t step = static_cast<std::size_t>(series_step(r.head));
  std::size_t at = r.data;
  for (std::int64_t n = r.head.offset; n > 0; --n, at += step) {
    std::int64_t offset = 0;
    std::memcpy(&offset, message.data() + at, sizeof offset);
    f(offset, message.subspan(at + sizeof offset, bytes));
  }
}

}  // namespace p2pdvm::bsp::detail

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/peal/bsp/impl/record.ipp>
#endif
