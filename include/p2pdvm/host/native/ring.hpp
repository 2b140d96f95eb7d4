/// One direction of a lane: records from one process to another in memory that both have mapped.
///
/// A record begins at a multiple of 64 with a word that says how long it is and of which kind; zero says
/// that there is none yet. The producer writes the record first and its word last (release), so that a
/// process which dies anywhere leaves a whole record or none. The consumer clears the word that it has read, and
/// gives the room back in large pieces. Other lines of a record keep what was in them: the producer remembers which, and
/// clears the place of the next word when it is one of them. (Did the consumer clear them all, it would have to take each
/// from the producer's core, 17 for 1 KiB, before its answer.) Nothing that comes out of the memory is believed: the
/// other process could have written anything.
#pragma once

#include <p2pdvm/base/assert.hpp>
#include <p2pdvm/base/bytes.hpp>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>

namespace p2pdvm::native::detail {

inline constexpr std::size_t ring_bytes = 512 * 1024;
inline constexpr std::size_t ring_unit = 64;
/// Of one record.
inline constexpr std::size_t ring_record_bytes_max = ring_bytes / 8;
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

/// `memcpy` where one side is memory that another core has just read or written: lines that are written as a whole, one after the
/// other, need not be read first, and the processor asks for many of them at once.
inline void copy_lines(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
#if defined(__x86_64__) && !defined(P2PDVM_MEMORY_WATCHED)
  constexpr std::size_t some = 256;
  if (bytes >= some) {
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
    return;
  }
#endif
  copy_few(to, from, bytes);
}

/// Puts lines of this core's own cache where another core finds them sooner. It costs whoever writes many records in a row.
class line_pusher {
 public:
  line_pusher() noexcept {
#if defined(__x86_64__)
    unsigned a = 0, b = 0, c = 0, d = 0;
    available_ = __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (c >> 25 & 1) != 0;
#endif
  }
  void push(const std::byte* at, std::size_t bytes) const noexcept {
#if defined(__x86_64__)
    if (!available_) return;
    for (std::size_t n = 0; n < bytes; n += ring_unit)
      __asm__ volatile(".byte 0x0f, 0x1c, 0x00" : : "a"(at + n) : "memory");  // cldemote (%rax)
#else
    static_cast<void>(at), static_cast<void>(bytes);
#endif
  }

 private:
  bool available_ = false;
};

/// Both processes see it; `consumed` is the only thing in it that goes against the direction.
struct ring_memory {
  alignas(ring_unit) std::atomic<std::uint64_t> consumed;  ///< bytes, ever growing
  alignas(ring_unit) std::byte bytes[ring_bytes];
};

/// The word: length of the record without it in the lower half, kind (not 0) above.
struct ring_word {
  static constexpr std::uint32_t wrap = 0xff;  ///< the next record is at the beginning
  std::uint32_t bytes;
  std::uint32_t kind;
  [[nodiscard]] std::uint64_t packed() const noexcept { return std::uint64_t{kind} << 32 | bytes; }
  [[nodiscard]] static ring_word of(std::uint64_t packed) noexcept {
    return {static_cast<std::uint32_t>(packed), static_cast<std::uint32_t>(packed >> 32)};
  }
  /// In the ring, with the word.
  [[nodiscard]] std::size_t room() const noexcept {
    return (sizeof(std::uint64_t) + bytes + ring_unit - 1) / ring_unit * ring_unit;
  }
};

class ring_producer {
 public:
  explicit ring_producer(ring_memory& memory) : memory_(&memory) {}
  /// Where to write a record of so many bytes; null when there is no room now.
  [[nodiscard]] std::byte* reserve(std::size_t bytes) noexcept {
    P2PDVM_ASSERT(bytes <= ring_record_bytes_max);
    const std::size_t room = ring_word{static_cast<std::uint32_t>(bytes), 1}.room();
    const std::size_t at = produced_ % ring_bytes;
    const std::size_t skipped = at + room > ring_bytes ? ring_bytes - at : 0;
    const std::uint64_t end = produced_ + skipped + room + ring_unit;  // with the next word
    if (end - consumed_ > ring_bytes) {
      consumed_ = std::min(memory_->consumed.load(std::memory_order_acquire), produced_);
      if (end - consumed_ > ring_bytes) return nullptr;
    }
    if (skipped > 0) {
      clear(0);
      word_at(at).store(ring_word{0, ring_word::wrap}.packed(), std::memory_order_release);
      produced_ += skipped;
    }
    return memory_->bytes + produced_ % ring_bytes + sizeof(std::uint64_t);
  }
  /// What was written where `reserve` said is a record from now on. `awaited`: the other side probably looks at this very place.
  void publish(std::size_t bytes, std::uint32_t kind, bool awaited = false) noexcept {
    const ring_word word{static_cast<std::uint32_t>(bytes), kind};
    const std::uint64_t next = produced_ + word.room();
    clear(next % ring_bytes);
    const std::size_t at = produced_ % ring_bytes;
    if (word.room() > ring_unit) std::memset(&used_[at / ring_unit + 1], 1, word.room() / ring_unit - 1);
    word_at(at).store(word.packed(), std::memory_order_release);
    produced_ = next;
    if (awaited) pusher_.push(memory_->bytes + at, word.room());
  }

