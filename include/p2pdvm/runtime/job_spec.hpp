/// What a job is: fixed when it is made, the same on every peer.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/result.hpp>
#include <p2pdvm/checkpoint/job_record.hpp>
#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <array>
#include <cstdint>
#include <map>
#include <string>

namespace p2pdvm::runtime {

/// A file that travels with the job, in chunks of the store.
struct job_input {
  std::uint64_t bytes = 0;
  std::vector<chunk_id> chunks;
  template <class F>
  void fields(F&& f) {
    f(bytes), f(chunks);
  }
};

/// What a holder's receipt for a chunk says.
enum class receipts_from : std::uint8_t {
  disk,    ///< that it is durable
  memory,  ///< that it is in memory, and will be on disk soon
};

struct job_spec {
  job_id id;  ///< derived from all the rest, so that a ticket for it names no other
  std::array<std::uint64_t, 2> nonce{};
  std::string program;
  digest256 executable;
  std::uint64_t platform = 0;
  std::uint32_t ranks = 1;
  std::uint32_t peers = 1;     ///< wanted before the job starts
  std::uint32_t replicas = 3;  ///< of every chunk
  receipts_from receipts = receipts_from::disk;
  public_key issuer;           ///< signs tickets
  std::map<std::string, std::string> options;
  std::map<std::string, job_input> inputs;
  template <class F>
  void fields(F&& f) {
    f(id), f(nonce[0]), f(nonce[1]), f(program), f(executable), f(platform), f(ranks), f(peers), f(replicas), f(receipts),
        f(issuer), f(options), f(inputs);
  }
  [[nodiscard]] job_id derived_id() const;
  /// Of random numbers: the same for every run of a program with the same options, so that its results are too.
  [[nodiscard]] std::uint64_t seed() const;
  [[nodiscard]] result<> validate() const;
  /// Whether this is what the record is of.
  [[nodiscard]] bool fits(const checkpoint::job_record& record) const;
};

/// Where a swarm keeps the addresses of a job's members, and who signs them: every member, by a
/// key that follows from the job's secret. Tickets carry its public half.
struct job_directory {
  job_directory(const job_id& job, const crypto::secret_key& secret);
  [[nodiscard]] static node_id target(const job_id& job);
  node_id where;
  crypto::identity signer;
};

/// Differs between platforms whose floating-point results may differ: a probe of libm, of the
/// size of basic types and of byte order.
[[nodiscard]] std::uint64_t platform_probe();

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/job_spec.ipp>
#endif
