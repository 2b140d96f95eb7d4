#pragma once

#include <p2pdvm/store/chunk.hpp>
#include <p2pdvm/store/fingerprint.hpp>

#include <cstring>
#include <string>

namespace p2pdvm::store {

namespace detail {

inline crypto::nonce24 chunk_nonce(const chunk_id& id) {
  crypto::nonce24 nonce{};
  std::memcpy(nonce.data(), id.bytes().data() + 1, nonce.size());
  return nonce;
}

inline fingerprint chunk_checksum(byte_view ciphertext) {
  static_assert(sizeof(fingerprint) == chunk_checksum_bytes);
  return fingerprint_of(ciphertext, 0);
}

inline error chunk_damaged(errc code, const chunk_id& id, const char* how) {
  return error(code, "chunk " + to_hex(id.bytes().subspan(1, 4)) + " " + how);
}

}  // namespace detail

P2PDVM_DECL chunk_codec::chunk_codec(const crypto::secret_key& job_secret)
    : naming_(crypto::derive(job_secret, "p2pdvm chunk id 1")),
      sealing_(crypto::derive(job_secret, "p2pdvm chunk seal 1")) {}

P2PDVM_DECL chunk_id chunk_codec::id(byte_view plain) const {
  const digest256 digest = crypto::keyed_hash(naming_, plain);
  chunk_id id;
  id.mutable_bytes()[0] = chunk_algorithm;
  std::memcpy(id.mutable_bytes().data() + 1, digest.bytes().data(), digest256::size);
  return id;
}

P2PDVM_DECL payload chunk_codec::seal(const chunk_id& id, byte_view plain) const {
  P2PDVM_ASSERT(id.bytes()[0] == chunk_algorithm);
  P2PDVM_ASSERT(plain.size() <= manifest_bytes_max);
  byte_span write;
  payload sealed = payload::unwritten(plain.size() + chunk_overhead_bytes, write);
  const byte_span ciphertext = write.subspan(chunk_checksum_bytes);
  crypto::seal(sealing_, detail::chunk_nonce(id), id.bytes(), plain, ciphertext);
  const fingerprint checksum = detail::chunk_checksum(ciphertext);
  std::memcpy(write.data(), &checksum, sizeof checksum);
  return sealed;
}

P2PDVM_DECL result<byte_vector> chunk_codec::open(const chunk_id& id, byte_view sealed) const {
  if (id.bytes()[0] != chunk_algorithm)
    return detail::chunk_damaged(errc::unsupported_version, id, "has an unknown algorithm");
  if (!intact(sealed)) return detail::chunk_damaged(errc::corrupted, id, "fails its checksum");
  byte_vector plain(sealed.size() - chunk_overhead_bytes);
  if (!crypto::open(sealing_, detail::chunk_nonce(id), id.bytes(),
                    sealed.subspan(chunk_checksum_bytes), plain))
    return detail::chunk_damaged(errc::authentication, id, "was not sealed by this job");
  if (this->id(plain) != id)
    return detail::chunk_damaged(errc::corrupted, id, "does not hash to its id");
  return plain;
}

P2PDVM_DECL bool chunk_codec::intact(byte_view sealed) {
  if (sealed.size() < chunk_overhead_bytes || sealed.size() > sealed_bytes_max) return false;
  const fingerprint checksum = detail::chunk_checksum(sealed.subspan(chunk_checksum_bytes));
  return std::memcmp(sealed.data(), &checksum, sizeof checksum) == 0;
}

}  // namespace p2pdvm::store
