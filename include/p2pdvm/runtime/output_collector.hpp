/// Brings what ranks wrote into outputs together on a peer that was asked for the files, epoch after epoch.
#pragma once

#include <p2pdvm/checkpoint/job_record.hpp>
#include <p2pdvm/host/timer.hpp>
#include <p2pdvm/peal/output.hpp>
#include <p2pdvm/runtime/output_sink.hpp>
#include <p2pdvm/runtime/peer_context.hpp>
#include <p2pdvm/runtime/restorer.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace p2pdvm::runtime {

class output_collector_owner {
 public:
  virtual void send_store(const node_id& to, const store::store_message& message) = 0;
  /// This peer's own copy of a rank's snapshot; or null.
  [[nodiscard]] virtual std::shared_ptr<const peal::snapshot> snapshot_here(rank_number rank, epoch_number epoch) = 0;
  /// All of an epoch that has committed, up to `bytes`, is in the file.
  virtual void output_written(const std::string& name, epoch_number epoch, std::uint64_t bytes) = 0;
  /// It goes on trying.
  virtual void output_held_up(const std::string& sentence) = 0;
  /// All files are complete; or why one is not.
  virtual void outputs_complete(const result<>& done) = 0;

 protected:
  ~output_collector_owner() = default;
};

/// Whatever it has missed, the newest committed epoch has all of it: a rank's snapshot has everything that the rank ever wrote. Of
/// that it fetches the chunks behind what is in the file. So a peer that comes late, or comes back, has the whole file in the end.
class output_collector final : private restorer_owner {
 public:
  output_collector(output_collector_owner& owner, peer_context& context, const job_id& job, const crypto::secret_key& secret);

  void set_members(std::vector<store::member> members, unsigned replicas) {
    restorer_.set_members(std::move(members), replicas);
  }
  void on_member_lost(const node_id& node) { restorer_.on_member_lost(node); }
  void on_message(const node_id& from, const store::store_message& message) { restorer_.on_message(from, message); }
  /// An epoch has committed. It may be older than the last one: then that one could not be read any more.
  void committed(const checkpoint::job_record& record);
  /// The last one has. Calls `outputs_complete` from inside this call or later.
  void finish(const checkpoint::epoch_manifests& last);

 private:
  struct file {
    std::vector<std::uint64_t> taken;  ///< of each rank's log
    std::uint64_t bytes = 0;           ///< written
    /// In the epoch that is being collected: whether it is, once a rank was seen that has written into it.
    std::optional<bool> collected;
    struct part {
      std::uint64_t from = 0;  ///< of the log
      payload_list bytes;
    };
    std::map<rank_number, part> parts;
  };

  // restorer_owner
  void send_store(const node_id& to, const store::store_message& message) override { owner_.send_store(to, message); }
  void restored(rank_number rank, epoch_number epoch, std::shared_ptr<const peal::snapshot> snapshot,
                std::uint64_t fetched) override;
  void restore_failed(rank_number rank, epoch_number epoch, const error& why, const chunks_gone& gone) override;

  [[nodiscard]] bool wanted() const noexcept { return sink_ != nullptr && !files_.empty(); }
  void begin();
  void choose(rank_number rank, store::manifest& m);
  [[nodiscard]] bool collects(const std::string& name, file& f);
  void take(rank_number rank, const peal::snapshot& from);
  void all_there();
  [[nodiscard]] result<byte_vector> new_bytes(file& f);
  void write(const std::string& name, file& f, byte_view bytes);
  void try_again(const error& why);
  void forget_all();

  static constexpr duration retry_pause = std::chrono::seconds(1);
  /// In a row: then whoever watches is told.
  static constexpr int retries_silent_max = 5;
  /// The same at the end, when others may be gone soon.
  static constexpr int retries_max = 20;

  output_collector_owner& owner_;
  output_sink* sink_;
  restorer restorer_;
  std::map<std::string, file> files_;
  std::optional<checkpoint::epoch_manifests> newest_;  ///< to be collected
  epoch_number collecting_, collected_;
  std::uint32_t ranks_ = 0;
  std::set<rank_number> missing_;
  bool last_ = false, over_ = false;
  int retries_ = 0;
  host::timer retry_timer_;
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/output_collector.ipp>
#endif
