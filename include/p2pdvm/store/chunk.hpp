/// Chunks: content-addressed bytes, named and sealed under the secret of their job.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/result.hpp>
#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/store/compression.hpp>

#include <cstddef>

namespace p2pdvm::store {

/// First byte of every id: HMAC-SHA-256 names it, XChaCha20-Poly1305 seals it.
inline constexpr std::byte chunk_algorithm{2};
/// Of chunks that were stored before: keyed BLAKE2b-256 names them.
inline constexpr std::byte chunk_algorithm_before{1};
[[nodiscard]] inline bool known_algorithm(const chunk_id& id) noexcept {
  return id.bytes()[0] == chunk_algorithm || id.bytes()[0] == chunk_algorithm_before;
}
inline constexpr std::size_t chunk_checksum_bytes = 16;
/// What sealing adds to a plaintext: the checksum in front, the tag behind.
inline constexpr std::size_t chunk_overhead_bytes = chunk_checksum_bytes + crypto::tag_bytes;
/// The largest plaintext: an encoded manifest. Chunks of sections are much smaller.
inline constexpr std::size_t manifest_bytes_max = 16 * 1024 * 1024;
/// What sealing adds to packed bytes: a nonce of their own, too.
inline constexpr std::size_t packed_chunk_overhead_bytes = chunk_overhead_bytes + sizeof(crypto::nonce24);
inline constexpr std::size_t sealed_bytes_max = manifest_bytes_max + chunk_overhead_bytes;

/// Names, seals and opens chunks of one job. Equal plaintexts of a job get equal ids, so that they
/// are stored once; that two chunks of a job are equal, and about how well they compress, is all that
/// a holder outside it learns.
///
/// A chunk is sealed as it is, or packed; an id says nothing of that, and either form of a chunk will
/// do wherever the other would. The checksum's seed says which one it is. Each form has its own key, and what is
/// packed a nonce that is a keyed hash of just these bytes: compressors give different ones for the same plaintext,
/// and two texts under one nonce would give away both.
class chunk_codec {
 public:
  explicit chunk_codec(const crypto::secret_key& job_secret);

  [[nodiscard]] chunk_id id(byte_view plain) const;
  /// Precondition: `id` is that of `plain` (it gives the nonce); at most `manifest_bytes_max`.
  [[nodiscard]] payload seal(const chunk_id& id, byte_view plain) const;
  /// The same, packed if that pays; it is never longer than the above.
  [[nodiscard]] payload seal(const chunk_id& id, byte_view plain, packing how) const;
  /// The plaintext, which hashes to `id`. Errors: `unsupported_version` (another algorithm),
  /// `corrupted` (damaged, not this chunk, or more than `bytes_max`, which is found out before any memory is
  /// taken), `authentication` (sealed under another secret).
  [[nodiscard]] result<payload> open(const chunk_id& id, byte_view sealed, std::size_t bytes_max = manifest_bytes_max) const;

  /// Whether sealed bytes match their checksum: finds damage without the secret, no forgery.
  [[nodiscard]] static bool intact(byte_view sealed);

 private:
  [[nodiscard]] chunk_id id(byte_view plain, std::byte algorithm) const;
  /// `plain`, if that is its id.
  [[nodiscard]] result<payload> named(const chunk_id& id, const payload& plain) const;

  crypto::secret_key naming_, naming_before_;
  crypto::secret_key sealing_, sealing_packed_, nonces_packed_;
};

}  // namespace p2pdvm::store

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/store/impl/chunk.ipp>
#endif
