#pragma once

#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/messaging/address_book.hpp>

#include <algorithm>

namespace p2pdvm::messaging {

P2PDVM_DECL void address_book::make_room() {
  if (entries_.size() < contacts_max) return;
  entries_.erase(std::min_element(entries_.begin(), entries_.end(), [](auto& a, auto& b) {
    return a.second.used < b.second.used;
  }));
}

P2PDVM_DECL result<node_id> address_book::learn(const contact& who) {
  const node_id node = crypto::node_id_of(who.key);
  auto found = entries_.find(node);
  if (found == entries_.end()) {
    if (auto valid = crypto::exchange_key_of(who.key); !valid) return valid.error();
    make_room();
    found = entries_.emplace(node, entry{contact{who.key, {}}, 0}).first;
  }
  found->second.used = ++uses_;
  auto& addresses = found->second.who.addresses;
  for (const address& a : who.addresses) {
    const bool usable = a.port() != 0 && !a.is_any();
    if (!usable || std::find(addresses.begin(), addresses.end(), a) != addresses.end()) continue;
    if (addresses.size() == contact_addresses_max) addresses.pop_back();
    addresses.push_back(a);
  }
  return node;
}

P2PDVM_DECL const contact* address_book::find(const node_id& node) {
  const auto found = entries_.find(node);
  if (found == entries_.end()) return nullptr;
  found->second.used = ++uses_;
  return &found->second.who;
}

P2PDVM_DECL void address_book::confirm(const node_id& node, const address& where) {
  const auto found = entries_.find(node);
  if (found == entries_.end()) return;
  auto& addresses = found->second.who.addresses;
  const auto at = std::find(addresses.begin(), addresses.end(), where);
  if (at != addresses.end()) std::rotate(addresses.begin(), at, at + 1);
}

P2PDVM_DECL void address_book::forget(const node_id& node) { entries_.erase(node); }

P2PDVM_DECL std::vector<contact> address_book::all() const {
  std::vector<contact> list;
  list.reserve(entries_.size());
  for (const auto& [node, e] : entries_) list.push_back(e.who);
  return list;
}

}  // namespace p2pdvm::messaging
