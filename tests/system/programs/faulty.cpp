/// faulty: one of its ranks throws, for the test of what all peers then say.

#include <p2pdvm/peal/mpi.hpp>
#include <p2pdvm/peal/program.hpp>
#include <p2pdvm/peal/rank.hpp>
#include <p2pdvm/runtime/main.hpp>

#include <stdexcept>

namespace {

p2pdvm::task<> body(p2pdvm::peal::rank& rank) {
  p2pdvm::mpi::communicator world(rank);
  co_await rank.restore();
  if (rank.id() == rank.option<int>("thrower")) throw std::runtime_error("the data make no sense");
  co_await world.barrier();
}

}  // namespace

int main(int argc, char** argv) {
  p2pdvm::peal::program faulty("faulty", body);
  faulty.describe("One of its ranks throws.").option("thrower", "0", "which rank it is");
  return p2pdvm::main(argc, argv, faulty);
}
