#pragma once

#include <p2pdvm/sim/large_pages.hpp>

#if defined(__GLIBC__) && defined(__linux__)
#include <malloc.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <limits>
#endif

namespace p2pdvm::sim {

P2PDVM_DECL void use_large_pages([[maybe_unused]] std::size_t bytes) {
#if defined(__GLIBC__) && defined(__linux__)
  constexpr std::uintptr_t page = std::uintptr_t{2} << 20;
  constexpr int mappings_default = 65'536;
  if (bytes < 2 * page) return;
  // One piece at the end of the heap, asked for before it is ever touched, and given back to malloc,
  // which keeps it.
  ::mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  ::mallopt(M_MMAP_MAX, 0);
  void* piece = std::malloc(bytes);
  ::mallopt(M_MMAP_MAX, mappings_default);
  if (piece == nullptr) return;
  const auto begin = (reinterpret_cast<std::uintptr_t>(piece) + page - 1) / page * page;
  const auto end = (reinterpret_cast<std::uintptr_t>(piece) + bytes) / page * page;
  static_cast<void>(::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE));
  std::free(piece);
#endif
}

}  // namespace p2pdvm::sim