 private:
  [[nodiscard]] std::atomic<std::uint64_t>& word_at(std::size_t at) noexcept {
    return *reinterpret_cast<std::atomic<std::uint64_t>*>(memory_->bytes + at);
  }
  /// Precondition: the line has been given back, or never used.
  void clear(std::size_t at) noexcept {
    if (std::exchange(used_[at / ring_unit], std::uint8_t{0}) != 0) word_at(at).store(0, std::memory_order_relaxed);
  }
  ring_memory* memory_;
  line_pusher pusher_;
  std::array<std::uint8_t, ring_bytes / ring_unit> used_{};  ///< lines in which something else may stand than 0
  std::uint64_t produced_ = 0;
  std::uint64_t consumed_ = 0;  ///< as last seen
};

class ring_consumer {
 public:
  struct record {
    std::uint32_t kind;
    byte_view bytes;
  };
  explicit ring_consumer(ring_memory& memory) : memory_(&memory) {}

  [[nodiscard]] bool empty() const noexcept {
    return word_at(position_ % ring_bytes).load(std::memory_order_acquire) == 0;
  }
  /// The next record, which stays until `pop`; nothing when there is none, or when `broken`.
  [[nodiscard]] std::optional<record> peek() noexcept {
    for (int skips = 0; skips < 2; ++skips) {
      const std::size_t at = position_ % ring_bytes;
      const std::uint64_t packed = word_at(at).load(std::memory_order_acquire);
      if (packed == 0) return std::nullopt;
      const ring_word word = ring_word::of(packed);
      if (word.kind == ring_word::wrap) {
        word_at(at).store(0, std::memory_order_relaxed);
        position_ += ring_bytes - at;
        continue;
      }
      current_ = word;
      if (word.bytes > ring_record_bytes_max || at + word.room() > ring_bytes) break;
      return record{word.kind, byte_view(memory_->bytes + at + sizeof packed, word.bytes)};
    }
    broken_ = true;
    return std::nullopt;
  }
  /// True when it gave room back to the producer.
  bool pop() noexcept {
    word_at(position_ % ring_bytes).store(0, std::memory_order_relaxed);
    position_ += current_.room();
    if (position_ - given_back_ < ring_bytes / 4) return false;
    given_back_ = position_;
    memory_->consumed.store(position_, std::memory_order_release);
    return true;
  }
  /// What the other side wrote makes no sense.
  [[nodiscard]] bool broken() const noexcept { return broken_; }

 private:
  [[nodiscard]] std::atomic<std::uint64_t>& word_at(std::size_t at) const noexcept {
    return *reinterpret_cast<std::atomic<std::uint64_t>*>(memory_->bytes + at);
  }
  ring_memory* memory_;
  std::uint64_t position_ = 0;
  std::uint64_t given_back_ = 0;
  ring_word current_{};
  bool broken_ = false;
};

}  // namespace p2pdvm::native::detail
