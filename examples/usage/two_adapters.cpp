/// MPI and BSP in one job: they share the ranks and the snapshots, and their messages never meet.
#include <p2pdvm/p2pdvm.hpp>

#include <cstddef>
#include <string>
#include <vector>

p2pdvm::task<> body(p2pdvm::peal::rank& rank) {
  p2pdvm::mpi::communicator comm(rank);
  p2pdvm::bsp::world world(rank);
  const int p = rank.size();
  std::vector<double> seen(static_cast<std::size_t>(p));
  double value = 1.0 + rank.id();
  int step = 0;
  p2pdvm::bsp::array<double> everywhere(world, seen);
  rank.state("value", value);
  rank.state("step", step);
  rank.region("seen", seen);
  co_await rank.restore();

  while (step < 50) {
    // Neighbours by MPI …
    double left = 0;
    co_await comm.sendrecv(value, (rank.id() + 1) % p, left, (rank.id() + p - 1) % p);
    value = 0.5 * (value + left);
    // … and everybody's value by BSP, whose superstep's end is the safe point of both.
    for (int r = 0; r < p; ++r) everywhere.put(r, static_cast<std::size_t>(rank.id()), value);
    ++step;
    co_await world.safe_sync();
  }
  double sum = 0;
  for (const double s : seen) sum += s;
  rank.result("output", std::to_string(sum) + "\n");
}

int main(int argc, char** argv) {
  p2pdvm::program program("two_adapters", body);
  program.output("output", "the same sum from every rank");
  return p2pdvm::main(argc, argv, program);
}
