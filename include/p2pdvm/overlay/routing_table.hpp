/// The peers that one peer knows and has proof of: Kademlia buckets and a sibling list.
#pragma once

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/base/time.hpp>
#include <p2pdvm/overlay/contact.hpp>
#include <p2pdvm/overlay/round_trip.hpp>

#include <cstddef>
#include <optional>
#include <vector>

namespace p2pdvm::overlay {

struct routing_options {
  /// k of the Kademlia paper: peers per bucket.
  std::size_t bucket_size = limits::bucket_size;
  /// Nearest peers to ourselves, kept whatever the buckets do (S/Kademlia, 2007).
  std::size_t siblings = limits::bucket_size;
  /// Proven peers per bucket that wait for a place.
  std::size_t replacements = 8;
  /// Peers of one public network (`network_of`) per bucket, among the siblings, altogether.
  /// Lower: harder to eclipse a peer from one network. Higher: works better inside a campus.
  std::size_t per_network_bucket_max = 4;
  std::size_t per_network_siblings_max = 6;
  std::size_t per_network_max = 32;
  /// A peer known for longer than this is not displaced by a nearer one: sessions of desktop
  /// peers are heavy-tailed, who stayed long will stay longer.
  duration long_lived = std::chrono::minutes(30);
  /// Unanswered requests in a row after which a peer is forgotten. One suffices where a
  /// replacement waits.
  unsigned failures_max = 2;
};

struct peer_entry {
  node_id id;
  contact peer;
  time_point since{};  ///< first proof
  time_point heard{};  ///< last proof
  unsigned failures = 0;
  round_trip rtt;
};

/// Each peer is in one place: sibling, bucket member, or replacement. Only the first two are
/// "in the table". A proof is an answer to a request of ours, or an echoed address token.
class routing_table {
 public:
  routing_table(const node_id& self, const routing_options& options);

  /// Records a proof that `peer` is reachable at its address. True when it was not in the
  /// table before and is now.
  bool proven(time_point now, const contact& peer, std::optional<duration> round_trip_time);
  /// Whether a proof could bring this unknown peer into the table.
  [[nodiscard]] bool wants(const contact& peer) const;
  /// A request to it stayed unanswered.
  void failed(const node_id& id);
  /// A peer in the table, or null. Valid until the next change.
  [[nodiscard]] const peer_entry* find(const node_id& id) const;

  enum class include { all, healthy };
  /// The nearest to `target`, nearest first. `healthy` leaves out peers with failures: those
  /// are not recommended to others.
  [[nodiscard]] std::vector<contact> closest(const node_id& target, std::size_t count,
                                             include which) const;
  /// The peer in the table not heard for longest, if not since `before`.
  [[nodiscard]] std::optional<contact> quietest(time_point before) const;
  /// Everybody in the table, the longest known first.
  [[nodiscard]] std::vector<peer_entry> oldest_first() const;
  [[nodiscard]] const std::vector<peer_entry>& siblings() const noexcept { return siblings_; }
  [[nodiscard]] std::size_t size() const noexcept;

  /// A lookup for `target` refreshes the bucket that it falls into.
  void looked_up(time_point now, const node_id& target);
  /// The bucket least recently refreshed. Only buckets up to where the sibling list begins
  /// count: deeper ones are the siblings themselves.
  [[nodiscard]] std::size_t stalest_bucket() const;
  [[nodiscard]] node_id random_id_in(std::size_t bucket, random_generator& random) const;

 private:
  struct bucket {
    std::vector<peer_entry> members;
    std::vector<peer_entry> replacements;  ///< least recently heard first
    time_point looked_up{};
  };

  bucket& bucket_of(const node_id& id);
  const bucket* existing_bucket_of(const node_id& id) const;
  peer_entry* find_mutable(const node_id& id);
  bool fits_network(const peer_entry& entry, const std::vector<peer_entry>& group,
                    std::size_t group_max) const;
  bool place(time_point now, peer_entry entry);
  bool place_in_bucket(time_point now, peer_entry entry);
  void keep_as_replacement(bucket& in, peer_entry entry);
  std::optional<std::size_t> displaceable(time_point now, const bucket& in,
                                          const peer_entry& by) const;
  void promote(bucket& in);
  void refill_siblings();
  void remove(const node_id& id);

  node_id self_;
  routing_options options_;
  std::vector<peer_entry> siblings_;  ///< nearest first
  std::vector<bucket> buckets_;       ///< by common prefix; as long as the deepest in use
};

}  // namespace p2pdvm::overlay

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/overlay/impl/routing_table.ipp>
#endif
