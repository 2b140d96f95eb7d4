/// An Internet address and port, independent of any socket library.
#pragma once

#include <p2pdvm/base/result.hpp>

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace p2pdvm {

/// IPv6, or IPv4 in its mapped form ::ffff:a.b.c.d, and a port in host order.
class address {
 public:
  constexpr address() = default;
  constexpr address(std::array<std::uint8_t, 16> ip, std::uint16_t port) : ip_(ip), port_(port) {}

  /// The IPv4 address a.b.c.d.
  [[nodiscard]] static constexpr address v4(std::uint8_t a, std::uint8_t b, std::uint8_t c,
                                            std::uint8_t d, std::uint16_t port) noexcept {
    return address({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d}, port);
  }
  [[nodiscard]] static constexpr address loopback(std::uint16_t port) noexcept {
    return v4(127, 0, 0, 1, port);
  }
  /// "192.0.2.1:4000", "[2001:db8::1]:4000".
  [[nodiscard]] static result<address> parse(std::string_view text);

  [[nodiscard]] constexpr const std::array<std::uint8_t, 16>& ip() const noexcept { return ip_; }
  [[nodiscard]] constexpr std::uint16_t port() const noexcept { return port_; }
  [[nodiscard]] constexpr address with_port(std::uint16_t port) const noexcept {
    return address(ip_, port);
  }
  [[nodiscard]] bool is_v4() const noexcept;
  [[nodiscard]] bool is_loopback() const noexcept;
  /// All zeros: "any interface".
  [[nodiscard]] bool is_any() const noexcept;
  [[nodiscard]] std::string text() const;
  friend auto operator<=>(const address&, const address&) = default;
  template <class F>
  void fields(F&& f) {
    f(ip_);
    f(port_);
  }

 private:
  std::array<std::uint8_t, 16> ip_{};
  std::uint16_t port_ = 0;
};

}  // namespace p2pdvm

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/base/impl/address.ipp>
#endif
