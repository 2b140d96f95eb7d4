/// One iterative search for the peers nearest to a target, or for a value kept there.
#pragma once

#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/overlay/contact.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace p2pdvm::overlay {

/// Candidates that one search remembers, and peers that it asks: a bound on what lying peers
/// can make it cost.
inline constexpr std::size_t lookup_candidates_max = 256;
inline constexpr std::size_t lookup_queries_max = 96;
/// Candidates from one public network (`network_of`): what liars can aim at a victim.
inline constexpr std::size_t lookup_per_network_max = 16;

struct lookup_options {
  /// α of the Kademlia paper: unanswered queries per path. More: faster under loss, dearer.
  std::size_t parallelism = limits::lookup_parallelism;
  /// How many nearest peers must have answered before the search ends.
  std::size_t width = limits::bucket_size;
  /// d of S/Kademlia: paths that share no peer. With d > 1 a liar spoils only its own path,
  /// at about d times the queries.
  std::size_t paths = 1;
};

/// The search itself, without network or clock: its owner asks whom `next` names and reports
/// what came of it. A peer belongs to the path that heard of it first.
class iterative_lookup {
 public:
  iterative_lookup(const node_id& self, const node_id& target, const lookup_options& options,
                   const std::vector<contact>& seeds);

  [[nodiscard]] const node_id& target() const noexcept { return target_; }
  /// Whom to ask now; each peer is named once.
  [[nodiscard]] std::vector<contact> next();
  /// `who` answered with peers that it thinks near.
  void replied(const node_id& who, const std::vector<contact>& told);
  /// `who` is overdue: somebody else is asked meanwhile, its answer still counts.
  void slow(const node_id& who);
  /// `who` will not answer, or answered nonsense.
  void failed(const node_id& who);
  /// `who` gave a valid value: the search is over.
  void found(const node_id& who);

  /// Candidates that have not failed and are nearer than `who`.
  [[nodiscard]] std::size_t rank(const node_id& who) const;
  [[nodiscard]] bool done() const;
  /// How far the answer was: 1 for a peer from our own table, one more for each peer in
  /// between. Of the peer that had the value, else of the nearest that answered.
  [[nodiscard]] unsigned hops() const noexcept;
  [[nodiscard]] std::size_t queries() const noexcept { return queries_; }
  /// Those that answered, nearest first, at most `width`.
  [[nodiscard]] std::vector<contact> closest() const;

 private:
  enum class state { fresh, asked, slow, replied, failed };
  struct candidate {
    contact peer;
    network_prefix network;
    unsigned hops = 0;
    std::size_t path = 0;
    state now = state::fresh;
    std::uint64_t far = 0;  ///< the first bytes of its distance from the target
    [[nodiscard]] node_id id() const { return crypto::node_id_of(peer.key); }
  };

  candidate* find(const node_id& id);
  /// Where `id` is, or would have to be.
  [[nodiscard]] std::vector<candidate>::const_iterator place_of(const node_id& id,
                                                                std::uint64_t far) const;
  [[nodiscard]] std::uint64_t far(const node_id& id) const noexcept {
    return detail::id_word(id, 0) ^ detail::id_word(target_, 0);
  }
  void add(const contact& peer, unsigned hops, std::size_t path);
  [[nodiscard]] std::size_t width_per_path() const noexcept;
  /// Calls `visit` for the nearest of a path that have not failed, until it says false.
  template <class Candidates, class Visit>
  void visit_front(Candidates& candidates, std::size_t path, Visit visit) const;

  node_id self_;
  node_id target_;
  lookup_options options_;
  std::vector<candidate> candidates_;     ///< nearest first
  std::vector<network_prefix> networks_;  ///< of the candidates, in no order
  std::size_t queries_ = 0;
  bool value_found_ = false;
  unsigned value_hops_ = 0;
};

}  // namespace p2pdvm::overlay

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/overlay/impl/lookup.ipp>
#endif
