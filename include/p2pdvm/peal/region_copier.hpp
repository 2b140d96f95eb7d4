/// Copies of a region at cuts, of which those parts are made that have changed.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/limits.hpp>
#include <p2pdvm/base/payload_list.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

namespace p2pdvm::peal {

/// Which bytes of a region the program says it has changed since the last cut, by chunks of `limits::chunk_bytes`.
class changed_ranges {
 public:
  /// Bytes `begin` to `end`.
  void mark(std::size_t begin, std::size_t end);
  [[nodiscard]] bool any(std::size_t begin, std::size_t end) const noexcept;
  void clear() noexcept { chunks_.clear(); }

 private:
  std::vector<bool> chunks_;  ///< what is behind its end is unchanged
};

/// A copy is a list of parts, each as large as a chunk of the region but the last one. A part that has not changed is
/// that of the copy before. Parts that nobody has any more are written again: memory that is in use already takes half
/// as long to fill as new memory, whose pages the system has to clear first.
class region_copier {
 public:
  /// `changed`: all that changed since the last copy; without it everything may have.
  [[nodiscard]] payload_list copy(byte_view region, const changed_ranges* changed);
  /// The region is what these parts say: as if they had been its last copy.
  void restored(const payload_list& parts);

 private:
  [[nodiscard]] payload part_for(byte_view bytes, bool past_caches);

  payload_list last_;
  std::size_t bytes_ = 0;  ///< of the last copy
  std::deque<payload> spare_;  ///< replaced; others may still have them
};

}  // namespace p2pdvm::peal

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/peal/impl/region_copier.ipp>
#endif
