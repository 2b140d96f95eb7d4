/// Byte buffers: owned, viewed and shared.
#pragma once

#include <p2pdvm/base/assert.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace p2pdvm {

using byte_vector = std::vector<std::byte>;
using byte_view = std::span<const std::byte>;
using byte_span = std::span<std::byte>;

[[nodiscard]] inline byte_view as_bytes(std::string_view text) noexcept {
  return std::as_bytes(std::span(text.data(), text.size()));
}

template <class T>
  requires std::is_trivially_copyable_v<T>
[[nodiscard]] byte_view bytes_of(const T& value) noexcept {
  return std::as_bytes(std::span<const T, 1>(&value, 1));
}

[[nodiscard]] inline std::string_view as_text(byte_view bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

[[nodiscard]] inline byte_vector to_vector(byte_view bytes) {
  return byte_vector(bytes.begin(), bytes.end());
}

/// Not inlined: GCC 12 would warn of overflows at -O3 that cannot happen.
[[gnu::noinline]] inline void append(byte_vector& to, byte_view bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

[[nodiscard]] inline bool equal(byte_view a, byte_view b) noexcept {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

/// Immutable bytes with shared ownership: copying a payload copies a pointer.
/// A moved-in vector is never copied. Safe to share between threads.
class payload {
 public:
  payload() = default;
  explicit payload(byte_vector bytes)
      : owner_(std::make_shared<const byte_vector>(std::move(bytes))), view_(*owner_) {}

  [[nodiscard]] static payload copy_of(byte_view bytes) { return payload(to_vector(bytes)); }

  [[nodiscard]] byte_view view() const noexcept { return view_; }
  [[nodiscard]] const std::byte* data() const noexcept { return view_.data(); }
  [[nodiscard]] std::size_t size() const noexcept { return view_.size(); }
  [[nodiscard]] bool empty() const noexcept { return view_.empty(); }

  /// A part of the same buffer; keeps the whole of it alive.
  [[nodiscard]] payload slice(std::size_t offset, std::size_t count) const {
    P2PDVM_ASSERT(offset <= view_.size());
    P2PDVM_ASSERT(count <= view_.size() - offset);
    payload part(*this);
    part.view_ = view_.subspan(offset, count);
    return part;
  }

 private:
  std::shared_ptr<const byte_vector> owner_;
  byte_view view_;
};

/// Lower-case hexadecimal.
[[nodiscard]] std::string to_hex(byte_view bytes);

/// RFC 4648 base32, lower case, without padding: safe in file names, shells and chat.
[[nodiscard]] std::string to_base32(byte_view bytes);

/// False when `text` is not base32 of a whole number of bytes; upper case is accepted.
[[nodiscard]] bool from_base32(std::string_view text, byte_vector& out);

}  // namespace p2pdvm

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/base/impl/bytes.ipp>
#endif
