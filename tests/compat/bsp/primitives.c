/* Every primitive of BSPlib, and what its text says of when things happen. */
#include "check.h"

static int p, me;

static void identity(void) {
  CHECK(p >= 1 && me >= 0 && me < p);
  const double first = bsp_time();
  CHECK(first >= 0 && first < 600);
  bsp_sync();
  CHECK(bsp_time() >= first);
}

static void registered_memory(void) {
  int one = me, other = 100 + me, *none = NULL;
  bsp_push_reg(&one, sizeof one);
  bsp_push_reg(&other, sizeof other);
  bsp_sync();

  /* Puts are buffered and written at the end; the last process in order writes last. */
  for (int r = 0; r < p; ++r) {
    int value = 10 * me + r;
    bsp_put(r, &value, &one, 0, sizeof value);
    value = -1;
  }
  CHECK(one == me);
  /* Gets see what was there before the puts. */
  int seen = -1;
  bsp_get((me + 1) % p, &one, 0, &seen, sizeof seen);
  bsp_sync();
  CHECK(one == 10 * (p - 1) + me);
  CHECK(seen == (me + 1) % p);

  /* What a get brings is written after everything was read: two neighbours swap. */
  bsp_get((me + 1) % p, &other, 0, &other, sizeof other);
  bsp_sync();
  CHECK(other == 100 + (me + 1) % p);

  /* Nothing is done with no bytes, whatever the arguments are. */
  bsp_put(-7, NULL, none, 12345, 0);
  bsp_get(p + 9, none, 0, NULL, 0);
  bsp_hpput(p, NULL, none, 0, 0);
  bsp_hpget(p, none, 0, NULL, 0);
  bsp_sync();

  bsp_pop_reg(&other);
  bsp_pop_reg(&one);
  bsp_sync();
}

static void stacks(void) {
  char bytes[16];
  memset(bytes, 0, sizeof bytes);
  /* The last registration of an address counts. */
  bsp_push_reg(bytes, 4);
  bsp_sync();
  bsp_push_reg(bytes, sizeof bytes);
  bsp_sync();
  char mark = (char)(1 + me);
  bsp_put((me + 1) % p, &mark, bytes, 15, 1);
  bsp_sync();
  CHECK(bytes[15] == 1 + (me + p - 1) % p);
  bsp_pop_reg(bytes);
  /* It still counts in this superstep. */
  bsp_put((me + 1) % p, &mark, bytes, 14, 1);
  bsp_sync();
  CHECK(bytes[14] == 1 + (me + p - 1) % p);
  bsp_put((me + 1) % p, &mark, bytes, 3, 1);
  bsp_sync();
  CHECK(bytes[3] == 1 + (me + p - 1) % p);
  bsp_pop_reg(bytes);
  /* Registered and taken back at once; registered again. */
  bsp_push_reg(bytes, 8);
  bsp_pop_reg(bytes);
  bsp_push_reg(bytes, 1);
  bsp_sync();
  bsp_put(me, &mark, bytes, 0, 1);
  bsp_sync();
  CHECK(bytes[0] == mark);
  bsp_pop_reg(bytes);
  bsp_sync();
}

/* Every process has another size, and only the first one has memory at all. */
static void sizes(void) {
  double* const all = me == 0 ? calloc((size_t)p, sizeof *all) : NULL;
  double mine = 1.5 * me, list[8];
  bsp_push_reg(all, me == 0 ? (size_t)p * sizeof *all : 0);
  bsp_push_reg(list, (size_t)(1 + me % 8) * sizeof *list);
  bsp_sync();
  if (me == 0) {
    bsp_put(0, &mine, all, 0, sizeof mine);
    for (int r = 0; r < p; ++r) bsp_put(r, &mine, list, (size_t)(r % 8) * sizeof mine, sizeof mine);
  }
  bsp_sync();
  CHECK(list[me % 8] == 0);
  bsp_pop_reg(list);
  bsp_pop_reg(all);
  bsp_sync();
  free(all);
}

/* NULL that is taken back is the last registration that is NULL wherever NULL is taken back. */
static void nothing(void) {
  char mine = 'a', mark = 'b';
  bsp_push_reg(me % 2 == 0 ? &mine : NULL, me % 2 == 0);
  bsp_push_reg(NULL, 0);
  bsp_push_reg(me % 2 == 0 ? NULL : &mine, me % 2 != 0);
  bsp_pop_reg(NULL);
  bsp_sync();
  bsp_put(me, &mark, &mine, 0, 1);
  bsp_sync();
  CHECK(mine == 'b');
  bsp_pop_reg(me % 2 == 0 ? NULL : &mine);
  bsp_pop_reg(me % 2 == 0 ? &mine : NULL);
  bsp_sync();
}

static void high_performance(void) {
  enum { count = 1000 };
  static int from[count], to[count], got[count];
  for (int i = 0; i < count; ++i) from[i] = me * count + i, to[i] = got[i] = -1;
  bsp_push_reg(from, sizeof from);
  bsp_push_reg(to, sizeof to);
  bsp_sync();
  bsp_hpput((me + 1) % p, from, to, 0, sizeof from);
  bsp_hpget((me + 1) % p, from, sizeof from / 2, got, sizeof from / 2);
  bsp_sync();
  for (int i = 0; i < count; ++i) CHECK(to[i] == (me + p - 1) % p * count + i);
  for (int i = 0; i < count / 2; ++i) CHECK(got[i] == (me + 1) % p * count + count / 2 + i);
  for (int i = count / 2; i < count; ++i) CHECK(got[i] == -1);
  bsp_pop_reg(to);
  bsp_pop_reg(from);
  bsp_sync();
}

