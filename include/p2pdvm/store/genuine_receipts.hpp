/// Receipts whose signatures have been verified: each is looked at by several, and a signature takes as long as a chunk.
#pragma once

#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/store/messages.hpp>

#include <cstddef>
#include <unordered_set>

namespace p2pdvm::store {

class genuine_receipts {
 public:
  /// Whether `key` is that of the receipt's holder, who signed it. Verified once.
  [[nodiscard]] bool check(const receipt& r, const public_key& key);
  /// A receipt that this peer, whose key that is, has signed itself.
  void add(const receipt& r, const public_key& key);
  /// Nothing is wrong about these; they will hardly be seen again.
  void clear() { known_.clear(); }

  /// So many are remembered; then all are forgotten.
  static constexpr std::size_t count_max = 64 * 1024;

 private:
  void remember(const digest256& name);

  std::unordered_set<digest256> known_;
};

}  // namespace p2pdvm::store

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/store/impl/genuine_receipts.ipp>
#endif
