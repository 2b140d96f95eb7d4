/// Files that grow while the job runs: whatever is lost meanwhile, each line is there once and in order.
///
///     outputs --ranks 4 --local 3 --checkpoint-every 1 -- --walks walks.txt --widest widest.txt
///     tail -f walks.txt
#include <p2pdvm/p2pdvm.hpp>

#include <cstdint>
#include <cstdlib>
#include <string>

/// Each rank walks at random along a line, and notes every 1000th step.
p2pdvm::task<> body(p2pdvm::peal::rank& rank) {
  p2pdvm::mpi::communicator world(rank);
  const auto steps = rank.option<std::uint64_t>("steps");
  std::uint64_t step = 0;
  std::int64_t at = 0;
  rank.state("step", step);
  rank.state("at", at);
  co_await rank.restore();

  // Written on the peers that were started with --walks FILE and --widest FILE. What stands in a file was
  // committed: no loss takes it back. Of each step rank 0's line comes first, then rank 1's, and so on.
  p2pdvm::peal::output walks = world.output("walks");
  p2pdvm::peal::output widest = world.output("widest");
  while (step < steps) {
    at += rank.random().below(2) == 0 ? 1 : -1;
    ++step;
    if (step % 1000 == 0) {
      const std::string line = "step " + std::to_string(step) + ": rank " + std::to_string(rank.id());
      walks.write(line + " is at " + std::to_string(at) + "\n");
      const std::int64_t far = co_await world.allreduce(std::abs(at), p2pdvm::mpi::maximum());
      if (rank.id() == 0) widest.write(std::to_string(step) + " " + std::to_string(far) + "\n");
    }
    co_await rank.safe_point();
  }
  rank.result("ends", std::to_string(at) + "\n");
}

int main(int argc, char** argv) {
  p2pdvm::program program("outputs", body);
  program.option("steps", "1000000", "of each rank")
      .output("walks", "where each rank is at every 1000th step")
      .output("widest", "how far from the start any of them is then")
      .output("ends", "where they are at the end");
  return p2pdvm::main(argc, argv, program);
}
