#pragma once

#include <p2pdvm/runtime/peer_identity.hpp>

namespace p2pdvm::runtime {

P2PDVM_DECL result<crypto::identity> open_identity(host::disk& disk, host::entropy& entropy) {
  const auto saved = disk.read_all("identity", crypto::secret_key::size);
  if (saved.ok() && saved->size() == crypto::secret_key::size)
    return crypto::identity(crypto::secret_key(*saved));
  if (saved.ok() || saved.error().code() != errc::not_found)
    return error(errc::corrupted, disk.describe("identity") +
                                      " is damaged; restore it from a copy, or remove it to begin "
                                      "as a new peer");
  crypto::secret_key seed;
  entropy.fill(seed.mutable_bytes());
  if (auto kept = disk.replace("identity", seed.bytes()); !kept.ok()) return kept.error();
  return crypto::identity(seed);
}

}  // namespace p2pdvm::runtime
