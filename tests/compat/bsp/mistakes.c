/* What a BSPlib program must not do, one thing after the other; the first argument says which. */
#include "check.h"

static int is(const char* what, const char* name) { return strcmp(what, name) == 0; }

int main(int argc, char** argv) {
  const char* const what = argc > 1 ? argv[1] : "";
  int value = 0, other = 0, size = 4;
  if (is(what, "before")) bsp_sync();
  if (is(what, "nobody yet")) bsp_pid();
  if (is(what, "none")) bsp_begin(0);
  bsp_begin(bsp_nprocs());
  const int me = bsp_pid(), p = bsp_nprocs();
  if (is(what, "twice")) bsp_begin(p);
  bsp_push_reg(&value, sizeof value);
  if (is(what, "too early")) bsp_put(0, &other, &value, 0, sizeof other);
  if (is(what, "pushes") && me == 1) bsp_push_reg(&other, sizeof other);
  if (is(what, "null")) bsp_push_reg(NULL, 8);
  if (is(what, "negative")) bsp_push_reg(&other, (size_t)-4);
  bsp_sync();
  if (is(what, "unregistered")) bsp_put(0, &value, &other, 0, sizeof other);
  if (is(what, "outside") && me == 1) bsp_put(0, &other, &value, 2, sizeof other);
  if (is(what, "outside get") && me == 1) bsp_get(0, &value, 4, &other, 1);
  if (is(what, "nobody")) bsp_put(p, &other, &value, 0, sizeof other);
  if (is(what, "nobody sends")) bsp_send(-1, NULL, NULL, 0);
  if (is(what, "pops") && me == 1) bsp_pop_reg(&value);
  if (is(what, "not pushed")) bsp_pop_reg(&other);
  if (is(what, "pops twice")) bsp_pop_reg(&value), bsp_pop_reg(&value);
  if (is(what, "other pops")) {
    bsp_push_reg(&other, sizeof other);
    bsp_sync();
    bsp_pop_reg(me == 0 ? &value : &other);
  }
  if (is(what, "order")) {
    if (me == 0) bsp_push_reg(&other, sizeof other);
    bsp_pop_reg(&value);
    if (me != 0) bsp_push_reg(&other, sizeof other);
  }
  if (is(what, "tag size") && me == 1) bsp_set_tagsize(&size);
  if (is(what, "tag sizes")) {
    size = me;
    bsp_set_tagsize(&size);
  }
  if (is(what, "no message")) bsp_move(&value, sizeof value);
  if (is(what, "less than nothing")) bsp_send(me, NULL, NULL, 0), bsp_sync(), bsp_move(&value, (size_t)-1);
  if (is(what, "other nulls")) {
    bsp_push_reg(me == 0 ? NULL : &other, 0);
    bsp_push_reg(me == 1 ? NULL : &other, 0);
    bsp_pop_reg(NULL);
  }
  if (is(what, "abort") && me == 1) bsp_abort("the matrix is singular in row %d\n", 17);
  if (is(what, "leaves") && me == 1) exit(5);
  if (is(what, "returns") && me == 1) return 0;
  if (is(what, "ends") && me == 1) {
    bsp_end();
    return 0;
  }
  bsp_sync();
  bsp_end();
  if (is(what, "after")) bsp_sync();
  if (is(what, "again")) bsp_begin(1);
  return 0;
}
