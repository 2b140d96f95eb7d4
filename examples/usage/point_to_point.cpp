/// Messages between ranks: values, ranges, whatever cereal can save; waiting or not.
#include <p2pdvm/p2pdvm.hpp>

#include <map>
#include <string>
#include <vector>

namespace mpi = p2pdvm::mpi;

p2pdvm::task<> body(p2pdvm::peal::rank& rank) {
  mpi::communicator world(rank);
  co_await rank.restore();
  const int next = (world.rank() + 1) % world.size();
  const int before = (world.rank() + world.size() - 1) % world.size();

  // A vector is sent as its bytes and received into a vector of any length.
  const std::vector<double> numbers(10, world.rank());
  co_await world.send(numbers, next);
  const auto received = co_await world.recv<std::vector<double>>(before);

  // Anything that cereal can save; tags tell messages apart.
  const std::map<std::string, int> table{{"rank", world.rank()}};
  co_await world.send(table, next, 7);
  const auto their_table = co_await world.recv<std::map<std::string, int>>(mpi::any_source, 7);

  // Non-blocking: compute while the data travels, then wait.
  std::vector<double> halo(10);
  mpi::request incoming = world.irecv(halo, before, 1);
  mpi::request outgoing = world.isend(numbers, next, 1);
  double sum = 0;
  for (const double x : received) sum += x;
  co_await mpi::wait_all(incoming, outgoing);

  // Who sent how much is known before it is received.
  co_await world.send("good bye", next, 2);
  const mpi::status waiting = co_await world.probe(mpi::any_source, 2);
  const auto text = co_await world.recv<std::string>(waiting.source, waiting.tag);

  rank.result("output", "rank " + std::to_string(world.rank()) + ": sum " + std::to_string(sum) +
                            ", table of " + std::to_string(their_table.at("rank")) + ", halo of " +
                            std::to_string(halo[0]) + ", " + text + "\n");
}

int main(int argc, char** argv) {
  p2pdvm::program program("point_to_point", body);
  program.output("output", "what each rank received");
  return p2pdvm::main(argc, argv, program);
}
