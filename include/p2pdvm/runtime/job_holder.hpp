/// Where the chunks of a job lie while nobody runs it: in the folder of a peer, or in a file.
#pragma once

#include <p2pdvm/base/time.hpp>
#include <p2pdvm/host/copy_on_write_disk.hpp>
#include <p2pdvm/runtime/job_folder.hpp>
#include <p2pdvm/store/segment_log.hpp>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace p2pdvm::runtime {

/// A job as one holder knows it.
struct held_job {
  job_identity who;
  record_update newest;
  std::map<epoch_number, unix_seconds> dates;  ///< of commits, where they were noted
  std::optional<epoch_number> only;            ///< the one that is held of those in the record
};

/// Read only. Chunks are as they lie there: sealed, and perhaps damaged.
class job_holder {
 public:
  virtual ~job_holder() = default;
  /// What a person would type to name it.
  [[nodiscard]] virtual std::string name() const = 0;
  /// An error's sentence says why it cannot tell of any job.
  [[nodiscard]] virtual const result<held_job>& job() const = 0;
  /// What is wrong with the whole of it, in a sentence; empty when nothing is.
  [[nodiscard]] virtual std::string trouble() const = 0;
  /// The chunks that it is to have of an epoch, sorted; of epoch 0: the job's inputs.
  [[nodiscard]] virtual std::vector<chunk_id> promised(const job_id& job, epoch_number epoch) const = 0;
  [[nodiscard]] virtual bool contains(const chunk_id& id) const = 0;
  /// What a chunk takes there; 0 when it is not there.
  [[nodiscard]] virtual std::uint64_t sealed_bytes(const chunk_id& id) const = 0;
  /// `not_found`, `corrupted`, `io`. The same answer every time.
  [[nodiscard]] virtual result<payload> get(const chunk_id& id) = 0;
};

/// A peer's folder, on whose disk nothing is changed. No peer may be using it meanwhile, unless only numbers are asked for, and an error of
/// `open` is no reason to despair.
class peer_files final : public job_holder {
 public:
  /// `disk` must outlive it. `not_found` when no peer has ever used the folder; errors of
  /// `segment_log::open`.
  [[nodiscard]] static result<std::unique_ptr<peer_files>> open(host::disk& disk);

  [[nodiscard]] std::string name() const override { return disk_.describe(""); }
  [[nodiscard]] const result<held_job>& job() const override { return job_; }
  [[nodiscard]] std::string trouble() const override;
  [[nodiscard]] std::vector<chunk_id> promised(const job_id& job, epoch_number epoch) const override;
  [[nodiscard]] bool contains(const chunk_id& id) const override;
  [[nodiscard]] std::uint64_t sealed_bytes(const chunk_id& id) const override { return log_->sealed_bytes(id); }
  [[nodiscard]] result<payload> get(const chunk_id& id) override;
  /// Sealed bytes of all chunks.
  [[nodiscard]] std::uint64_t bytes() const { return log_->live_bytes(); }
  /// Bytes of the store's files.
  [[nodiscard]] std::uint64_t disk_bytes() const { return log_->used_bytes(); }
  /// What the peer was allowed to take of the disk, when it ran last.
  [[nodiscard]] std::optional<std::uint64_t> quota() const { return job_folder(disk_, *log_).quota(); }
  struct kept_epoch {
    std::size_t chunks = 0;
    std::uint64_t bytes = 0;  ///< sealed; what epochs have in common counts in each
  };
  /// All that is kept, of all jobs; epoch 0: inputs.
  [[nodiscard]] std::map<std::pair<job_id, epoch_number>, kept_epoch> kept() const;
  /// The peer whose folder it is; nothing where no job was ever kept.
  [[nodiscard]] std::optional<node_id> peer() const { return owner_; }

 private:
  explicit peer_files(host::disk& disk) : disk_(disk) {}

  mutable host::copy_on_write_disk disk_;
  std::unique_ptr<store::segment_log> log_;
  result<held_job> job_ = error(errc::not_found);
  std::optional<node_id> owner_;
  std::map<chunk_id, error> spoilt_;  ///< the log forgets what it cannot read
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/job_holder.ipp>
#endif
