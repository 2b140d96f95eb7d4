#include "loopback.hpp"

#include "measurement.hpp"

#include <asio.hpp>

#include <atomic>
#include <functional>
#include <list>
#include <stdexcept>
#include <thread>
#include <vector>

namespace p2pdvm::bench {

double seconds_over_loopback(std::size_t bytes, std::size_t senders) {
  constexpr std::size_t written = 64 << 10, read = 512 << 10;
  using asio::ip::tcp;
  asio::io_context io;
  tcp::acceptor acceptor(io, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
  const std::size_t each = bytes / senders / written * written;
  std::atomic<bool> go = false;
  std::list<tcp::socket> sockets;
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < senders; ++i) {
    threads.emplace_back([&go, each, to = acceptor.local_endpoint()] {
      asio::io_context own;
      tcp::socket socket(own);
      const std::vector<char> data(written, 1);
      asio::error_code failed;
      socket.connect(to, failed);
      go.wait(false);
      for (std::size_t sent = 0; sent < each && !failed; sent += written) asio::write(socket, asio::buffer(data), failed);
    });
    sockets.push_back(acceptor.accept());
  }
  std::size_t left = each * senders;
  std::vector<std::vector<char>> buffers(senders, std::vector<char>(read));
  const std::function<void(tcp::socket&, std::vector<char>&)> take = [&](tcp::socket& socket, std::vector<char>& into) {
    socket.async_read_some(asio::buffer(into), [&](const asio::error_code& failed, std::size_t n) {
      left -= n;
      if (!failed && left > 0) take(socket, into);
    });
  };
  std::size_t next = 0;
  for (tcp::socket& socket : sockets) take(socket, buffers[next++]);
  const double seconds = time_of([&] {
    go = true;
    go.notify_all();
    io.run();
  });
  for (std::thread& t : threads) t.join();
  if (left > 0) throw std::runtime_error("a connection on this computer broke off");
  return seconds;
}

}  // namespace p2pdvm::bench
