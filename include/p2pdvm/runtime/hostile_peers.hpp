/// Peers of a simulated swarm that lie to searches, together.
#pragma once

#include <p2pdvm/overlay/rpc.hpp>
#include <p2pdvm/runtime/simulated_swarm.hpp>

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace p2pdvm::runtime {

/// They behave well in everything that keeps them in tables. Of what they answer to searches, by
/// machine: a third names the liars nearest to the target instead of the nearest peers and hides
/// values, a third gives values that were altered and otherwise does the same, a third does not
/// answer at all.
class hostile_peers {
 public:
  /// The swarm must outlive this.
  explicit hostile_peers(simulated_swarm& swarm);

 private:
  static constexpr std::size_t remembered_max = 4096;

  bool tamper(std::uint32_t from, std::uint32_t to, byte_vector& bytes);
  void remember(std::uint32_t liar, const overlay::message& question);
  [[nodiscard]] std::vector<overlay::contact> liars_near(const node_id& target,
                                                         std::size_t count) const;

  simulated_swarm& swarm_;
  /// By the liar asked and the transaction: the target of a question.
  std::map<std::pair<std::uint32_t, std::uint64_t>, node_id> asked_;
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/hostile_peers.ipp>
#endif
