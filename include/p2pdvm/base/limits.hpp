/// Every limit of p2pdvm that a remote peer or a user's program could run into, by name.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace p2pdvm::limits {

using namespace std::chrono_literals;

// --- before authentication (DESIGN: a stranger may cost at most this) ---
inline constexpr std::size_t handshake_bytes_max = 64 * 1024;
inline constexpr auto handshake_time_max = 5s;
inline constexpr std::size_t half_open_per_source_max = 8;
inline constexpr std::size_t half_open_max = 1024;

// --- datagrams ---
inline constexpr std::size_t datagram_bytes_max = 1200;

// --- records and sessions ---
/// Plaintext bytes of one encrypted record on a stream.
inline constexpr std::size_t record_bytes_max = 64 * 1024;
/// Transfers are sliced so that small messages pass large ones.
inline constexpr std::size_t slice_bytes_max = 64 * 1024 - 256;
/// Bytes that a session keeps for resending before it stalls its users.
inline constexpr std::size_t session_window_bytes_max = 4 * 1024 * 1024;
inline constexpr std::size_t session_message_bytes_max = std::size_t{1} << 31;

// --- rank messages ---
inline constexpr std::size_t credit_bytes_per_pair = 4 * 1024 * 1024;
inline constexpr std::size_t credit_messages_per_pair = 4096;
/// Who awaits its sends is held up while more than this waits for credit.
inline constexpr std::size_t waiting_bytes_per_pair = credit_bytes_per_pair;
inline constexpr std::size_t waiting_messages_per_pair = 4 * credit_messages_per_pair;
/// Before that it lets its peer work a little after each so many messages that wait.
inline constexpr std::size_t waiting_messages_per_turn = 64;

// --- checkpoint ---
inline constexpr std::size_t chunk_bytes = 64 * 1024;
inline constexpr std::size_t chunk_bytes_large = 256 * 1024;
inline constexpr std::size_t large_region_bytes = std::size_t{1} << 30;
/// Of a region of so many bytes.
[[nodiscard]] constexpr std::size_t chunk_bytes_of(std::size_t region_bytes) noexcept {
  return region_bytes > large_region_bytes ? chunk_bytes_large : chunk_bytes;
}
inline constexpr std::size_t late_log_bytes_max = 64 * credit_bytes_per_pair;
inline constexpr std::size_t stripes_per_rank = 16;
inline constexpr std::size_t keepers_max = 5;

// --- jobs ---
inline constexpr std::uint32_t ranks_max = 65536;
inline constexpr std::size_t members_max = 4096;
inline constexpr std::size_t ticket_text_max = 4096;
inline constexpr std::size_t error_text_max = 4096;
inline constexpr std::size_t input_bytes_max = std::size_t{1} << 34;
/// What one rank writes into one output during the whole job, with what is noted of where it belongs: all of it is part of every
/// checkpoint, and in memory.
inline constexpr std::size_t output_bytes_max = std::size_t{1} << 28;
/// Newcomers that one member of a forming job tells of every change of its record.
inline constexpr std::size_t followers_max = 1024;
/// Kept of senders that the job record does not name yet: how many senders, of each, and of all.
inline constexpr std::size_t early_senders_max = 4096;
inline constexpr std::size_t early_messages_max = 64;
inline constexpr std::size_t early_bytes_max = 256 * 1024;
inline constexpr std::size_t early_total_bytes_max = 16 * 1024 * 1024;

// --- overlay ---
inline constexpr std::size_t bucket_size = 16;
inline constexpr std::size_t lookup_parallelism = 3;
inline constexpr std::size_t record_value_bytes_max = 900;
inline constexpr std::size_t records_max = 65536;
inline constexpr std::size_t records_per_source_max = 64;

}  // namespace p2pdvm::limits
