/* Every collective, blocking and with a request, in place and not. */
#include "check.h"

static int rank, size;
enum { n = 5 };

static int* ints(int count) {
  int* const all = malloc(sizeof(int) * (size_t)(count > 0 ? count : 1));
  for (int i = 0; i < count; ++i) all[i] = -1;
  return all;
}

static void wait_for(MPI_Request r) { MPI_Wait(&r, MPI_STATUS_IGNORE); }

static void one_to_all(int root) {
  int data[n];
  for (int i = 0; i < n; ++i) data[i] = rank == root ? 10 * root + i : -1;
  MPI_Bcast(data, n, MPI_INT, root, MPI_COMM_WORLD);
  for (int i = 0; i < n; ++i) CHECK(data[i] == 10 * root + i);

  int* const all = ints(size * n);
  int mine[n];
  for (int i = 0; i < size * n; ++i) all[i] = i;
  MPI_Scatter(all, n, MPI_INT, mine, n, MPI_INT, root, MPI_COMM_WORLD);
  for (int i = 0; i < n; ++i) CHECK(mine[i] == rank * n + i);
  int *counts = ints(size), *places = ints(size), total = 0;
  for (int r = 0; r < size; ++r) counts[r] = r % n, places[r] = total, total += r % n;
  MPI_Request q;
  MPI_Iscatterv(all, counts, places, MPI_INT, mine, rank % n, MPI_INT, root, MPI_COMM_WORLD, &q);
  wait_for(q);
  for (int i = 0; i < rank % n; ++i) CHECK(mine[i] == places[rank] + i);
  free(all), free(counts), free(places);
}

static void all_to_one(int root) {
  int *all = ints(size * n), *counts = ints(size), *places = ints(size), mine[n];
  for (int i = 0; i < n; ++i) mine[i] = rank * n + i;
  MPI_Gather(mine, n, MPI_INT, all, n, MPI_INT, root, MPI_COMM_WORLD);
  for (int i = 0; rank == root && i < size * n; ++i) CHECK(all[i] == i);
  for (int r = 0; r < size; ++r) counts[r] = r % n, places[r] = n * (size - 1 - r);
  for (int i = 0; i < size * n; ++i) all[i] = -1;
  MPI_Gatherv(mine, rank % n, MPI_INT, all, counts, places, MPI_INT, root, MPI_COMM_WORLD);
  for (int r = 0; rank == root && r < size; ++r) {
    for (int i = 0; i < n; ++i) CHECK(all[places[r] + i] == (i < r % n ? r * n + i : -1));
  }
  double value = rank + 1, sum = 0;
  MPI_Reduce(&value, &sum, 1, MPI_DOUBLE, MPI_SUM, root, MPI_COMM_WORLD);
  if (rank == root) CHECK(sum == size * (size + 1) / 2.0);
  if (rank == root) {
    MPI_Reduce(MPI_IN_PLACE, &value, 1, MPI_DOUBLE, MPI_MAX, root, MPI_COMM_WORLD);
    CHECK(value == size);
  } else {
    MPI_Reduce(&value, NULL, 1, MPI_DOUBLE, MPI_MAX, root, MPI_COMM_WORLD);
  }
  free(all), free(counts), free(places);
}

static void all_to_all(void) {
  int *out = ints(size * n), *in = ints(size * n), *counts = ints(size), *places = ints(size);
  MPI_Request q;
  for (int i = 0; i < n; ++i) out[i] = rank * n + i;
  MPI_Allgather(out, n, MPI_INT, in, n, MPI_INT, MPI_COMM_WORLD);
  for (int i = 0; i < size * n; ++i) CHECK(in[i] == i);
  for (int i = 0; i < size * n; ++i) in[i] = i / n == rank ? i : -1;
  MPI_Iallgather(MPI_IN_PLACE, 0, MPI_INT, in, n, MPI_INT, MPI_COMM_WORLD, &q);
  wait_for(q);
  for (int i = 0; i < size * n; ++i) CHECK(in[i] == i);
  for (int r = 0; r < size; ++r) counts[r] = r % n, places[r] = r * n;
  MPI_Allgatherv(out, rank % n, MPI_INT, in, counts, places, MPI_INT, MPI_COMM_WORLD);
  for (int r = 0; r < size; ++r) {
    for (int i = 0; i < r % n; ++i) CHECK(in[r * n + i] == r * n + i);
  }
  for (int i = 0; i < size * n; ++i) out[i] = rank * 1000 + i;
  MPI_Alltoall(out, n, MPI_INT, in, n, MPI_INT, MPI_COMM_WORLD);
  for (int i = 0; i < size * n; ++i) CHECK(in[i] == i / n * 1000 + rank * n + i % n);
  int* const wanted = ints(size);
  for (int r = 0; r < size; ++r) counts[r] = (rank + r) % n, wanted[r] = (rank + r) % n;
  MPI_Alltoallv(out, counts, places, MPI_INT, in, wanted, places, MPI_INT, MPI_COMM_WORLD);
  for (int r = 0; r < size; ++r) {
    for (int i = 0; i < wanted[r]; ++i) CHECK(in[r * n + i] == r * 1000 + rank * n + i);
  }
  MPI_Datatype* const types = malloc(sizeof(MPI_Datatype) * (size_t)size);
  for (int r = 0; r < size; ++r) types[r] = MPI_INT, places[r] = r * n * (int)sizeof(int), counts[r] = n;
  MPI_Alltoallw(out, counts, places, types, in, counts, places, types, MPI_COMM_WORLD);
  for (int i = 0; i < size * n; ++i) CHECK(in[i] == i / n * 1000 + rank * n + i % n);
  free(out), free(in), free(counts), free(places), free(wanted), free(types);
}

