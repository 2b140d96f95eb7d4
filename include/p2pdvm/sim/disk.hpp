/// A disk in memory that loses, tears and rots what a real one may.
///
/// Each file remembers what every write since the last successful sync has overwritten. A crash
/// takes each of those writes back, keeps it, or keeps some of its 512-byte sectors, as the seed
/// says and independently of the others, so that a later write can survive an earlier one.
#pragma once

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/host/host.hpp>

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace p2pdvm::sim {

enum class disk_operation : std::uint8_t { open, read, write, sync, replace, remove };

namespace detail {

inline constexpr std::uint64_t sector_bytes = 512;

/// Content and history of one file. Only pages that were written take memory.
class file_image {
 public:
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  void write(std::uint64_t offset, byte_view bytes);
  void resize(std::uint64_t size);
  [[nodiscard]] std::size_t read(std::uint64_t offset, byte_span into) const;
  /// Of those that something else than zeros was written to.
  [[nodiscard]] std::size_t pages() const noexcept { return pages_.size(); }
  /// Flips a bit of the `n`th of these pages, as `flip` does.
  bool flip_in_page(std::size_t n, std::uint64_t byte, unsigned bit);
  /// Flips one bit without any trace. False when it is past the end.
  bool flip(std::uint64_t byte, unsigned bit);

  /// Number of changes so far, for `settle`.
  [[nodiscard]] std::uint64_t changes() const noexcept { return next_change_; }
  /// The changes before `end` are durable now or, after a failed sync, will be lost.
  void settle(std::uint64_t end, bool durable);
  void crash(random_generator& random);
  /// Everything is durable from now on.
  void settle_all() { history_.clear(); }
  /// False until the first successful sync: the name may not survive a crash.
  bool named = false;

 private:
  static constexpr std::uint64_t page_bytes = 4096;
  enum class fate : std::uint8_t { open, durable, doomed };
  struct change {
    std::uint64_t number;
    std::uint64_t offset;
    byte_vector before;  ///< of the written range, as far as it was inside the file
    std::uint64_t size_before;
    std::uint64_t size_after;
    std::uint64_t length;  ///< of the write; for a resize the cut-off part is in `before`
    bool is_resize;
    fate what = fate::open;
  };

  void put(std::uint64_t offset, byte_view bytes);
  void set_size(std::uint64_t size);
  [[nodiscard]] byte_vector copy(std::uint64_t offset, std::uint64_t length) const;
  void redo(const change& c, byte_view after, random_generator& random);

  std::uint64_t size_ = 0;
  /// As far as something was written to them; the rest are zeros.
  std::map<std::uint64_t, byte_vector> pages_;
  std::deque<change> history_;
  std::uint64_t next_change_ = 0;
};

/// Runs an action later, unless the machine crashes before.
using run_later = std::function<void(duration, std::function<void()>)>;

}  // namespace detail

/// What a test may do to a disk. It survives crashes of its machine.
class disk_image {
 public:
  disk_image(std::string machine_name, std::uint64_t bytes_max, std::uint64_t seed,
             detail::run_later later);

  /// Lets the `nth` operation of that kind from now on fail (1: the next one).
  void fail(disk_operation kind, std::uint64_t nth, errc code = errc::io);
  void set_capacity(std::uint64_t bytes) { bytes_max_ = bytes; }
  [[nodiscard]] std::uint64_t used() const;
  /// Flips a bit of a stored byte; `not_found` when there is no such byte.
  result<> rot(std::string_view path, std::uint64_t byte, unsigned bit);
  /// Flips a bit anywhere in a file, by the seed. No effect on an empty one.
  result<> rot(std::string_view path);
  /// Flips a bit, by the seed, somewhere where something was written. No effect on an empty disk.
  void rot();
  /// How long a sync takes: uniform between the two.
  duration sync_time_min = std::chrono::microseconds(200);
  duration sync_time_max = std::chrono::milliseconds(5);

  /// The disk as one life of the machine sees it; useless after the next `crash`.
  [[nodiscard]] std::unique_ptr<host::disk> mount();
  /// Ends the current life: see above. A file removed in the last seconds may be back.
  void crash(time_point now);
  /// A new disk: nothing is left of the old one. Between two lives.
  void replace();
  void set_time(std::function<time_point()> now) { now_ = std::move(now); }

 private:
  friend class mounted_disk;
  friend class mounted_file;
  struct removed_file {
    std::string path;
    std::shared_ptr<detail::file_image> image;
    time_point when;
  };
  /// A file system writes its journal at least this often.
  static constexpr duration journal_interval = std::chrono::seconds(5);

  /// Counts an operation; fails when a fault is due or `life` is over.
  [[nodiscard]] result<> attempt(std::uint64_t life, disk_operation kind, const char* doing,
                                 std::string_view path);
  [[nodiscard]] error no_space(const char* doing, std::string_view path) const;
  [[nodiscard]] std::uint64_t free() const;
  [[nodiscard]] std::string name(std::string_view path) const;

  std::string machine_name_;
  std::uint64_t bytes_max_;
  random_generator random_;
  detail::run_later later_;
  std::function<time_point()> now_;
  std::uint64_t life_ = 1;
  std::map<std::string, std::shared_ptr<detail::file_image>, std::less<>> files_;
  std::deque<removed_file> removed_;
  std::array<std::uint64_t, 6> counts_{};
  std::map<std::pair<disk_operation, std::uint64_t>, errc> faults_;
};

}  // namespace p2pdvm::sim

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/sim/impl/disk.ipp>
#include <p2pdvm/sim/impl/file_image.ipp>
#endif
