/// Real peers of which one is killed, and what becomes of its rank.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace p2pdvm::bench {

/// A byte in each of the first chunks; how many bytes these have.
std::size_t make_dirty(std::vector<std::byte>& region, double fraction);

struct lost_rank_setup {
  std::uint32_t ranks = 1;
  std::uint32_t peers = 1;
  std::uint32_t replicas = 3;
  std::size_t bytes = 0;  ///< of each rank's region
};

/// In seconds and bytes.
struct lost_rank {
  double detection = 0;    ///< kill to the first event "lost"
  double replacement = 0;  ///< from there until every rank runs again
  double fetching = 0;     ///< from the new host's first step towards the lost rank until it has all of its state
  double fetched = 0;      ///< bytes of it
};

/// Processes of this program; one that has a rank is killed once two checkpoints are committed. Throws `std::runtime_error` when they do not
/// end well.
[[nodiscard]] lost_rank lose_a_rank(const lost_rank_setup& setup);

}  // namespace p2pdvm::bench
