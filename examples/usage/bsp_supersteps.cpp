/// Bulk-synchronous parallel: what is asked for in a superstep has happened after its end.
#include <p2pdvm/p2pdvm.hpp>

#include <cstddef>
#include <string>
#include <vector>

namespace bsp = p2pdvm::bsp;

p2pdvm::task<> body(p2pdvm::peal::rank& rank) {
  bsp::world world(rank);
  const int me = world.rank();
  const int p = world.size();
  int best = 0;
  std::vector<double> table(static_cast<std::size_t>(p));
  int round = 0;
  bsp::variable<int> shared_best(world, best);  // others reach it from here on
  bsp::array<double> shared_table(world, table);
  rank.state("best", best);
  rank.region("table", table);
  rank.state("round", round);
  co_await rank.restore();

  while (round < 20) {
    // Put: the element of each rank in everybody's table.
    for (int r = 0; r < p; ++r) shared_table.put(r, static_cast<std::size_t>(me), me + 0.1 * round);
    // Fold: a value of all ranks, with the same messages.
    const bsp::future<int> largest = world.maximum((me * 7 + round) % 11);
    co_await world.sync();
    best = largest.value();

    // Get: reads a neighbour's at the end of the superstep.
    const bsp::future<int> neighbours = shared_best.get((me + 1) % p);
    // Send: readable in the next superstep, in the order of (source, sending).
    world.send((me + 1) % p, round, table[static_cast<std::size_t>(me)]);
    co_await world.sync();
    double heard = neighbours.value();
    for (const bsp::message& m : world.messages()) heard += m.value<double>();
    table[static_cast<std::size_t>(me)] += heard;

    ++round;
    co_await world.safe_sync();  // a superstep's end that is also a safe point
  }
  rank.result("output", std::to_string(me) + " " + std::to_string(best) + " " +
                            std::to_string(table[static_cast<std::size_t>(me)]) + "\n");
}

int main(int argc, char** argv) {
  p2pdvm::program program("bsp_supersteps", body);
  program.output("output", "one line for each rank");
  return p2pdvm::main(argc, argv, program);
}
