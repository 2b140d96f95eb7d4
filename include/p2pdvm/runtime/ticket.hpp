/// A ticket: one line of text that lets a machine ask to join a job.
#pragma once

#include <p2pdvm/base/address.hpp>
#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/result.hpp>
#include <p2pdvm/base/time.hpp>
#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace p2pdvm::runtime {

/// A peer that may be asked.
struct ticket_contact {
  public_key key;
  std::vector<address> addresses;
  template <class F>
  void fields(F&& f) {
    f(key), f(addresses);
  }
};

/// Signed by the job's issuer. Whoever holds the text may use it until it expires, so it is
/// worth as much as a password; the job's secret is given only after admission.
struct ticket {
  digest256 swarm;  ///< the network in which the contacts answer
  job_id job;
  std::uint32_t uses = 0;  ///< how many machines may be admitted; 0: any number
  unix_seconds expiry = 0;
  std::uint64_t serial = 0;
  std::vector<ticket_contact> contacts;
  public_key directory;  ///< signs the addresses of members that the swarm keeps
  public_key issuer;
  p2pdvm::signature signature;
  template <class F>
  void fields(F&& f) {
    f(swarm), f(job), f(uses), f(expiry), f(serial), f(contacts), f(directory), f(issuer), f(signature);
  }

  void sign(const crypto::identity& issuer_identity);
  /// Checks the signature and the date. Errors are sentences: `authentication`, `expired`.
  [[nodiscard]] result<> check(unix_seconds now) const;
  [[nodiscard]] std::string text() const;
  /// Errors: `malformed` for what is not a ticket or was altered, `unsupported_version`.
  [[nodiscard]] static result<ticket> parse(std::string_view text);

 private:
  [[nodiscard]] byte_vector signed_bytes() const;
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/ticket.ipp>
#endif
