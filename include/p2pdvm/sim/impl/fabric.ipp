#pragma once

#include <p2pdvm/sim/fabric.hpp>

namespace p2pdvm::sim::detail {

P2PDVM_DECL nat_id fabric::add_nat(const nat_options& how) {
  const auto id = static_cast<nat_id>(nats.size());
  address outside = how.outside.with_port(0);
  for (std::uint32_t n = id + 1; outside.is_any() || (how.outside.is_any() && has_ip(outside)); ++n) {
    P2PDVM_ASSERT(n < 1u << 17);
    outside = address::v4(198, static_cast<std::uint8_t>(18 + (n >> 16)),
                          static_cast<std::uint8_t>(n >> 8), static_cast<std::uint8_t>(n), 0);
  }
  const bool fresh = !by_ip_.contains(outside.ip()) && nat_by_ip_.emplace(outside.ip(), id).second;
  P2PDVM_ASSERT(fresh);
  nats.push_back(std::make_unique<nat_box>(how, outside));
  return id;
}

P2PDVM_DECL std::optional<fabric::route> fabric::route_through_nats(const site& s,
                                                                    std::uint16_t port,
                                                                    const address& to,
                                                                    traffic kind) {
  if (to.is_loopback()) return route{s.index, to.with_port(port)};
  address source = s.ip.with_port(port);
  if (s.nat != nullptr) {
    if (const auto neighbour = s.nat->inside(to)) return route{*neighbour, source};
    source = s.nat->outward(kind, {s.index, port}, to, now);
  }
  if (const auto other = nat_by_ip_.find(to.ip()); other != nat_by_ip_.end()) {
    const nat_box& there = *nats[other->second];
    if (&there == s.nat && !there.hairpins()) return std::nullopt;
    const auto owner = there.owner(kind, to.port(), now);
    if (!owner) return std::nullopt;
    return route{owner->machine, source};
  }
  const auto target = find(to, s.index);
  if (!target) return std::nullopt;
  return route{*target, source};
}

}  // namespace p2pdvm::sim::detail
