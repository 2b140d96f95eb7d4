/// Fast non-cryptographic 128-bit fingerprints (XXH3-128): dirty detection and checksums.
#pragma once

#include <p2pdvm/base/bytes.hpp>

#include <compare>
#include <cstddef>
#include <cstdint>

namespace p2pdvm::store {

/// Finds accidental changes only: whoever knows the seed may be able to forge one.
struct fingerprint {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  friend auto operator<=>(const fingerprint&, const fingerprint&) = default;
};

[[nodiscard]] fingerprint fingerprint_of(byte_view bytes, std::uint64_t seed);

}  // namespace p2pdvm::store

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/store/impl/fingerprint.ipp>
#endif
