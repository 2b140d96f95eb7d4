#pragma once

#include <p2pdvm/overlay/contact.hpp>

#include <bit>

namespace p2pdvm::overlay {

namespace detail {

inline bool is_private_v4(std::uint8_t a, std::uint8_t b) noexcept {
  return a == 10 || a == 127 || (a == 172 && (b & 0xf0) == 16) || (a == 192 && b == 168) ||
         (a == 169 && b == 254) || (a == 100 && (b & 0xc0) == 64);
}

}  // namespace detail

P2PDVM_DECL node_id distance(const node_id& a, const node_id& b) noexcept {
  node_id d;
  for (std::size_t i = 0; i < node_id::size; ++i) {
    d.mutable_bytes()[i] = a.bytes()[i] ^ b.bytes()[i];
  }
  return d;
}

P2PDVM_DECL std::size_t common_prefix(const node_id& a, const node_id& b) noexcept {
  for (std::size_t i = 0; i < 4; ++i) {
    const std::uint64_t x = detail::id_word(a, i) ^ detail::id_word(b, i);
    if (x != 0) return 64 * i + static_cast<std::size_t>(std::countl_zero(x));
  }
  return 256;
}

P2PDVM_DECL network_prefix network_of(const address& where) noexcept {
  const auto& ip = where.ip();
  std::uint64_t prefix = 0;
  if (where.is_v4()) {
    if (detail::is_private_v4(ip[12], ip[13])) return network_prefix();
    for (std::size_t i = 12; i < 15; ++i) prefix = prefix << 8 | ip[i];
    return network_prefix(std::uint64_t{4} << 56 | prefix);
  }
  const bool unique_local = (ip[0] & 0xfe) == 0xfc;
  const bool link_local = ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80;
  if (unique_local || link_local || where.is_loopback()) return network_prefix();
  for (std::size_t i = 0; i < 6; ++i) prefix = prefix << 8 | ip[i];
  return network_prefix(std::uint64_t{6} << 56 | prefix);
}

P2PDVM_DECL bool acceptable(const address& where, const address& teller) noexcept {
  if (where.port() == 0 || where.is_any()) return false;
  const bool multicast = where.is_v4() ? where.ip()[12] >= 224 : where.ip()[0] == 0xff;
  if (multicast) return false;
  return !where.is_loopback() || teller.is_loopback();
}

}  // namespace p2pdvm::overlay
