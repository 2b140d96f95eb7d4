#pragma once

#include <p2pdvm/checkpoint/certificate.hpp>
#include <p2pdvm/checkpoint/impl/job_record.ipp>
#include <p2pdvm/wire/codec.hpp>

namespace p2pdvm::checkpoint {

namespace detail {

inline error void_certificate(const char* why) {
  return error(errc::authentication, std::string("a job record's certificate is void: ") + why);
}

inline result<> verify_majorities(const certificate& proof, const std::vector<node_id>& trusted) {
  const std::vector<node_id> signers = proof.signers();
  const accept_statement& s = proof.statement;
  if (!has_majority(s.keepers, signers))
    return void_certificate("too few of its keepers signed it");
  if (!s.previous_keepers.empty() && !has_majority(s.previous_keepers, signers))
    return void_certificate("too few of the keepers before the change signed it");
  if (!has_majority(trusted, signers))
    return void_certificate("too few of the keepers known so far signed it; fetch the links");
  return {};
}

inline result<> verify_statement(const accept_statement& expected, const certificate& proof,
                                 const std::vector<node_id>& trusted) {
  if (proof.statement != expected) return void_certificate("it is for another record");
  return verify_majorities(proof, trusted);
}

}  // namespace detail

P2PDVM_DECL accept_statement accept_statement::of(const job_record& record, byte_view encoded,
                                                  const checkpoint::ballot& ballot) {
  return {record.job,     ballot,         crypto::hash(encoded), record.keeper_version,
          record.keepers, record.previous_keepers};
}

P2PDVM_DECL byte_vector accept_statement::signed_bytes() const {
  byte_vector bytes = to_vector(as_bytes("p2pdvm job record accepted 1\n"));
  append(bytes, wire::encode(*this));
  return bytes;
}

P2PDVM_DECL std::vector<node_id> certificate::signers() const {
  std::vector<node_id> found;
  if (signatures.size() > 2 * limits::keepers_max) return found;
  const byte_vector message = statement.signed_bytes();
  for (const keeper_signature& s : signatures) {
    const node_id node = crypto::node_id_of(s.key);
    if (detail::among(found, node)) continue;
    if (crypto::verify(s.key, message, s.signature)) found.push_back(node);
  }
  return found;
}

P2PDVM_DECL result<job_record> verify(byte_view encoded, const certificate& proof,
                                      const std::vector<node_id>& trusted) {
  result<job_record> record = decode_record(encoded);
  if (!record) return record;
  const auto expected = accept_statement::of(*record, encoded, proof.statement.ballot);
  if (auto ok = detail::verify_statement(expected, proof, trusted); !ok) return ok.error();
  return record;
}

P2PDVM_DECL result<> verify(const job_record& record, const certificate& proof,
                            const std::vector<node_id>& trusted) {
  const auto expected =
      accept_statement::of(record, wire::encode(record), proof.statement.ballot);
  return detail::verify_statement(expected, proof, trusted);
}

P2PDVM_DECL result<std::vector<node_id>> verify_link(const job_id& job, const certificate& link,
                                                     const std::vector<node_id>& trusted) {
  if (link.statement.job != job) return detail::void_certificate("it is for another job");
  if (auto ok = detail::verify_majorities(link, trusted); !ok) return ok.error();
  return link.statement.keepers;
}

}  // namespace p2pdvm::checkpoint
