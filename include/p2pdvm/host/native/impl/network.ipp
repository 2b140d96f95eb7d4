#pragma once

#include <p2pdvm/base/limits.hpp>
#include <p2pdvm/host/native/network.hpp>
#include <p2pdvm/host/native/stream.hpp>

#include <asio/error.hpp>
#include <asio/ip/v6_only.hpp>
#include <asio/steady_timer.hpp>

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace p2pdvm::native {

namespace detail {

/// Datagrams taken in one handler before other sockets get their turn.
inline constexpr int datagrams_per_turn_max = 64;
/// How long a listener waits when the system has no descriptors left for it.
inline constexpr auto accept_pause = std::chrono::milliseconds(100);

inline error cannot_open(const char* what, const address& local, const asio::error_code& ec) {
  if (ec == asio::error::address_in_use)
    return error(errc::address_in_use, "port " + std::to_string(local.port()) + " is in use on " +
                                           ip_text(local) + "; choose another with --listen");
  return error(errc::io, std::string("cannot ") + what + " " + local.text() + ": " + ec.message());
}

/// Opens and binds; with `reuse` a port whose old connections linger may be taken again.
template <class Socket>
result<> bind_to(Socket& socket, const address& local, bool reuse, const char* what) {
  const typename Socket::endpoint_type end(to_asio(local), local.port());
  asio::error_code ec;
  socket.open(end.protocol(), ec);
  keep_from_children(socket.native_handle());
  if (!ec && reuse) socket.set_option(asio::socket_base::reuse_address(true), ec);
  if (!ec && !local.is_v4()) socket.set_option(asio::ip::v6_only(true), ec);
  if (!ec) socket.bind(end, ec);
  if (!ec) socket.non_blocking(true, ec);
  if (ec) return cannot_open(what, local, ec);
  return {};
}

class udp_port : public std::enable_shared_from_this<udp_port> {
 public:
  udp_port(std::shared_ptr<socket_context> context, host::datagram_handler& handler)
      : context_(std::move(context)), socket_(context_->io), handler_(&handler) {}

  result<> open(const address& local) {
    const auto bound = bind_to(socket_, local, false, "receive datagrams on");
    if (!bound) return bound;
    const auto end = socket_.local_endpoint();
    local_ = from_asio(end.address(), end.port());
    await();
    return {};
  }
  void send(const address& to, byte_view bytes) {
    P2PDVM_ASSERT(bytes.size() <= limits::datagram_bytes_max);
    if (to.is_v4() != local_.is_v4()) return;
    asio::error_code ignored;  // a lost datagram and one that cannot be sent are the same
    socket_.send_to(asio::buffer(bytes.data(), bytes.size()), {to_asio(to), to.port()}, 0, ignored);
  }
  void end() {
    handler_ = nullptr;
    asio::error_code ignored;
    socket_.close(ignored);
  }
  [[nodiscard]] const address& local() const noexcept { return local_; }

 private:
  void await() {
    socket_.async_wait(asio::ip::udp::socket::wait_read,
                       [self = shared_from_this()](const asio::error_code& ec) {
                         if (!ec) self->receive();
                       });
  }
  void receive() {
    for (int i = 0; i < datagrams_per_turn_max && handler_ != nullptr; ++i) {
      asio::ip::udp::endpoint from;
      asio::error_code ec;
      // One byte more than allowed tells a longer datagram, which is dropped, from a full one.
      const auto room = asio::buffer(context_->read_buffer, limits::datagram_bytes_max + 1);
      const std::size_t count = socket_.receive_from(room, from, 0, ec);
      if (ec == asio::error::would_block || ec == asio::error::try_again) break;
      if (ec || count > limits::datagram_bytes_max) continue;  // an ICMP error, or too long
      handler_->on_datagram(from_asio(from.address(), from.port()),
                            byte_view(context_->read_buffer).first(count));
    }
    if (handler_ != nullptr) await();
  }

  std::shared_ptr<socket_context> context_;
  asio::ip::udp::socket socket_;
  address local_;
  host::datagram_handler* handler_;
};

class udp_socket final : public host::datagram_socket {
 public:
  explicit udp_socket(std::shared_ptr<udp_port> port) : port_(std::move(port)) {}
  ~udp_socket() override { port_->end(); }
  [[nodiscard]] address local() const override { return port_->local(); }
  void send(const address& to, byte_view bytes) override { port_->send(to, bytes); }

 private:
  std::shared_ptr<udp_port> port_;
};

class tcp_port : public std::enable_shared_from_this<tcp_port> {
 public:
  tcp_port(std::shared_ptr<socket_context> context, host::listen_handler& handler)
      : context_(std::move(context)),
        acceptor_(context_->io),
        pause_(context_->io),
        handler_(&handler) {}

  result<> open(const address& local) {
    const auto bound = bind_to(acceptor_, local, true, "listen on");
    if (!bound) return bound;
    asio::error_code ec;
    acceptor_.listen(asio::socket_base::max_listen_connections, ec);
    if (ec) return cannot_open("listen on", local, ec);
    const auto end = acceptor_.local_endpoint();
    local_ = from_asio(end.address(), end.port());
    await();
    return {};
  }
  void end() {
    handler_ = nullptr;
    asio::error_code ignored;
    acceptor_.close(ignored);
    pause_.cancel();
  }
  [[nodiscard]] const address& local() const noexcept { return local_; }

 private:
  void await() {
    acceptor_.async_accept(context_->io, [self = shared_from_this()](
                                             const asio::error_code& ec,
                                             asio::ip::tcp::socket socket) {
      if (self->handler_ != nullptr) self->accepted(ec, std::move(socket));
    });
  }
  void accepted(const asio::error_code& ec, asio::ip::tcp::socket socket) {
    if (ec && ec != asio::error::connection_aborted) {
      pause_.expires_after(accept_pause);
      pause_.async_wait([self = shared_from_this()](const asio::error_code& stopped) {
        if (!stopped && self->handler_ != nullptr) self->await();
      });
      return;
    }
    if (!ec) keep_from_children(socket.native_handle());
    asio::error_code gone;
    const auto end = ec ? asio::ip::tcp::endpoint() : socket.remote_endpoint(gone);
    if (!ec && !gone)
      handler_->on_accept(std::make_unique<tcp_stream>(std::make_shared<connection>(
          context_, std::move(socket), from_asio(end.address(), end.port()))));
    if (handler_ != nullptr) await();
  }

  std::shared_ptr<socket_context> context_;
  asio::ip::tcp::acceptor acceptor_;
  asio::steady_timer pause_;
  address local_;
  host::listen_handler* handler_;
};

class tcp_listener final : public host::listener {
 public:
  explicit tcp_listener(std::shared_ptr<tcp_port> port) : port_(std::move(port)) {}
  ~tcp_listener() override { port_->end(); }
  [[nodiscard]] address local() const override { return port_->local(); }

 private:
  std::shared_ptr<tcp_port> port_;
};

inline constexpr int interface_rank_max = 5;

/// How unlikely others are to reach this machine there; negative: not at all.
inline int interface_rank(const address& a, std::string_view name) {
  if (a.is_loopback()) return interface_rank_max;
  for (const std::string_view prefix : {"docker", "virbr", "br-", "veth"})
    if (name.substr(0, prefix.size()) == prefix) return 4;
  const auto& ip = a.ip();
  if (!a.is_v4()) {
    if (ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80) return -1;  // link-local
    return (ip[0] & 0xfe) == 0xfc ? 3 : 1;
  }
  if (ip[12] == 169 && ip[13] == 254) return -1;
  const bool is_private = ip[12] == 10 || (ip[12] == 192 && ip[13] == 168) ||
                          (ip[12] == 172 && (ip[13] & 0xf0) == 16) ||
                          (ip[12] == 100 && (ip[13] & 0xc0) == 64);
  return is_private ? 2 : 0;
}

inline bool from_sockaddr(const sockaddr* from, address& out) {
  if (from == nullptr) return false;
  if (from->sa_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, from, sizeof in);
    std::array<std::uint8_t, 4> b{};
    std::memcpy(b.data(), &in.sin_addr, b.size());
    out = address::v4(b[0], b[1], b[2], b[3], 0);
    return true;
  }
  if (from->sa_family != AF_INET6) return false;
  sockaddr_in6 in{};
  std::memcpy(&in, from, sizeof in);
  std::array<std::uint8_t, 16> b{};
  std::memcpy(b.data(), &in.sin6_addr, b.size());
  out = address(b, 0);
  return true;
}

}  // namespace detail

