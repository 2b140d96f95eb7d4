/// The programs of scenarios, and a slow one.
#pragma once

#include <p2pdvm/runtime/scenario_programs.hpp>

#include <chrono>
#include <string>

namespace p2pdvm::test {

using runtime::detail::exchange_halos;
using runtime::detail::first_cells;
using runtime::detail::hex_of;
using runtime::detail::mixed;

/// Halos, 50 ms of rest after each: for jobs that are still there after a detector's patience.
inline task<> slow_body(peal::rank& rank) {
  mpi::communicator world(rank);
  auto cells = first_cells(rank);
  const auto steps = rank.option<std::uint64_t>("steps");
  std::uint64_t done = 0;
  rank.state("done", done);
  rank.region("cells", cells);
  co_await rank.restore();
  while (done < steps) {
    co_await exchange_halos(rank, world, cells, done);
    co_await rank.sleep(std::chrono::milliseconds(50));
    ++done;
    co_await rank.safe_point();
  }
  rank.result("output", hex_of(cells));
}

inline peal::program slow_program() {
  peal::program program("slow", slow_body);
  program.option("steps", "100", "how many").option("cells", "64", "numbers of a rank");
  return program;
}

inline const std::string halo = "halo", supersteps = "supersteps";

using runtime::small_program;
using runtime::small_program_names;

}  // namespace p2pdvm::test
