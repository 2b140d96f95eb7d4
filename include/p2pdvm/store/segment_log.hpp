/// A chunk log on disk: append-only segments that survive crashes, full disks and bit rot.
///
/// After a crash the log holds the effects of a prefix of the calls made, at least of those
/// that a successful `sync` covered. How much is durable is itself written into the log, so
/// that damage to durable records (reported, repaired by others) is told from a write that a
/// crash cut short (dropped). Nothing is changed in place; space comes back when a segment
/// with no live record is deleted, which `compact` brings about.
#pragma once

#include <p2pdvm/host/host.hpp>
#include <p2pdvm/store/chunk_log.hpp>
#include <p2pdvm/store/segment_format.hpp>

#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <unordered_map>

namespace p2pdvm::store {

class segment_log final : public chunk_log {
 public:
  struct options {
    std::uint64_t segment_bytes = std::uint64_t{64} << 20;
    /// Bytes of all segments, dead records and reserve included: no more than this is on disk at any time.
    std::uint64_t quota_bytes = std::numeric_limits<std::uint64_t>::max();
    /// Kept free, as quota and as a file, so that dropping pins, values and compaction still
    /// work on a full disk. Once it was needed, chunks are refused until `compact` finds room
    /// for it again. Compaction copies up to half a segment before it frees one.
    std::uint64_t reserve_bytes = std::uint64_t{32} << 20;
    /// Used when the folder is new; from `host::entropy`, so that strangers cannot put bytes
    /// into chunks that look like records of this log.
    std::uint64_t salt = 0;

    /// For a quota that somebody has set, however small: segments of a sixteenth of it and a reserve of an eighth, but not more than by
    /// default, so that compaction finds the room that it needs in the reserve.
    [[nodiscard]] static options within(std::uint64_t quota_bytes);
  };
  /// The least quota that is of any use.
  static constexpr std::uint64_t quota_bytes_min = std::uint64_t{4} << 20;

  /// Files that stay open at once.
  static constexpr std::size_t open_files_max = 64;

  /// `disk` must outlive the log; one log per folder. Changes nothing when it fails. Errors:
  /// `unsupported_version` (a newer program's folder), `corrupted` (no segment has a readable
  /// header), `io`, `no_space`, `invalid_argument`.
  static result<std::unique_ptr<segment_log>> open(host::disk& disk, std::string folder,
                                                   options settings);
  ~segment_log() override;

  [[nodiscard]] bool contains(const chunk_id& id) const override;
  result<> put(const chunk_id& id, byte_view sealed) override;
  result<payload> get(const chunk_id& id) override;
  /// `not_found` when a chunk is not there; nothing is pinned then.
  result<> add_pin(const pin& p, const std::vector<chunk_id>& ids) override;
  result<> drop_pin(const pin& p) override;
  [[nodiscard]] std::vector<pin> pins() const override;
  /// Sorted; damaged chunks included.
  [[nodiscard]] std::vector<chunk_id> pinned(const pin& p) const override;
  result<> put_value(std::string_view name, byte_view value) override;
  /// `corrupted` also when a newer value may have been lost to damage: never a stale value.
  result<byte_vector> get_value(std::string_view name) override;
  void sync(std::function<void(result<>)> done) override;
  [[nodiscard]] std::uint64_t live_bytes() const override { return live_bytes_; }
  /// Of one chunk, as it is stored; 0 when it is not there.
  [[nodiscard]] std::uint64_t sealed_bytes(const chunk_id& id) const;

  /// Deletes dead segments and moves live records out of mostly dead ones: at most about
  /// `bytes_budget` bytes of work, but one record at least. Returns the work done;
  /// 0 means that nothing is left to do now, or that the disk refused. The space
  /// comes back with the next successful `sync`.
  std::size_t compact(std::size_t bytes_budget);

