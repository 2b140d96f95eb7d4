/// Identities, members and records for the tests of this layer.
#pragma once

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/checkpoint/transitions.hpp>
#include <p2pdvm/crypto/crypto.hpp>

#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

namespace make {

using namespace p2pdvm;
using namespace p2pdvm::checkpoint;

inline crypto::identity identity(std::uint64_t number) {
  return crypto::identity(crypto::secret_key(crypto::hash(bytes_of(number)).bytes()));
}

inline member member_of(const crypto::identity& who, std::string domain, std::uint8_t flags = 0) {
  member m;
  m.node = who.id();
  m.addresses.push_back(address::loopback(4000));
  m.failure_domain = std::move(domain);
  m.flags = flags;
  return m;
}

inline member member_number(std::uint64_t number, std::uint8_t flags = 0) {
  return member_of(identity(number), fmt::format("domain {}", number), flags);
}

inline node_id node(std::uint64_t number) { return identity(number).id(); }

inline job_id job() { return job_id(crypto::hash(as_bytes("job")).bytes().first(16)); }

/// A forming job whose members are the identities 0 … members-1.
inline job_record forming(std::uint32_t ranks, std::uint64_t members) {
  job_record r = *found_job(job(), crypto::hash(as_bytes("spec")), ranks, 3, member_number(0));
  for (std::uint64_t i = 1; i < members; ++i) r = *admit(r, member_number(i));
  while (r.needs_upkeep()) r = *upkeep(r);
  return r;
}

inline job_record running(std::uint32_t ranks, std::uint64_t members) {
  return *start(forming(ranks, members));
}

inline chunk_id chunk(std::string_view text) {
  byte_vector bytes{std::byte{1}};
  append(bytes, crypto::hash(as_bytes(text)).bytes());
  return chunk_id(bytes);
}

inline std::vector<chunk_id> manifests(const job_record& r, std::string_view text) {
  std::vector<chunk_id> all;
  for (std::uint32_t rank = 0; rank < r.ranks; ++rank)
    all.push_back(chunk(fmt::format("{} {}", text, rank)));
  return all;
}

inline epoch_number epoch(std::uint64_t n) { return epoch_number(n); }
inline incarnation_number incarnation(std::uint64_t n) { return incarnation_number(n); }

}  // namespace make
