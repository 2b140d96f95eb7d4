#pragma once

#include <p2pdvm/base/byte_size.hpp>
#include <p2pdvm/base/config.hpp>

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cstddef>
#include <utility>

namespace p2pdvm {

P2PDVM_DECL result<std::uint64_t> parse_byte_size(std::string_view text) {
  constexpr std::pair<std::string_view, double> units[] = {
      {"", 1.0},           {"b", 1.0},         {"kb", 1e3},           {"mb", 1e6},        {"gb", 1e9},
      {"tb", 1e12},        {"kib", 0x1p10},    {"mib", 0x1p20},       {"gib", 0x1p30},    {"tib", 0x1p40}};
  const auto wrong = [text] {
    return error(errc::invalid_argument, "write a size such as 20GB or 500MiB, not '" + std::string(text) + "'");
  };
  double number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, ec] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  if (ec != std::errc() || !(number >= 0)) return wrong();
  std::string unit;
  for (const char* at = stop; at != end; ++at) {
    if (*at == ' ' && unit.empty()) continue;
    unit += *at >= 'A' && *at <= 'Z' ? static_cast<char>(*at - 'A' + 'a') : *at;
  }
  for (const auto& [name, factor] : units) {
    if (unit != name) continue;
    const double bytes = number * factor;
    if (!(bytes < 0x1p63)) return wrong();
    return static_cast<std::uint64_t>(bytes);
  }
  return wrong();
}

P2PDVM_DECL std::string byte_size_text(std::uint64_t bytes) {
  if (bytes < 1000) return fmt::format("{} B", bytes);
  constexpr std::array units = {"kB", "MB", "GB", "TB"};
  double size = static_cast<double>(bytes) / 1000;
  std::size_t unit = 0;
  while (size >= 999.5 && unit + 1 < units.size()) {
    size /= 1000;
    ++unit;
  }
  return fmt::format("{:.{}f} {}", size, size < 9.95 ? 1 : 0, units[unit]);
}

}  // namespace p2pdvm
