/// Who a peer is: the key in its folder.
#pragma once

#include <p2pdvm/base/result.hpp>
#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/host/host.hpp>

namespace p2pdvm::runtime {

/// Read, or made and kept where there is none. `corrupted` with a sentence.
[[nodiscard]] result<crypto::identity> open_identity(host::disk& disk, host::entropy& entropy);

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/peer_identity.ipp>
#endif
