#pragma once

#include <p2pdvm/store/fingerprint.hpp>

#if !defined(XXH_INLINE_ALL)
#define XXH_INLINE_ALL
#endif
#include <xxhash.h>

namespace p2pdvm::store {

P2PDVM_DECL fingerprint fingerprint_of(byte_view bytes, std::uint64_t seed) {
  const XXH128_hash_t h = ::XXH3_128bits_withSeed(bytes.data(), bytes.size(), seed);
  return {h.low64, h.high64};
}

}  // namespace p2pdvm::store
