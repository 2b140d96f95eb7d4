/// endure: a job that takes as long as one likes and few of the machine's cycles: ranks pass numbers around a ring, and rest.

#include <p2pdvm/peal/mpi.hpp>
#include <p2pdvm/peal/program.hpp>
#include <p2pdvm/peal/rank.hpp>
#include <p2pdvm/runtime/main.hpp>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace {

constexpr std::uint64_t mixer = 6364136223846793005U;

p2pdvm::task<> body(p2pdvm::peal::rank& rank) {
  p2pdvm::mpi::communicator world(rank);
  std::vector<std::uint64_t> cells(rank.option<std::size_t>("cells"));
  for (std::size_t i = 0; i < cells.size(); ++i) cells[i] = i * mixer + static_cast<std::uint64_t>(rank.id());
  std::uint64_t step = 0, carried = 1;
  rank.region("cells", cells);
  rank.state("step", step);
  rank.state("carried", carried);
  co_await rank.restore();
  const auto steps = rank.option<std::uint64_t>("steps");
  const std::chrono::milliseconds rest(rank.option<int>("rest"));
  while (step < steps) {
    const int next = (world.rank() + 1) % world.size(), before = (world.rank() + world.size() - 1) % world.size();
    co_await world.send(carried, next, 1);
    const auto came = co_await world.recv<std::uint64_t>(before, 1);
    // A part of the cells changes, another one in each step.
    constexpr std::size_t touched = 512;
    for (std::size_t i = 0; i < touched; ++i) {
      std::uint64_t& cell = cells[(step * touched + i) % cells.size()];
      cell = (cell ^ came) * mixer + step;
      carried += cell >> 7;
    }
    ++step;
    if (rest.count() > 0) co_await rank.sleep(rest);
    co_await rank.safe_point();
  }
  std::uint64_t sum = carried;
  for (const std::uint64_t cell : cells) sum = sum * mixer + cell;
  rank.result("sum", std::to_string(sum) + "\n");
}

}  // namespace

int main(int argc, char** argv) {
  p2pdvm::peal::program endure("endure", body);
  endure.describe("Passes numbers around a ring, and rests.")
      .option("steps", "1000", "to take")
      .option("cells", "262144", "numbers of each rank")
      .option("rest", "20", "milliseconds in each step");
  return p2pdvm::main(argc, argv, endure);
}
