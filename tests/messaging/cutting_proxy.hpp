/// A TCP proxy on the loopback interface that cuts, stalls, splits and resets what goes through it.
// lint-allow-file(asio-include): the proxy is neither a host nor seen by one.
#pragma once

#include "support/test.hpp"

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/host/host.hpp>

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/steady_timer.hpp>
#include <asio/write.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

namespace p2pdvm::test {

/// What a connection through the proxy lives to see.
struct proxy_fate {
  enum class ending : std::uint8_t {
    finish,  ///< both sides read an orderly end
    reset,   ///< both sides are reset
    half,    ///< one side reads an end, the other one finds silence for a while
    stall,   ///< both find silence for a while
  };
  std::size_t bytes = ~std::size_t{0};  ///< in both directions together
  ending end = ending::finish;
  std::size_t piece_max = 64 * 1024;  ///< bytes are passed on in pieces of 1 to so many
  std::chrono::milliseconds silence{0};
};

/// Draws fates for the first connections; the others live.
class proxy_fates {
 public:
  proxy_fates(std::uint64_t seed, std::size_t cuts, std::size_t bytes_max)
      : random_(seed), cuts_left_(cuts), bytes_max_(bytes_max) {}
  proxy_fate operator()() {
    const std::lock_guard held(mutex_);
    proxy_fate f;
    f.piece_max = std::array<std::size_t, 4>{3, 100, 5000, 64 * 1024}[random_.below(4)];
    if (cuts_left_ == 0) {
      f.piece_max = 64 * 1024;
      return f;
    }
    --cuts_left_;
    // Every other one in the handshake or soon after it; tiny pieces are slow.
    const std::size_t most = random_.chance(0.5) ? 1500 : std::min(bytes_max_, f.piece_max * 2000);
    f.bytes = random_.below(most);
    f.end = static_cast<proxy_fate::ending>(random_.below(4));
    f.silence = std::chrono::milliseconds(random_.below(100));
    return f;
  }
  [[nodiscard]] std::size_t left() {
    const std::lock_guard held(mutex_);
    return cuts_left_;
  }

 private:
  std::mutex mutex_;
  random_generator random_;
  std::size_t cuts_left_;
  std::size_t bytes_max_;
};

/// One listening port that leads to another one of this computer. All of it runs in handlers of `io`.
class cutting_proxy {
 public:
  using tcp = asio::ip::tcp;
  cutting_proxy(asio::io_context& io, std::uint16_t target, proxy_fates& fates)
      : target_(asio::ip::address_v4::loopback(), target),
        fates_(fates),
        listener_(io, tcp::endpoint(asio::ip::address_v4::loopback(), 0)),
        port_(listener_.local_endpoint().port()) {
    accept();
  }
  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }

 private:
  class channel : public std::enable_shared_from_this<channel> {
   public:
    channel(tcp::socket near, const proxy_fate& fate, std::uint64_t seed)
        : timer_(near.get_executor()),
          ends_{std::move(near), tcp::socket(timer_.get_executor())},
          fate_(fate),
          random_(seed) {}

    void start(const tcp::endpoint& target) {
      ends_[1].async_connect(target, [self = shared_from_this()](const asio::error_code& ec) {
        if (ec) return self->close(false);
        for (auto& end : self->ends_) end.set_option(tcp::no_delay(true));
        self->relay(0);
        self->relay(1);
      });
    }

   private:
    void relay(std::size_t from) {
      const std::size_t piece = 1 + random_.below(fate_.piece_max);
      ends_[from].async_read_some(
          asio::buffer(buffers_[from].data(), std::min(piece, buffers_[from].size())),
          [self = shared_from_this(), from](const asio::error_code& ec, std::size_t n) {
            if (ec) return self->close(ec != asio::error::eof);
            self->pass(from, n);
          });
    }
    void pass(std::size_t from, std::size_t n) {
      const std::size_t count = std::min(n, fate_.bytes);
      fate_.bytes -= count;
      asio::async_write(ends_[1 - from], asio::buffer(buffers_[from].data(), count),
                        [self = shared_from_this(), from](const asio::error_code& ec, std::size_t) {
                          if (ec) return self->close(true);
                          if (self->fate_.bytes == 0) return self->cut();
                          self->relay(from);
                        });
    }
    void cut() {
      using ending = proxy_fate::ending;
      if (std::exchange(ended_, true)) return;
      if (fate_.end == ending::finish || fate_.end == ending::reset)
        return close(fate_.end == ending::reset);
      for (auto& end : ends_) end.cancel();
      if (fate_.end == ending::half) close_end(random_.below(2), false);
      timer_.expires_after(fate_.silence);
      timer_.async_wait([self = shared_from_this()](const asio::error_code&) { self->close(false); });
    }
    void close(bool reset) {
      if (ended_ && timer_.expiry() > std::chrono::steady_clock::now()) return;
      ended_ = true;
      for (const std::size_t i : {0u, 1u}) close_end(i, reset);
    }
    void close_end(std::size_t i, bool reset) {
      asio::error_code ignored;
      if (reset) ends_[i].set_option(tcp::socket::linger(true, 0), ignored);
      ends_[i].close(ignored);
    }

    asio::steady_timer timer_;
    std::array<tcp::socket, 2> ends_;
    proxy_fate fate_;
    random_generator random_;
    bool ended_ = false;
    std::array<std::array<char, 64 * 1024>, 2> buffers_;
  };

  void accept() {
    listener_.async_accept([this](const asio::error_code& ec, tcp::socket near) {
      if (ec) return;
      std::make_shared<channel>(std::move(near), fates_(), ++accepted_)->start(target_);
      accept();
    });
  }

  tcp::endpoint target_;
  proxy_fates& fates_;
  tcp::acceptor listener_;
  std::uint16_t port_;
  std::uint64_t accepted_ = 0;
};

/// All proxies of a test: one for each port that somebody dials.
class proxies {
 public:
  proxies(asio::io_context& io, proxy_fates& fates) : io_(io), fates_(fates) {}
  /// May be called from any thread.
  [[nodiscard]] address to(const address& where) {
    const std::lock_guard held(mutex_);
    for (const auto& [target, proxy] : by_target_)
      if (proxy->port() == where.port()) return where;  // an address that was dialled before
    auto& proxy = by_target_[where.port()];
    if (proxy == nullptr) proxy = std::make_unique<cutting_proxy>(io_, where.port(), fates_);
    return where.with_port(proxy->port());
  }

 private:
  asio::io_context& io_;
  proxy_fates& fates_;
  std::mutex mutex_;
  std::map<std::uint16_t, std::unique_ptr<cutting_proxy>> by_target_;
};

/// Dials through proxies.
class proxied_network final : public host::network {
 public:
  proxied_network(host::network& inner, proxies& ways) : inner_(inner), ways_(ways) {}
  result<std::unique_ptr<host::datagram_socket>> open_datagrams(
      const address& local, host::datagram_handler& handler) override {
    return inner_.open_datagrams(local, handler);
  }
  result<std::unique_ptr<host::listener>> listen(const address& local,
                                                 host::listen_handler& handler) override {
    return inner_.listen(local, handler);
  }
  std::unique_ptr<host::stream> connect(const address& remote) override {
    return inner_.connect(ways_.to(remote));
  }
  [[nodiscard]] std::vector<address> interfaces() const override { return inner_.interfaces(); }

 private:
  host::network& inner_;
  proxies& ways_;
};

}  // namespace p2pdvm::test
