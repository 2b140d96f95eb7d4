/// A job of two real peers whose connections all go through a proxy that treats them badly.
#include "messaging/cutting_proxy.hpp"
#include "messaging/session_run.hpp"
#include "support/test.hpp"

#include <p2pdvm/host/delayed_network.hpp>
#include <p2pdvm/host/native/machine.hpp>
#include <p2pdvm/peal/mpi.hpp>
#include <p2pdvm/peal/program.hpp>
#include <p2pdvm/runtime/native_driver.hpp>
#include <p2pdvm/runtime/peer.hpp>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace p2pdvm;
using namespace std::chrono_literals;

namespace {

constexpr int rounds = 150;

/// What a rank sends to another one in a round.
std::vector<std::uint64_t> words_of(int from, int to, int round) {
  random_generator random(static_cast<std::uint64_t>((from * 100 + to) * 1000 + round));
  std::vector<std::uint64_t> words(random.below(round % 10 == 0 ? 30'000 : 300));
  for (auto& w : words) w = random();
  return words;
}

void check(bool right, const char* what) {
  if (!right) throw std::runtime_error(what);  // ranks run in threads that Catch does not know
}

task<> body(peal::rank& rank) {
  mpi::communicator world(rank);
  co_await rank.restore();
  const int p = world.size();
  std::uint64_t sum = 0;
  for (int round = 0; round < rounds; ++round) {
    std::vector<std::vector<std::uint64_t>> got(static_cast<std::size_t>(p));
    std::vector<mpi::request> all;
    for (int r = 0; r < p; ++r) all.push_back(world.irecv(got[static_cast<std::size_t>(r)], r, round));
    for (int r = 0; r < p; ++r) {
      const std::vector<std::uint64_t> words = words_of(world.rank(), r, round);
      all.push_back(world.isend(words, r, round));
    }
    co_await mpi::wait_all(all);
    for (int r = 0; r < p; ++r) {
      check(got[static_cast<std::size_t>(r)] == words_of(r, world.rank(), round), "other bytes came than were sent");
      for (const std::uint64_t w : got[static_cast<std::size_t>(r)]) sum += w;
    }
  }
  const std::uint64_t total = co_await world.allreduce(sum);
  if (world.rank() == 0) rank.result("total", std::to_string(total));
}

std::string right_total(int p) {
  std::uint64_t sum = 0;
  for (int from = 0; from < p; ++from)
    for (int to = 0; to < p; ++to)
      for (int round = 0; round < rounds; ++round)
        for (const std::uint64_t w : words_of(from, to, round)) sum += w;
  return std::to_string(sum);
}

class temporary_folder {
 public:
  temporary_folder() {
    path = (std::filesystem::temp_directory_path() / "p2pdvm-test-XXXXXX").string();
    REQUIRE(::mkdtemp(path.data()) != nullptr);
  }
  ~temporary_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::string path;
};

/// A peer with a thread and an `io_context` of its own.
class real_peer {
 public:
  using begin = std::function<result<>(runtime::peer&)>;
  using listen_to = std::function<void(const runtime::event&)>;
  real_peer(const std::string& folder, test::proxies& ways, const peal::program& program, listen_to told)
      : machine_(io_, {folder}),
        network_(machine_.network(), ways),
        proxied_(machine_, network_),
        driver_(io_, ranks_, token_, driving()),
        guard_(io_, 60s) {
    runtime::peer_setting setting;
    setting.listen = address::loopback(0);
    setting.detector = overlay::detector_options::wan();
    setting.failure_domain = folder;
    setting.shared_memory = false;
    setting.checkpoint_interval = duration::zero();
    runtime::peer::callbacks call;
    call.event = [this, told = std::move(told)](const runtime::event& e) {
      recovered |= e.kind == runtime::event_kind::recovering;
      told(e);
    };
    call.ended = [this](const result<runtime::job_results>& r) { outcome = r; };
    call.may_go = [this] { driver_.stop(); };
    peer_.emplace(proxied_, ranks_, token_, program, setting, call);
    guard_.async_wait([this](const asio::error_code& ec) {
      if (!ec) driver_.stop();
    });
  }
  void start(const begin& how) {
    {
      const std::lock_guard held(token_);
      REQUIRE(peer_->open().ok());
      REQUIRE(how(*peer_).ok());
    }
    thread_ = std::thread([this] { driver_.run(); });
  }
  void join() {
    thread_.join();
    const std::lock_guard held(token_);
    peer_.reset();
  }
  [[nodiscard]] std::string total() const {
    if (!outcome) return "the job did not end";
    if (!outcome->ok()) return outcome->error().message();
    const auto found = (*outcome)->find("total");
    return found == (*outcome)->end() ? "no total" : std::string(as_text(found->second));
  }
  std::optional<result<runtime::job_results>> outcome;
  bool recovered = false;

 private:
  runtime::native_driver::options driving() {
    runtime::native_driver::options o;
    o.polled = &machine_.polled();
    return o;
  }
  asio::io_context io_;
  queue_context ranks_;
  driver_token token_;
  native::machine machine_;
  test::proxied_network network_;
  host::machine_with_network proxied_;
  runtime::native_driver driver_;
  asio::steady_timer guard_;
  std::optional<runtime::peer> peer_;
  std::thread thread_;
};

/// One text from one thread to another.
class letter {
 public:
  void write(const std::string& text) {
    const std::lock_guard held(mutex_);
    text_ = text;
    changed_.notify_all();
  }
  std::string read() {
    std::unique_lock held(mutex_);
    changed_.wait_for(held, 60s, [this] { return !text_.empty(); });
    return text_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string text_;
};

}  // namespace

TEST_CASE("a job over connections that a proxy cuts, stalls, splits and resets ends with the right bytes") {
  constexpr int ranks = 4;
  asio::io_context io;
  auto work = asio::make_work_guard(io);
  test::proxy_fates fates(test::environment("P2PDVM_FIRST_SEED", 1), 12, 60'000);
  test::proxies ways(io, fates);
  std::thread proxy([&io] { io.run(); });
  const peal::program program("proxied", body);
  temporary_folder folder;
  letter ticket;
  real_peer host(folder.path + "/host", ways, program, [&ticket](const runtime::event& e) {
    if (e.kind == runtime::event_kind::ticket) ticket.write(e.text);
  });
  real_peer guest(folder.path + "/guest", ways, program, [](const runtime::event&) {});
  host.start([](runtime::peer& p) {
    runtime::peer::job_request request;
    request.ranks = ranks;
    request.peers = 2;
    return p.make_job(std::move(request));
  });
  guest.start([&ticket](runtime::peer& p) -> result<> {
    const auto with = runtime::ticket::parse(ticket.read());
    if (!with.ok()) return with.error();
    return p.join(*with);
  });
  host.join();
  guest.join();
  io.stop();
  proxy.join();
  CHECK(host.total() == right_total(ranks));
  CHECK(guest.total() == right_total(ranks));
  CHECK_FALSE(host.recovered);
  CHECK_FALSE(guest.recovered);
  CHECK(fates.left() == 0);
}
