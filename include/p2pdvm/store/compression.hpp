/// Compression of chunks, where a sample of a chunk says that it pays.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/limits.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>

namespace p2pdvm::store {

/// What a peer does with the chunks that it seals. It reads those of others in either case.
enum class compression : std::uint8_t { automatic, off };

/// How a chunk was made smaller. It is sealed with the chunk, so these numbers keep their meaning.
enum class packing : std::uint8_t {
  none = 0,
  zstd = 1,   ///< a Zstandard frame
  words = 2,  ///< a frame of the first bytes of all 8-byte words, then the second ones, and so on; what is behind the last word comes last
};

/// Smaller chunks have too few bytes to save.
inline constexpr std::size_t packed_plain_bytes_min = 4 * 1024;
/// Of a chunk that is packed: more is never unpacked.
inline constexpr std::size_t packed_plain_bytes_max = limits::chunk_bytes_large;
/// What does not save this part of the plaintext stays as it is.
inline constexpr std::size_t packing_gain_part = 8;
/// In front of the frame: how it was made, and the size of the plaintext.
inline constexpr std::size_t packed_head_bytes = 1 + 4;

/// Which way would pay, by a sample of 2 KiB: takes some microseconds. `none` for sizes beyond the limits.
[[nodiscard]] packing probe_packing(byte_view plain);
[[nodiscard]] inline packing probe_packing(compression wanted, byte_view plain) {
  return wanted == compression::off ? packing::none : probe_packing(plain);
}

/// The packed bytes, in memory of this thread that its next call uses again; nothing when that would not
/// pay, `room_bytes` around them included. Which bytes it gives depends on the version of Zstandard.
[[nodiscard]] std::optional<byte_view> pack(byte_view plain, packing how, std::size_t room_bytes);
/// The plaintext, or nothing when these are not packed bytes of one of at most `bytes_max`. Never takes
/// more memory than that, twice, whatever the bytes say.
[[nodiscard]] std::optional<payload> unpack(byte_view packed, std::size_t bytes_max);

}  // namespace p2pdvm::store

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/store/impl/compression.ipp>
#endif
