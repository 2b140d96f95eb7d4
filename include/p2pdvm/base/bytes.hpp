/// Byte buffers: owned, viewed and shared.
#pragma once

#include <p2pdvm/base/assert.hpp>
#include <p2pdvm/base/spare_blocks.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
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

/// Bytes in two places that are one after the other for whoever gets them.
struct two_parts {
  byte_view first, second;
  [[nodiscard]] std::size_t size() const noexcept { return first.size() + second.size(); }
};

[[nodiscard]] inline bool equal(byte_view a, byte_view b) noexcept {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

/// A value that goes through a register of its own. Compilers copy neighbouring members with one load of 16 bytes; when
/// they were just stored one by one, the processor cannot forward them and waits, longer than a message takes.
template <class T>
  requires(std::is_trivially_copyable_v<T> && sizeof(T) <= 8)
[[nodiscard, gnu::always_inline]] inline T apart(T value) noexcept {
  __asm__("" : "+r"(value));
  return value;
}

/// `memcpy` for what is mostly a few words, just written: a call would cost more, and see `apart`.
inline void copy_few(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
  constexpr std::size_t few = 64;
  const auto word = [&](std::size_t at) {
    std::uint64_t w = 0;
    std::memcpy(&w, from + at, sizeof w);
    w = apart(w);
    std::memcpy(to + at, &w, sizeof w);
  };
  if (bytes - sizeof(std::uint64_t) > few - sizeof(std::uint64_t)) {
    if (bytes != 0) std::memcpy(to, from, bytes);
    return;
  }
  std::size_t at = 0;
  for (; at + sizeof(std::uint64_t) <= bytes; at += sizeof(std::uint64_t)) word(at);
  if (at != bytes) word(bytes - sizeof(std::uint64_t));  // some of it for the second time
}

namespace detail {

/// What the owners of a payload's bytes share. The bytes follow it, or it is part of a `kept_vector`.
struct shared_bytes {
  std::atomic<std::uint32_t> owners{1};
  enum class kind : std::uint32_t { small, chunk, large, vector } what = kind::small;
};
struct kept_vector : shared_bytes {
  explicit kept_vector(byte_vector b) : bytes(std::move(b)) { what = kind::vector; }
  byte_vector bytes;
};

/// Bytes in a block of a small payload.
inline constexpr std::size_t small_bytes_max = 112;
using small_blocks = spare_blocks<sizeof(shared_bytes) + small_bytes_max>;

/// Blocks for what has about the size of a chunk of a snapshot, plain or sealed: some are kept, for all threads, since the
/// system would clear their pages each time anew, which takes as long as to seal them.
inline constexpr std::size_t chunk_block_bytes_min = 32 * 1024, chunk_block_bytes = 66 * 1024;

/// A new block with room for more bytes than a small one has.
[[nodiscard]] shared_bytes* new_shared_bytes(std::size_t size);
/// Of any kind but small.
void drop_shared_bytes(shared_bytes* block) noexcept;

[[nodiscard]] inline shared_bytes* take_shared_bytes(std::size_t size) {
  return size > small_bytes_max ? new_shared_bytes(size) : ::new (small_blocks::take()) shared_bytes;
}

inline void release_shared_bytes(shared_bytes* block) noexcept {
  // Whoever is alone need not count down.
  if (block->owners.load(std::memory_order_acquire) != 1 &&
      block->owners.fetch_sub(1, std::memory_order_acq_rel) != 1)
    return;
  if (block->what != shared_bytes::kind::small) return drop_shared_bytes(block);
  small_blocks::give(block);
}

}  // namespace detail

/// Immutable bytes with shared ownership: copying a payload copies a pointer.
/// A moved-in vector is never copied. Small copies live in blocks that their thread uses again.
/// Safe to share between threads.
class payload {
 public:
  payload() = default;
  explicit payload(byte_vector bytes) {
    if (bytes.empty()) return;
    auto* const kept = new detail::kept_vector(std::move(bytes));
    owner_ = kept;
    view_ = kept->bytes;
  }
  payload(const payload& other) noexcept : owner_(other.owner_), view_(other.view_) {
    if (owner_ != nullptr) owner_->owners.fetch_add(1, std::memory_order_relaxed);
  }
  payload(payload&& other) noexcept
      : owner_(std::exchange(other.owner_, nullptr)), view_(std::exchange(other.view_, {})) {}
  payload& operator=(payload&& other) noexcept {
    payload taken(std::move(other));
    std::swap(owner_, taken.owner_);
    std::swap(view_, taken.view_);
    return *this;
  }
  payload& operator=(const payload& other) noexcept { return *this = payload(other); }
  ~payload() {
    if (owner_ != nullptr) detail::release_shared_bytes(owner_);
  }

  [[nodiscard]] static payload copy_of(byte_view bytes) { return copy_of(bytes, {}); }
  /// Both parts, one after the other.
  [[nodiscard]] static payload copy_of(byte_view first, byte_view second) {
    byte_span write;
    payload whole = unwritten(first.size() + second.size(), write);
    copy_few(write.data(), first.data(), first.size());
    copy_few(write.data() + first.size(), second.data(), second.size());
    return whole;
  }
  /// So many bytes with nothing in them yet; `write` is to be filled before anybody else gets it.
  [[nodiscard]] static payload unwritten(std::size_t size, byte_span& write) {
    payload whole;
    write = {};
    if (size == 0) return whole;
    whole.owner_ = detail::take_shared_bytes(size);
    write = byte_span(reinterpret_cast<std::byte*>(whole.owner_ + 1), size);
    whole.view_ = write;
    return whole;
  }

  /// Bytes of somebody else, who keeps them as they are for as long as anybody has this payload or a part of it.
  [[nodiscard]] static payload lent(byte_view bytes) noexcept {
    payload whole;
    whole.view_ = bytes;
    return whole;
  }

  /// All of its bytes to be written again, when nobody else has them and they are its own; else nothing.
  [[nodiscard]] byte_span rewrite() noexcept {
    if (owner_ == nullptr || owner_->what == detail::shared_bytes::kind::vector ||
        owner_->owners.load(std::memory_order_acquire) != 1)
      return {};
    return {const_cast<std::byte*>(view_.data()), view_.size()};  // NOLINT: `unwritten` made them
  }

  [[nodiscard]] byte_view view() const noexcept { return view_; }
  [[nodiscard]] const std::byte* data() const noexcept { return view_.data(); }
  [[nodiscard]] std::size_t size() const noexcept { return view_.size(); }
  [[nodiscard]] bool empty() const noexcept { return view_.empty(); }

  /// Its first bytes will be read soon, or it will be dropped.
  void fetch() const noexcept { prefetch(owner_ != nullptr ? static_cast<const void*>(owner_) : view_.data()); }

  /// A part of the same buffer; keeps the whole of it alive.
  [[nodiscard]] payload slice(std::size_t offset, std::size_t count) const {
    P2PDVM_ASSERT(offset <= view_.size());
    P2PDVM_ASSERT(count <= view_.size() - offset);
    payload part(*this);
    part.view_ = view_.subspan(offset, count);
    return part;
  }

  /// Whether the bytes are equal.
  [[nodiscard]] friend bool operator==(const payload& a, byte_view b) noexcept { return equal(a.view_, b); }

 private:
  detail::shared_bytes* owner_ = nullptr;
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
