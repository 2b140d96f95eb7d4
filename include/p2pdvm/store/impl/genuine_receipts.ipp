#pragma once

#include <p2pdvm/store/genuine_receipts.hpp>
#include <p2pdvm/wire/codec.hpp>

namespace p2pdvm::store {

namespace detail {

/// Of the whole receipt, its signature included, and of who is said to have signed it.
inline digest256 receipt_name(const receipt& r, const public_key& key) {
  crypto::hasher h;
  h.add(key.bytes());
  h.add(wire::encode(r));
  return h.finish();
}

}  // namespace detail

P2PDVM_DECL void genuine_receipts::remember(const digest256& name) {
  if (known_.size() >= count_max) known_.clear();
  known_.insert(name);
}

P2PDVM_DECL void genuine_receipts::add(const receipt& r, const public_key& key) {
  remember(detail::receipt_name(r, key));
}

P2PDVM_DECL bool genuine_receipts::check(const receipt& r, const public_key& key) {
  const digest256 name = detail::receipt_name(r, key);
  if (known_.contains(name)) return true;
  if (!r.signed_by(key)) return false;
  remember(name);
  return true;
}

}  // namespace p2pdvm::store
