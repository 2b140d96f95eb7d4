#pragma once

#include <p2pdvm/overlay/address_proof.hpp>

#include <algorithm>
#include <cstring>

namespace p2pdvm::overlay {

P2PDVM_DECL address_prover::address_prover(const crypto::identity& self, std::uint64_t salt) {
  const digest256 secret = crypto::keyed_hash(
      crypto::derive(self.seed(), "p2pdvm overlay address token"), bytes_of(salt));
  std::memcpy(secret_.data(), secret.bytes().data(), secret_.size());
}

P2PDVM_DECL address_token address_prover::make(std::int64_t period, const contact& to) const {
  std::array<std::byte, 64> text{};
  const std::uint16_t port = to.where.port();
  std::memcpy(text.data(), to.key.bytes().data(), 32);
  std::memcpy(text.data() + 32, to.where.ip().data(), 16);
  std::memcpy(text.data() + 48, &port, sizeof port);
  std::memcpy(text.data() + 56, &period, sizeof period);
  return address_token(std::max<std::uint64_t>(crypto::short_hash(secret_, text), 1));
}

P2PDVM_DECL address_token address_prover::give(time_point now, const contact& to) const {
  return make(now.time_since_epoch() / token_period, to);
}

P2PDVM_DECL bool address_prover::proves(time_point now, const contact& from,
                                        address_token token) const {
  if (token == address_token()) return false;
  const std::int64_t period = now.time_since_epoch() / token_period;
  return token == make(period, from) || token == make(period - 1, from);
}

P2PDVM_DECL std::uint64_t address_prover::unpredictable(std::uint64_t counter) const {
  return crypto::short_hash(secret_, bytes_of(counter));
}

P2PDVM_DECL address_token token_cache::get(time_point now, const node_id& peer) const {
  const auto at = tokens_.find(peer);
  if (at == tokens_.end() || now - at->second.since >= token_period) return address_token();
  return at->second.token;
}

P2PDVM_DECL void token_cache::put(time_point now, const node_id& peer, address_token token) {
  drop(peer);
  if (token == address_token()) return;
  if (tokens_.size() >= tokens_kept_max) drop(node_id(order_.begin()->second));
  order_.emplace(next_, peer);
  tokens_.emplace(peer, kept{token, now, next_});
  ++next_;
}

P2PDVM_DECL void token_cache::drop(const node_id& peer) {
  const auto at = tokens_.find(peer);
  if (at == tokens_.end()) return;
  order_.erase(at->second.number);
  tokens_.erase(at);
}

}  // namespace p2pdvm::overlay
