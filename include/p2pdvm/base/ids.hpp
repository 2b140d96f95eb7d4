/// Identifiers and counters as types of their own, so that they cannot be mixed up.
#pragma once

#include <p2pdvm/base/bytes.hpp>

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace p2pdvm {

/// A number that only compares and counts within its own kind.
template <class Tag, class Rep = std::uint64_t>
class strong_number {
 public:
  using rep = Rep;
  constexpr strong_number() = default;
  explicit constexpr strong_number(Rep value) noexcept : value_(value) {}
  [[nodiscard]] constexpr Rep value() const noexcept { return value_; }
  [[nodiscard]] constexpr strong_number next() const noexcept {
    return strong_number(static_cast<Rep>(value_ + 1));
  }
  friend constexpr auto operator<=>(strong_number, strong_number) = default;
  template <class F>
  void fields(F&& f) {
    f(value_);
  }

 private:
  Rep value_ = 0;
};

/// Number of a checkpoint; 0 is "before the first", never reused.
using epoch_number = strong_number<struct epoch_tag>;
/// Plus one at every rollback and only then; it alone fences rank messages.
using incarnation_number = strong_number<struct incarnation_tag>;
/// Plus one at every change of members, keepers or placement.
using roster_version = strong_number<struct roster_tag>;
/// A virtual processor of a job, 0 … ranks-1.
using rank_number = strong_number<struct rank_tag, std::uint32_t>;

/// `Size` opaque bytes.
template <class Tag, std::size_t Size>
class opaque_id {
 public:
  static constexpr std::size_t size = Size;
  constexpr opaque_id() = default;
  /// Precondition: `bytes.size() == Size`.
  explicit opaque_id(byte_view bytes) {
    P2PDVM_ASSERT(bytes.size() == Size);
    std::memcpy(bytes_.data(), bytes.data(), Size);
  }
  [[nodiscard]] byte_view bytes() const noexcept { return bytes_; }
  [[nodiscard]] byte_span mutable_bytes() noexcept { return bytes_; }
  [[nodiscard]] bool is_zero() const noexcept { return *this == opaque_id(); }
  /// First eight hexadecimal digits: enough for a person to tell peers apart.
  [[nodiscard]] std::string brief() const { return to_hex(bytes().first(Size < 4 ? Size : 4)); }
  [[nodiscard]] std::string hex() const { return to_hex(bytes()); }
  friend bool operator==(const opaque_id& a, const opaque_id& b) noexcept {
    return std::memcmp(a.bytes_.data(), b.bytes_.data(), Size) == 0;
  }
  friend std::strong_ordering operator<=>(const opaque_id& a, const opaque_id& b) noexcept {
    return std::memcmp(a.bytes_.data(), b.bytes_.data(), Size) <=> 0;
  }
  template <class F>
  void fields(F&& f) {
    f(bytes_);
  }

 private:
  std::array<std::byte, Size> bytes_{};
};

/// A peer's Ed25519 public key, as a place in the swarm and as its name.
using node_id = opaque_id<struct node_tag, 32>;
/// A peer's Ed25519 public key.
using public_key = opaque_id<struct public_key_tag, 32>;
using signature = opaque_id<struct signature_tag, 64>;
/// One SPMD run.
using job_id = opaque_id<struct job_tag, 16>;
/// Algorithm tag (first byte) and keyed BLAKE2b-256 of a chunk's plaintext.
using chunk_id = opaque_id<struct chunk_tag, 33>;
/// A plain BLAKE2b-256 digest.
using digest256 = opaque_id<struct digest_tag, 32>;

}  // namespace p2pdvm

template <class Tag, std::size_t Size>
struct std::hash<p2pdvm::opaque_id<Tag, Size>> {
  std::size_t operator()(const p2pdvm::opaque_id<Tag, Size>& id) const noexcept {
    std::size_t h = 0;  // ids are themselves uniform; chunk ids start with a constant tag
    std::memcpy(&h, id.bytes().data() + (Size > 32 ? 1 : 0), sizeof h < Size ? sizeof h : Size - 1);
    return h;
  }
};

template <class Tag, class Rep>
struct std::hash<p2pdvm::strong_number<Tag, Rep>> {
  std::size_t operator()(p2pdvm::strong_number<Tag, Rep> n) const noexcept {
    return std::hash<Rep>()(n.value());
  }
};
