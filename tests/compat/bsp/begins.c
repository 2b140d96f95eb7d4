/* A parallel part that is not main, on fewer processes than there are, and what surrounds it. */
#include "check.h"

static int wanted; /* as in the text that BSPlib is described in, only the first process sets it */
static int before = 0;

static void spmd(void) {
  bsp_begin(wanted);
  CHECK(bsp_nprocs() <= 2);
  int root = 0;
  bsp_push_reg(&root, sizeof root);
  bsp_sync();
  /* Only the first process was in main before this. */
  if (bsp_pid() == 0) {
    for (int r = 0; r < bsp_nprocs(); ++r) bsp_put(r, &before, &root, 0, sizeof root);
  } else {
    CHECK(before == 0);
  }
  bsp_sync();
  CHECK(root == 42);
  printf("process %d of %d\n", bsp_pid(), bsp_nprocs());
  fflush(stdout);
  bsp_end();
}

int main(int argc, char** argv) {
  bsp_init(spmd, argc, argv);
  before = 42;
  wanted = 2;
  printf("before, with %d processes at most\n", bsp_nprocs());
  fflush(stdout);
  spmd();
  printf("after, on %d\n", bsp_pid());
  return argc == 2 ? atoi(argv[1]) : 0;
}
