/// The peers that one peer knows and has proof of: Kademlia buckets and a sibling list.
#pragma once

#include <p2pdvm/base/prefetch.hpp>
#include <p2pdvm/base/random.hpp>
#include <p2pdvm/base/time.hpp>
#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/overlay/contact.hpp>
#include <p2pdvm/overlay/coordinates.hpp>
#include <p2pdvm/overlay/round_trip.hpp>
#include <p2pdvm/overlay/rpc.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace p2pdvm::overlay {

struct routing_options {
  /// k of the Kademlia paper: peers per bucket.
  std::size_t bucket_size = limits::bucket_size;
  /// Nearest peers to ourselves, kept whatever the buckets do (S/Kademlia, 2007).
  std::size_t siblings = limits::bucket_size;
  /// Proven peers per bucket that wait for a place.
  std::size_t replacements = 4;
  /// Peers of one public network (`network_of`) per bucket, among the siblings, altogether.
  /// Lower: harder to eclipse a peer from one network. Higher: works better inside a campus.
  std::size_t per_network_bucket_max = 4;
  std::size_t per_network_siblings_max = 6;
  std::size_t per_network_max = 32;
  /// The longest known members of a bucket are not displaced by nearer peers: sessions of desktop
  /// peers are heavy-tailed, who stayed long will stay longer.
  std::size_t veterans = 4;
  /// Peers up to which the table keeps everybody: the full view of a small swarm. It ends when one
  /// more is proven, or when siblings lie so densely that the swarm must be many times larger, and
  /// begins again when the table has shrunk to 5/8 of this. 0: never.
  std::size_t full_view_max = 64;
  /// Unanswered requests in a row after which a peer is forgotten. One suffices where a
  /// replacement waits.
  unsigned failures_max = 2;
};

/// Members of a bucket that are kept checked; the others live on what is heard of them.
inline constexpr std::size_t checked_per_bucket = 4;

struct peer_entry {
  contact peer;
  network_prefix network;  ///< of its address
  address_token token;  ///< to show it with our next request; 0: none
  time_point token_since{};
  time_point since{};  ///< first proof
  time_point heard{};  ///< last proof
  unsigned failures = 0;
  round_trip rtt;
  std::optional<packed_coordinate> place;  ///< as it said last; plausible
  [[nodiscard]] node_id id() const { return crypto::node_id_of(peer.key); }
};

