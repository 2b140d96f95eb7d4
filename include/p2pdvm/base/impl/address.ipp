#pragma once

#include <p2pdvm/base/address.hpp>

#include <arpa/inet.h>

#include <charconv>
#include <cstring>

namespace p2pdvm {

P2PDVM_DECL bool address::is_loopback() const noexcept {
  if (is_v4()) return ip_[12] == 127;
  for (std::size_t i = 0; i < 15; ++i) {
    if (ip_[i] != 0) return false;
  }
  return ip_[15] == 1;
}

P2PDVM_DECL bool address::is_any() const noexcept {
  for (std::size_t i = is_v4() ? 12 : 0; i < 16; ++i) {
    if (ip_[i] != 0) return false;
  }
  return true;
}

P2PDVM_DECL std::string address::text() const {
  char buffer[INET6_ADDRSTRLEN] = {};
  if (is_v4()) {
    ::inet_ntop(AF_INET, ip_.data() + 12, buffer, sizeof buffer);
    return std::string(buffer) + ":" + std::to_string(port_);
  }
  ::inet_ntop(AF_INET6, ip_.data(), buffer, sizeof buffer);
  return "[" + std::string(buffer) + "]:" + std::to_string(port_);
}

P2PDVM_DECL result<address> address::parse(std::string_view text) {
  const auto bad = [&] {
    return error(errc::invalid_argument, "'" + std::string(text) +
                                             "' is not an address; write ADDRESS:PORT, for example "
                                             "192.0.2.1:4000 or [2001:db8::1]:4000");
  };
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return bad();
  const std::string_view host = text.substr(0, colon);
  const std::string_view port_text = text.substr(colon + 1);
  std::uint16_t port = 0;
  const auto [end, ec] =
      std::from_chars(port_text.data(), port_text.data() + port_text.size(), port);
  if (ec != std::errc() || end != port_text.data() + port_text.size()) return bad();
  if (host.empty()) return v4(0, 0, 0, 0, port);
  if (host.front() == '[') {
    if (host.size() < 3 || host.back() != ']') return bad();
    std::array<std::uint8_t, 16> ip{};
    if (::inet_pton(AF_INET6, std::string(host.substr(1, host.size() - 2)).c_str(), ip.data()) != 1)
      return bad();
    return address(ip, port);
  }
  std::array<std::uint8_t, 4> ip{};
  const std::string name(host == "localhost" ? std::string_view("127.0.0.1") : host);
  if (::inet_pton(AF_INET, name.c_str(), ip.data()) != 1) return bad();
  return v4(ip[0], ip[1], ip[2], ip[3], port);
}

}  // namespace p2pdvm
