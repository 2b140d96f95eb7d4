/// A peer as others name it, the metric between ids, and the seam to the network below.
#pragma once

#include <p2pdvm/base/address.hpp>
#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/limits.hpp>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace p2pdvm::overlay {

/// What one sealed datagram leaves to the overlay: the rest is the seal's and its addresses'.
inline constexpr std::size_t datagram_payload_max = limits::datagram_bytes_max - 160;
inline constexpr std::size_t contact_bytes_max = 51;
inline constexpr std::size_t contact_bytes_v4 = 39;

/// A key and an address: `contact_bytes_v4` on the wire, or `contact_bytes_max` with IPv6.
struct contact {
  public_key key;
  address where;
  friend auto operator<=>(const contact&, const contact&) = default;
  template <class F>
  void fields(F&& f) {
    f(key);
    f(where);
  }
};

/// Sends sealed datagrams: unreliable, unordered, possibly twice. The other side learns the
/// sender's key for certain and its address as the datagram claims it.
class overlay_transport {
 public:
  /// At most `datagram_payload_max` bytes. Drops silently; never calls back into the sender.
  virtual void send(const contact& to, byte_view datagram) = 0;

 protected:
  ~overlay_transport() = default;
};

namespace detail {

/// Bytes 8i … 8i+7 of an id as a number whose order is the bytes' order.
[[nodiscard]] inline std::uint64_t id_word(const node_id& id, std::size_t i) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, id.bytes().data() + 8 * i, sizeof word);
  return __builtin_bswap64(word);
}

}  // namespace detail

/// The XOR metric (Maymounkov and Mazières, 2002).
[[nodiscard]] node_id distance(const node_id& a, const node_id& b) noexcept;
/// Whether `a` is strictly nearer to `target` than `b` is.
[[nodiscard]] inline bool nearer(const node_id& target, const node_id& a,
                                 const node_id& b) noexcept {
  for (std::size_t i = 0; i < 4; ++i) {
    const std::uint64_t t = detail::id_word(target, i);
    const std::uint64_t to_a = detail::id_word(a, i) ^ t;
    const std::uint64_t to_b = detail::id_word(b, i) ^ t;
    if (to_a != to_b) return to_a < to_b;
  }
  return false;
}
/// Whether two ids are equal: mostly their first bytes tell.
[[nodiscard]] inline bool same(const node_id& a, const node_id& b) noexcept {
  return detail::id_word(a, 0) == detail::id_word(b, 0) && a == b;
}
/// Leading bits that two ids have in common, 0 … 256.
[[nodiscard]] std::size_t common_prefix(const node_id& a, const node_id& b) noexcept;

/// The part of the Internet that one party can easily own: an IPv4 /24 or an IPv6 /48.
/// Zero for loopback, link-local and private addresses, to which no cap per network applies.
using network_prefix = strong_number<struct network_prefix_tag>;
[[nodiscard]] network_prefix network_of(const address& where) noexcept;

/// Whether a stranger may make us send a datagram there: a port and a unicast address, and
/// loopback only when `teller`, who named it, is on loopback itself.
[[nodiscard]] bool acceptable(const address& where, const address& teller) noexcept;

}  // namespace p2pdvm::overlay

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/overlay/impl/contact.ipp>
#endif
