/// Copies of a region at cuts, of which those parts are made that have changed.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/limits.hpp>
#include <p2pdvm/base/payload_list.hpp>
#include <p2pdvm/base/time.hpp>

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

/// Which of two ways to do the same takes less time on this computer: both are tried in turn, and the slower one now and then again.
class quicker_way {
 public:
  /// The next time it is to be done in the second way.
  [[nodiscard]] bool second() const noexcept { return second_; }
  void took(duration time);

 private:
  static constexpr std::uint32_t tries = 6;
  double seconds_[2] = {0, 0};
  std::uint32_t taken_ = 0;
  bool second_ = false;
};

/// A copy is a list of parts, each as large as a chunk of the region but the last one. A part that has not changed is
/// that of the copy before. Parts that nobody has any more are written again: memory that is in use already takes half
/// as long to fill as new memory, whose pages the system has to clear first. Whether large regions are copied past the caches
/// is a question of the processor: of 64 MiB in memory that another core has read, a copy past them took 0.6 of the time of `memcpy`
/// on one, and 1.3 on another.
class region_copier {
 public:
  /// `changed`: all that changed since the last copy; without it everything may have.
  [[nodiscard]] payload_list copy(byte_view region, const changed_ranges* changed);
  /// So long did the last copy take.
  void took(duration time);
  /// The region is what these parts say: as if they had been its last copy.
  void restored(const payload_list& parts);

 private:
  [[nodiscard]] payload part_for(byte_view bytes, bool past_caches);

  payload_list last_;
  std::size_t bytes_ = 0;  ///< of the last copy
  std::deque<payload> spare_;  ///< replaced; others may still have them
  quicker_way way_;            ///< the second one is `memcpy`
  bool measured_ = false;      ///< the last copy says something about its way
};

}  // namespace p2pdvm::peal

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/peal/impl/region_copier.ipp>
#endif
