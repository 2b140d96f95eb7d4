#pragma once

#include <p2pdvm/store/chunk.hpp>
#include <p2pdvm/store/fingerprint.hpp>

#include <cstring>
#include <optional>
#include <string>

namespace p2pdvm::store {

namespace detail {

inline crypto::nonce24 chunk_nonce(const chunk_id& id) {
  crypto::nonce24 nonce{};
  std::memcpy(nonce.data(), id.bytes().data() + 1, nonce.size());
  return nonce;
}

/// The seed of its checksum.
enum class chunk_form : std::uint64_t { plain = 0, packed = 1 };

inline fingerprint chunk_checksum(byte_view ciphertext, chunk_form form) {
  static_assert(sizeof(fingerprint) == chunk_checksum_bytes);
  return fingerprint_of(ciphertext, static_cast<std::uint64_t>(form));
}

/// Nothing when it is damaged.
inline std::optional<chunk_form> form_of(byte_view sealed) {
  if (sealed.size() < chunk_overhead_bytes || sealed.size() > sealed_bytes_max) return std::nullopt;
  for (const chunk_form form : {chunk_form::plain, chunk_form::packed}) {
    const fingerprint checksum = chunk_checksum(sealed.subspan(chunk_checksum_bytes), form);
    if (std::memcmp(sealed.data(), &checksum, sizeof checksum) != 0) continue;
    if (form == chunk_form::packed && sealed.size() < packed_chunk_overhead_bytes) return std::nullopt;
    return form;
  }
  return std::nullopt;
}

/// Precondition: `ciphertext` is at least as long as a tag.
inline std::optional<payload> unseal(const crypto::secret_key& key, const crypto::nonce24& nonce, const chunk_id& id, byte_view ciphertext) {
  byte_span into;
  payload plain = payload::unwritten(ciphertext.size() - crypto::tag_bytes, into);
  if (!crypto::open(key, nonce, id.bytes(), ciphertext, into)) return std::nullopt;
  return plain;
}

inline error chunk_damaged(errc code, const chunk_id& id, const char* how) {
  return error(code, "chunk " + to_hex(id.bytes().subspan(1, 4)) + " " + how);
}

}  // namespace detail

P2PDVM_DECL chunk_codec::chunk_codec(const crypto::secret_key& job_secret)
    : naming_(crypto::derive(job_secret, "p2pdvm chunk id 2")),
      naming_before_(crypto::derive(job_secret, "p2pdvm chunk id 1")),
      sealing_(crypto::derive(job_secret, "p2pdvm chunk seal 1")),
      sealing_packed_(crypto::derive(job_secret, "p2pdvm packed chunk seal 1")),
      nonces_packed_(crypto::derive(job_secret, "p2pdvm packed chunk nonce 1")) {}

P2PDVM_DECL chunk_id chunk_codec::id(byte_view plain) const { return id(plain, chunk_algorithm); }

P2PDVM_DECL chunk_id chunk_codec::id(byte_view plain, std::byte algorithm) const {
  const digest256 digest =
      algorithm == chunk_algorithm ? crypto::keyed_sha256(naming_, plain) : crypto::keyed_hash(naming_before_, plain);
  chunk_id id;
  id.mutable_bytes()[0] = algorithm;
  std::memcpy(id.mutable_bytes().data() + 1, digest.bytes().data(), digest256::size);
  return id;
}

P2PDVM_DECL payload chunk_codec::seal(const chunk_id& id, byte_view plain) const {
  P2PDVM_ASSERT(known_algorithm(id));
  P2PDVM_ASSERT(plain.size() <= manifest_bytes_max);
  byte_span write;
  payload sealed = payload::unwritten(plain.size() + chunk_overhead_bytes, write);
  const byte_span ciphertext = write.subspan(chunk_checksum_bytes);
  crypto::seal(sealing_, detail::chunk_nonce(id), id.bytes(), plain, ciphertext);
  const fingerprint checksum = detail::chunk_checksum(ciphertext, detail::chunk_form::plain);
  std::memcpy(write.data(), &checksum, sizeof checksum);
  return sealed;
}

P2PDVM_DECL payload chunk_codec::seal(const chunk_id& id, byte_view plain, packing how) const {
  crypto::nonce24 nonce{};
  const auto packed = pack(plain, how, nonce.size());
  if (!packed) return seal(id, plain);
  P2PDVM_ASSERT(known_algorithm(id));
  const digest256 unique = crypto::keyed_sha256(nonces_packed_, *packed);
  std::memcpy(nonce.data(), unique.bytes().data(), nonce.size());
  byte_span write;
  payload sealed = payload::unwritten(packed->size() + packed_chunk_overhead_bytes, write);
  const byte_span behind = write.subspan(chunk_checksum_bytes);
  std::memcpy(behind.data(), nonce.data(), nonce.size());
  crypto::seal(sealing_packed_, nonce, id.bytes(), *packed, behind.subspan(nonce.size()));
  const fingerprint checksum = detail::chunk_checksum(behind, detail::chunk_form::packed);
  std::memcpy(write.data(), &checksum, sizeof checksum);
  return sealed;
}

P2PDVM_DECL result<payload> chunk_codec::open(const chunk_id& id, byte_view sealed, std::size_t bytes_max) const {
  if (!known_algorithm(id))
    return detail::chunk_damaged(errc::unsupported_version, id, "has an unknown algorithm");
  // By its length it is not packed; its tag says more than its checksum, which only tells why it does not open.
  if (sealed.size() == bytes_max + chunk_overhead_bytes) {
    if (const auto plain = detail::unseal(sealing_, detail::chunk_nonce(id), id, sealed.subspan(chunk_checksum_bytes)))
      return named(id, *plain);
  }
  const auto form = detail::form_of(sealed);
  if (!form) return detail::chunk_damaged(errc::corrupted, id, "fails its checksum");
  const bool packed = *form == detail::chunk_form::packed;
  crypto::nonce24 nonce = detail::chunk_nonce(id);
  byte_view ciphertext = sealed.subspan(chunk_checksum_bytes);
  if (packed) {
    std::memcpy(nonce.data(), ciphertext.data(), nonce.size());
    ciphertext = ciphertext.subspan(nonce.size());
  }
  // Packed bytes are fewer than those of the plaintext.
  if (ciphertext.size() - crypto::tag_bytes > bytes_max)
    return detail::chunk_damaged(errc::corrupted, id, "is larger than it may be");
  auto plain = detail::unseal(packed ? sealing_packed_ : sealing_, nonce, id, ciphertext);
  if (!plain) return detail::chunk_damaged(errc::authentication, id, "was not sealed by this job");
  if (packed) plain = unpack(plain->view(), bytes_max);
  if (!plain) return detail::chunk_damaged(errc::corrupted, id, "does not decompress");
  return named(id, *plain);
}

P2PDVM_DECL result<payload> chunk_codec::named(const chunk_id& id, const payload& plain) const {
  if (this->id(plain.view(), id.bytes()[0]) == id) return plain;
  return detail::chunk_damaged(errc::corrupted, id, "does not hash to its id");
}

P2PDVM_DECL bool chunk_codec::intact(byte_view sealed) {
  return detail::form_of(sealed).has_value();
}

}  // namespace p2pdvm::store
