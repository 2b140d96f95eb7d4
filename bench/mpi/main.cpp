/// Measures an MPI library as p2pdvm-bench measures p2pdvm; needs mpi.h only. scripts/bench builds it once for each library, and
/// p2pdvm-bench starts it.
///
///     mpicxx.openmpi -std=c++20 -O3 bench/mpi/*.cpp -o p2pdvm-bench-openmpi
///     mpiexec.openmpi -n 2 p2pdvm-bench-openmpi messaging
#include "../messaging_plan.hpp"
#include "suites.hpp"

#include <mpi.h>

#include <cstring>

int main(int argc, char** argv) {
  p2pdvm::bench::plan::take_share();
  MPI_Init(&argc, &argv);
  const bool quick = argc > 2 && std::strcmp(argv[2], "--quick") == 0;
  const bool supersteps = argc > 1 && std::strcmp(argv[1], "bsp") == 0;
  supersteps ? measure_supersteps(quick) : measure_messaging(quick);
  MPI_Finalize();
}
