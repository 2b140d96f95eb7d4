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
  [[nodiscard]] constexpr bool is_v4() const noexcept {
    for (std::size_t i = 0; i < 10; ++i) {
      if (ip_[i] != 0) return false;
    }
    return ip_[10] == 0xff && ip_[11] == 0xff;
  }
  [[nodiscard]] bool is_loopback() const noexcept;
  /// All zeros: "any interface".
  [[nodiscard]] bool is_any() const noexcept;
  [[nodiscard]] std::string text() const;
  friend auto operator<=>(const address&, const address&) = default;
  /// On the wire an IPv4 address takes 7 bytes, an IPv6 address 19.
  template <class F>
  void fields(F&& f) {
    bool short_form = is_v4();
    f(short_form);
    if (short_form) {
      std::array<std::uint8_t, 4> last{ip_[12], ip_[13], ip_[14], ip_[15]};
      f(last);
      const address read = v4(last[0], last[1], last[2], last[3], port_);
      if (read.ip_ != ip_) ip_ = read.ip_;
    } else {
      f(ip_);
    }
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
