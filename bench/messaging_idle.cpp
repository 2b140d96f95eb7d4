/// What connections cost that nobody uses: memory, and processor time of a peer that has many.
#include "messaging.hpp"
#include "runs.hpp"

#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/messaging/exchange.hpp>

#include <asio/io_context.hpp>

#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace p2pdvm::bench {

namespace {

constexpr std::uint8_t channel = 1;

/// One of many exchanges of a process, on a port of its own; every session is kept by both ends, and
/// carries one short message before it falls idle.
class end final : public messaging::exchange_handler {
 public:
  end(native::machine& machine, std::size_t number)
      : self_(identity_of(number)), exchange_(machine, self_, options(), *this) {
    if (const auto listens = exchange_.listen(address::loopback(0)); !listens.ok())
      throw std::runtime_error("an exchange cannot listen: " + listens.error().message());
  }
  void connect(std::size_t number, std::uint16_t port) {
    const auto known = exchange_.learn({identity_of(number).key(), {address::loopback(port)}});
    exchange_.trust(*known);
    exchange_.keep(*known);
  }
  [[nodiscard]] std::uint16_t port() const { return exchange_.local().port(); }
  /// Sessions over which a message came. From any thread.
  [[nodiscard]] std::size_t heard() const noexcept { return heard_; }

 private:
  static crypto::identity identity_of(std::size_t number) {
    const std::string text = fmt::format("end {}", number);
    return crypto::identity(crypto::secret_key(crypto::hash(as_bytes(text)).bytes()));
  }
  static messaging::exchange_options options() {
    messaging::exchange_options o;
    o.swarm = link::swarm_id(crypto::hash(as_bytes("bench")).bytes());
    return o;
  }
  void on_message(const node_id&, std::uint8_t, messaging::arrived_message) override { ++heard_; }
  void on_peer_up(const node_id& who) override {
    exchange_.trust(who);
    exchange_.keep(who);
    exchange_.send(who, channel, byte_vector(64));
  }

  crypto::identity self_;
  std::atomic<std::size_t> heard_{0};
  messaging::exchange exchange_;
};

std::vector<std::unique_ptr<end>> many_ends(native::machine& machine, std::size_t count) {
  std::vector<std::unique_ptr<end>> all;
  for (std::size_t i = 1; i <= count; ++i) all.push_back(std::make_unique<end>(machine, i));
  return all;
}

std::size_t heap_bytes() {
  const auto info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

constexpr std::chrono::seconds patience(30);

[[noreturn]] void not_all(std::size_t have, std::size_t want) {
  throw std::runtime_error(fmt::format("only {} of {} idle connections came up within {} s", have, want, patience.count()));
}

/// Heap per end of a connection, both ends being in this process.
double connection_bytes(std::size_t connections) {
  asio::io_context io;
  const temporary_folder folder;
  native::machine machine(io, {folder.path()});
  end centre(machine, 0);
  const auto ends = many_ends(machine, connections);
  const std::size_t before = heap_bytes();
  for (const auto& e : ends) e->connect(0, centre.port());
  const auto all_heard = [&] {
    return centre.heard() == connections &&
           std::all_of(ends.begin(), ends.end(), [](const auto& e) { return e->heard() == 1; });
  };
  const auto limit = std::chrono::steady_clock::now() + patience;
  while (!all_heard()) {
    if (std::chrono::steady_clock::now() > limit) not_all(centre.heard(), connections);
    io.run_for(std::chrono::milliseconds(20));
  }
  io.run_for(std::chrono::seconds(1));  // acknowledgements, and whatever is freed after them
  return static_cast<double>(heap_bytes() - before) / static_cast<double>(2 * connections);
}

double processor_seconds() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  const auto of = [](const timeval& t) { return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec); };
  return of(used.ru_utime) + of(used.ru_stime);
}

/// The share of a core that a peer's driver, sockets and timers use for sessions with another process.
double idle_share(std::size_t sessions, std::chrono::duration<double> span) {
  asio::io_context io;
  queue_context ranks;
  driver_token token;
  const temporary_folder folder;
  native::machine machine(io, {folder.path()});
  runtime::native_driver driver(io, ranks, token, {.polled = &machine.polled()});
  std::optional<end> centre;
  {
    const std::lock_guard held(token);
    centre.emplace(machine, 0);
  }
  const process others(connections_program, {std::to_string(centre->port()), std::to_string(sessions)});
  double share = 0;
  std::thread watch([&] {
    const auto limit = std::chrono::steady_clock::now() + patience;
    while (centre->heard() < sessions && std::chrono::steady_clock::now() < limit)
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    if (centre->heard() == sessions) {
      std::this_thread::sleep_for(std::min<std::chrono::duration<double>>(span, std::chrono::seconds(2)));
      const double before = processor_seconds();
      const auto begin = std::chrono::steady_clock::now();
      std::this_thread::sleep_for(span);
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
      share = (processor_seconds() - before) / took.count();
    }
    driver.stop();
  });
  driver.run();
  watch.join();
  const std::size_t heard = centre->heard();
  {
    const std::lock_guard held(token);
    centre.reset();
  }
  if (heard < sessions) not_all(heard, sessions);
  return share;
}

}  // namespace

int hold_connections(int argc, char** argv) {
  if (argc != 3) return 2;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  asio::io_context io;
  const temporary_folder folder;
  native::machine machine(io, {folder.path()});
  const auto ends = many_ends(machine, std::stoul(argv[2]));
  for (const auto& e : ends) e->connect(0, static_cast<std::uint16_t>(std::stoul(argv[1])));
  io.run();  // until whoever started it ends it
  return 0;
}

void measure_idle_connections(const settings& how, comparison& out) {
  const std::size_t sessions = how.quick ? 5 : 100;
  // Longer than what tests a silent connection waits.
  const std::chrono::duration<double> span(how.quick ? 0.2 : 20);
  measurement m;
  m.benchmark = "messaging";
  m.system = "p2pdvm";
  m.profile = "native";
  m.parameters["path"] = "tcp";
  m.parameters["processes"] = 1;
  m.parameters["sessions"] = sessions;
  m.metric = "connection_bytes";
  m.unit = "bytes";
  m.value = connection_bytes(sessions);
  out.add(m);
  m.metric = "idle_cpu";  // share of a core
  m.unit = fraction_unit;
  m.parameters["processes"] = 2;
  m.value = idle_share(sessions, span);
  out.add(m);
}

}  // namespace p2pdvm::bench