static void messages(void) {
  int n = -1, bytes = -1, status = 77;
  bsp_qsize(&n, &bytes);
  CHECK(n == 0 && bytes == 0);
  bsp_get_tag(&status, NULL);
  CHECK(status == -1);
  void *tag_at = NULL, *payload_at = NULL;
  CHECK(bsp_hpmove(&tag_at, &payload_at) == -1);

  int size = sizeof(int);
  bsp_set_tagsize(&size);
  CHECK(size == 0);
  /* Tags have the old size until the end of the superstep. */
  bsp_send(me, NULL, "x", 1);
  bsp_sync();
  bsp_get_tag(&status, NULL);
  CHECK(status == 1);

  /* What is not read is gone with the superstep. */
  for (int r = 0; r < p; ++r) {
    const int tag = 1000 * me + r;
    double values[3] = {me, r, 0.25};
    bsp_send(r, &tag, values, (size_t)(me % 4) * sizeof values[0]);
    values[0] = -1;
  }
  bsp_sync();
  size_t many = 0, wide = 0, expected = 0;
  bsp_qsize(&n, &bytes);
  bsp_qsize_c(&many, &wide);
  for (int r = 0; r < p; ++r) expected += (size_t)(r % 4) * sizeof(double);
  CHECK(n == p && (size_t)bytes == expected && many == (size_t)p && wide == expected);
  int* const seen = calloc((size_t)p, sizeof *seen);
  for (int i = 0; i < p; ++i) {
    int tag = -1;
    ptrdiff_t wide_status = -2;
    bsp_get_tag(&status, &tag);
    bsp_get_tag_c(&wide_status, &tag);
    const int from = tag / 1000;
    CHECK(tag % 1000 == me && from >= 0 && from < p && seen[from]++ == 0);
    CHECK(status == (int)((size_t)(from % 4) * sizeof(double)) && wide_status == status);
    double values[3] = {-1, -1, -1};
    if (i % 2 == 0) {
      bsp_move(values, from % 4 > 1 ? sizeof values[0] : sizeof values);
      CHECK(values[1] == -1);
    } else {
      CHECK(bsp_hpmove(&tag_at, &payload_at) == status);
      CHECK(*(int*)tag_at == tag);
      CHECK((size_t)payload_at % sizeof(double) == 0 && (size_t)tag_at % sizeof(int) == 0);
      memcpy(values, payload_at, (size_t)status);
      if (from % 4 > 1) CHECK(values[1] == me);
    }
    CHECK(values[0] == (from % 4 == 0 ? -1 : from));
    bsp_qsize(&n, &bytes);
    CHECK(n == p - 1 - i);
  }
  CHECK(bytes == 0);
  free(seen);
  size = 3;
  bsp_set_tagsize(&size);
  CHECK(size == (int)sizeof(int));
  size = 0;
  bsp_set_tagsize(&size);
  CHECK(size == 3);
  const int last = 5;
  bsp_send((me + 1) % p, &last, NULL, 0);
  bsp_sync();
  int tag = 0;
  bsp_get_tag(&status, &tag);
  CHECK(status == 0 && tag == 5);
  bsp_sync();
  bsp_qsize(&n, NULL);
  CHECK(n == 0);
}

/* All kinds in one superstep, and thousands of them. */
static void together(void) {
  enum { count = 5000 };
  static int cells[count];
  memset(cells, 0, sizeof cells);
  bsp_push_reg(cells, sizeof cells);
  bsp_sync();
  static int got[count];
  for (int i = 0; i < count; ++i) {
    const int value = me + 1, to = (me + i) % p;
    if (i % p == me) bsp_put(to, &value, cells, (size_t)i * sizeof value, sizeof value);
    bsp_get(to, cells, (size_t)i * sizeof value, &got[i], sizeof value);
    bsp_send(to, NULL, &i, sizeof i);
  }
  bsp_sync();
  for (int i = 0; i < count; ++i) CHECK(got[i] == 0);
  for (int i = 0; i < count; ++i) CHECK(cells[i] == ((i % p + i) % p == me ? i % p + 1 : 0));
  int n, bytes;
  bsp_qsize(&n, &bytes);
  CHECK((size_t)bytes == (size_t)n * sizeof(int));
  long sum = 0;
  for (int k = 0; k < n; ++k) {
    int i;
    bsp_move(&i, sizeof i);
    sum += i;
  }
  long expected = 0;
  for (int r = 0; r < p; ++r) {
    for (int i = 0; i < count; ++i) expected += (r + i) % p == me ? i : 0;
  }
  CHECK(sum == expected);
  bsp_pop_reg(cells);
  bsp_sync();
}

int main(int argc, char** argv) {
  if (argc > 1) return bsp_nprocs() == atoi(argv[1]) ? 0 : 1;
  CHECK(bsp_nprocs() >= 1);
  bsp_begin(bsp_nprocs());
  p = bsp_nprocs();
  me = bsp_pid();
  identity();
  registered_memory();
  stacks();
  sizes();
  nothing();
  high_performance();
  messages();
  together();
  if (me == 0) printf("all primitives on %d processes\n", p);
  bsp_end();
  return 0;
}
