/// Placement: which members keep which stripe of a rank's chunks.
///
/// Rendezvous hashing with bounded load. Each stripe ranks all failure domains by a weighted
/// hash; the stripes of a rank then choose in turn, each the best `replicas` domains that are
/// not full. A domain is full at 1.25 times its fair share of the rank's stripes (1.5 times
/// where rounding up would exceed that). Plain rendezvous hashing of 16 stripes would give some
/// holder two to three times its share; a round robin over hashed members is even, but a leaving
/// member then moves nearly everything. Here, for 3 to 16 equal domains and 2 or 3 replicas, no
/// domain gets more than 1.5 times replicas/domains of a rank's stripes, and when a domain
/// leaves, at most one replica in ten moves that did not lie on it, averaged over ranks, usually
/// one in forty (tests/store/placement.cpp: "no holder keeps more than one and a half
/// times its share of a rank", "a leaving member moves little but what it held").
#pragma once

#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/limits.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace p2pdvm::store {

/// Larger weights count as this.
inline constexpr std::uint32_t weight_max = 64;

/// A peer that can hold chunks. Peers whose `domain` is equal may fail together.
struct member {
  node_id id;
  public_key key;
  std::string domain;
  std::uint32_t weight = 1;  ///< its share of chunks, relative to other members'; 0 counts as 1
};

/// The same for everybody who knows the members, in whatever order they are listed.
class placement {
 public:
  placement(const job_id& job, rank_number rank, const std::vector<member>& members,
            unsigned replicas);

  /// Indexes into the members given, the most wanted holder first, one per failure domain.
  [[nodiscard]] std::span<const std::uint32_t> holders(unsigned stripe) const {
    return stripes_.at(stripe);
  }
  /// The holders that are to keep the stripe: as many as wanted, or one of each domain.
  [[nodiscard]] std::span<const std::uint32_t> targets(unsigned stripe) const {
    return holders(stripe).first(replicas_);
  }

 private:
  std::array<std::vector<std::uint32_t>, limits::stripes_per_rank> stripes_;
  std::size_t replicas_ = 0;
};

}  // namespace p2pdvm::store

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/store/impl/placement.ipp>
#endif
