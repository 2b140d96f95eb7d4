#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/intrusive_list.hpp>

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

namespace p2pdvm {

namespace detail {

/// Blocks of `chunk_block_bytes`, many to a slab. The system gives a slab as one large page where it has one, since it takes as long to
/// find and clear sixteen small pages as to seal what is in them.
class chunk_blocks {
 public:
  /// Never destroyed: payloads may outlive everything.
  [[nodiscard]] static chunk_blocks& all() {
    static chunk_blocks* const blocks = new chunk_blocks;
    return *blocks;
  }
#if defined(P2PDVM_MEMORY_WATCHED)  // a block that is used again would hide a use after free
  [[nodiscard]] void* take() { return ::operator new(chunk_block_bytes); }
  void give(void* block) noexcept { ::operator delete(block); }
#else
  [[nodiscard]] void* take() {
    const std::lock_guard lock(mutex_);
    if (open_.empty()) open_.push_back(*::new (new_slab()) slab);
    slab& from = open_.front();
    void* block = from.free;
    if (block == nullptr) {
      block = from.block(from.touched++);
    } else {
      std::memcpy(&from.free, block, sizeof from.free);
    }
    if (from.taken++ == 0) --unused_;
    if (from.taken == slab::blocks) intrusive_list<slab>::erase(from);
    return block;
  }
  void give(void* block) noexcept {
    const std::lock_guard lock(mutex_);
    slab& to = *reinterpret_cast<slab*>(reinterpret_cast<std::uintptr_t>(block) & ~(slab_bytes - 1));
    std::memcpy(block, &to.free, sizeof to.free);
    to.free = block;
    if (to.taken == slab::blocks) open_.push_back(to);
    if (--to.taken > 0 || ++unused_ <= slabs_kept_max) return;
    --unused_;
    intrusive_list<slab>::erase(to);
    to.~slab();
    std::free(&to);
  }

 private:
  static constexpr std::size_t slab_bytes = std::size_t{2} << 20;
  static constexpr std::size_t slabs_kept_max = 32;  ///< without a block that is taken: what one checkpoint seals and the next one will
  struct slab : list_link<slab> {
    static constexpr std::size_t front_bytes = 64;
    static constexpr std::size_t blocks = (slab_bytes - front_bytes) / chunk_block_bytes;
    [[nodiscard]] void* block(std::size_t n) noexcept { return reinterpret_cast<std::byte*>(this) + front_bytes + n * chunk_block_bytes; }
    void* free = nullptr;     ///< linked through their first words
    std::size_t touched = 0;  ///< blocks from there on were never taken
    std::size_t taken = 0;
  };
  static_assert(sizeof(slab) <= slab::front_bytes);

  [[nodiscard]] void* new_slab() {
    void* const memory = std::aligned_alloc(slab_bytes, slab_bytes);
    if (memory == nullptr) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
    static_cast<void>(::madvise(memory, slab_bytes, MADV_HUGEPAGE));  // a wish
#endif
    ++unused_;
    return memory;
  }

  std::mutex mutex_;
  intrusive_list<slab> open_;  ///< those with a block to give
  std::size_t unused_ = 0;
#endif
};

P2PDVM_DECL shared_bytes* new_shared_bytes(std::size_t size) {
  const std::size_t whole = sizeof(shared_bytes) + size;
  const bool chunk = size >= chunk_block_bytes_min && whole <= chunk_block_bytes;
  auto* const block = ::new (chunk ? chunk_blocks::all().take() : ::operator new(whole)) shared_bytes;
  block->what = chunk ? shared_bytes::kind::chunk : shared_bytes::kind::large;
  return block;
}

P2PDVM_DECL void drop_shared_bytes(shared_bytes* block) noexcept {
  switch (block->what) {
    case shared_bytes::kind::vector: delete static_cast<kept_vector*>(block); break;
    case shared_bytes::kind::chunk: chunk_blocks::all().give(block); break;
    default: ::operator delete(static_cast<void*>(block)); break;
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
