/// p2pdvm-mpiexec: runs MPI programs on this computer, and together with others behind a ticket.
#include "../common/launcher.hpp"

int main(int argc, char** argv) {
  static constexpr p2pdvm::compat::environment mpi = {"p2pdvm-mpiexec", "an MPI program that was compiled by p2pdvm-mpicc or p2pdvm-mpicxx",
                                                      "MPI_Init", "MPI_Finalize", "MPIEXEC_TIMEOUT"};
  return p2pdvm::compat::launch(mpi, argc, argv);
}
