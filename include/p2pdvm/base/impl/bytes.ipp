#pragma once

#include <p2pdvm/base/bytes.hpp>

namespace p2pdvm {

namespace detail {

P2PDVM_DECL shared_bytes* new_shared_bytes(std::size_t size) {
  auto* const block = ::new (::operator new(sizeof(shared_bytes) + size)) shared_bytes;
  block->what = shared_bytes::kind::large;
  return block;
}

P2PDVM_DECL void drop_shared_bytes(shared_bytes* block) noexcept {
  if (block->what == shared_bytes::kind::vector) {
    delete static_cast<kept_vector*>(block);
  } else {
    ::operator delete(static_cast<void*>(block));
  }
}

}  // namespace detail

P2PDVM_DECL std::string to_hex(byte_view bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const std::byte b : bytes) {
    text += digits[std::to_integer<unsigned>(b) >> 4];
    text += digits[std::to_integer<unsigned>(b) & 15];
  }
  return text;
}

P2PDVM_DECL std::string to_base32(byte_view bytes) {
  static constexpr char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
  std::string text;
  text.reserve((bytes.size() * 8 + 4) / 5);
  std::uint32_t bits = 0;
  int count = 0;
  for (const std::byte b : bytes) {
    bits = (bits << 8) | std::to_integer<std::uint32_t>(b);
    for (count += 8; count >= 5; count -= 5) text += digits[(bits >> (count - 5)) & 31];
    bits &= (1u << count) - 1;
  }
  if (count > 0) text += digits[(bits << (5 - count)) & 31];
  return text;
}

P2PDVM_DECL bool from_base32(std::string_view text, byte_vector& out) {
  out.clear();
  out.reserve(text.size() * 5 / 8);
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    std::uint32_t digit = 0;
    if (c >= 'a' && c <= 'z') {
      digit = static_cast<std::uint32_t>(c - 'a');
    } else if (c >= 'A' && c <= 'Z') {
      digit = static_cast<std::uint32_t>(c - 'A');
    } else if (c >= '2' && c <= '7') {
      digit = static_cast<std::uint32_t>(c - '2') + 26;
    } else {
      return false;
    }
    bits = (bits << 5) | digit;
    count += 5;
    if (count >= 8) {
      count -= 8;
      out.push_back(static_cast<std::byte>(bits >> count));
      bits &= (1u << count) - 1;
    }
  }
  return count < 5 && bits == 0;
}

}  // namespace p2pdvm
