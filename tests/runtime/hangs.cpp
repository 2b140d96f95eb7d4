/// Jobs whose ranks wait for ever, for long, or only seem to, and what is told of them.
#include "runtime/cluster.hpp"
#include "support/other_side.hpp"

#include <p2pdvm/peal/bsp.hpp>
#include <p2pdvm/peal/mpi.hpp>

#include <string>
#include <utility>
#include <vector>

namespace p2pdvm::test {
namespace {

using namespace std::chrono_literals;
using Catch::Matchers::Contains;

struct plain_adapter final : peal::adapter {
  std::optional<std::string> cannot_cut() const override { return std::nullopt; }
  byte_vector save() const override { return {}; }
  void load(byte_view) override {}
};

/// The last rank ends a superstep less.
task<> hanging_supersteps(peal::rank& rank) {
  bsp::world world(rank);
  co_await rank.restore();
  for (int i = 0; i < 3; ++i) co_await world.sync();
  if (rank.id() == rank.size() - 1) co_await rank.sleep(200s);
  co_await world.sync();
}

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
  } else if (what == "credit") {
    const std::vector<std::byte> piece(1 << 20);
    if (rank.id() == 0) {
      for (int i = 0; i < 50; ++i) co_await world.send(piece, last, 1);
    } else if (odd_one) {
      (void)co_await world.recv<int>(1, 9);
    }
  } else if (what == "ring") {
    (void)co_await world.recv<int>((rank.id() + 1) % rank.size(), 2);
  } else if (what == "requests") {
    std::vector<std::byte> into(8);
    mpi::request early = world.irecv(std::span(into), 0, 3);
    if (odd_one) (void)co_await early.wait();
  } else if (what == "raw") {
    plain_adapter nothing;
    peal::port port = rank.open("plain", nothing);
    if (odd_one) (void)co_await port.receive(peal::any_source, 4);
  } else if (what == "split") {
    mpi::communicator half = co_await world.split(rank.id() % 2);
    if (!odd_one) co_await half.barrier();
    if (odd_one) (void)co_await world.probe(0, 8);
  } else if (what == "changes") {
    // The last one waits from the beginning on, the one before it 60 s later.
    if (odd_one) (void)co_await world.recv<int>(0, 5);
    if (rank.id() == last - 1) {
      co_await rank.sleep(60s);
      (void)co_await world.recv<int>(0, 6);
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

TEST_CASE("a rank that did not end a superstep is named") {
  hanging_job job("", 2, 4, hanging_supersteps);
  job.run_for(120s);
  const std::string text = job.told_by_all();
  CHECK_THAT(text, Contains("ranks 0-2 wait in sync of superstep 3 (hangs.cpp:") &&
                       Contains("rank 3 has not come to sync of superstep 3") && Contains("rank 3 sleeps (hangs.cpp:"));
}

TEST_CASE("a sender that waits for room is told with what the other has not read") {
  hanging_job job("credit", 3, 3);
  job.run_for(120s);
  const std::string text = job.told_by_all();
  CHECK_THAT(text, Contains("rank 0 waits to send to rank 2, which has 3.0 MiB unread;") &&
                       Contains("MiB wait here (hangs.cpp:") &&
                       Contains("rank 2 waits in recv from rank 1, tag 9 (hangs.cpp:"));
  std::size_t seen = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    for (const messaging::stall& s : job.world->at(i).current_job()->now().stalls) {
      ++seen;
      CHECK(s.source == rank_number(0));
      CHECK(s.destination == rank_number(2));
      CHECK(s.unread >= 3 << 20);
      CHECK(s.waiting > 4 << 20);
    }
  }
  CHECK(seen == 1);
  CHECK(job.world.count(event_kind::stalled) == 1);
}

TEST_CASE("the same between ranks of one peer") {
  hanging_job job("credit", 1, 3);
  job.run_for(120s);
  CHECK_THAT(job.told_by_all(), Contains("rank 0 waits to send to rank 2, which has 3.0 MiB unread;"));
  CHECK(job.world->at(0).current_job()->now().stalls.size() == 1);
}

TEST_CASE("requests, probes, receives of a port and parts of a communicator are told as what they are") {
  hanging_job requests("requests", 2, 2);
  requests.run_for(120s);
  CHECK_THAT(requests.told_by_all(), Contains("rank 1 waits in irecv from rank 0, tag 3 (hangs.cpp:"));
  hanging_job raw("raw", 2, 2);
  raw.run_for(120s);
  CHECK_THAT(raw.told_by_all(), Contains("rank 1 waits in receive from any rank, tag 4 (hangs.cpp:"));
  hanging_job parts("split", 2, 4);
  parts.run_for(120s);
  const std::string text = parts.told_by_all();
  CHECK_THAT(text, Contains("rank 1 waits in barrier #0, communicator 1 (hangs.cpp:") &&
                       Contains("rank 3 has not come to barrier #0") &&
                       Contains("rank 3 waits in probe from rank 0, tag 8 (hangs.cpp:") &&
                       Contains("ranks 0, 2 have returned"));
}

TEST_CASE("a hang is told again when it changes, and after a long time") {
  hanging_job job("changes", 3, 3);
  job.run_for(8min);
  CHECK_THAT(job.told_by_all(2), Contains("ranks 1-2 have been waiting for"));
  job.run_for(15min);
  CHECK_THAT(job.told_by_all(3), Contains("ranks 1-2 have been waiting for"));
}

TEST_CASE("ranks that wait in a ring are told together, some with whom they wait for") {
  hanging_job job("ring", 3, 12);
  job.run_for(120s);
  CHECK_THAT(job.told_by_all(), Contains("ranks 0-11 wait in recv from ranks 0-11 (0 from 1, 1 from 2, 2 from 3, "
                                         "3 from 4 …), tag 2 (hangs.cpp:"));
}

TEST_CASE("what nobody asked for, or what names ranks that are not there, changes nothing") {
  hanging_job job("barrier", 2, 4);
  CHECK_FALSE(job.world->run(10s));
  job.world->network().call_at(job.world->network().now(), [&] {
    runtime::job& there = *job.world->at(0).current_job();
    const node_id from = job.world->at(1).identity().id();
    runtime::roll wrong, right;
    runtime::place_group g;
    g.stuck = true;
    g.seconds = 1000;
    g.ranks.add(9, 9);
    wrong.add(g);
    g.ranks = runtime::rank_set();
    g.ranks.add(0, 3);
    right.add(g);
    const incarnation_number now(1), later(2);
    there.on_message(from, runtime::roll_answer{now, there.record().members[0].node, 1, right});
    there.on_message(from, runtime::roll_report{now, wrong, 1000, false});
    there.on_message(from, runtime::roll_report{later, right, 1000, false});
    there.on_message(from, runtime::roll_report{now, runtime::roll(), 1000, false});
    there.on_message(from, runtime::roll_report{now, runtime::roll(), 1000, true});  // nothing was told
    there.on_message(from, runtime::roll_request{later, from, 1, true});
    there.on_message(from, runtime::roll_request{now, node_id(), 1, true});  // of a stranger
    there.on_message(from, runtime::passed_on{node_id(), true, runtime::roll_report{now, right, 1000, false}});
    there.on_message(from, runtime::file_answer{rank_number(3), 7, "evil.cpp"});
    there.on_message(from, runtime::file_request{rank_number(1u << 31), 7});
  });
  job.run_for(120s);
  CHECK_THAT(job.told_by_all(), Contains("ranks 0-2 wait in barrier #1 (hangs.cpp:"));
  CHECK(job.world.count(event_kind::went_on) == 0);
}

TEST_CASE("the patience is an option, and none means never") {
  for (const duration patience : {duration(2s), duration::zero()}) {
    const peal::program program = hanging_program();
    auto how = hanging_job::options_of("barrier", 2, 2);
    how.hang_after = patience;
    observed_cluster world(program, how);
    (void)world->run(60s);
    CHECK(world.count(event_kind::hung, 1) == (patience > duration::zero() ? 1 : 0));
  }
}

/// Rank 0 gets more than it has room for, and rank 1 is the only one that runs the code which sent it.
task<> mistaken_body(peal::rank& rank) {
  mpi::communicator world(rank);
  co_await rank.restore();
  const std::vector<double> many(10);
  if (rank.id() == 1) co_await send_from_elsewhere(world, many, 0);
  std::vector<double> few(3);
  if (rank.id() == 0) co_await world.recv_into(std::span(few), 1);
}

TEST_CASE("a truncated receive names the files of both sides, also when the other side is another peer") {
  hanging_job job("", 2, 2, mistaken_body);
  job.run_for(60s);
  REQUIRE(job.ended);
  for (std::size_t i = 0; i < 2; ++i) {
    REQUIRE_FALSE(job.world->outcome(i)->ok());
    CHECK_THAT(job.world->outcome(i)->error().message(),
               Contains("rank 0: a message (hangs.cpp:") && Contains("but rank 1 sent 10 elements") &&
                   Contains("in a message (other_side.hpp:"));
  }
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
