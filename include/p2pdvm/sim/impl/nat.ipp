#pragma once

#include <p2pdvm/base/assert.hpp>
#include <p2pdvm/sim/nat.hpp>

#include <algorithm>
#include <limits>
#include <utility>

namespace p2pdvm::sim::detail {

/// All NATs have the same private addresses, as at home.
P2PDVM_DECL address nat_box::admit(std::uint32_t machine) {
  machines_.push_back(machine);
  const std::size_t n = machines_.size();
  P2PDVM_ASSERT(n < 65'535);
  return address::v4(192, 168, static_cast<std::uint8_t>(n >> 8), static_cast<std::uint8_t>(n), 0);
}

P2PDVM_DECL std::optional<std::uint32_t> nat_box::first_machine() const {
  if (machines_.empty()) return std::nullopt;
  return machines_.front();
}

P2PDVM_DECL std::optional<std::uint32_t> nat_box::inside(const address& to) const {
  const auto& ip = to.ip();
  if (!to.is_v4() || ip[12] != 192 || ip[13] != 168) return std::nullopt;
  const std::size_t n = std::size_t{ip[14]} << 8 | ip[15];
  if (n == 0 || n > machines_.size()) return std::nullopt;
  return machines_[n - 1];
}

P2PDVM_DECL void nat_box::forward(const inner& from) {
  for (table& t : tables_) {
    const bool fresh = t.by_port.emplace(from.port, mapping{{from, address()}, tick_never}).second;
    P2PDVM_ASSERT(fresh);
    t.by_key.emplace(key{from, address()}, from.port);
  }
}

P2PDVM_DECL address nat_box::masked(const address& remote, nat_dependence how) {
  if (how == nat_dependence::endpoint_independent) return {};
  return how == nat_dependence::address_dependent ? remote.with_port(0) : remote;
}

P2PDVM_DECL tick nat_box::timeout(traffic kind) const {
  return (kind == traffic::datagram ? options_.mapping_timeout : options_.stream_mapping_timeout)
      .count();
}

P2PDVM_DECL std::uint16_t nat_box::take_port(table& t) {
  for (;;) {
    const std::uint16_t port = t.next_port;
    const bool last = port == std::numeric_limits<std::uint16_t>::max();
    t.next_port = last ? first_port : static_cast<std::uint16_t>(port + 1);
    const auto taken = t.by_port.find(port);
    if (taken == t.by_port.end()) return port;
    if (taken->second.expires == tick_never) continue;  // forwarded
    t.by_key.erase(taken->second.made_for);
    t.by_port.erase(taken);
    return port;
  }
}

P2PDVM_DECL void nat_box::prune(mapping& m, tick now) {
  std::erase_if(m.contacts, [now](const auto& c) { return c.second <= now; });
  m.prune_at = std::max(contacts_min, 2 * m.contacts.size());
}

P2PDVM_DECL address nat_box::outward(traffic kind, const inner& from, const address& to,
                                     tick now) {
  table& t = tables_[static_cast<std::size_t>(kind)];
  const key forwarded{from, address()};
  const auto permanent = t.by_key.find(forwarded);
  if (permanent != t.by_key.end() && t.by_port.at(permanent->second).expires == tick_never)
    return outside_.with_port(permanent->second);
  const key k{from, masked(to, options_.mapping)};
  auto known = t.by_key.find(k);
  if (known != t.by_key.end() && t.by_port.at(known->second).expires <= now) {
    t.by_port.erase(known->second);
    t.by_key.erase(known);
    known = t.by_key.end();
  }
  if (known == t.by_key.end()) {
    const std::uint16_t port = take_port(t);
    known = t.by_key.emplace(k, port).first;
    t.by_port.emplace(port, mapping{k});
  }
  mapping& m = t.by_port.at(known->second);
  m.expires = now + timeout(kind);
  if (m.contacts.size() >= m.prune_at) prune(m, now);
  m.contacts[masked(to, options_.filtering)] = m.expires;
  return outside_.with_port(known->second);
}

P2PDVM_DECL std::optional<nat_box::inner> nat_box::owner(traffic kind, std::uint16_t port,
                                                         tick now) const {
  const table& t = tables_[static_cast<std::size_t>(kind)];
  const auto found = t.by_port.find(port);
  if (found == t.by_port.end() || found->second.expires <= now) return std::nullopt;
  return found->second.made_for.from;
}

P2PDVM_DECL std::optional<nat_box::inner> nat_box::inward(traffic kind, std::uint16_t port,
                                                          const address& from, tick now) const {
  const auto to = owner(kind, port, now);
  if (!to) return std::nullopt;
  const mapping& m = tables_[static_cast<std::size_t>(kind)].by_port.at(port);
  if (m.expires == tick_never) return to;
  const auto contact = m.contacts.find(masked(from, options_.filtering));
  if (contact == m.contacts.end() || contact->second <= now) return std::nullopt;
  return to;
}

}  // namespace p2pdvm::sim::detail
