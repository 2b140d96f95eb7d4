#include "support/local_world.hpp"
#include "support/other_side.hpp"

#include <p2pdvm/async/nursery.hpp>
#include <p2pdvm/peal/mpi.hpp>

using namespace p2pdvm;
using test::local_world;
using Catch::Matchers::Contains;

namespace {

task<> mistakes(peal::rank& rank) {
  const std::string what = rank.option("what");
  mpi::communicator world(rank);
  co_await rank.restore();
  const bool first = rank.id() == 0;
  double x = 1;
  std::vector<double> many(10);
  if (what == "far") co_await world.send(x, 9);
  if (what == "from far") (void)co_await world.recv<double>(-4);
  if (what == "tag") co_await world.send(x, 0, -1);
  if (what == "root") co_await world.bcast(x, 5);
  if (what == "long") {
    co_await world.send(many, 0);
    co_await world.recv_into(std::span(many).first(3), 0);
  }
  if (what == "size") {
    co_await world.send(many, 0);
    (void)co_await world.recv<std::vector<float>>(0);
  }
  if (what == "form") {
    const std::vector<std::string> words(2);
    co_await world.send(words, 0);
    (void)co_await world.recv<double>(0);
  }
  if (what == "type") {
    const std::map<std::string, int> table{{"a", 1}};
    co_await world.send(table, 0);
    (void)co_await world.recv<std::vector<std::string>>(0);
  }
  if (what == "collective") {
    if (first) {
      co_await world.bcast(x);
    } else {
      x = co_await world.allreduce(x);
    }
  }
  if (what == "elsewhere") {
    if (first) {
      co_await world.bcast(x);
    } else {
      co_await test::reduce_elsewhere(world, x);
    }
  }
  if (what == "long from elsewhere") {
    co_await test::send_from_elsewhere(world, many, 0);
    co_await world.recv_into(std::span(many).first(3), 0);
  }
  if (what == "roots") {
    co_await world.bcast(x, rank.id());  // each is its own root and waits for nothing
    co_await world.barrier();
  }
  if (what == "operation") {
    if (first) {
      x = co_await world.allreduce(x, mpi::plus());
    } else {
      x = co_await world.allreduce(x, mpi::maximum());
    }
  }
  if (what == "counts") co_await world.allreduce(std::span(many).first(first ? 3 : 4));
  if (what == "blocks") (void)co_await world.gather(std::span(many).first(first ? 3 : 4));
  if (what == "parts") (void)co_await world.alltoall(many);
  if (what == "uneven") (void)co_await world.alltoall(std::span(many).first(3));
  if (what == "inside") {
    nursery children(co_await asio::this_coro::executor);
    if (first) children.spawn(world.barrier());
    co_await rank.sleep(std::chrono::seconds(1));
    std::exception_ptr failed;
    try {
      co_await rank.safe_point();
    } catch (...) {
      failed = std::current_exception();
    }
    if (!first) co_await world.barrier();
    co_await children.join();
    if (failed) std::rethrow_exception(failed);
  }
}

std::string mistake(const std::string& what) {
  return local_world(2, mistakes, {{"what", what}}).failure();
}

}  // namespace

TEST_CASE("mistakes in MPI programs are explained, naming both sides") {
  CHECK_THAT(mistake("far"), Contains("rank 0 sends to rank 9 in a message (mpi_mistakes.cpp:") &&
                                 Contains("the job has ranks 0 to 1"));
  CHECK_THAT(mistake("from far"), Contains("receives from rank -4"));
  CHECK_THAT(mistake("tag"), Contains("sends with tag -1"));
  CHECK_THAT(mistake("root"), Contains("names rank 5 as root of bcast (mpi_mistakes.cpp:"));
  CHECK_THAT(mistake("long"), Contains("has room for 3 elements of 8 bytes, but rank 0 sent 10 "
                                       "elements of 8 bytes in a message (mpi_mistakes.cpp:"));
  CHECK_THAT(mistake("size"), Contains("expects elements of 4 bytes, but rank 0 sent 10 elements"));
  CHECK_THAT(mistake("form"), Contains("elements of 8 bytes, but rank 0 sent a serialised"));
  CHECK_THAT(mistake("type"), Contains("a value of another type"));
  CHECK_THAT(mistake("collective"),
             Contains("rank 1 is in allreduce with plus (mpi_mistakes.cpp:") &&
                                        Contains("but rank 0 is in bcast, root 0 (mpi_mistakes.cpp:"));
  CHECK_THAT(mistake("elsewhere"), Contains("rank 1 is in allreduce with plus (other_side.hpp:") &&
                                       Contains("but rank 0 is in bcast, root 0 (mpi_mistakes.cpp:"));
  CHECK_THAT(mistake("long from elsewhere"), Contains("a message (mpi_mistakes.cpp:") &&
                                                 Contains("elements of 8 bytes in a message (other_side.hpp:"));
  CHECK(mistake("roots").empty());  // the stray messages meet no later collective
  CHECK_THAT(mistake("operation"), Contains("allreduce with plus") && Contains("with maximum"));
  CHECK_THAT(mistake("counts"), Contains("expects 3 elements of 8 bytes, but rank 1 sent 4"));
  CHECK_THAT(mistake("blocks"), Contains("expects 3 elements of 8 bytes, but rank 1 sent 4"));
  CHECK_THAT(mistake("parts"), Contains("needs one value per rank, 2, but rank 0 gives 10"));
  CHECK_THAT(mistake("uneven"), Contains("needs a multiple of the number of ranks, 2"));
  CHECK_THAT(mistake("inside"), Contains("rank 0 is inside a collective (barrier)"));
  CHECK(mistake("nothing wrong").empty());
}
