/* Ends as its argument says, on the last rank: the others wait for it. */
#include "check.h"

#include <signal.h>

int main(int argc, char** argv) {
  const char* const how = argc > 1 ? argv[1] : "well";
  if (strcmp(how, "without") == 0) return 0;
  MPI_Init(&argc, &argv);
  int rank = -1, size = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if (rank == size - 1) {
    if (strcmp(how, "abort") == 0) MPI_Abort(MPI_COMM_WORLD, 17);
    if (strcmp(how, "exit") == 0) exit(5);
    if (strcmp(how, "quietly") == 0) exit(0);
    if (strcmp(how, "signal") == 0) raise(SIGKILL);
    if (strcmp(how, "forever") == 0) MPI_Recv(&rank, 1, MPI_INT, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    if (strcmp(how, "error") == 0) MPI_Send(&rank, 1, MPI_INT, size + 3, 0, MPI_COMM_WORLD);
  }
  MPI_Barrier(MPI_COMM_WORLD);
  MPI_Finalize();
  return strcmp(how, "later") == 0 && rank == size - 1 ? 4 : 0;
}
