/// A new job that goes on from a checkpoint of another one: what `p2pdvm import` and `fork` make.
#pragma once

#include <p2pdvm/runtime/saved_job.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace p2pdvm::runtime {

struct copy_request {
  std::optional<epoch_number> epoch;  ///< nothing: the committed one
  /// In place of what the job had by that name; one that it had not is refused.
  std::map<std::string, std::string> options;
  std::map<std::string, byte_vector> inputs;
  /// Another number than the job's is refused where something belongs to its ranks: see peal/distributed.hpp.
  std::optional<std::uint32_t> ranks;
  std::uint32_t peers = 1;  ///< wanted before it goes on; with 1 the folder's peer runs all ranks
  std::string failure_domain;  ///< of the folder's peer
};

/// `invalid_argument` for what the job does not have, `not_found` for an epoch.
[[nodiscard]] result<> check_copy(saved_job& from, const copy_request& what);

struct copied_job {
  job_id id;
  epoch_number epoch;
  std::uint64_t bytes = 0;  ///< of chunks
  /// Everything is written and durable once this says so.
  std::unique_ptr<store::segment_log> log;
};

/// Puts it into a peer's folder, where `peer::resume` finds it. The folder's peer is its founder. It
/// has an id and a secret of its own, so that neither job disturbs the other: the same
/// checkpoint may go on in many places. Every chunk is read, checked, and sealed again; in memory
/// is one at a time, or, with another number of ranks, the state of one new rank. Errors: those of `check_copy`, `lost`, `wrong_job`
/// when the folder holds an unfinished job, `no_space`, `io`.
[[nodiscard]] result<copied_job> copy_job(saved_job& from, const copy_request& what, host::disk& to,
                                          host::entropy& entropy);

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/job_copy.ipp>
#endif
