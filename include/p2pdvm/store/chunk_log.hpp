/// Where a peer keeps sealed chunks and small named values: on disk, or in memory.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/result.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace p2pdvm::store {

/// What keeps a chunk alive: a snapshot of one epoch, taken in one incarnation of a job.
/// Job data that is no snapshot (inputs) is pinned by epoch 0 of incarnation 0.
struct pin {
  job_id job;
  incarnation_number incarnation;
  epoch_number epoch;
  friend auto operator<=>(const pin&, const pin&) = default;
  template <class F>
  void fields(F&& f) {
    f(job), f(incarnation), f(epoch);
  }
};

/// Changes take effect at once for readers and survive a crash once `sync` reported success.
/// After an error nothing of what was not yet synced may be relied on.
class chunk_log {
 public:
  virtual ~chunk_log() = default;

  [[nodiscard]] virtual bool contains(const chunk_id& id) const = 0;
  /// Storing a chunk that is there already costs nothing. Errors: `no_space`, `io`.
  virtual result<> put(const chunk_id& id, byte_view sealed) = 0;
  /// The same; a log in memory keeps these bytes instead of a copy.
  virtual result<> put_shared(const chunk_id& id, const payload& sealed) { return put(id, sealed.view()); }
  /// Errors: `not_found`; `corrupted` when the stored bytes fail their checksum (the chunk is
  /// then forgotten, so that a new copy can be put); `io` when it could not be read this time.
  virtual result<payload> get(const chunk_id& id) = 0;

  /// Adds chunks (which are there) to a pin.
  virtual result<> add_pin(const pin& p, const std::vector<chunk_id>& ids) = 0;
  /// Chunks without a pin left are gone; their space is reclaimed in the background.
  virtual result<> drop_pin(const pin& p) = 0;
  [[nodiscard]] virtual std::vector<pin> pins() const = 0;
  [[nodiscard]] virtual std::vector<chunk_id> pinned(const pin& p) const = 0;

  /// Small named values (at most 16 MiB); an empty value removes the name.
  virtual result<> put_value(std::string_view name, byte_view value) = 0;
  [[nodiscard]] virtual result<byte_vector> get_value(std::string_view name) = 0;

  /// Whether anything that was durable turned out unreadable, so that what is absent may be lost.
  [[nodiscard]] virtual bool damage_found() const noexcept { return false; }

  /// Whether the log ended, when it was opened, in bytes that cannot be read: a write that a crash cut
  /// short, or damage to what had just become durable; nobody can tell which.
  [[nodiscard]] virtual bool cut_short() const noexcept { return false; }

  /// Calls `done` when everything before this call is durable; never from inside the call.
  virtual void sync(std::function<void(result<>)> done) = 0;
  /// The same for values alone.
  virtual void sync_values(std::function<void(result<>)> done) { sync(std::move(done)); }
  /// Calls `done` when all chunks and pins before this call are as safe as this log's receipts say: durable, unless the log
  /// says something else. Never from inside the call.
  virtual void confirm(std::function<void(result<>)> done) { sync(std::move(done)); }

  /// Sealed bytes of live chunks.
  [[nodiscard]] virtual std::uint64_t live_bytes() const = 0;
};

}  // namespace p2pdvm::store
