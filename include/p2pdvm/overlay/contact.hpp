/// A peer as others name it, the metric between ids, and the seam to the network below.
#pragma once

#include <p2pdvm/base/address.hpp>
#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/limits.hpp>

#include <compare>
#include <cstddef>
#include <cstdint>

namespace p2pdvm::overlay {

/// What one sealed datagram leaves to the overlay: the rest is the seal's and its addresses'.
inline constexpr std::size_t datagram_payload_max = limits::datagram_bytes_max - 160;
inline constexpr std::size_t contact_bytes = 50;

/// A key and an address: `contact_bytes` on the wire.
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

/// The XOR metric (Maymounkov and Mazières, 2002).
[[nodiscard]] node_id distance(const node_id& a, const node_id& b) noexcept;
/// Whether `a` is strictly nearer to `target` than `b` is.
[[nodiscard]] bool nearer(const node_id& target, const node_id& a, const node_id& b) noexcept;
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
