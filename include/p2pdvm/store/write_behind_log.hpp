/// A chunk log on disk whose newest chunks may be in memory for a while.
#pragma once

#include <p2pdvm/host/timer.hpp>
#include <p2pdvm/store/chunk_log.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace p2pdvm::store {

/// Memory for chunks that are not durable yet, where nobody has set another quota; what comes beyond it is written at once.
inline constexpr std::size_t unwritten_bytes_max = std::size_t{512} << 20;
/// What a chunk takes beside its bytes.
inline constexpr std::size_t unwritten_overhead_bytes = 512;
/// So long after the last chunk came, or so much longer after the first, chunks go to disk: who names and seals them needs the cores
/// until then. So many bytes between two other things that the driver does.
inline constexpr duration write_behind_delay = std::chrono::milliseconds(50);
inline constexpr duration write_behind_delay_max = std::chrono::milliseconds(500);
inline constexpr std::size_t write_behind_bytes_per_turn = std::size_t{1} << 20;
inline constexpr duration write_behind_retry = std::chrono::seconds(1);

/// As it begins it is the log below. With `receipts_from_memory` chunks and pins are confirmed as soon as they are in memory, and
/// written behind that: a holder's receipt then holds as long as its process. But nothing is confirmed for an epoch before those of its
/// job that came earlier are durable: who has committed one can always go back to the one before. What is dropped is dropped below only when all that was
/// put before it has been written, so that a process which is killed forgets the newest and never what was before that. Values, such as a job's
/// record, are always as durable as the log below makes them.
class write_behind_log final : public chunk_log {
 public:
  /// `clock` must outlive the log. `below` is not null.
  write_behind_log(host::clock& clock, std::unique_ptr<chunk_log> below, std::size_t memory_bytes_max = unwritten_bytes_max);
  write_behind_log(const write_behind_log&) = delete;
  write_behind_log& operator=(const write_behind_log&) = delete;
  /// Writes what is in memory, and leaves it to the system when that is durable.
  ~write_behind_log() override;

  /// No longer wanted: what is in memory is written before anything else is.
  void receipts_from_memory(bool wanted);
  /// What chunks in memory take, with those that are written and not yet durable.
  [[nodiscard]] std::size_t unwritten_bytes() const noexcept { return bytes_; }

  [[nodiscard]] bool contains(const chunk_id& id) const override;
  result<> put(const chunk_id& id, byte_view sealed) override;
  result<> put_shared(const chunk_id& id, const payload& sealed) override;
  result<payload> get(const chunk_id& id) override;
  result<> add_pin(const pin& p, const std::vector<chunk_id>& ids) override;
  result<> drop_pin(const pin& p) override;
  [[nodiscard]] std::vector<pin> pins() const override;
  [[nodiscard]] std::vector<chunk_id> pinned(const pin& p) const override;
  result<> put_value(std::string_view name, byte_view value) override { return below_->put_value(name, value); }
  result<byte_vector> get_value(std::string_view name) override { return below_->get_value(name); }
  [[nodiscard]] bool damage_found() const noexcept override { return below_->damage_found(); }
  [[nodiscard]] bool cut_short() const noexcept override { return below_->cut_short(); }
  /// Writes all that is in memory first.
  void sync(std::function<void(result<>)> done) override;
  void sync_values(std::function<void(result<>)> done) override { below_->sync_values(std::move(done)); }
  void confirm(std::function<void(result<>)> done) override;
  [[nodiscard]] std::uint64_t live_bytes() const override { return below_->live_bytes() + sealed_bytes_; }

 private:
  struct entry {
    payload sealed;
    std::uint32_t pins = 0;  ///< in memory
    bool written = false;
  };
  using pinned_chunks = std::map<pin, std::set<chunk_id>>;

  [[nodiscard]] bool all_durable() const noexcept { return chunks_.empty() && pins_.empty() && dropping_.empty(); }
  void arm(duration delay);
  void write_some();
  result<> write_chunks(std::size_t bytes_max);
  result<> write_pins();
  result<> write_all();
  void carry_out(pinned_chunks::iterator drop);
  void carry_out_drops();
  void begin_sync();
  void end_sync(const result<>& synced, const std::vector<chunk_id>& chunks, const pinned_chunks& pins);
  void write_again(const std::vector<chunk_id>& chunks);
  void forget(const chunk_id& id);
  /// Whether a job has more than one epoch that is not known to be durable.
  [[nodiscard]] bool has_older() const;
  void confirm_waiting();
  void complete();

  host::clock& clock_;
  std::unique_ptr<chunk_log> below_;
  std::size_t memory_bytes_max_;
  bool from_memory_ = false;
  std::unordered_map<chunk_id, entry> chunks_;  ///< not known to be durable
  std::deque<chunk_id> order_;                  ///< to be written, oldest first; some are gone
  time_point first_put_{}, last_put_{};         ///< of those
  bool writing_ = false;                        ///< some of those went to disk
  pinned_chunks pins_;                          ///< not known to be durable; their chunks may be
  /// Written since the last sync began.
  std::vector<chunk_id> written_;
  pinned_chunks written_pins_;
  bool syncing_ = false;
  /// Gone since that sync began: if they are here again, it says nothing of them.
  std::set<chunk_id> gone_chunks_;
  std::set<pin> gone_pins_;
  /// Dropped here and not yet below, with chunks on disk that were pinned by them in memory only.
  pinned_chunks dropping_;
  std::size_t bytes_ = 0;
  std::size_t sealed_bytes_ = 0;  ///< of chunks that are not written
  bool unconfirmed_below_ = false;  ///< chunks went to disk at once since the last sync
  std::vector<std::function<void(result<>)>> waiting_;        ///< for the next turn
  std::vector<std::function<void(result<>)>> waiting_older_;  ///< for epochs before theirs
  host::timer write_timer_, confirm_timer_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace p2pdvm::store

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/store/impl/write_behind_log.ipp>
#endif
