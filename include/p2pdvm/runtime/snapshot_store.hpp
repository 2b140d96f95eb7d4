/// This peer's part of a job's replicated store: drains its ranks' snapshots to holders, and
/// holds chunks for others.
#pragma once

#include <p2pdvm/checkpoint/job_record.hpp>
#include <p2pdvm/host/timer.hpp>
#include <p2pdvm/messaging/rank_message.hpp>
#include <p2pdvm/peal/snapshot.hpp>
#include <p2pdvm/runtime/job_spec.hpp>
#include <p2pdvm/runtime/peer_context.hpp>
#include <p2pdvm/store/chunk.hpp>
#include <p2pdvm/store/chunk_survey.hpp>
#include <p2pdvm/store/chunker.hpp>
#include <p2pdvm/store/genuine_receipts.hpp>
#include <p2pdvm/store/holder.hpp>
#include <p2pdvm/store/replicator.hpp>
#include <p2pdvm/store/upload_budget.hpp>

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace p2pdvm::runtime {

/// Goes with a SEALED fact, so that whoever proposes the commit can check it.
struct seal_proof {
  std::uint32_t replicas = 0;  ///< achieved
  std::uint16_t stripes = 0;   ///< in use
  std::vector<store::receipt> receipts;
  template <class F>
  void fields(F&& f) {
    f(replicas), f(stripes), f(receipts);
  }
};

struct drain_outcome {
  chunk_id manifest;
  byte_vector receipts;  ///< an encoded seal_proof
  std::uint64_t bytes_sent = 0;
  unsigned replicas = 0;
  unsigned wanted = 0;  ///< copies: as many as asked for, or as there are failure domains
  std::string trouble;  ///< why there are fewer, in the words of one holder
};

class snapshot_store_owner {
 public:
  /// To another peer or to this one's own holder; never delivered from inside the call.
  virtual void send_store(const node_id& to, const store::store_message& message) = 0;
  virtual void drained(rank_number rank, epoch_number epoch, const drain_outcome& outcome) = 0;
  virtual void drain_failed(rank_number rank, epoch_number epoch, const error& why) = 0;
  virtual void disk_noticed(const store::disk_notice& notice) = 0;
  /// Of a committed snapshot of a rank here, so many chunks are nowhere any more.
  virtual void chunks_nowhere(rank_number rank, epoch_number epoch, std::size_t count) = 0;

 protected:
  ~snapshot_store_owner() = default;
};

/// Chunks that others have asked for and that wait for the upload budget; who asks for more is not answered, and asks again.
inline constexpr std::size_t asked_chunks_max = 16 * 1024;
/// Chunks that wait to be given to holders that lack them: those that are in memory, and those that are on disk here. What comes beyond is left to the
/// next who finds out.
inline constexpr std::size_t mends_waiting_max = 256, passes_waiting_max = 16 * 1024;
/// Holders' chunks are compared so long after a commit, or the last time: in a job that commits more often never, for a commit itself asks for every chunk.
/// Sooner where members have come or gone.
inline constexpr duration survey_interval = std::chrono::minutes(5), survey_after_change = std::chrono::seconds(5);
/// A holder reads so much of its chunks at a time, to find out what has become unreadable, and rests when it has read all.
inline constexpr duration scrub_pause = std::chrono::seconds(1), scrub_pass_pause = std::chrono::minutes(2);
inline constexpr std::size_t scrub_bytes_per_turn = 256 * 1024;

class snapshot_store {
 public:
  snapshot_store(snapshot_store_owner& owner, peer_context& context, const job_id& job,
                 const crypto::secret_key& secret, receipts_from receipts = receipts_from::disk);

  void set_members(std::vector<store::member> members, unsigned replicas);
  /// The newest record: what may be stored here for others.
  void follow(const checkpoint::job_record& record);
  void on_member_lost(const node_id& node);
  /// The member's process restarted; what it has on disk it still has, what its receipts from memory were for not.
  void on_member_reset(const node_id& node);

  /// A rank was captured; its late log is still open.
  void captured(rank_number rank, epoch_number epoch, incarnation_number incarnation,
                peal::snapshot taken);
  /// The late log is complete: the snapshot is whole and is drained in the background.
  void close(rank_number rank, epoch_number epoch,
             const std::vector<messaging::rank_message>& late);
  /// The epoch was given up.
  void drop(epoch_number epoch);
  void abandon_all();
  /// Keeps this epoch and the one before, collects the others.
  void committed(const checkpoint::job_record& record);
  /// This peer's own copy of a rank's whole snapshot, if it still has it.
  [[nodiscard]] std::shared_ptr<const peal::snapshot> kept(rank_number rank, epoch_number epoch) const;
  /// A snapshot of this epoch that is on its way to the holders, or that none of them took.
  [[nodiscard]] std::shared_ptr<const peal::snapshot> drained(rank_number rank, epoch_number epoch) const;

  /// True when the message was for the holder or for a drain.
  bool on_message(const node_id& from, const store::store_message& message);
  /// Whether live members vouch for every stripe of that rank's snapshot as often as the proof
  /// says, the manifest's stripe included.
  [[nodiscard]] bool sufficient(const store::pin& snapshot, rank_number rank, byte_view proof);
  /// Least number of copies in the drains of the last epoch.
  [[nodiscard]] unsigned replicas() const noexcept { return replicas_achieved_; }
  /// What a rank's committed snapshot consists of, so that this peer can look after it.
  void note_chunks(rank_number rank, epoch_number epoch, const chunk_id& manifest, std::vector<store::placed_chunk> chunks);
  /// Compares what was noted. Not inside of the call.
  void begin_survey_soon();
  /// Gives a holder a chunk of a committed epoch that it should have had, as the upload budget permits.
  void mend(const node_id& to, rank_number rank, epoch_number epoch, store::sealed_chunk chunk);
  /// Questions to holders about what they have, and orders that follow.
  [[nodiscard]] std::uint64_t survey_messages() const noexcept { return survey_messages_; }
  /// Sealed bytes of chunks that others have got from this peer's holder.
  [[nodiscard]] std::uint64_t bytes_given() const noexcept { return bytes_given_; }
  /// Reads them all; what is damaged counts as absent from then on.
  [[nodiscard]] bool has_inputs(const std::map<std::string, job_input>& inputs);
  [[nodiscard]] result<byte_vector> read_input(const job_input& input);

 private:
  /// Slices that workers measure; it outlives a drain that is dropped meanwhile.
  struct measuring {
    std::shared_ptr<store::chunker> chunker;
    std::vector<store::chunker::slice> slices;
    std::vector<store::chunker::measured_slice> measured;
    std::size_t left = 0;  ///< works
    std::atomic<bool> failed{false};
  };
  struct drain {
    epoch_number epoch;
    incarnation_number incarnation;
    std::optional<peal::snapshot> open;            ///< until the late log is closed
    std::shared_ptr<const peal::snapshot> whole;
    bool chunking = false;  ///< step by step
    std::shared_ptr<measuring> under_way;
    chunk_id manifest;
    struct plain_chunk {
      payload bytes;
      store::packing how;
    };
    std::map<chunk_id, plain_chunk> plain;
    std::map<chunk_id, payload> sealed;
    std::size_t sealed_ahead = 0;  ///< bytes, at most
    std::vector<store::placed_chunk> chunks;
    std::unique_ptr<store::replicator> replicator;
    std::optional<drain_outcome> outcome;
    std::uint64_t bytes_sent = 0;
    std::vector<node_id> relied_on;
  };

  [[nodiscard]] const std::shared_ptr<store::chunker>& chunker_of(rank_number rank);
  void begin_chunks(rank_number rank, drain& d);
  void measure(rank_number rank, drain& d);
  void measured(rank_number rank, const std::shared_ptr<measuring>& m);
  void step(rank_number rank, epoch_number epoch);
  void chunked(rank_number rank, drain& d, store::chunker& chunker);
  void replicate(rank_number rank, drain& d);
  void look_after(rank_number rank, drain& d);
  void look_after_all();
  void scrub_later();
  void ask_holder(const node_id& from, const store::get_chunks& get);
  void serve();
  void send_mends();
  void pass(const store::pass_chunks& order);
  void survey_by(time_point when);
  void begin_survey();
  void look_after_survey();
  void flush();
  void arm();
  [[nodiscard]] time_point now() const { return context_.machine.clock().now(); }

  snapshot_store_owner& owner_;
  peer_context& context_;
  job_id job_;
  crypto::secret_key secret_;
  receipts_from receipts_;
  store::chunk_codec codec_;
  store::holder holder_;
  store::genuine_receipts genuine_;
  std::vector<store::member> members_;
  unsigned replicas_ = 1, replicas_achieved_ = 0;
  std::map<rank_number, std::shared_ptr<store::chunker>> chunkers_;
  std::map<rank_number, store::replica_map> known_;
  std::map<rank_number, drain> drains_;
  std::map<rank_number, std::map<epoch_number, std::shared_ptr<const peal::snapshot>>> kept_;
  epoch_number committed_;
  std::vector<std::pair<node_id, store::store_message>> outbox_;
  store::upload_budget uploads_;
  /// Asked for, and not given yet, oldest first.
  std::deque<std::pair<node_id, chunk_id>> asked_;
  std::set<std::pair<node_id, chunk_id>> asked_once_;
  std::uint64_t bytes_given_ = 0;
  struct waiting_mend {
    node_id to;
    rank_number rank;
    epoch_number epoch;
    store::sealed_chunk chunk;  ///< without bytes: to be read from the log
  };
  std::deque<waiting_mend> mends_;
  std::size_t mends_in_memory_ = 0;
  incarnation_number incarnation_;
  struct listed_snapshot {
    chunk_id manifest;
    std::vector<store::placed_chunk> chunks;
  };
  std::map<std::pair<rank_number, epoch_number>, listed_snapshot> listed_;  ///< of ranks here
  std::vector<std::pair<rank_number, epoch_number>> to_survey_;
  std::optional<store::chunk_survey> survey_;
  time_point survey_at_ = time_point_never;
  host::timer survey_timer_, scrub_timer_;
  bool scrub_all_read_ = false;
  std::uint64_t survey_messages_ = 0;
  host::timer timer_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

 public:
  ~snapshot_store() { *alive_ = false; }
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/snapshot_store.ipp>
#endif
