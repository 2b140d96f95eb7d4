#pragma once

#include <p2pdvm/peal/bsp/relays.hpp>

#include <algorithm>

namespace p2pdvm::bsp::detail {

/// What a relay costs beside the ways [s].
inline constexpr float relay_seconds = 1e-3f;

P2PDVM_DECL void relays::set_row(std::size_t rank, std::span<const float> times) {
  if (rank >= ranks_ || times.size() != ranks_) return;
  std::copy(times.begin(), times.end(), times_.begin() + static_cast<std::ptrdiff_t>(rank * ranks_));
}

P2PDVM_DECL relays::way relays::best(std::size_t from, std::size_t to) const {
  way found{at(from, to), -1};
  for (std::size_t k = 0; k < ranks_ && found.time >= 0; ++k) {
    if (k == from || k == to || at(from, k) < 0 || at(k, to) < 0) continue;
    const float time = at(from, k) + at(k, to) + relay_seconds;
    if (time < found.time) found = {time, static_cast<int>(k)};
  }
  return found;
}

P2PDVM_DECL double relays::slowest() const {
  float slowest = 0;
  for (std::size_t i = 0; i < ranks_; ++i) {
    for (std::size_t j = 0; j < ranks_; ++j) slowest = i == j ? slowest : std::max(slowest, best(i, j).time);
  }
  return slowest;
}

P2PDVM_DECL std::vector<int> relays::of(std::size_t self) const {
  std::vector<int> all(ranks_, -1);
  const auto enough = static_cast<float>(slowest());
  for (std::size_t to = 0; to < ranks_; ++to) {
    if (to != self && at(self, to) > enough) all[to] = best(self, to).relay;
  }
  return all;
}

}  // namespace p2pdvm::bsp::detail
