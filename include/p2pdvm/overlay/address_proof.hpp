/// Proof that a peer receives at the address it claims: tokens given and tokens kept.
#pragma once

#include <p2pdvm/base/time.hpp>
#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/overlay/contact.hpp>
#include <p2pdvm/overlay/rpc.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>

namespace p2pdvm::overlay {

/// A token given in one period is good until the end of the next. Longer: fewer padded
/// requests; shorter: an address that changed hands is noticed earlier.
inline constexpr duration token_period = std::chrono::minutes(10);
/// Tokens of other peers that one peer keeps; the oldest are forgotten.
inline constexpr std::size_t tokens_kept_max = 1024;

/// Gives and checks tokens without keeping any state per peer.
class address_prover {
 public:
  /// `salt` differs in every process of this identity, or numbers and tokens would repeat.
  address_prover(const crypto::identity& self, std::uint64_t salt);
  [[nodiscard]] address_token give(time_point now, const contact& to) const;
  /// Whether `from` echoes a token that was sent to its very address lately.
  [[nodiscard]] bool proves(time_point now, const contact& from, address_token token) const;
  /// Numbers that nobody can predict from earlier ones, for transactions: who did not receive
  /// the request cannot answer it.
  [[nodiscard]] std::uint64_t unpredictable(std::uint64_t counter) const;

 private:
  [[nodiscard]] address_token make(std::int64_t period, const contact& to) const;
  crypto::short_key secret_;
};

/// The tokens that others gave us.
class token_cache {
 public:
  /// The token to show to `peer`, or 0 when there is none that is surely still good.
  [[nodiscard]] address_token get(time_point now, const node_id& peer) const;
  void put(time_point now, const node_id& peer, address_token token);
  /// After `peer` did not accept it.
  void drop(const node_id& peer);
  [[nodiscard]] std::size_t size() const noexcept { return tokens_.size(); }

 private:
  struct kept {
    address_token token;
    time_point since;
    std::uint64_t number;
  };
  std::map<node_id, kept> tokens_;
  std::map<std::uint64_t, node_id> order_;  ///< oldest first
  std::uint64_t next_ = 0;
};

}  // namespace p2pdvm::overlay

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/overlay/impl/address_proof.ipp>
#endif
