/// TCP and UDP through Asio as `host::network`.
///
/// Sockets are non-blocking. Sends go to the system at once and wait for the reactor only when
/// it cannot take more. Every object may be destroyed from inside its own handler.
#pragma once

#include <p2pdvm/async/poll_group.hpp>
#include <p2pdvm/host/host.hpp>

#include <asio/io_context.hpp>

#include <memory>

namespace p2pdvm::native {

namespace detail {
struct socket_context;
}

class network final : public host::network {
 public:
  /// `helpers` may be null, and is not used before the first connection.
  network(asio::io_context& io, poll_group& polled, host::workers* helpers);
  ~network() override;

  result<std::unique_ptr<host::datagram_socket>> open_datagrams(
      const address& local, host::datagram_handler& handler) override;
  result<std::unique_ptr<host::listener>> listen(const address& local,
                                                 host::listen_handler& handler) override;
  std::unique_ptr<host::stream> connect(const address& remote) override;
  /// Running interfaces without link-local addresses: public IPv4 first, then IPv6, then
  /// private networks, then bridges of virtual machines and containers, then loopback.
  [[nodiscard]] std::vector<address> interfaces() const override;

 private:
  std::shared_ptr<detail::socket_context> context_;
};

}  // namespace p2pdvm::native

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/host/native/impl/network.ipp>
#endif
