/// A connection over one stream: the handshake first, then encrypted records.
#pragma once

#include <p2pdvm/host/host.hpp>
#include <p2pdvm/host/timer.hpp>
#include <p2pdvm/link/handshake.hpp>

#include <memory>
#include <optional>

namespace p2pdvm::link {

/// Bytes of finished records that are written without waiting for more, and when much more is to come: each write costs the
/// system as much as several dozen KiB in it.
inline constexpr std::size_t write_bytes_min = 16 * 1024, write_bytes_max = 160 * 1024;

/// A side that refused the other's version stays this long, so that its answer is read.
inline constexpr auto refusal_linger_max = std::chrono::seconds(1);

class connection_handler {
 public:
  /// The remote is known; a responder must still wait for a first record (see handshake.hpp).
  virtual void on_authenticated(class connection& from) = 0;
  /// `plain` is valid during the call, which may close the connection.
  virtual void on_record(connection& from, byte_view plain) = 0;
  /// Where the plaintext of the next record may go; see `record_places`.
  virtual byte_span place(connection& from, std::size_t plain_bytes) {
    static_cast<void>(from), static_cast<void>(plain_bytes);
    return {};
  }
  virtual void on_drained(connection& from) = 0;
  /// Bytes of a record have come that is not whole yet: the remote lives, and may wait for an answer.
  virtual void on_partial_record(connection& from) { static_cast<void>(from); }
  /// The last call; not made after `close()`.
  virtual void on_ended(connection& from, const error& why) = 0;

 protected:
  ~connection_handler() = default;
};

/// Bytes on the wire.
struct traffic {
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
};

/// Owned by `std::shared_ptr`: it keeps itself alive while it handles an event.
class connection final : public host::stream_handler,
                         private record_places,
                         public std::enable_shared_from_this<connection> {
 public:
  /// `relay`: the peer that passes the stream on, if one does. `handler`, `clock`, `count` and `crew` must
  /// outlive the connection.
  connection(host::clock& clock, std::unique_ptr<host::stream> stream, link::handshake opening,
             connection_handler& handler, traffic& count, std::optional<node_id> relay = {},
             record_crew* crew = nullptr);

  /// Begins the handshake; until `confirm()` the connection ends at the handshake's deadline. Who has
  /// dialled waits as long again whenever the remote has taken a step: round trips may be long.
  void start();
  /// The owner is satisfied that the remote is really there.
  void confirm();
  [[nodiscard]] bool confirmed() const noexcept { return confirmed_; }
  /// Resets the connection; no handler call follows.
  void close();
  [[nodiscard]] bool open() const noexcept { return stream_ != nullptr; }
  [[nodiscard]] bool initiator() const noexcept {
    return opening_.side() == noise::role::initiator;
  }
  /// The node that was dialled; none for incoming connections and for unknown remotes.
  [[nodiscard]] const std::optional<node_id>& expected() const noexcept {
    return opening_.expected();
  }
  /// Who passes it on; none: nobody.
  [[nodiscard]] const std::optional<node_id>& relay() const noexcept { return relay_; }
  /// Where the stream leads, no address when it goes by a relay; precondition: `open()`.
  [[nodiscard]] address remote_address() const { return stream_->remote(); }
  [[nodiscard]] bool authenticated() const noexcept { return remote_.has_value(); }
  /// Precondition: `authenticated()`.
  [[nodiscard]] const handshake_result& remote() const noexcept { return *remote_; }
  /// Where plaintext is collected; precondition: open and `authenticated()`.
  [[nodiscard]] record_sender& sender();
  /// Seals the open record into the next write, which is made at once if it is large enough: the remote
  /// opens it while the next is sealed. `to_come`: bytes that will follow at once.
  void finish_record(std::size_t to_come);
  /// Writes all finished records in one piece.
  void flush();
  /// The record that is not whole moves out of the memory that `connection_handler::place` gave.
  void displace() {
    if (remote_) remote_->receiver.displace();
  }
  /// Bytes finished or written that the host has not sent yet.
  [[nodiscard]] std::size_t unsent() const;
  /// See `host::stream`.
  [[nodiscard]] std::optional<duration> round_trip() const {
    return stream_ ? stream_->round_trip() : std::nullopt;
  }
  /// When something last arrived.
  [[nodiscard]] time_point heard() const noexcept { return heard_; }

  void on_open() override;
  void on_data(byte_view bytes) override;
  void on_drained() override;
  void on_closed(const error& why) override;

 private:
  byte_span place(std::size_t plain_bytes) override { return handler_.place(*this, plain_bytes); }
  void wait_until(time_point deadline);
  void open_up(byte_view& bytes);
  void write(byte_vector bytes);
  void end(const error& why);
  void refuse(const error& why);

  host::clock& clock_;
  std::unique_ptr<host::stream> stream_;
  link::handshake opening_;
  connection_handler& handler_;
  traffic& count_;
  host::timer timer_;
  std::optional<node_id> relay_;
  record_crew* crew_;  ///< null: there is none
  std::optional<handshake_result> remote_;
  std::optional<error> refusal_;  ///< set while the last answer is being read
  time_point heard_;
  bool confirmed_ = false;
};

}  // namespace p2pdvm::link

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/link/impl/connection.ipp>
#endif
