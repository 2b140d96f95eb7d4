/// Through whom a member is reached that no address leads to: it keeps connections to these, and whoever looks for
/// it knows which they are.
///
/// In a small job everybody is connected with all that can be reached. In a large one two members may have no
/// connections in common; the home relays of one of them are then such for both, since any member can call them.
#pragma once

#include <p2pdvm/checkpoint/job_record.hpp>

#include <vector>

namespace p2pdvm::runtime {

/// Of each hidden member; one may be lost.
inline constexpr std::size_t home_relays_max = 2;

/// The living members that can be reached with the highest random weight for this one (rendezvous hashing), so that
/// each serves its share. Empty when nobody else can be reached.
[[nodiscard]] std::vector<node_id> home_relays(const checkpoint::job_record& record, const node_id& of);

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/home_relays.ipp>
#endif
