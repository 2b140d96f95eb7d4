/// How long a checkpoint keeps the ranks of one peer from computing.
#pragma once

#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/time.hpp>

#include <map>

namespace p2pdvm::checkpoint {

/// A rank may wait at a safe point until the others have said where to cut, and is then copied;
/// ranks that share a core are copied one after another. So a checkpoint blocks for the longest
/// time from a rank's arrival until it has its copy, or for all copies together.
class blocking_meter {
 public:
  /// The rank waits at a safe point.
  void waits(rank_number rank, time_point now) { begun_.try_emplace(rank, now); }
  /// It goes on without a cut.
  void passes(rank_number rank) { begun_.erase(rank); }
  /// It is being copied from now on.
  void cuts(rank_number rank, time_point now) {
    waits(rank, now);
    copying_[rank] = now;
  }
  /// It has its copy for `epoch` and computes on. Gives how long that kept it.
  duration cut(rank_number rank, epoch_number epoch, time_point now);
  /// No rank is where it was.
  void reset();

  /// Of the last checkpoint.
  [[nodiscard]] duration last() const noexcept { return std::max(longest_, copies_); }
  /// Of the last checkpoint, or half of what it was before, if that is longer.
  [[nodiscard]] duration blocking() const noexcept;

 private:
  std::map<rank_number, time_point> begun_, copying_;
  epoch_number epoch_;
  duration longest_{}, copies_{};  ///< of that epoch
  duration before_{};              ///< `blocking` before that
};

}  // namespace p2pdvm::checkpoint

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/checkpoint/impl/blocking_meter.ipp>
#endif
