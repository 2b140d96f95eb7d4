/// gated: sums go round a ring, step by step, until a file appears; for tests in which something
/// else must have happened before the job ends, however fast the machine is.

#include <p2pdvm/peal/mpi.hpp>
#include <p2pdvm/peal/program.hpp>
#include <p2pdvm/peal/rank.hpp>
#include <p2pdvm/runtime/main.hpp>

#include <cstdint>
#include <filesystem>
#include <string>

namespace {

/// Counts and sums up to `--steps`; what goes round after that changes nothing, so that the result
/// does not depend on when the gate opens.
p2pdvm::task<> body(p2pdvm::peal::rank& rank) {
  p2pdvm::mpi::communicator world(rank);
  const auto steps = rank.option<std::uint64_t>("steps");
  const std::filesystem::path gate = rank.option("gate");
  std::uint64_t step = 0;
  std::uint64_t sum = static_cast<std::uint64_t>(rank.id()) + 1;
  rank.state("step", step);
  rank.state("sum", sum);
  co_await rank.restore();
  const int right = (world.rank() + 1) % world.size();
  const int left = (world.rank() + world.size() - 1) % world.size();
  for (bool open = false; !open || step < steps; co_await rank.safe_point()) {
    const bool counts = step < steps;
    std::uint64_t from_left = 0;
    co_await world.sendrecv(sum, right, from_left, left);
    if (counts) {
      sum = sum * 6364136223846793005U + from_left;
      ++step;
    } else {
      const int mine = world.rank() == 0 && std::filesystem::exists(gate) ? 1 : 0;
      open = co_await world.allreduce(mine, p2pdvm::mpi::maximum()) != 0;
    }
  }
  rank.result("sum", std::to_string(sum) + "\n");
}

}  // namespace

int main(int argc, char** argv) {
  p2pdvm::peal::program gated("gated", body);
  gated.describe("Sums go round a ring until a file appears.")
      .option("steps", "1000", "steps that count")
      .option("gate", "/", "the file");
  return p2pdvm::main(argc, argv, gated);
}