P2PDVM_DECL network::network(asio::io_context& io, poll_group& polled, host::workers* helpers)
    : context_(std::make_shared<detail::socket_context>(io, polled, helpers)) {}

P2PDVM_DECL network::~network() = default;

P2PDVM_DECL result<std::unique_ptr<host::datagram_socket>> network::open_datagrams(
    const address& local, host::datagram_handler& handler) {
  auto port = std::make_shared<detail::udp_port>(context_, handler);
  if (const auto opened = port->open(local); !opened) return opened.error();
  return std::unique_ptr<host::datagram_socket>(
      std::make_unique<detail::udp_socket>(std::move(port)));
}

P2PDVM_DECL result<std::unique_ptr<host::listener>> network::listen(
    const address& local, host::listen_handler& handler) {
  auto port = std::make_shared<detail::tcp_port>(context_, handler);
  if (const auto opened = port->open(local); !opened) return opened.error();
  if (local.is_loopback()) context_->loopback = local.with_port(0);
  return std::unique_ptr<host::listener>(std::make_unique<detail::tcp_listener>(std::move(port)));
}

P2PDVM_DECL std::unique_ptr<host::stream> network::connect(const address& remote) {
  auto connection = std::make_shared<detail::connection>(context_, remote);
  connection->connect();
  return std::make_unique<detail::tcp_stream>(std::move(connection));
}

P2PDVM_DECL std::vector<address> network::interfaces() const {
  std::vector<std::pair<int, address>> found;
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return {address::loopback(0)};
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner(list, ::freeifaddrs);
  for (const ifaddrs* i = list; i != nullptr; i = i->ifa_next) {
    constexpr unsigned running = IFF_UP | IFF_RUNNING;
    address a;
    if ((i->ifa_flags & running) != running || !detail::from_sockaddr(i->ifa_addr, a)) continue;
    const int rank = detail::interface_rank(a, i->ifa_name);
    if (rank >= 0) found.emplace_back(rank, a);
  }
  std::vector<address> addresses;
  for (int rank = 0; rank <= detail::interface_rank_max; ++rank)
    for (const auto& [r, a] : found)
      if (r == rank) addresses.push_back(a);
  if (addresses.empty()) addresses.push_back(address::loopback(0));
  return addresses;
}

}  // namespace p2pdvm::native
