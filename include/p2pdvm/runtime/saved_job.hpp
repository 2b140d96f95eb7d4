/// A job that nobody runs, read from the holders of its checkpoints: what is there, whether it is
/// whole, and what changed from one epoch to the next.
#pragma once

#include <p2pdvm/runtime/job_holder.hpp>
#include <p2pdvm/store/chunk.hpp>
#include <p2pdvm/store/manifest.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace p2pdvm::runtime {

/// What is known of an epoch without reading its chunks, manifests excepted.
struct epoch_summary {
  epoch_number epoch;
  std::optional<unix_seconds> when;
  std::uint64_t bytes = 0;      ///< of the ranks' state
  std::uint64_t new_bytes = 0;  ///< of chunks that the epoch before has not; all, where there is none
  std::uint64_t stored_bytes = 0;  ///< of one copy of each of its chunks, sealed and perhaps compressed
  std::size_t chunks = 0;       ///< manifests included
  std::size_t new_chunks = 0;
  /// By the number of holders that have a copy of each, by their own lists.
  std::map<unsigned, std::size_t> copies;
  std::size_t manifests_unreadable = 0;  ///< then all the above is of the other ranks
};

/// Where a chunk belongs. Epoch 0: a part of the job's input `part`; else `part` is a named piece
/// of the rank's state, or empty for the rank's manifest.
struct chunk_use {
  epoch_number epoch;
  rank_number rank;
  std::string part;
  friend auto operator<=>(const chunk_use&, const chunk_use&) = default;
};
/// For people: "checkpoint 12, rank 3, region/cells".
[[nodiscard]] std::string text_of(const chunk_use& use);

/// A copy that a holder is to have and cannot give, or a chunk of which nobody has a good copy.
struct chunk_trouble {
  enum class kind : std::uint8_t {
    damaged,  ///< it is there and is not what it should be
    missing,  ///< the holder says that it had it, and it is not there
    lost,     ///< no holder has a good copy; `holder` is empty
  };
  kind what = kind::damaged;
  chunk_id chunk;
  std::vector<chunk_use> uses;  ///< empty where no manifest tells of it
  std::string holder;
  std::string why;  ///< where it is not just damaged: sealed by another job, say
};

struct verification {
  struct epoch_outcome {
    epoch_number epoch;
    bool whole = false;  ///< the holders that were looked at can give all of it
    std::size_t chunks = 0;
  };
  std::vector<epoch_outcome> epochs;  ///< the newest first
  std::vector<chunk_trouble> troubles;
  std::vector<std::string> holder_troubles;  ///< sentences
  bool inputs_whole = true;
  std::uint64_t copies = 0;  ///< read and found good
  std::uint64_t bytes = 0;   ///< read
  /// Nothing is damaged anywhere, and every epoch can be restored from these holders.
  [[nodiscard]] bool sound() const;
  /// The newest epoch that can be restored from these holders.
  [[nodiscard]] std::optional<epoch_number> restorable() const;
};

/// One named piece of one rank's state in two epochs.
struct part_change {
  rank_number rank;
  std::string part;
  std::uint64_t bytes_before = 0, bytes_after = 0;
  std::uint64_t bytes_changed = 0;  ///< other than before at the same place, or at a place that the other has not
  std::size_t chunks = 0;           ///< of the later epoch
  std::size_t chunks_shared = 0;    ///< of these, how many the earlier one has anywhere
};

class saved_job {
 public:
  /// They must outlive it. The newest record that one of them has counts. Errors: of the first
  /// holder when none has a job, `wrong_job` when two have different ones.
  [[nodiscard]] static result<saved_job> open(std::vector<job_holder*> holders);

  [[nodiscard]] const job_spec& spec() const noexcept { return job_->who.spec; }
  [[nodiscard]] const crypto::secret_key& secret() const noexcept { return job_->who.secret; }
  [[nodiscard]] const record_update& newest() const noexcept { return job_->newest; }
  [[nodiscard]] const checkpoint::job_record& record() const noexcept { return job_->newest.record; }
  [[nodiscard]] const std::vector<job_holder*>& holders() const noexcept { return holders_; }
  /// The committed one, and the one before; neither when nothing was committed yet.
  [[nodiscard]] std::vector<epoch_number> epochs() const;
  [[nodiscard]] std::optional<unix_seconds> date(epoch_number epoch) const;
  /// Nothing given: the committed one. `not_found` with the epochs that there are.
  [[nodiscard]] result<epoch_number> choose(std::optional<epoch_number> wanted) const;

  [[nodiscard]] epoch_summary summarize(epoch_number epoch);
  /// Reads every chunk of every holder.
  [[nodiscard]] verification verify();
  /// In the order of ranks and of the later epoch's pieces; pieces that only the earlier one has
  /// come last. Errors: `lost`, `not_found`.
  [[nodiscard]] result<std::vector<part_change>> compare(epoch_number earlier, epoch_number later);

  [[nodiscard]] const chunk_id& manifest_id(epoch_number epoch, rank_number rank) const;
  /// Errors of the next three: `lost` when no holder has a good copy, `corrupted`.
  [[nodiscard]] result<store::manifest> manifest(epoch_number epoch, rank_number rank);
  [[nodiscard]] result<byte_vector> read_section(const store::section& s);
  struct good_copy {
    payload sealed;  ///< as it lies there
    payload plain;
  };
  /// From the first holder whose copy is good.
  [[nodiscard]] result<good_copy> find(const chunk_id& id);

 private:
  using uses_map = std::map<chunk_id, std::vector<chunk_use>>;

  saved_job(std::vector<job_holder*> holders, const held_job& job);
  [[nodiscard]] const checkpoint::epoch_manifests& manifests(epoch_number epoch) const;
  [[nodiscard]] result<> compare_rank(const store::manifest& before, const store::manifest& after,
                                      std::vector<part_change>& to);
  [[nodiscard]] uses_map all_uses(verification& found);
  void check_holder(job_holder& holder, const uses_map& uses, std::map<chunk_id, unsigned>& good,
                    verification& found);

  std::vector<job_holder*> holders_;
  const held_job* job_;
  store::chunk_codec codec_;
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/saved_job.ipp>
#endif
