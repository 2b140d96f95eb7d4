#pragma once

#include <p2pdvm/peal/bsp/partition.hpp>

#include <string>

namespace p2pdvm::bsp {

namespace detail {

[[noreturn]] P2PDVM_DECL void refuse_ranks(int partitioned, int there) {
  refuse("an array is spread over " + std::to_string(partitioned) + " ranks, and the world has " + std::to_string(there));
}

}  // namespace detail

P2PDVM_DECL partition::partition(std::size_t size, int ranks, std::size_t block)
    : size_(size), ranks_(static_cast<std::size_t>(ranks)), block_(block) {
  if (ranks < 1 || block < 1)
    detail::refuse("an array is spread over " + std::to_string(ranks) + " ranks in blocks of " + std::to_string(block));
}

P2PDVM_DECL partition partition::blocks(std::size_t size, int ranks) {
  const std::size_t p = static_cast<std::size_t>(std::max(ranks, 1));
  return partition(size, ranks, std::max<std::size_t>(1, (size + p - 1) / p));
}

P2PDVM_DECL std::size_t partition::size_of(int rank) const noexcept {
  const std::size_t round = block_ * ranks_, before = static_cast<std::size_t>(rank) * block_, rest = size_ % round;
  return size_ / round * block_ + std::min(block_, rest - std::min(rest, before));
}

}  // namespace p2pdvm::bsp
