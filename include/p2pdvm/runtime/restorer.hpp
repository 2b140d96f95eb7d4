/// Pulls ranks' snapshots and the job's inputs from their holders.
#pragma once

#include <p2pdvm/host/timer.hpp>
#include <p2pdvm/peal/snapshot.hpp>
#include <p2pdvm/runtime/job_spec.hpp>
#include <p2pdvm/runtime/peer_context.hpp>
#include <p2pdvm/store/chunk.hpp>
#include <p2pdvm/store/fetcher.hpp>
#include <p2pdvm/store/manifest.hpp>

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace p2pdvm::runtime {

/// Of chunks that could not be had.
struct chunks_gone {
  std::size_t missing = 0, of = 0;
  bool denied = false;  ///< every member has said that it has none of them
};

class restorer_owner {
 public:
  virtual void send_store(const node_id& to, const store::store_message& message) = 0;
  virtual void restored(rank_number rank, epoch_number epoch,
                        std::shared_ptr<const peal::snapshot> snapshot, std::uint64_t fetched) = 0;
  virtual void restore_failed(rank_number rank, epoch_number epoch, const error& why, const chunks_gone& gone) = 0;
  /// What a snapshot consists of, its manifest among it; before it is restored.
  virtual void chunks_known(rank_number, epoch_number, const chunk_id&, const std::vector<store::placed_chunk>&) {}
  /// A holder that was to have this chunk has it not: here it is.
  virtual void mend(const node_id&, rank_number, epoch_number, const store::sealed_chunk&) {}

 protected:
  ~restorer_owner() = default;
};

class restorer {
 public:
  restorer(restorer_owner& owner, peer_context& context, const job_id& job,
           const crypto::secret_key& secret);
  ~restorer() { *alive_ = false; }

  void set_members(std::vector<store::member> members, unsigned replicas) {
    members_ = std::move(members);
    replicas_ = replicas;
  }
  void on_member_lost(const node_id& node);
  /// Leaves of a manifest what is wanted: sections may go, and whole chunks from a section's beginning.
  using chooser = std::function<void(rank_number, store::manifest&)>;
  void start(rank_number rank, epoch_number epoch, const chunk_id& manifest, chooser choose = nullptr);
  [[nodiscard]] bool idle() const noexcept { return restorations_.empty(); }
  void cancel_all();
  void on_message(const node_id& from, const store::store_message& message);

  /// Into this peer's own log, pinned; `done` when they are durable.
  void fetch_inputs(std::vector<store::member> from, const std::map<std::string, job_input>& inputs,
                    std::function<void(result<>)> done);

 private:
  struct restoration {
    epoch_number epoch;
    chunk_id manifest_id;
    chooser choose;
    std::unique_ptr<store::fetcher> fetcher;
    std::optional<store::manifest> manifest;  ///< read in the first of two steps
    std::optional<store::assembler> assembler;
    payload manifest_bytes;
    std::uint64_t fetched = 0;
    std::optional<error> trouble;
    chunks_gone gone;
  };
  /// For a holder that lacks it. What is more a survey finds.
  static constexpr std::size_t mends_kept_max = 64;
  struct mended {
    node_id holder;
    rank_number rank;
    epoch_number epoch;
    store::sealed_chunk chunk;
  };
  struct inputs_fetch {
    std::unique_ptr<store::fetcher> fetcher;
    std::vector<chunk_id> all;
    std::optional<error> trouble;
    std::function<void(result<>)> done;
  };

  [[nodiscard]] std::unique_ptr<store::fetcher> fetch(rank_number rank,
                                                      std::vector<store::placed_chunk> chunks,
                                                      std::vector<store::member> members,
                                                      store::fetcher::sink_function sink,
                                                      std::optional<epoch_number> mends = std::nullopt);
  void fetch_pieces(rank_number rank, restoration& r);
  void finish(rank_number rank, restoration r);
  /// By a worker, where there are any.
  void open(const node_id& from, const store::sealed_chunk& chunk, std::size_t bytes_max);
  void opened(const node_id& from, const store::sealed_chunk& chunk, const result<payload>& plain);
  [[nodiscard]] std::optional<std::size_t> expected(const node_id& from, const chunk_id& id) const;
  void look_after_all();
  void look_after_inputs();
  void arm();
  [[nodiscard]] time_point now() const { return context_.machine.clock().now(); }

  restorer_owner& owner_;
  peer_context& context_;
  job_id job_;
  std::shared_ptr<const store::chunk_codec> codec_;  ///< workers may have it for longer
  std::set<std::pair<node_id, chunk_id>> opening_;  ///< whose answers workers have
  std::vector<store::member> members_;
  unsigned replicas_ = 3;
  std::vector<mended> mended_;
  std::map<rank_number, restoration> restorations_;
  std::optional<inputs_fetch> inputs_;
  std::vector<std::pair<node_id, store::store_message>> outbox_;
  host::timer timer_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/restorer.ipp>
#endif