struct matrix {
  int a, b, c, d;
};
/* Not commutative: the order of ranks has to be kept. */
static void multiply(void* left, void* right, int* count, MPI_Datatype* type) {
  (void)type;
  const struct matrix* x = left;
  struct matrix* y = right;
  for (int i = 0; i < *count; ++i) {
    const struct matrix p = {x[i].a * y[i].a + x[i].b * y[i].c, x[i].a * y[i].b + x[i].b * y[i].d, x[i].c * y[i].a + x[i].d * y[i].c,
                             x[i].c * y[i].b + x[i].d * y[i].d};
    y[i] = p;
  }
}
static struct matrix step(int r) {
  const struct matrix m = {1, r + 1, r % 2, r % 2 == 0 ? 1 : 0};
  return m;
}
static struct matrix product(int first, int last) {
  struct matrix all = step(first);
  for (int r = first + 1; r <= last; ++r) {
    struct matrix next = step(r);
    int one = 1;
    multiply(&all, &next, &one, NULL);
    all = next;
  }
  return all;
}
static int same(struct matrix x, struct matrix y) { return memcmp(&x, &y, sizeof x) == 0; }

static void reductions(void) {
  long values[n], result[n];
  for (int i = 0; i < n; ++i) values[i] = rank + i;
  MPI_Allreduce(values, result, n, MPI_LONG, MPI_MIN, MPI_COMM_WORLD);
  for (int i = 0; i < n; ++i) CHECK(result[i] == i);
  MPI_Request q;
  MPI_Iallreduce(MPI_IN_PLACE, values, n, MPI_LONG, MPI_SUM, MPI_COMM_WORLD, &q);
  wait_for(q);
  for (int i = 0; i < n; ++i) CHECK(values[i] == size * (size - 1) / 2 + i * size);
  struct located {
    double value;
    int where;
  } mine = {rank == size / 2 ? -1.0 : rank, rank}, least;
  MPI_Allreduce(&mine, &least, 1, MPI_DOUBLE_INT, MPI_MINLOC, MPI_COMM_WORLD);
  CHECK(least.where == size / 2 && least.value == -1.0);
  unsigned bits = 1u << (rank % 8), all_bits = 0;
  MPI_Allreduce(&bits, &all_bits, 1, MPI_UNSIGNED, MPI_BOR, MPI_COMM_WORLD);
  CHECK(all_bits == (size >= 8 ? 255u : (1u << size) - 1));

  MPI_Datatype four;
  MPI_Type_contiguous(4, MPI_INT, &four);
  MPI_Type_commit(&four);
  MPI_Op times;
  MPI_Op_create(multiply, 0, &times);
  struct matrix own = step(rank), got;
  MPI_Allreduce(&own, &got, 1, four, times, MPI_COMM_WORLD);
  CHECK(same(got, product(0, size - 1)));
  MPI_Scan(&own, &got, 1, four, times, MPI_COMM_WORLD);
  CHECK(same(got, product(0, rank)));
  MPI_Exscan(&own, &got, 1, four, times, MPI_COMM_WORLD);
  if (rank > 0) CHECK(same(got, product(0, rank - 1)));
  MPI_Reduce(&own, &got, 1, four, times, size - 1, MPI_COMM_WORLD);
  if (rank == size - 1) CHECK(same(got, product(0, size - 1)));
  MPI_Op_free(&times);
  MPI_Type_free(&four);

  int *all = ints(size * n), *counts = ints(size), part[n], expected = size * (size - 1) / 2;
  for (int i = 0; i < size * n; ++i) all[i] = rank + i;
  MPI_Reduce_scatter_block(all, part, n, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  for (int i = 0; i < n; ++i) CHECK(part[i] == expected + size * (rank * n + i));
  for (int r = 0; r < size; ++r) counts[r] = n;
  MPI_Ireduce_scatter(all, part, counts, MPI_INT, MPI_SUM, MPI_COMM_WORLD, &q);
  wait_for(q);
  for (int i = 0; i < n; ++i) CHECK(part[i] == expected + size * (rank * n + i));
  free(all), free(counts);
}

/* Several at once, waited for in another order; and one that is begun again and again. */
static void overlapping(void) {
  MPI_Request q[4];
  int a = rank, b = 0, c = rank == 0 ? 7 : -1;
  MPI_Ibarrier(MPI_COMM_WORLD, &q[0]);
  MPI_Iallreduce(&a, &b, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD, &q[1]);
  MPI_Ibcast(&c, 1, MPI_INT, 0, MPI_COMM_WORLD, &q[2]);
  int before = -1;
  MPI_Iexscan(&a, &before, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD, &q[3]);
  MPI_Wait(&q[3], MPI_STATUS_IGNORE);
  MPI_Wait(&q[2], MPI_STATUS_IGNORE);
  MPI_Waitall(2, q, MPI_STATUSES_IGNORE);
  CHECK(b == size * (size - 1) / 2 && c == 7 && (rank == 0 || before == rank * (rank - 1) / 2));
  MPI_Request again;
  MPI_Allreduce_init(&a, &b, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD, MPI_INFO_NULL, &again);
  for (int i = 0; i < 3; ++i) {
    a = rank + i;
    MPI_Start(&again);
    MPI_Wait(&again, MPI_STATUS_IGNORE);
    CHECK(b == size - 1 + i);
  }
  MPI_Request_free(&again);
}

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  MPI_Barrier(MPI_COMM_WORLD);
  for (int root = 0; root < size; ++root) {
    one_to_all(root);
    all_to_one(root);
  }
  all_to_all();
  reductions();
  overlapping();
  MPI_Finalize();
  return 0;
}
