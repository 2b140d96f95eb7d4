/// A TCP connection behind `host::stream`.
#pragma once

#include <p2pdvm/async/poll_group.hpp>
#include <p2pdvm/base/ring_queue.hpp>
#include <p2pdvm/host/host.hpp>

#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/ip/udp.hpp>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace p2pdvm::native::detail {

/// Bytes taken from the system in one read; more of them where there are idle cores that help to open what comes.
inline constexpr std::size_t read_bytes_max = 128 * 1024, helped_read_bytes_max = 512 * 1024;
/// Reads in one handler before other sockets get their turn.
inline constexpr int reads_per_turn_max = 16;
/// A connection is polled until nothing came in so many turns, and so many of them at once.
inline constexpr unsigned idle_turns_max = 400;
inline constexpr std::size_t connections_polled_max = 4;
/// Buffers gathered into one write; what Asio passes on at most.
inline constexpr std::size_t gather_max = 64;

/// Memory of finished writes that is used again, of all connections together.
inline constexpr std::size_t spare_buffers_max = 4;
inline constexpr std::size_t spare_buffer_bytes_max = 256 * 1024;

/// What all sockets of one machine share.
struct socket_context {
  socket_context(asio::io_context& context, poll_group& group, host::workers* helpers)
      : io(context), polled(group), workers(helpers), read_buffer(read_bytes_max) {}
  asio::io_context& io;
  poll_group& polled;
  host::workers* workers;  ///< null: there are none
  std::size_t connections_polled = 0;
  std::vector<std::byte> read_buffer;
  std::vector<asio::const_buffer> gathered;
  std::vector<byte_vector> spare;
  /// Where this machine listens, if it is on one of the many loopback addresses: connections to
  /// others there come from it, because remotes take their address for this machine's.
  std::optional<address> loopback;
};

[[nodiscard]] asio::ip::address to_asio(const address& a);
[[nodiscard]] address from_asio(const asio::ip::address& ip, std::uint16_t port);
/// Processes that are started later do not inherit the socket: its port would stay in use.
void keep_from_children(int socket) noexcept;
[[nodiscard]] std::string ip_text(const address& a);  ///< without the port

/// Outlives the stream object while Asio holds handlers of it; `ended` makes them do nothing.
class connection final : public pollable, public std::enable_shared_from_this<connection> {
 public:
  connection(std::shared_ptr<socket_context> context, const address& remote);
  /// An accepted connection.
  connection(std::shared_ptr<socket_context> context, asio::ip::tcp::socket socket,
             const address& remote);

  void connect();
  void start(host::stream_handler& handler);
  void write(byte_vector bytes);
  void pause(bool paused);
  void end();
  /// Reads once without asking the reactor.
  bool poll() override;
  [[nodiscard]] byte_vector spare();
  [[nodiscard]] std::optional<duration> round_trip();
  [[nodiscard]] std::size_t unsent() const noexcept { return unsent_; }
  [[nodiscard]] const address& local() const noexcept { return local_; }
  [[nodiscard]] const address& remote() const noexcept { return remote_; }

 private:
  void configure();
  void on_connected(const asio::error_code& ec);
  void begin();
  void flush();
  void drop_sent(std::size_t bytes);
  void tell_drained();
  void on_writable(const asio::error_code& ec);
  void await_readable();
  void on_readable(const asio::error_code& ec);
  bool read_some(int reads_max);
  void heat();
  void cool();
  void fail_later(error why);
  void tell_write_failure();
  void fail_now(error why);
  [[nodiscard]] error explain(const asio::error_code& ec) const;

  std::shared_ptr<socket_context> context_;
  asio::ip::tcp::socket socket_;
  address local_;
  address remote_;
  host::stream_handler* handler_ = nullptr;
  ring_queue<byte_vector> queue_;
  std::size_t front_sent_ = 0;
  std::size_t unsent_ = 0;
  std::optional<error> failure_;  ///< known but not yet told
  bool outgoing_;
  bool connected_ = false;
  bool begun_ = false;  ///< the handler may be called
  bool open_told_ = false;
  bool drain_owed_ = false;  ///< the owner waits for `on_drained`
  bool paused_ = false;
  bool awaiting_readable_ = false;
  bool awaiting_writable_ = false;
  bool ended_ = false;
  bool hot_ = false;     ///< in the poll group: something came or went a moment ago
  bool active_ = false;  ///< and in this turn
  bool filled_ = false;  ///< the last read got all that it had room for
  unsigned idle_turns_ = 0;
};

class tcp_stream final : public host::stream {
 public:
  explicit tcp_stream(std::shared_ptr<connection> c) : connection_(std::move(c)) {}
  ~tcp_stream() override { connection_->end(); }
  [[nodiscard]] address local() const override { return connection_->local(); }
  [[nodiscard]] address remote() const override { return connection_->remote(); }
  void start(host::stream_handler& handler) override { connection_->start(handler); }
  void write(byte_vector bytes) override { connection_->write(std::move(bytes)); }
  [[nodiscard]] std::size_t unsent() const override { return connection_->unsent(); }
  [[nodiscard]] byte_vector spare() override { return connection_->spare(); }
  [[nodiscard]] std::optional<duration> round_trip() const override { return connection_->round_trip(); }
  void pause(bool paused) override { connection_->pause(paused); }

 private:
  std::shared_ptr<connection> connection_;
};

}  // namespace p2pdvm::native::detail

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/host/native/impl/stream.ipp>
#endif
