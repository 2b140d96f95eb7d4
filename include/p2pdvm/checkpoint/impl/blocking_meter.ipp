#pragma once

#include <p2pdvm/checkpoint/blocking_meter.hpp>

#include <algorithm>

namespace p2pdvm::checkpoint {

P2PDVM_DECL duration blocking_meter::cut(rank_number rank, epoch_number epoch, time_point now) {
  if (epoch != epoch_) {
    before_ = blocking();
    epoch_ = epoch;
    longest_ = copies_ = duration::zero();
  }
  const auto from = [now](std::map<rank_number, time_point>& all, rank_number which) {
    const auto found = all.extract(which);
    return found ? now - found.mapped() : duration::zero();
  };
  const duration whole = from(begun_, rank);
  longest_ = std::max(longest_, whole);
  copies_ += from(copying_, rank);
  return whole;
}

P2PDVM_DECL void blocking_meter::reset() {
  begun_.clear();
  copying_.clear();
}

P2PDVM_DECL duration blocking_meter::blocking() const noexcept {
  return std::max(last(), before_ / 2);
}

}  // namespace p2pdvm::checkpoint