  /// Chunks that were or may be pinned and turned out unreadable, sorted; putting one again
  /// takes it off the list.
  [[nodiscard]] std::vector<chunk_id> damaged() const;
  /// Whether durable records were unreadable when the log was opened. Their names are unknown:
  /// pins may be missing or may have come back, a value's only record may be gone.
  [[nodiscard]] bool damage_found() const noexcept override { return damage_found_; }
  [[nodiscard]] bool cut_short() const noexcept override { return cut_short_; }
  /// Forgets chunks that no pin names (left by a crash between `put` and `add_pin`); for the
  /// owner to call after `open`. Does nothing when damage was found. Returns their number.
  std::size_t drop_unpinned();
  /// Bytes of all segment files.
  [[nodiscard]] std::uint64_t used_bytes() const noexcept { return used_; }
  /// Of the quota so much is used, dead records included, that it is time to `compact`.
  [[nodiscard]] bool is_crowded() const noexcept {
    return used_ > (options_.quota_bytes - options_.reserve_bytes) / 4 * 3;
  }

 private:
  using position = segment::position;
  using record_type = segment::record_type;

  /// A record on disk. `at.segment` is 0 when there is none.
  struct location {
    position at;
    std::uint64_t sequence = 0;
    std::uint32_t bytes = 0;
    std::uint32_t body = 0;
    friend bool operator==(const location& a, const location& b) { return a.at == b.at; }
  };
  struct segment_state {
    std::unique_ptr<host::file> file;
    std::uint64_t begin = 0;  ///< of records
    std::uint64_t end = 0;
    std::uint64_t file_bytes = 0;
    std::uint64_t first_sequence = 0;
    std::uint64_t live = 0;  ///< bytes of live records
    position dead_at;        ///< its last record to die was killed by a record before this
    std::uint64_t used_at = 0;
    bool syncing = false;
  };
  struct chunk_entry {
    location where;
    std::uint32_t pins = 0;
    bool present = false;
  };
  /// `holders` are the segments, deleted ones included until that is certain, with records of
  /// a pin or a value; while there are others than its own, a tombstone is needed.
  using holders = std::set<std::uint64_t>;
  struct pin_entry {
    std::vector<chunk_id> ids;
    std::vector<location> adds;
    holders segments;
  };
  struct tombstone {
    location where;
    holders segments;
  };
  enum class value_state : std::uint8_t { present, removed, lost };
  struct value_entry {
    location where;
    value_state state = value_state::present;
    holders segments;
  };
  struct record {
    segment::record_head head;
    byte_vector key;
    payload body;
  };
  /// Who may use how much of the reserve.
  enum class need : std::uint8_t { ordinary, value, upkeep };
  struct segment_scan;
  struct loading;

  segment_log(host::disk& disk, std::string folder, options settings);

  // segment_log.ipp: appending and reading
  [[nodiscard]] std::string path(std::uint64_t number) const;
  void close_retired();
  [[nodiscard]] error fail(const error& why, const std::string& doing) const;
  result<host::file*> file_of(std::uint64_t number);
  result<location> append(record_type type, byte_view key, byte_view body, need who,
                          std::optional<std::uint64_t> sequence = std::nullopt);
  result<> claim_space(std::uint64_t bytes, need who);
  result<> write(std::uint64_t number, std::uint64_t offset, byte_view bytes, need who);
  result<> refuse_to_replace(std::uint64_t number);
  result<> roll(need who);
  result<record> read(const location& where);

  // segment_index.ipp: what records mean
  void revive(const location& where);
  void kill(const location& where);
  void apply_chunk(const chunk_id& id, const location& where);
  void apply_pin(const pin& p, std::vector<chunk_id> ids, const location& where);
  void apply_drop(const pin& p, const location& where);
  void apply_value(const std::string& name, const location& where, value_state state);
  void unpin(const chunk_id& id);
  void forget(const chunk_id& id);
  bool settle(const tombstone& t);
  void bury(std::uint64_t number);
  location* live_location(record_type type, byte_view key, const location& where,
                          holders** segments);

