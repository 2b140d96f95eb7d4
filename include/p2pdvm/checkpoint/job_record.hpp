/// The job record: everything about one job that must survive any loss, held by its keepers.
#pragma once

#include <p2pdvm/base/address.hpp>
#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/limits.hpp>
#include <p2pdvm/base/result.hpp>
#include <p2pdvm/overlay/coordinates.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace p2pdvm::checkpoint {

/// Encoded size of a record; 65536 ranks and 4096 members stay below it.
inline constexpr std::size_t record_bytes_max = 8 * 1024 * 1024;
inline constexpr std::size_t member_addresses_max = 16;
inline constexpr std::size_t failure_domain_bytes_max = 64;
inline constexpr std::uint32_t replicas_max = 16;
/// Writes that a proposer can recognise as its own after losing the answer.
inline constexpr std::size_t operations_max = 64;

/// One write of the record, drawn at random by its proposer.
using operation_id = opaque_id<struct operation_tag, 16>;

/// A peer of the job, present or past. Entries keep their index while they host a rank.
struct member {
  static constexpr std::uint8_t spare = 1;         ///< asked for no ranks while others can host
  static constexpr std::uint8_t storage_only = 2;  ///< keeper and holder, cannot run ranks
  static constexpr std::uint8_t left = 4;          ///< went politely
  static constexpr std::uint8_t evicted = 8;       ///< declared lost
  static constexpr std::uint8_t hidden = 16;       ///< when it asked, it came from none of its addresses: a NAT is between

  node_id node;
  std::vector<address> addresses;
  std::string failure_domain;  ///< peers that are likely to fail together share it
  std::uint8_t flags = 0;
  std::uint64_t ticket = 0;  ///< the first bytes of the hash of the one that admitted it; 0 for the founder
  roster_version admitted;  ///< set by `admit`
  overlay::packed_coordinate place;  ///< where it was when it asked; by default it knew nothing

  /// A node id is the key itself.
  [[nodiscard]] public_key key() const { return public_key(node.bytes()); }
  [[nodiscard]] bool live() const noexcept { return (flags & (left | evicted)) == 0; }
  [[nodiscard]] bool is_hidden() const noexcept { return (flags & hidden) != 0; }
  [[nodiscard]] bool is_storage_only() const noexcept { return (flags & storage_only) != 0; }
  [[nodiscard]] bool can_host() const noexcept { return live() && !is_storage_only(); }
  friend bool operator==(const member&, const member&) = default;
  template <class F>
  void fields(F&& f) {
    f(node);
    f(addresses);
    f(failure_domain);
    f(flags);
    f(ticket);
    f(admitted);
    f(place);
  }
};

enum class job_state : std::uint8_t {
  forming,  ///< members join; no rank has a host yet
  running,
  done,    ///< the committed epoch holds the results
  failed,  ///< a rank's program failed; `failure` says which and how
};

/// An epoch and its manifests, one per rank; epoch 0 has none.
struct epoch_manifests {
  epoch_number epoch;
  std::vector<chunk_id> manifests;
  friend bool operator==(const epoch_manifests&, const epoch_manifests&) = default;
  template <class F>
  void fields(F&& f) {
    f(epoch);
    f(manifests);
  }
};

/// The value of the replicated register (register.hpp). It changes only by the functions of
/// transitions.hpp.
struct job_record {
  job_id job;
  digest256 specification;  ///< of program, arguments and input files
  std::uint32_t ranks = 0;
  std::uint32_t replicas = 0;
  incarnation_number incarnation;
  roster_version roster;
  epoch_manifests committed;
  epoch_manifests previous;
  epoch_number floor;  ///< this epoch and those below it will never commit any more
  std::vector<std::uint32_t> host_of_rank;  ///< indexes into `members`; empty while forming
  std::vector<member> members;
  std::vector<node_id> keepers;
  std::vector<node_id> previous_keepers;  ///< not empty while a change of keepers is in progress
  std::uint64_t keeper_version = 0;       ///< +1 when a change of keepers begins and when it ends
  job_state state = job_state::forming;
  std::string failure;
  std::vector<operation_id> operations;  ///< the newest last

  /// The only epoch that may be outstanding: the one after all committed and given up ones.
  [[nodiscard]] epoch_number next_epoch() const noexcept {
    return (committed.epoch < floor ? floor : committed.epoch).next();
  }
  [[nodiscard]] std::optional<std::uint32_t> index_of(const node_id& node) const;
  [[nodiscard]] const member* find(const node_id& node) const;
  [[nodiscard]] bool is_live(const node_id& node) const;
  /// The same, quickly where another record has the member at `place`: entries keep theirs.
  [[nodiscard]] bool is_live(const node_id& node, std::uint32_t place) const;
  [[nodiscard]] std::size_t live_count() const;
  /// Of those who can run ranks.
  [[nodiscard]] std::size_t host_count() const;
  /// The member that hosts `rank`, or none while forming. Precondition: `rank < ranks`.
  [[nodiscard]] const member* host(rank_number rank) const;
  [[nodiscard]] std::vector<rank_number> ranks_of(const node_id& node) const;
  [[nodiscard]] bool contains(const operation_id& operation) const;
  /// The keepers this record should have: an odd number of live members, present ones first,
  /// then one per failure domain. Of `newcomers` only those that are keepers already.
  [[nodiscard]] std::vector<node_id> wanted_keepers(const std::set<node_id>& newcomers = {}) const;
  /// A keeper, or one of before a change that is in progress: without its word nothing may go on.
  [[nodiscard]] bool is_kept_by(const node_id& node) const;
  /// A change of keepers is unfinished or due; the next write of any kind finishes one,
  /// `upkeep` begins one.
  [[nodiscard]] bool needs_upkeep(const std::set<node_id>& newcomers = {}) const;

  /// Every bound, index and cross-reference; call it on whatever came from outside.
  [[nodiscard]] result<> validate() const;
  /// BLAKE2b-256 of the encoded record.
  [[nodiscard]] digest256 digest() const;

  friend bool operator==(const job_record&, const job_record&) = default;
  template <class F>
  void fields(F&& f) {
    f(job);
    f(specification);
    f(ranks);
    f(replicas);
    f(incarnation);
    f(roster);
    f(committed);
    f(previous);
    f(floor);
    f(host_of_rank);
    f(members);
    f(keepers);
    f(previous_keepers);
    f(keeper_version);
    f(state);
    f(failure);
    f(operations);
  }
};

/// Decodes and validates; `too_large`, `malformed` or what `validate` says.
[[nodiscard]] result<job_record> decode_record(byte_view bytes);

/// More than half of `set` is in `voters` (sorted or not).
[[nodiscard]] bool has_majority(const std::vector<node_id>& set,
                                const std::vector<node_id>& voters);

}  // namespace p2pdvm::checkpoint

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/checkpoint/impl/job_record.ipp>
#endif
