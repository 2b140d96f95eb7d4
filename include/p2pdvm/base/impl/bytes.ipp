#pragma once

#include <p2pdvm/base/bytes.hpp>

#include <mutex>
#include <vector>

namespace p2pdvm {

namespace detail {

class chunk_blocks {
 public:
  /// Never destroyed: payloads may outlive everything.
  [[nodiscard]] static chunk_blocks& all() {
    static chunk_blocks* const blocks = new chunk_blocks;
    return *blocks;
  }
  [[nodiscard]] void* take() {
    {
      const std::lock_guard lock(mutex_);
      if (!kept_.empty()) {
        void* const block = kept_.back();
        kept_.pop_back();
        return block;
      }
    }
    return ::operator new(chunk_block_bytes);
  }
  void give(void* block) noexcept {
#if !defined(__SANITIZE_ADDRESS__)  // a block that is used again would hide a use after free
    {
      const std::lock_guard lock(mutex_);
      if (kept_.size() < chunk_blocks_kept_max) return kept_.push_back(block);
    }
#endif
    ::operator delete(block);
  }

 private:
  chunk_blocks() { kept_.reserve(chunk_blocks_kept_max); }

  std::mutex mutex_;
  std::vector<void*> kept_;
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
