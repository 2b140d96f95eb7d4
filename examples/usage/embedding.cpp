/// A peer inside an application that has an io_context of its own, and things of its own to do.
///
/// The application decides about the folder, the events, the signals and the output: the peer
/// installs no handlers and prints nothing. Argument: a folder for the peer's data.
#include <p2pdvm/host/native/machine.hpp>
#include <p2pdvm/p2pdvm.hpp>
#include <p2pdvm/runtime/native_driver.hpp>
#include <p2pdvm/runtime/peer.hpp>

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>

#include <chrono>
#include <cstdio>
#include <functional>
#include <mutex>
#include <optional>
#include <string>

namespace runtime = p2pdvm::runtime;

p2pdvm::task<> body(p2pdvm::peal::rank& rank) {
  p2pdvm::mpi::communicator world(rank);
  int step = 0;
  double sum = 0;
  rank.state("step", step);
  rank.state("sum", sum);
  co_await rank.restore();
  for (; step < 2000; ++step) {
    sum += co_await world.allreduce(1.0 / (1 + step + rank.id()));
    co_await rank.safe_point();
  }
  if (rank.id() == 0) rank.result("sum", std::to_string(sum) + "\n");
}

/// Stands for whatever else the application does on its io_context.
class own_business {
 public:
  explicit own_business(asio::io_context& io) : timer_(io) { again(); }
  [[nodiscard]] int turns() const { return turns_; }
  void stop() { timer_.cancel(); }

 private:
  void again() {
    timer_.expires_after(std::chrono::milliseconds(1));
    timer_.async_wait([this](const asio::error_code& ec) {
      if (ec) return;
      ++turns_;
      again();
    });
  }
  asio::steady_timer timer_;
  int turns_ = 0;
};

int main(int argc, char** argv) {
  const p2pdvm::program program("embedding", body);
  asio::io_context io;                 // the application's own
  p2pdvm::queue_context ranks;         // where ranks wait for their turn
  p2pdvm::driver_token token;          // whoever holds it may call the peer
  p2pdvm::native::machine machine(io, {argc > 1 ? argv[1] : "embedding.data"});
  // Runs the application's handlers and the ranks. An application that keeps its own loop calls
  // io.poll() with the token held and ranks.queue().drain(n) without it, in turns.
  runtime::native_driver::options driving;
  driving.polled = &machine.polled();  // so that messages need not wait for the reactor
  driving.helped = machine.workers();   // a driver that only waits helps to seal a checkpoint
  runtime::native_driver driver(io, ranks, token, driving);
  own_business business(io);

  std::optional<p2pdvm::result<runtime::job_results>> outcome;
  int checkpoints = 0;
  runtime::peer::callbacks call;
  call.event = [&](const runtime::event& e) {
    if (e.kind == runtime::event_kind::committed) ++checkpoints;
  };
  call.ended = [&](const p2pdvm::result<runtime::job_results>& r) { outcome = r; };
  call.may_go = [&] { driver.stop(); };

  std::optional<runtime::peer> peer;
  {
    const std::lock_guard held(token);
    peer.emplace(machine, ranks, token, program, runtime::peer_setting(), call);
    runtime::peer::job_request request;
    request.ranks = 4;
    auto begun = peer->open();
    if (begun.ok()) begun = peer->make_job(request);
    if (!begun.ok()) {
      std::fprintf(stderr, "embedding: %s\n", begun.error().message().c_str());
      peer.reset();
      return 1;
    }
  }
  driver.run();
  business.stop();
  {
    const std::lock_guard held(token);
    peer.reset();
  }
  if (!outcome || !outcome->ok()) {
    std::fprintf(stderr, "embedding: %s\n",
                 outcome ? outcome->error().message().c_str() : "the job did not end");
    return 1;
  }
  for (const auto& [name, bytes] : **outcome)
    std::printf("%s: %s", name.c_str(), std::string(p2pdvm::as_text(bytes)).c_str());
  std::printf("digest: %s\n", runtime::digest_of(**outcome).hex().c_str());
  std::printf("%s, %s\n", checkpoints > 0 ? "checkpoints were committed" : "no checkpoint",
              business.turns() > 0 ? "and the application went on beside it" : "nothing else ran");
  return 0;
}
