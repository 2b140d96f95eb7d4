/// A job of two real peers whose connections all go through a proxy that treats them badly.
#include "messaging/cutting_proxy.hpp"
#include "messaging/real_peer.hpp"
#include "messaging/session_run.hpp"
#include "support/test.hpp"

#include <p2pdvm/peal/mpi.hpp>
#include <p2pdvm/peal/program.hpp>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
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

/// Enough to be lent, and to land in the receive.
constexpr std::size_t large_words = 60'000;

task<> exchange_large(mpi::communicator& world, int partner, int round) {
  std::vector<std::uint64_t> mine(large_words), theirs(large_words);
  for (std::size_t i = 0; i < mine.size(); ++i) mine[i] = i * static_cast<std::size_t>(round + world.rank() + 1);
  if (world.rank() < partner) {
    co_await world.send(std::span(mine), partner, rounds + round);
    std::fill(mine.begin(), mine.end(), 0);
  }
  co_await world.recv_into(std::span(theirs), partner, rounds + round);
  for (std::size_t i = 0; i < theirs.size(); ++i)
    check(theirs[i] == i * static_cast<std::size_t>(round + partner + 1), "other large bytes came than were sent");
  if (world.rank() > partner) {
    co_await world.send(std::span(mine), partner, rounds + round);
    std::fill(mine.begin(), mine.end(), 0);
  }
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
    if (round % 10 == 0) co_await exchange_large(world, p - 1 - world.rank(), round);
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
  const test::temporary_folder folder;
  letter ticket;
  test::real_peer host(folder.path + "/host", &ways, program, [&ticket](const runtime::event& e) {
    if (e.kind == runtime::event_kind::ticket) ticket.write(e.text);
  });
  test::real_peer guest(folder.path + "/guest", &ways, program, nullptr);
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
  CHECK(host.result_named("total") == right_total(ranks));
  CHECK(guest.result_named("total") == right_total(ranks));
  CHECK_FALSE(host.recovered);
  CHECK_FALSE(guest.recovered);
  CHECK(fates.left() == 0);
}
