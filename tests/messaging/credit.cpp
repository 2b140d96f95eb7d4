/// Correct programs that leave much unread do not deadlock: with a peer for each rank in the
/// simulator, and with all ranks in one real process.
#include "messaging/real_peer.hpp"
#include "support/test.hpp"

#include <p2pdvm/peal/mpi.hpp>
#include <p2pdvm/peal/program.hpp>
#include <p2pdvm/runtime/simulated_cluster.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

using namespace p2pdvm;

namespace {

void check(bool right, const char* what) {
  if (!right) throw std::runtime_error(what);  // ranks run in threads that Catch does not know
}

std::vector<std::uint64_t> words(std::size_t count, std::uint64_t first) {
  std::vector<std::uint64_t> w(count);
  for (std::size_t i = 0; i < count; ++i) w[i] = first + i;
  return w;
}

/// Rank 1 reads what rank 0 has sent only after a barrier.
task<> unread_messages(peal::rank& rank) {
  mpi::communicator world(rank);
  co_await rank.restore();
  constexpr std::size_t count = 100'000;
  if (world.rank() == 0) {
    for (std::size_t i = 0; i < count; ++i) {
      const std::vector<std::uint64_t> w = words(i % 30, i);
      co_await world.send(w, 1, 1);
    }
  }
  co_await world.barrier();
  if (world.rank() == 1) {
    for (std::size_t i = 0; i < count; ++i) {
      const auto got = co_await world.recv<std::vector<std::uint64_t>>(0, 1);
      check(got == words(i % 30, i), "other messages came than were sent");
    }
  }
  co_await world.barrier();
  if (world.rank() == 0) rank.result("end", std::string("all read"));
}

/// A send that does not block is begun by all, and read after a barrier.
task<> large_unread_message(peal::rank& rank) {
  mpi::communicator world(rank);
  co_await rank.restore();
  constexpr std::size_t count = 8 * 1024 * 1024;  // 64 MiB
  const int next = (world.rank() + 1) % world.size();
  const int before = (world.rank() + world.size() - 1) % world.size();
  const bool sends = world.rank() < 2;
  std::vector<std::uint64_t> large;
  std::optional<mpi::request> sending;
  if (sends) {
    large = words(count, static_cast<std::uint64_t>(world.rank()));
    sending = world.isend(large, next, 2);
  }
  co_await world.barrier();
  const double small = co_await world.allreduce(1.0);
  check(small == world.size(), "an allreduce beside it is wrong");
  if (before < 2) {
    const auto got = co_await world.recv<std::vector<std::uint64_t>>(before, 2);
    check(got == words(count, static_cast<std::uint64_t>(before)), "other bytes came than were sent");
  }
  if (sends) co_await sending->wait();
  co_await world.barrier();
  if (world.rank() == 0) rank.result("end", std::string("all read"));
}

/// Rank 2 does not read what rank 0 sends, until rank 1 says that its own talk with 0 is over.
task<> stalled_sender(peal::rank& rank) {
  mpi::communicator world(rank);
  co_await rank.restore();
  constexpr int large = 100;
  constexpr std::size_t count = 32 * 1024;  // 256 KiB
  constexpr int turns = 2000;
  if (world.rank() == 0) {
    std::vector<mpi::request> sending;
    for (int i = 0; i < large; ++i) {
      const std::vector<std::uint64_t> w = words(count, static_cast<std::uint64_t>(i));
      sending.push_back(world.isend(w, 2, 9));
    }
    for (int i = 0; i < turns; ++i) {
      co_await world.send(i, 1, 3);
      const int back = co_await world.recv<int>(1, 3);
      check(back == i, "a wrong answer");
    }
    co_await mpi::wait_all(sending);
  } else if (world.rank() == 1) {
    for (int i = 0; i < turns; ++i) {
      const int got = co_await world.recv<int>(0, 3);
      co_await world.send(got, 0, 3);
    }
    co_await world.send(1, 2, 4);
  } else {
    co_await world.recv<int>(1, 4);
    for (int i = 0; i < large; ++i) {
      const auto got = co_await world.recv<std::vector<std::uint64_t>>(0, 9);
      check(got == words(count, static_cast<std::uint64_t>(i)), "other bytes came than were sent");
    }
  }
  co_await world.barrier();
  if (world.rank() == 0) rank.result("end", std::string("all read"));
}

constexpr std::uint32_t ranks = 3;

void ends_on_one_real_peer(const peal::program& program) {
  const test::temporary_folder folder;
  test::real_peer alone(folder.path, nullptr, program, nullptr);
  alone.start([](runtime::peer& p) {
    runtime::peer::job_request request;
    request.ranks = ranks;
    return p.make_job(std::move(request));
  });
  alone.join();
  CHECK(alone.result_named("end") == "all read");
}

void ends_on_simulated_peers(const peal::program& program) {
  runtime::simulated_cluster::options how;
  how.peers = ranks;
  how.job.ranks = ranks;
  how.checkpoint_interval = duration::zero();
  how.network.profile = sim::latency_profile::lan;
  runtime::simulated_cluster cluster(program, how);
  CHECK(cluster.run(std::chrono::hours(1)));
  for (std::size_t i = 0; i < cluster.size(); ++i)
    CHECK(test::result_named(cluster.outcome(i), "end") == "all read");
}

}  // namespace

TEST_CASE("a hundred thousand unread messages and a barrier do not deadlock") {
  const peal::program program("unread", unread_messages);
  ends_on_one_real_peer(program);
  ends_on_simulated_peers(program);
}

TEST_CASE("unread messages of 64 MiB and a barrier do not deadlock") {
  const peal::program program("large", large_unread_message);
  ends_on_one_real_peer(program);
  ends_on_simulated_peers(program);
}

TEST_CASE("a receiver that does not read stalls its own sender only") {
  const peal::program program("stalled", stalled_sender);
  ends_on_one_real_peer(program);
  ends_on_simulated_peers(program);
}
