/// A way between two processes of one machine and user through memory that they share.
///
/// Messages go through it in order, with nothing encrypted and no call of the system while both sides are
/// awake. It says nothing of what was delivered: when it ends, messages on it may be lost, so whoever
/// uses it keeps what is not acknowledged. Nothing of other users can reach it.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/result.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>

namespace p2pdvm::host {

/// What the two processes tell each other over a way that they trust, to find each other.
using lane_name = std::array<std::byte, 16>;

/// The head of a message has at most so many bytes.
inline constexpr std::size_t lane_head_bytes_max = 96;

/// Bodies larger than this need not go through the shared memory: the receiver may read them where they are.
inline constexpr std::size_t lane_copied_bytes_max = 32 * 1024;

/// Copies what `first` has room for there and the rest, which is as long as `second`, to `second`.
inline void copy_in_two(byte_view bytes, byte_span first, byte_span second) noexcept {
  copy_few(first.data(), bytes.data(), first.size());
  copy_few(second.data(), bytes.data() + first.size(), second.size());
}

/// The body of a message that is arriving, valid during the handler's call.
class lane_body {
 public:
  [[nodiscard]] virtual std::size_t size() const noexcept = 0;
  /// Copies all of it: what `first` has room for, and the rest to `second`, which is as long. False when
  /// the sender's memory cannot be read any more.
  [[nodiscard]] virtual bool copy(byte_span first, byte_span second) = 0;
  /// The body without a copy, where it has an owner that can be had; else nothing, and it stays here.
  [[nodiscard]] virtual std::optional<payload> own() { return std::nullopt; }

 protected:
  ~lane_body() = default;
};

class lane_handler {
 public:
  /// Must not destroy the lane.
  virtual void on_lane_message(byte_view head, lane_body& body) = 0;
  /// The last call: the other process is gone or broke the rules. It may destroy the lane.
  virtual void on_lane_ended() = 0;

 protected:
  ~lane_handler() = default;
};

class lane {
 public:
  virtual ~lane() = default;  ///< the other side is told
  /// From now on the handler is called; it must outlive the lane.
  virtual void start(lane_handler& handler) = 0;
  /// Takes a message; what does not fit now waits here. A large body is not copied: the receiver reads it where it is, so
  /// the owner keeps an owner of `body` until it knows that the message has arrived or does not matter.
  virtual void send(byte_view head, const payload& body) = 0;
  /// The same, for a body that nobody keeps, now or not at all: 0 when it cannot be done now, and nothing was sent. A large
  /// second part must stay as it is until `take_back` is called with what this returned.
  [[nodiscard]] virtual std::uint64_t lend(byte_view, const two_parts&) { return 0; }
  /// If the other side has not read all of that message yet, it will find that the sender's memory is gone. No effect when it was
  /// lent by another lane. A lane that ends takes everything back.
  virtual void take_back(std::uint64_t) {}
};

/// Makes lanes.
class neighbourhood {
 public:
  using done = std::function<void(result<std::unique_ptr<lane>>)>;
  virtual ~neighbourhood() = default;
  /// Waits for the other process to join by the name. Calls `done` once, not from inside this call; at
  /// last with `timed_out`.
  virtual result<lane_name> offer(done call) = 0;
  /// Error, always by `done`: `unreachable` when the name is not one of this machine and user.
  virtual void join(const lane_name& name, done call) = 0;
  /// How many threads of the processes here run at once; 0: unknown.
  [[nodiscard]] virtual std::uint32_t cores() const { return 0; }
};

}  // namespace p2pdvm::host
