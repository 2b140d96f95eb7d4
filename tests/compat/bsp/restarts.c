/* As that of MPI: restarts STEPS KILLED. */
#include "check.h"

#include <p2pdvm.h>

#include <signal.h>

int main(int argc, char** argv) {
  bsp_begin(2);
  const int p = bsp_nprocs(), me = bsp_pid();
  const int steps = argc > 1 ? atoi(argv[1]) : 10, killed = argc > 2 ? atoi(argv[2]) : -1;
  int step = 0;
  long cells[4] = {me, 1, 2, 3};
  p2pdvm_state("cells", cells, sizeof cells);
  p2pdvm_state("step", &step, sizeof step);
  const int again = p2pdvm_restore(), first = step;
  if (again && me == 0) printf("again at step %d\n", step), fflush(stdout);
  bsp_push_reg(cells, sizeof cells);
  bsp_sync();
  for (; step < steps; ++step) {
    if (step % 4 == 0 && step > first) CHECK(p2pdvm_checkpoint() > 0);
    if (me == p - 1 && step == killed && !again) raise(SIGKILL);
    const long sum = (cells[0] + 3 * cells[1] + cells[2] + step) % 1000003;
    bsp_put((me + 1) % p, &sum, cells, (size_t)(step % 4) * sizeof sum, sizeof sum);
    bsp_send((me + 1) % p, NULL, &step, sizeof step);
    bsp_sync();
    int sent = -1;
    bsp_move(&sent, sizeof sent);
    CHECK(sent == step);
  }
  if (me == 0) printf("result %ld\n", cells[0] + cells[1] + cells[2] + cells[3]);
  bsp_end();
  return 0;
}