  // segment_load.ipp: the index from the segments
  result<> load();
  result<> find_segments(loading& l);
  result<> scan_segments(loading& l);
  result<> find_evidence(loading& l);
  result<> judge(loading& l);
  result<> replay(loading& l);
  result<> replay_pin(const segment::found_record& found, const location& where);
  void report_damage(const loading& l);
  void rebuild();
  bool mend();

  // segment_sync.ipp: durability
  void start_round();
  void on_synced(std::uint64_t number, const result<>& outcome);
  void finish_round();
  void lose_unsynced();

  // segment_compact.ipp: space
  void reclaim();
  bool restore_reserve();
  void release_reserve();
  [[nodiscard]] bool mostly_dead(const segment_state& s) const;
  bool choose();
  bool move_stranded(std::uint64_t number);
  [[nodiscard]] bool needs_newer() const;
  result<std::size_t> move_record(const segment::found_record& found);

  host::disk& disk_;
  std::string folder_;
  options options_;
  std::uint64_t salt_ = 0;

  std::map<std::uint64_t, segment_state> segments_;
  std::uint64_t active_ = 0;  ///< 0: the next append makes a segment
  std::uint64_t last_number_ = 0;
  /// Whether a manifest says where each segment ends now. Before, none may be deleted: where a
  /// crash or a failed sync cut the log is only seen with all of them there.
  bool ends_written_ = false;
  /// A sync failed, and what it lost would come back with the next start of the process.
  bool ends_owed_ = false;
  std::uint64_t next_sequence_ = 1;
  std::uint64_t used_ = 0;
  std::uint64_t loaded_bytes_ = 0;  ///< `used_` when it was opened
  std::uint64_t uses_ = 0;
  position needed_;   ///< end of the last record that a sync must cover
  position durable_;  ///< everything before it is durable
  holders removed_;   ///< deleted files that a crash may bring back
  std::vector<std::unique_ptr<host::file>> retired_;  ///< closed outside their callbacks
  std::unique_ptr<host::file> reserve_;
  bool reserve_full_ = false;
  /// There was no room for it: filling it again is `compact`'s business, not that of each put.
  bool reserve_refused_ = false;
  std::optional<error> broken_;      ///< it could not be read back after a failed sync
  std::uint64_t mending_ = 0;        ///< times that this stood in the way

  std::unordered_map<chunk_id, chunk_entry> chunks_;
  std::map<pin, pin_entry> pins_;
  /// One for each drop of a pin: a later drop must not undo what came between them.
  std::map<pin, std::vector<tombstone>> dropped_;
  std::map<std::string, value_entry, std::less<>> values_;
  std::set<chunk_id> damaged_;
  std::uint64_t live_bytes_ = 0;
  bool damage_found_ = false;
  bool cut_short_ = false;
  /// Dead records are missing from a replay, so a chunk may lose its last pin on the way
  /// although it never did: it is kept aside then, and a later pin finds it again.
  bool replaying_ = false;

  std::vector<std::function<void(result<>)>> waiting_;
  std::vector<std::function<void(result<>)>> round_callers_;
  std::optional<error> round_failure_;
  std::optional<error> round_owed_;
  std::optional<error> unreported_;  ///< something was lost that no caller of sync was told
  position asked_;                   ///< `needed_` at the last call of sync
  position round_target_;
  std::size_t round_pending_ = 0;
  bool round_running_ = false;
  bool calling_back_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  position compacting_;  ///< the next record to look at; segment 0: none
};

}  // namespace p2pdvm::store

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/store/impl/segment_compact.ipp>
#include <p2pdvm/store/impl/segment_index.ipp>
#include <p2pdvm/store/impl/segment_load.ipp>
#include <p2pdvm/store/impl/segment_log.ipp>
#include <p2pdvm/store/impl/segment_sync.ipp>
#endif
