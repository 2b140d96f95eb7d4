#pragma once

#include <p2pdvm/runtime/local_profile.hpp>
#include <p2pdvm/sim/simulation.hpp>

#include <algorithm>

namespace p2pdvm::runtime {

namespace detail {

inline constexpr std::uint8_t local_net[] = {127, 77};

/// 0 is no limit.
inline std::uint64_t slower(std::uint64_t a, std::uint64_t b) {
  return a == 0 || b == 0 ? std::max(a, b) : std::min(a, b);
}

}  // namespace detail

P2PDVM_DECL local_profile::local_profile(sim::latency_profile profile, std::uint64_t seed,
                                         std::uint32_t self)
    : map_(profile, sim::places_seed(seed)), weather_(sim::conditions_of(profile)), self_(self) {
  know(self);
}

P2PDVM_DECL address local_profile::address_of(std::uint32_t peer) {
  const std::uint32_t n = peer + 1;
  return address::v4(detail::local_net[0], detail::local_net[1], static_cast<std::uint8_t>(n >> 8),
                     static_cast<std::uint8_t>(n), 0);
}

P2PDVM_DECL std::optional<std::uint32_t> local_profile::peer_at(const address& where) {
  if (!where.is_v4()) return std::nullopt;
  const auto& ip = where.ip();
  const std::uint32_t n = std::uint32_t{ip[14]} << 8 | ip[15];
  if (ip[12] != detail::local_net[0] || ip[13] != detail::local_net[1] || n == 0) return std::nullopt;
  return n - 1;
}

P2PDVM_DECL void local_profile::know(std::uint32_t peer) {
  while (access_.size() <= peer) {
    map_.add_machine();
    access_.push_back(map_.draw_access());
  }
}

P2PDVM_DECL host::path local_profile::to(const address& remote) {
  const auto peer = peer_at(remote);
  if (!peer || *peer == self_) return {};
  know(*peer);
  host::path way;
  way.one_way = map_.round_trip(self_, *peer) / 2;
  way.up = detail::slower(access_[self_].up, access_[*peer].down);
  way.down = detail::slower(access_[*peer].up, access_[self_].down);
  way.loss = weather_.loss;
  way.jitter = weather_.jitter;
  return way;
}

}  // namespace p2pdvm::runtime
