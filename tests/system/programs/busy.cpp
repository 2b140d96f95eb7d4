/// busy: one rank computes for a long time without awaiting anything, while the others wait for it.

#include <p2pdvm/peal/mpi.hpp>
#include <p2pdvm/peal/program.hpp>
#include <p2pdvm/peal/rank.hpp>
#include <p2pdvm/runtime/main.hpp>

#include <chrono>
#include <cstdint>
#include <string>

namespace {

/// Counts and does not look left or right; the result does not depend on how far it came.
std::uint64_t compute_for(double seconds) {
  using clock = std::chrono::steady_clock;
  const auto end = clock::now() + std::chrono::duration<double>(seconds);
  std::uint64_t x = 1;
  while (clock::now() < end) {
    for (int i = 0; i < 100000; ++i) x = x * 6364136223846793005U + 1442695040888963407U;
  }
  return x | 1;
}

p2pdvm::task<> body(p2pdvm::peal::rank& rank) {
  p2pdvm::mpi::communicator world(rank);
  co_await rank.restore();
  co_await world.barrier();
  std::uint64_t odd = 1;
  if (rank.id() == rank.size() - 1) odd = compute_for(rank.option<double>("busy")) & 1;
  const std::uint64_t sum = co_await world.allreduce(odd);
  rank.result("sum", std::to_string(sum) + "\n");
}

}  // namespace

int main(int argc, char** argv) {
  p2pdvm::peal::program busy("busy", body);
  busy.describe("Its last rank computes without awaiting anything.")
      .option("busy", "12", "for so many seconds");
  return p2pdvm::main(argc, argv, busy);
}
