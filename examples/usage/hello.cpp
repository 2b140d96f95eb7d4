/// hello: a whole program. Kill any of its machines; it goes on from its last snapshot.
#include <p2pdvm/p2pdvm.hpp>

p2pdvm::task<> body(p2pdvm::peal::rank& rank) {
  p2pdvm::mpi::communicator world(rank);
  int step = 0;
  double value = rank.id();
  rank.state("step", step);
  rank.state("value", value);
  co_await rank.restore();  // after a loss: step and value are what they were
  while (step < 1000) {
    const double total = co_await world.allreduce(value);
    value = 0.5 * (value + total / world.size());
    ++step;
    co_await rank.safe_point();  // a snapshot may be taken here
  }
  rank.result("value", std::to_string(value) + "\n");
}

int main(int argc, char** argv) { return p2pdvm::main(argc, argv, p2pdvm::program("hello", body)); }
