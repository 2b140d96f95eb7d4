/// Operations of all ranks together. Reductions give the same bits at every attempt.
#include <p2pdvm/p2pdvm.hpp>

#include <span>
#include <string>
#include <vector>

namespace mpi = p2pdvm::mpi;

p2pdvm::task<> body(p2pdvm::peal::rank& rank) {
  mpi::communicator world(rank);
  mpi::communicator half = co_await world.split(world.rank() % 2);  // before restore()
  co_await rank.restore();
  const int me = world.rank();

  std::vector<double> parameters;
  if (me == 0) parameters.assign(3, 0.5);
  co_await world.bcast(parameters);

  const double total = co_await world.allreduce(me + parameters[0], mpi::plus());
  const int largest = co_await world.allreduce(me, mpi::maximum());
  std::vector<double> field(100, me);
  co_await world.allreduce(std::span(field), mpi::minimum());  // in place, element by element

  // Your own operation; it captures by reference only.
  const int base = 10;
  const int digits =
      co_await world.allreduce(me % base, [&base](int a, int b) { return (a * base + b) % 9973; });

  const int before_me = co_await world.exscan(1);                // 0, 1, 2, …
  const std::vector<int> everyone = co_await world.allgather(me);  // one value per rank
  const std::vector<std::string> names = co_await world.gather("rank " + std::to_string(me));
  std::vector<int> shares(static_cast<std::size_t>(world.size()), me);
  const std::vector<int> from_each = co_await world.alltoall(shares);
  const int in_half = co_await half.allreduce(1);
  co_await world.barrier();

  if (me != 0) co_return;
  rank.result("output", "total " + std::to_string(total) + ", largest " + std::to_string(largest) +
                            ", least " + std::to_string(field[0]) + ", digits " +
                            std::to_string(digits) + ", before me " + std::to_string(before_me) +
                            ", last " + std::to_string(everyone.back()) + ", " + names.back() +
                            ", from the last " + std::to_string(from_each.back()) + ", half " +
                            std::to_string(in_half) + "\n");
}

int main(int argc, char** argv) {
  p2pdvm::program program("collectives", body);
  program.output("output", "what rank 0 computed");
  return p2pdvm::main(argc, argv, program);
}
