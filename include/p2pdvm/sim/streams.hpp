/// Simulated TCP: connections with handshakes, windows, resets and half-open ends.
///
/// A connection is two endpoints that know each other's id and exchange events. An endpoint that
/// is gone is answered for by its machine with a reset, or, when that machine is silent, by
/// nobody. Bytes count against the sender's window until the reader's credit returns.
#pragma once

#include <p2pdvm/sim/fabric.hpp>

#include <optional>

namespace p2pdvm::sim::detail {

/// Buffers in order, taken out in pieces.
class byte_queue {
 public:
  void push(byte_vector bytes) {
    bytes_ += bytes.size();
    parts_.push_back(std::move(bytes));
  }
  [[nodiscard]] bool empty() const noexcept { return bytes_ == 0; }
  [[nodiscard]] std::size_t size() const noexcept { return bytes_; }
  [[nodiscard]] std::size_t front_size() const noexcept { return parts_[head_].size() - offset_; }
  /// Up to `max` bytes; a whole buffer is moved, not copied.
  byte_vector take(std::size_t max);
  void clear() { *this = byte_queue(); }

 private:
  void drop_front();

  std::vector<byte_vector> parts_;
  std::size_t head_ = 0;    ///< parts before it are gone
  std::size_t offset_ = 0;  ///< taken from the part at `head_`
  std::size_t bytes_ = 0;
};

/// One end of a connection, in the kernel of its machine.
struct endpoint {
  endpoint_id id = 0;
  endpoint_id peer = 0;  ///< 0 until the handshake tells
  std::uint32_t machine = 0;
  std::optional<std::uint32_t> remote_machine;
  address local;
  address remote;
  host::stream_handler* handler = nullptr;
  std::optional<error> failure;
  byte_queue unsent;
  byte_queue received;
  std::size_t in_flight = 0;
  std::size_t consumed = 0;  ///< read here, credit not yet given
  tick last_arrival = 0;     ///< there, of what was sent from here
  tick connect_deadline = 0;
  tick silent_since = tick_never;  ///< bytes get no answer from then on
  bool outgoing = false;
  bool open = false;
  bool open_told = false;
  bool closed_told = false;
  bool accepted = false;
  bool accept_pending = false;
  bool paused = false;
  bool drain_wanted = false;
  bool notice_pending = false;
  bool uplink_waiting = false;
  bool watched = false;
  bool unanswered = false;  ///< bytes went to a machine that is silent
};

class streams {
 public:
  explicit streams(fabric& f) : fabric_(f) {}

  // --- calls of the owner of a stream; unknown ids are ended ones ---
  std::unique_ptr<host::stream> connect(site& s, const address& remote);
  result<std::unique_ptr<host::listener>> listen(site& s, const address& local,
                                                 host::listen_handler& handler);
  void close_listener(std::uint32_t machine, std::uint64_t serial);
  void start(endpoint_id id, host::stream_handler& handler);
  void write(endpoint_id id, byte_vector bytes);
  void pause(endpoint_id id, bool paused);
  [[nodiscard]] std::size_t unsent(endpoint_id id) const;
  void destroy(endpoint_id id);

  /// An event of a stream. True when it waits longer and was put back.
  bool happen(event_queue::slot slot);

  void crash(site& s, crash_mode mode);
  /// Tells those who still wait for the old life of `s`.
  void restarted(site& s);
  /// Partitions or faults have changed.
  void resume_all();

 private:
  static constexpr std::size_t segment_bytes_max = 64 * 1024;
  static constexpr std::size_t segment_bytes_max_limited = 16 * 1024;
  static constexpr tick request_retry = 1'000'000'000;

  [[nodiscard]] endpoint* find(endpoint_id id) const;
  endpoint& make(std::uint32_t machine);
  void free(endpoint& e);
  [[nodiscard]] site& site_of(const endpoint& e) const { return *fabric_.sites[e.machine]; }
  [[nodiscard]] std::unique_ptr<host::stream> handle_of(const endpoint& e);

  // sending
  [[nodiscard]] bool may_send(const endpoint& e) const;
  [[nodiscard]] bool uplink_shared(const endpoint& e) const;
  void pump(endpoint& e);
  void send_segment(endpoint& e);
  void join_uplink(endpoint& e);
  void give_credit(endpoint& e);
  void send_request(endpoint& e, std::uint64_t attempt);
  /// Null when the path is blocked.
  event* send(event_kind kind, endpoint& from, endpoint_id to, std::uint64_t amount = 0);
  void send_reset(std::uint32_t from, std::uint32_t to, endpoint_id id);
  void answer_for_missing(const event& e);

  // receiving
  void on_request(event& e);
  void on_reply(const event& e);
  void on_established(const event& e);
  void on_segment(event& e);
  void on_credit(const event& e);
  void on_end(const event& e);
  void on_retry(const event& e);
  void on_timeout(const event& e);
  void on_uplink(site& s);
  void accept(endpoint& e);
  void close(endpoint& e, error why);
  void watch(endpoint& e);
  [[nodiscard]] bool path_blocked(const endpoint& e) const;
  [[nodiscard]] bool way_back_blocked(const endpoint& e) const;

  // telling the handler
  void notify(endpoint& e, tick when);
  void deliver(endpoint_id id);
  void deliver_bytes(endpoint_id id);
  [[nodiscard]] byte_vector next_piece(endpoint& e);

  fabric& fabric_;
  std::vector<std::unique_ptr<endpoint>> slots_;
  std::vector<std::uint32_t> generations_;
  std::vector<std::uint32_t> free_;
};

}  // namespace p2pdvm::sim::detail

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/sim/impl/stream_events.ipp>
#include <p2pdvm/sim/impl/streams.ipp>
#endif
