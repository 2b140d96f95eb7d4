/// Proof that a majority of keepers accepted a job record: it travels with the record and
/// replaces reads.
#pragma once

#include <p2pdvm/checkpoint/job_record.hpp>
#include <p2pdvm/crypto/crypto.hpp>

#include <compare>
#include <cstdint>
#include <memory>
#include <vector>

namespace p2pdvm::checkpoint {

/// Order of attempts to write. `session` is drawn when a proposer is made, so that a peer
/// that restarts never uses a ballot twice.
struct ballot {
  std::uint64_t counter = 0;
  node_id node;
  std::uint64_t session = 0;
  friend auto operator<=>(const ballot&, const ballot&) = default;
  template <class F>
  void fields(F&& f) {
    f(counter);
    f(node);
    f(session);
  }
};

/// What a keeper signs when it accepts a record.
struct accept_statement {
  job_id job;
  checkpoint::ballot ballot;
  digest256 digest;  ///< of the encoded record
  std::uint64_t keeper_version = 0;
  std::vector<node_id> keepers;           ///< of the accepted record
  std::vector<node_id> previous_keepers;  ///< of the accepted record

  friend bool operator==(const accept_statement&, const accept_statement&) = default;
  [[nodiscard]] static accept_statement of(const job_record& record, byte_view encoded,
                                           const checkpoint::ballot& ballot);
  /// Bytes with a prefix of their own, so that no other signature of a peer can stand for it.
  [[nodiscard]] byte_vector signed_bytes() const;
  template <class F>
  void fields(F&& f) {
    f(job);
    f(ballot);
    f(digest);
    f(keeper_version);
    f(keepers);
    f(previous_keepers);
  }
};

struct keeper_signature {
  public_key key;  ///< its hash is the keeper's node id
  p2pdvm::signature signature;
  template <class F>
  void fields(F&& f) {
    f(key);
    f(signature);
  }
};

struct certificate {
  accept_statement statement;
  std::vector<keeper_signature> signatures;

  /// Node ids of those whose signature is right; at most 2·`keepers_max` are looked at.
  [[nodiscard]] std::vector<node_id> signers() const;
  template <class F>
  void fields(F&& f) {
    f(statement);
    f(signatures);
  }
};

/// A record that is known to be chosen. `record` is never null.
struct certified_record {
  std::shared_ptr<const job_record> record;
  certificate proof;
};

/// Checks that majorities of the record's own keepers (of both sets during a change) and of
/// `trusted`, the keepers of an earlier record that the caller believes in, signed exactly
/// these bytes. Whoever missed more than one change of keepers checks the links first.
[[nodiscard]] result<job_record> verify(byte_view encoded, const certificate& proof,
                                        const std::vector<node_id>& trusted);
/// The same for a record that is decoded already.
[[nodiscard]] result<> verify(const job_record& record, const certificate& proof,
                              const std::vector<node_id>& trusted);

/// A link is the certificate of a record in which a change of keepers began; it needs no
/// record to be checked. Gives the keepers to trust after it.
[[nodiscard]] result<std::vector<node_id>> verify_link(const job_id& job, const certificate& link,
                                                       const std::vector<node_id>& trusted);

}  // namespace p2pdvm::checkpoint

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/checkpoint/impl/certificate.ipp>
#endif
