/* Goes on from a checkpoint: sums over all ranks, step after step. restarts STEPS KILLED: rank 1 kills itself in that step, the first
 * time that it comes there; or "always". */
#include "check.h"

#include <p2pdvm.h>

#include <signal.h>

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank, size, step = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  const int steps = argc > 1 ? atoi(argv[1]) : 10, killed = argc > 2 ? atoi(argv[2]) : -1;
  const int always = argc > 3 && strcmp(argv[3], "always") == 0;
  static double field[50000];
  double last = 0;
  p2pdvm_state("field", field, sizeof field);
  p2pdvm_state("step", &step, sizeof step);
  p2pdvm_state("last", &last, sizeof last);
  const int again = p2pdvm_restore();
  if (!again) {
    for (int i = 0; i < 50000; ++i) field[i] = rank + i % 7;
  } else if (rank == 0) {
    printf("again at step %d\n", step);
    fflush(stdout);
  }
  MPI_Comm ring;
  MPI_Comm_dup(MPI_COMM_WORLD, &ring);
  for (; step < steps; ++step) {
    if (step % 5 == 0 && step > 0 && !(again && last == step)) {
      last = step;
      CHECK(p2pdvm_checkpoint() > 0);
    }
    if (rank == size - 1 && step == killed && (!again || always)) raise(SIGKILL);
    double mine = 0, sum = 0;
    for (int i = 0; i < 50000; i += 100) mine += field[i];
    MPI_Allreduce(&mine, &sum, 1, MPI_DOUBLE, MPI_SUM, ring);
    double from = 0;
    MPI_Sendrecv(&mine, 1, MPI_DOUBLE, (rank + 1) % size, step, &from, 1, MPI_DOUBLE, (rank + size - 1) % size, step, ring, MPI_STATUS_IGNORE);
    for (int i = 0; i < 50000; i += 50) field[i] = field[i] / 2 + sum / (1000.0 * size) + from / 5000;
  }
  double mine = field[0] + field[100], all = 0;
  MPI_Reduce(&mine, &all, 1, MPI_DOUBLE, MPI_SUM, 0, ring);
  if (rank == 0) printf("result %.17g\n", all);
  MPI_Comm_free(&ring);
  MPI_Finalize();
  return 0;
}
