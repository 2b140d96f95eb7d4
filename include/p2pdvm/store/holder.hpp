/// The holder's side of replication: keeps chunks for others and gives receipts.
#pragma once

#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/result.hpp>
#include <p2pdvm/base/time.hpp>
#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/host/host.hpp>
#include <p2pdvm/store/chunk_log.hpp>
#include <p2pdvm/store/messages.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace p2pdvm::store {

/// Puts that wait for the disk; more are refused.
inline constexpr std::size_t receipts_waiting_max = 4096;
/// How far behind a holder's knowledge of a job's record may lie: puts for epochs further ahead
/// are refused, for nothing would ever collect them.
inline constexpr std::uint64_t epochs_ahead_max = 32;
/// Damaged chunks that are remembered until they are stored again.
inline constexpr std::size_t damaged_chunks_max = 4096;

/// What the user of a holder's machine wants to know of its disk.
struct disk_notice {
  enum class kind : std::uint8_t {
    damaged,  ///< a chunk could not be read back; the asker gets it elsewhere
    healed,   ///< such a chunk was stored again
    refuses,  ///< nothing can be stored; once, until something was stored again
  };
  kind what{};
  std::string text;  ///< a sentence; empty for `healed`
};

/// One per peer, for all jobs whose chunks the peer keeps. It needs no job's secret. Who may talk
/// to it (members of the job) is its driver's business.
class holder {
 public:
  /// Must only queue the message: it may not call back into the holder.
  using emit_function = std::function<void(const node_id& to, store_message message)>;

  /// May not call back into the holder either.
  using notice_function = std::function<void(disk_notice notice)>;

  /// `log` and `self` must outlive the holder. `notice` may be null; `workers`, too: they sign receipts while chunks become durable.
  holder(chunk_log& log, const crypto::identity& self, emit_function emit,
         notice_function notice = nullptr, host::workers* workers = nullptr);

  /// Puts, gets and comparisons; other messages are not for a holder and have no effect. A put is answered
  /// once: by a receipt when all its chunks are durable, by `chunks_missing` at once if some
  /// were damaged or are not here, by `put_refused` if the log cannot take them or no record
  /// that this holder follows will ever let go of them.
  void on_message(time_point now, const node_id& from, const store_message& message);

  /// Reads chunks that are kept, one after another and round and round, until it has read so many bytes or all: what has become unreadable counts as
  /// absent from then on, so that a comparison finds it before it is needed. Gives the bytes read.
  std::size_t scrub(std::size_t bytes);

  /// What the job's newest record says. Puts are taken only for jobs that are followed, and of
  /// those for `committed`, `previous` and the next `epochs_ahead_max` epochs; never for 0.
  void follow(const job_id& job, epoch_number committed, epoch_number previous,
              epoch_number floor);
  /// Follows the job. Garbage: drops the job's pins of all epochs up to the greater of `floor` and `committed`
  /// except `committed`, `previous` and 0 (inputs).
  result<> keep_only(const job_id& job, epoch_number committed, epoch_number previous,
                     epoch_number floor);
  /// Drops everything of the job: it is over, or moved on without this peer.
  result<> release(const job_id& job);

 private:
  struct kept_epochs {
    epoch_number committed, previous, floor;
    [[nodiscard]] bool keeps(epoch_number e) const noexcept {
      return e.value() == 0 || e == committed || e == previous || (e > floor && e > committed);
    }
    [[nodiscard]] bool too_far(epoch_number e) const noexcept {
      const std::uint64_t last = std::max(committed, floor).value();
      return e.value() > last && e.value() - last > epochs_ahead_max;
    }
  };
  struct waiting_receipt {
    node_id to;
    receipt word;
    bool is_signed = false, durable = false;  ///< both, and it goes
  };

  [[nodiscard]] std::string why_not(const pin& snapshot) const;
  void on_put(const node_id& from, const put_chunks& put);
  void on_get(const node_id& from, const get_chunks& get);
  void on_compare(const node_id& from, const compare_chunks& question);
  result<> store(const put_chunks& put, bool own, std::vector<chunk_id>& missing);
  void note_put(const result<>& stored);
  void note_damage(const chunk_id& id, const error& why);
  void tell(disk_notice::kind what, std::string text = {});
  void refuse(const node_id& to, const receipt& put, std::string reason);
  void await_durability(const node_id& from, const put_chunks& put);
  void on_durable(std::uint64_t ticket, const result<>& synced);
  void sign(std::uint64_t ticket, const receipt& word);
  result<> drop_pins(const job_id& job, const std::function<bool(epoch_number)>& keeps);

  chunk_log& log_;
  const crypto::identity& self_;
  emit_function emit_;
  notice_function notice_;
  host::workers* workers_;
  std::shared_ptr<const crypto::identity> signer_;  ///< workers may have it for longer; null without any
  std::set<chunk_id> damaged_;
  bool refuses_ = false;  ///< the last put failed
  std::map<job_id, kept_epochs> kept_;
  /// What the last comparison looked through, until something changes: several ranks are compared at once.
  struct compared {
    job_id job;
    epoch_number epoch;
    std::vector<std::pair<std::uint64_t, chunk_id>> names;  ///< sorted
  };
  std::optional<compared> compared_;
  std::vector<chunk_id> to_scrub_;  ///< the next one last
  std::map<std::uint64_t, waiting_receipt> waiting_;
  std::uint64_t next_ticket_ = 0;
  /// Gone with the holder, so that a late completion of the log finds nobody.
  std::shared_ptr<holder*> alive_ = std::make_shared<holder*>(this);
};

}  // namespace p2pdvm::store

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/store/impl/holder.ipp>
#endif
