/// Memory blocks of one size that a thread keeps for its next use.
#pragma once

#include <p2pdvm/base/config.hpp>
#include <p2pdvm/base/prefetch.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

namespace p2pdvm {

/// For what is made and dropped with every message. A block may be given back by another thread than took it.
template <std::size_t Bytes>
class spare_blocks {
 public:
  static constexpr std::uint32_t kept_max = 4 * 1024 * 1024 / Bytes;
  static_assert(Bytes >= sizeof(void*));

  /// `Bytes` of memory, aligned as by `operator new`.
  [[nodiscard]] static void* take() {
    kept& spare = kept_;
    if (spare.first == nullptr) return fresh();
    void* const block = spare.first;
    std::memcpy(&spare.first, block, sizeof spare.first);
    --spare.count;
    prefetch(spare.first);  // what has lain there for long is not in the cache, and the next call reads it
    return block;
  }
  static void give(void* block) noexcept {
    kept& spare = kept_;
    if (!spare.open || spare.count >= kept_max) return ::operator delete(block);
    std::memcpy(block, &spare.first, sizeof spare.first);
    spare.first = block;
    ++spare.count;
  }

 private:
  /// Linked through their first words.
  struct kept {
    void* first = nullptr;
    std::uint32_t count = 0;
    bool open = false;  ///< a destructor at the thread's end is registered
  };
  struct free_at_exit {
    ~free_at_exit() {
      kept_.open = false;
      while (kept_.count > 0) ::operator delete(take());
    }
  };
  [[nodiscard, gnu::noinline]] static void* fresh() {
#if !defined(P2PDVM_MEMORY_WATCHED)  // a block that is used again would hide a use after free
    if (!kept_.open) {
      static thread_local free_at_exit at_exit;
      static_cast<void>(at_exit);
      kept_.open = true;
    }
#endif
    return ::operator new(Bytes);
  }

  static inline thread_local constinit kept kept_;
};

}  // namespace p2pdvm
