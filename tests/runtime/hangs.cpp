/// Jobs whose ranks wait for ever, for long, or only seem to, and what is told of them.
#include "runtime/cluster.hpp"

#include <p2pdvm/peal/bsp.hpp>
#include <p2pdvm/peal/mpi.hpp>

#include <string>
#include <utility>
#include <vector>

namespace p2pdvm::test {
namespace {

using namespace std::chrono_literals;
using Catch::Matchers::Contains;

/// Every rank does what `what` says, after a barrier that all pass.
task<> hanging_body(peal::rank& rank) {
  const std::string what = rank.option("what");
  mpi::communicator world(rank);
  co_await rank.restore();
  co_await world.barrier();
  const int last = rank.size() - 1;
  const bool odd_one = rank.id() == last;
  if (what == "nobody sends") {
    if (odd_one) (void)co_await world.recv<int>(0, 5);
  } else if (what == "barrier") {
    if (odd_one) {
      (void)co_await world.recv<int>(1, 7);
    } else {
      co_await world.barrier();
    }
  } else if (what == "long") {
    if (odd_one) co_await rank.sleep(90s);
    for (int i = 0; i < 10; ++i) {
      co_await world.barrier();
      co_await rank.sleep(5s);
    }
  } else if (what == "slow") {
    for (int i = 0; i < 20; ++i) {
      co_await rank.sleep(5s);
      co_await world.barrier();
    }
  }
}

peal::program hanging_program(peal::program::body_type body = hanging_body) {
  peal::program program("hanging", body);
  program.option("what", "", "which mistake");
  return program;
}

struct hanging_job {
  hanging_job(const std::string& what, std::uint32_t peers, std::uint32_t ranks,
              peal::program::body_type body = hanging_body)
      : program(hanging_program(body)), world(program, options_of(what, peers, ranks)) {}

  static simulated_cluster::options options_of(const std::string& what, std::uint32_t peers, std::uint32_t ranks) {
    simulated_cluster::options how;
    how.peers = peers;
    how.job.ranks = ranks;
    how.job.options = {{"what", what}};
    how.checkpoint_interval = duration::zero();
    return how;
  }
  /// For so much virtual time, or to the end.
  void run_for(duration time) { ended = world->run(time); }
  [[nodiscard]] std::vector<std::string> told(std::size_t peer, event_kind kind = event_kind::hung) const {
    std::vector<std::string> texts;
    for (const auto& s : world.events()) {
      if (s.peer == peer && s.what.kind == kind) texts.push_back(s.what.text);
    }
    return texts;
  }
  /// What all peers have told, once each.
  [[nodiscard]] std::string told_by_all(std::size_t times = 1) {
    INFO(world.log());
    const std::vector<std::string> first = told(0);
    CHECK(first.size() == times);
    for (std::size_t i = 1; i < world->size(); ++i) CHECK(told(i) == first);
    return first.empty() ? std::string() : first.back();
  }

  peal::program program;
  observed_cluster world;
  bool ended = false;
};

TEST_CASE("a receive for which nobody sends is told by every peer, once") {
  hanging_job job("nobody sends", 3, 3);
  job.run_for(120s);
  CHECK_FALSE(job.ended);
  const std::string text = job.told_by_all();
  CHECK_THAT(text, Contains("rank 2 has been waiting for 3"));
  CHECK_THAT(text, Contains("rank 2 waits in recv from rank 0, tag 5 (hangs.cpp:"));
  CHECK_THAT(text, Contains("ranks 0-1 have returned from the program"));
}

TEST_CASE("a rank that does not come to a barrier is named, with where it waits instead") {
  hanging_job job("barrier", 4, 8);  // two ranks on each
  job.run_for(120s);
  const std::string text = job.told_by_all();
  CHECK_THAT(text, Contains("ranks 0-6 wait in barrier #1 (hangs.cpp:"));
  CHECK_THAT(text, Contains("rank 7 has not come to barrier #1"));
  CHECK_THAT(text, Contains("rank 7 waits in recv from rank 1, tag 7 (hangs.cpp:"));
}

TEST_CASE("a long wait that ends is told with the rank that it was for, and that it has ended") {
  hanging_job job("long", 2, 2);
  job.run_for(300s);
  CHECK(job.ended);
  const std::string text = job.told_by_all();
  CHECK_THAT(text, Contains("rank 0 waits in barrier #1") && Contains("rank 1 has not come to barrier #1") &&
                       Contains("rank 1 sleeps (hangs.cpp:"));
  for (std::size_t i = 0; i < 2; ++i) CHECK(job.world.count(event_kind::went_on, i) == 1);
}

TEST_CASE("nothing is told of a job that is only slow") {
  hanging_job job("slow", 3, 6);
  job.run_for(1h);
  CHECK(job.ended);
  CHECK(job.world.count(event_kind::hung) == 0);
  CHECK(job.world.count(event_kind::went_on) == 0);
}

}  // namespace
}  // namespace p2pdvm::test
