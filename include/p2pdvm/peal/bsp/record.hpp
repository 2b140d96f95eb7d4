/// The fused message of one superstep between two ranks.
#pragma once

#include <p2pdvm/base/bytes.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace p2pdvm::bsp::detail {

/// How a rank came to the end of a superstep.
enum class ending : std::uint16_t { sync, safe_sync, left };

/// In front of every message of a superstep; copied as it is (all ranks are little-endian).
struct superstep_head {
  ending end = ending::sync;
  std::uint16_t file = 0;  ///< peal::rank::file_number
  std::uint32_t line = 0;
  std::uint64_t wished = 0;         ///< epoch, with `safe_sync`
  std::uint64_t registrations = 0;  ///< digest of what is registered, in order
  std::uint32_t registered = 0;     ///< how many
  std::uint32_t folds = 0;
};
inline constexpr std::size_t head_bytes = sizeof(superstep_head);
static_assert(head_bytes == 32);

enum class record_kind : std::uint16_t { put, get, send, fold };

/// In front of each operation's data; `bytes` of data follow, for a get none.
struct record_head {
  record_kind kind = record_kind::put;
  std::uint16_t file = 0;
  std::uint32_t slot = 0;    ///< registration, or number of the fold
  std::int64_t offset = 0;   ///< in bytes, or the tag of a send
  std::uint64_t bytes = 0;
  std::uint32_t line = 0;
  std::uint32_t element_bytes = 0;
};
static_assert(sizeof(record_head) == 32);

struct record {
  record_head head;
  std::size_t data = 0;  ///< where its data starts in the message
};

void append_record(byte_vector& out, const record_head& head, byte_view data);
/// The records of a message from `offset` on; throws when they do not fit it.
[[nodiscard]] std::vector<record> records_of(byte_view message, std::size_t offset);

}  // namespace p2pdvm::bsp::detail

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/peal/bsp/impl/record.ipp>
#endif
