#pragma once

#include <p2pdvm/host/native/stream.hpp>

#include <asio/error.hpp>
#include <asio/post.hpp>

#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <utility>

namespace p2pdvm::native::detail {

P2PDVM_DECL asio::ip::address to_asio(const address& a) {
  if (a.is_v4()) {
    const auto& ip = a.ip();
    return asio::ip::address_v4({ip[12], ip[13], ip[14], ip[15]});
  }
  return asio::ip::address_v6(a.ip());
}

P2PDVM_DECL address from_asio(const asio::ip::address& ip, std::uint16_t port) {
  if (ip.is_v6()) return address(ip.to_v6().to_bytes(), port);
  const auto b = ip.to_v4().to_bytes();
  return address::v4(b[0], b[1], b[2], b[3], port);
}

P2PDVM_DECL void keep_from_children(int socket) noexcept {
  static_cast<void>(::fcntl(socket, F_SETFD, FD_CLOEXEC));
}

P2PDVM_DECL std::string ip_text(const address& a) {
  const std::string text = a.text();
  return text.substr(0, text.rfind(':'));
}

P2PDVM_DECL connection::connection(std::shared_ptr<socket_context> context, const address& remote)
    : context_(std::move(context)), socket_(context_->io), remote_(remote), outgoing_(true) {}

P2PDVM_DECL connection::connection(std::shared_ptr<socket_context> context,
                                   asio::ip::tcp::socket socket, const address& remote)
    : context_(std::move(context)),
      socket_(std::move(socket)),
      remote_(remote),
      outgoing_(false),
      connected_(true) {
  configure();
}

P2PDVM_DECL void connection::configure() {
  asio::error_code ignored;  // a socket that died meanwhile says so at the first read
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  socket_.non_blocking(true, ignored);
  const auto end = socket_.local_endpoint(ignored);
  if (!ignored) local_ = from_asio(end.address(), end.port());
}

P2PDVM_DECL void connection::connect() {
  const asio::ip::tcp::endpoint to(to_asio(remote_), remote_.port());
  asio::error_code ignored;  // connecting opens a socket that is not open, and says what fails
  socket_.open(to.protocol(), ignored);
  keep_from_children(socket_.native_handle());
  const auto& from = context_->loopback;
  if (from && remote_.is_loopback() && from->is_v4() == remote_.is_v4())
    socket_.bind(asio::ip::tcp::endpoint(to_asio(*from), 0), ignored);
  socket_.async_connect(to, [self = shared_from_this()](const asio::error_code& ec) {
    self->on_connected(ec);
  });
}

P2PDVM_DECL void connection::on_connected(const asio::error_code& ec) {
  if (ended_) return;
  if (!ec) configure();
  // A port of the ephemeral range where nobody listens can answer itself.
  const bool itself = !ec && local_ == remote_;
  if (ec || itself) {
    const std::string cause =
        itself ? asio::error_code(asio::error::connection_refused).message() : ec.message();
    fail_now(error(errc::unreachable, "cannot connect to " + remote_.text() + ": " + cause));
    return;
  }
  connected_ = true;
  if (begun_) begin();
}

P2PDVM_DECL void connection::start(host::stream_handler& handler) {
  handler_ = &handler;
  asio::post(context_->io, [self = shared_from_this()] { self->begin(); });
}

/// From here on, or again when the connection is made, the handler is told what happened.
P2PDVM_DECL void connection::begin() {
  if (ended_) return;
  begun_ = true;
  if (failure_) {
    fail_now(*failure_);
    return;
  }
  if (!connected_) return;
  if (outgoing_ && !open_told_) {
    open_told_ = true;
    flush();
    handler_->on_open();
  }
  tell_drained();
  if (!ended_ && !paused_) await_readable();
}

P2PDVM_DECL void connection::heat() {
  idle_turns_ = 0;
  if (hot_ || !context_->polled.driven() || context_->connections_polled >= connections_polled_max)
    return;
  hot_ = true;
  ++context_->connections_polled;
  context_->polled.add(*this);
}

P2PDVM_DECL void connection::cool() {
  if (!std::exchange(hot_, false)) return;
  --context_->connections_polled;
  context_->polled.remove(*this);
}

P2PDVM_DECL bool connection::poll() {
  if (ended_ || failure_ || paused_ || !begun_ || !connected_) return false;
  // Whoever reads holds the socket's lock, for which the sender of the same machine would have to wait.
  pollfd look{socket_.native_handle(), POLLIN, 0};
  if (::poll(&look, 1, 0) <= 0) {
    if (++idle_turns_ > idle_turns_max) cool();
    return false;
  }
  const auto self = shared_from_this();
  active_ = false;
  return !read_some(1) || active_;
}

P2PDVM_DECL void connection::write(byte_vector bytes) {
  if (ended_ || failure_ || bytes.empty()) return;
  heat();
  unsent_ += bytes.size();
  queue_.push_back(std::move(bytes));
  if (connected_ && (open_told_ || !outgoing_) && !awaiting_writable_) flush();
  drain_owed_ = unsent_ > 0;
}

/// Only when a `write` returned with bytes left.
P2PDVM_DECL void connection::tell_drained() {
  if (ended_ || failure_ || !begun_ || !drain_owed_ || unsent_ > 0) return;
  drain_owed_ = false;
  handler_->on_drained();
}

/// Gives the system as much as it takes; the rest waits until the socket is writable.
P2PDVM_DECL void connection::flush() {
  auto& buffers = context_->gathered;
  while (unsent_ > 0) {
    buffers.clear();
    std::size_t skip = front_sent_;
    for (std::size_t n = 0; n < std::min(queue_.size(), gather_max); ++n) {
      buffers.push_back(asio::buffer(queue_[n].data() + skip, queue_[n].size() - skip));
      skip = 0;
    }
    asio::error_code ec;
    // The system has less to look at when it is one buffer.
    const std::size_t sent = buffers.size() == 1 ? socket_.write_some(asio::buffer(buffers[0]), ec)
                                                 : socket_.write_some(buffers, ec);
    drop_sent(sent);
    if (ec == asio::error::would_block || ec == asio::error::try_again) {
      awaiting_writable_ = true;
      socket_.async_wait(
          asio::ip::tcp::socket::wait_write,
          [self = shared_from_this()](const asio::error_code& e) { self->on_writable(e); });
      return;
    }
    if (ec) {
      fail_later(explain(ec));
      return;
    }
  }
}

P2PDVM_DECL void connection::drop_sent(std::size_t bytes) {
  unsent_ -= bytes;
  front_sent_ += bytes;
  while (!queue_.empty() && front_sent_ >= queue_.front().size()) {
    front_sent_ -= queue_.front().size();
    byte_vector done = queue_.pop_front();
    if (context_->spare.size() < spare_buffers_max && done.capacity() <= spare_buffer_bytes_max)
      context_->spare.push_back(std::move(done));
  }
}

P2PDVM_DECL byte_vector connection::spare() {
  if (context_->spare.empty()) return {};
  byte_vector memory = std::move(context_->spare.back());
  context_->spare.pop_back();
  return memory;
}

#if defined(__linux__)
/// In `tcp_info` as kernels since 4.6 fill it (`tcpi_min_rtt`); not every C library's goes so far. Microseconds; all
/// ones while there is none.
inline constexpr std::size_t round_trip_min_at = 148;
#endif

P2PDVM_DECL std::optional<duration> connection::round_trip() {
#if defined(__linux__)
  std::uint32_t shortest = 0;
  std::array<std::byte, round_trip_min_at + sizeof shortest> info{};
  socklen_t size = sizeof info;
  if (::getsockopt(socket_.native_handle(), IPPROTO_TCP, TCP_INFO, info.data(), &size) != 0 || size < sizeof info)
    return std::nullopt;
  std::memcpy(&shortest, info.data() + round_trip_min_at, sizeof shortest);
  if (shortest != ~std::uint32_t{0}) return std::chrono::microseconds(shortest);
#endif
  return std::nullopt;
}

P2PDVM_DECL void connection::on_writable(const asio::error_code& ec) {
  awaiting_writable_ = false;
  if (ended_ || failure_) return;
  if (ec) {
    fail_now(explain(ec));
    return;
  }
  flush();
  tell_drained();
}

P2PDVM_DECL void connection::pause(bool paused) {
  if (paused_ == paused) return;
  paused_ = paused;
  if (!paused_ && begun_ && connected_ && !ended_ && !failure_) await_readable();
}

P2PDVM_DECL void connection::await_readable() {
  if (awaiting_readable_) return;
  awaiting_readable_ = true;
  socket_.async_wait(
      asio::ip::tcp::socket::wait_read,
      [self = shared_from_this()](const asio::error_code& ec) { self->on_readable(ec); });
}

P2PDVM_DECL void connection::on_readable(const asio::error_code& ec) {
  awaiting_readable_ = false;
  if (ended_ || failure_ || paused_) return;
  if (ec) {
    fail_now(explain(ec));
    return;
  }
  if (read_some(reads_per_turn_max)) await_readable();
}

/// False when nothing more may be read now: ended, failed or paused.
P2PDVM_DECL bool connection::read_some(int reads_max) {
  auto& buffer = context_->read_buffer;
  for (int i = 0; i < reads_max; ++i) {
    asio::error_code ec;
    const bool helped = filled_ && context_->workers != nullptr && context_->workers->idle() > 0;
    const std::size_t room = helped ? helped_read_bytes_max : read_bytes_max;
    if (buffer.size() < room) buffer.resize(room);
    const std::size_t count = socket_.read_some(asio::buffer(buffer, room), ec);
    if (ec == asio::error::would_block || ec == asio::error::try_again) break;
    if (ec) {
      fail_now(explain(ec));
      return false;
    }
    active_ = true;
    filled_ = count >= read_bytes_max;
    heat();
    handler_->on_data(byte_view(buffer).first(count));
    if (ended_ || failure_ || paused_) return false;
    if (count < room) break;  // drained; the reactor reports what comes later
  }
  return true;
}

/// A write failed inside a call of the owner: it is told from the loop, after what the remote
/// had still sent.
P2PDVM_DECL void connection::fail_later(error why) {
  failure_ = std::move(why);
  queue_.clear();
  unsent_ = 0;
  if (!begun_) return;
  asio::post(context_->io, [self = shared_from_this()] { self->tell_write_failure(); });
}

P2PDVM_DECL void connection::tell_write_failure() {
  if (ended_ || !failure_) return;
  error why = std::move(*failure_);
  failure_.reset();
  const bool drained = paused_ || read_some(reads_per_turn_max);
  if (ended_) return;
  if (failure_) return;  // the owner wrote again meanwhile: this runs once more
  if (drained || paused_) fail_now(std::move(why));
}

P2PDVM_DECL void connection::fail_now(error why) {
  cool();
  asio::error_code ignored;
  socket_.close(ignored);
  queue_.clear();
  unsent_ = 0;
  if (!begun_) {
    failure_ = std::move(why);
    return;
  }
  ended_ = true;
  connected_ = false;
  handler_->on_closed(why);
}

P2PDVM_DECL void connection::end() {
  cool();
  ended_ = true;
  handler_ = nullptr;
  queue_.clear();
  unsent_ = 0;
  asio::error_code ignored;
  socket_.close(ignored);
}

P2PDVM_DECL error connection::explain(const asio::error_code& ec) const {
  if (ec == asio::error::eof) return error(errc::closed, remote_.text() + " closed the connection");
  if (ec == asio::error::connection_reset || ec == asio::error::broken_pipe)
    return error(errc::io, "the connection to " + remote_.text() + " was reset by the other side");
  const errc code = ec == asio::error::timed_out ? errc::timed_out : errc::io;
  return error(code, "the connection to " + remote_.text() + " failed: " + ec.message());
}

}  // namespace p2pdvm::native::detail