/// Entries, and beside them in few cache lines what most searches look at: a node that is not in
/// the cache is what a simulation of many waits for.
class peer_group {
 public:
  [[nodiscard]] const std::vector<peer_entry>& entries() const noexcept { return entries_; }
  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }
  [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
  [[nodiscard]] const peer_entry& operator[](std::size_t i) const { return entries_[i]; }
  [[nodiscard]] const peer_entry& back() const { return entries_.back(); }
  /// `size()` when it is not there.
  [[nodiscard]] std::size_t index_of(const node_id& id) const;
  /// The first bytes of an id.
  [[nodiscard]] std::uint64_t word(std::size_t i) const { return digests_[i].word; }
  /// No unanswered request, and heard since then.
  [[nodiscard]] bool healthy(std::size_t i, time_point since) const {
    return digests_[i].heard >= since;
  }
  [[nodiscard]] std::size_t count_heard(time_point since) const;

  void insert(std::size_t at, peer_entry entry);
  void push_back(peer_entry entry) { insert(size(), std::move(entry)); }
  peer_entry take(std::size_t i);
  /// May change everything but the peer's key.
  template <class Change>
  void update(std::size_t i, Change change) {
    change(entries_[i]);
    digests_[i] = digest_of(entries_[i]);
  }
  void fetch() const noexcept { prefetch(digests_.data(), digests_.size() * sizeof(digest)); }

 private:
  struct digest {
    std::uint64_t word;
    time_point heard;  ///< before all times while a request is unanswered
  };
  [[nodiscard]] static digest digest_of(const peer_entry& e) {
    const node_id id = e.id();
    return {detail::id_word(id, 0), e.failures == 0 ? e.heard : time_point::min()};
  }

  std::vector<peer_entry> entries_;
  std::vector<digest> digests_;
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
  /// `needed`: as a sibling, or for a bucket with less than half its members heard since then.
  enum class wish { none, welcome, needed };
  [[nodiscard]] wish wants(const contact& peer, time_point heard_since) const;
  /// A request to it stayed unanswered.
  void failed(const node_id& id);
  /// A peer in the table, or null. Valid until the next change.
  [[nodiscard]] const peer_entry* find(const node_id& id) const;
  /// The token that a peer in the table gave us. False when it is not in the table.
  bool keep_token(time_point now, const node_id& id, address_token token);
  /// Where a peer in the table says that it is. Precondition: it is plausible.
  void keep_place(const node_id& id, const packed_coordinate& place);

  enum class include { all, healthy };
  /// The nearest to `target`, nearest first. `healthy` leaves out peers with failures and those
  /// not heard since then: they are not recommended to others.
  [[nodiscard]] std::vector<contact> closest(const node_id& target, std::size_t count,
                                             include which, time_point heard_since = {}) const;
  /// `count` in an order in which a path of a search can start from each: those at `path` 0,
  /// `paths`, 2 `paths` … are for the first path, and so on. The last of several paths starts from
  /// all parts of the table in turn, at random in each; the others from the nearest to `target`.
  [[nodiscard]] std::vector<contact> starts(const node_id& target, std::size_t count,
                                            std::size_t paths, random_generator& random) const;
  /// The peer in the table not heard for longest, if not since `before`.
  [[nodiscard]] std::optional<contact> quietest(time_point before) const;
  /// Whom to ask whether it lives: a sibling not heard since then, or the latest heard other
  /// member of a bucket with fewer than `checked_per_bucket` that were.
  [[nodiscard]] std::optional<contact> most_doubtful(time_point heard_since) const;
  /// The bucket with fewer than `checked_per_bucket` members heard since then that was refreshed
  /// least recently, if not since `refreshed_before`.
  [[nodiscard]] std::optional<std::size_t> neediest_bucket(time_point heard_since,
                                                           time_point refreshed_before) const;
  /// Nobody has been left out for want of room: unless peers are new, these are all of the swarm.
  [[nodiscard]] bool full_view() const noexcept { return full_view_; }
  /// Peers in the table that are kept checked.
  [[nodiscard]] std::size_t checked() const;
  /// Buckets in use beside the siblings.
  [[nodiscard]] std::size_t depth() const;
  /// Everybody in the table, the longest known first.
  [[nodiscard]] std::vector<peer_entry> oldest_first() const;
  [[nodiscard]] const std::vector<peer_entry>& siblings() const noexcept {
    return siblings_.entries();
  }
  [[nodiscard]] std::size_t size() const noexcept;

  /// Fetches into the cache what most calls need, in two stages.
  void expect(unsigned stage) const noexcept;

  /// A lookup for `target` refreshes the bucket that it falls into.
  void refreshed(time_point now, const node_id& target);
  /// The bucket least recently refreshed. Only buckets up to where the sibling list begins
  /// count: deeper ones are the siblings themselves.
  [[nodiscard]] std::size_t stalest_bucket() const;
  [[nodiscard]] node_id random_id_in(std::size_t bucket, random_generator& random) const;

 private:
  struct bucket {
    peer_group members;
    std::vector<peer_entry> replacements;  ///< least recently heard first
    time_point refreshed = time_point::min();
  };

  bucket& bucket_of(const node_id& id);
  const bucket* existing_bucket_of(const node_id& id) const;
  template <class Change>
  bool update(const node_id& id, Change change);
  bool fits_network(network_prefix network, const peer_group& group, std::size_t group_max) const;
  void leave_network(network_prefix network);
  bool place(peer_entry entry);
  bool place_in_bucket(peer_entry entry);
  void keep_as_replacement(bucket& in, peer_entry entry);
  std::optional<std::size_t> displaceable(const bucket& in, const peer_entry& by) const;
  void promote(bucket& in);
  [[nodiscard]] bool crowded() const;
  void review_view();
  void refill_siblings();
  void remove(const node_id& id);

  node_id self_;
  routing_options options_;
  bool full_view_;
  peer_group siblings_;          ///< nearest first
  std::vector<bucket> buckets_;  ///< by common prefix; as long as the deepest in use
  std::vector<network_prefix> networks_;  ///< of everybody in the table, in no order
};

}  // namespace p2pdvm::overlay

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/overlay/impl/routing_table.ipp>
#endif
