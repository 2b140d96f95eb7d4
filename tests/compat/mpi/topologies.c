/* Grids and graphs of ranks, and collectives among neighbours. */
#include "check.h"

static int rank, size;

static void grids(void) {
  int dims[2] = {0, 0};
  const int periods[2] = {1, 0};
  MPI_Dims_create(size, 2, dims);
  CHECK(dims[0] * dims[1] == size && dims[0] >= dims[1]);
  MPI_Comm grid, row;
  MPI_Cart_create(MPI_COMM_WORLD, 2, dims, periods, 0, &grid);
  int at[2], back = -1, kind = 0, before = -1, next = -1;
  MPI_Topo_test(grid, &kind);
  CHECK(kind == MPI_CART);
  MPI_Cart_coords(grid, rank, 2, at);
  MPI_Cart_rank(grid, at, &back);
  CHECK(back == rank);
  MPI_Cart_shift(grid, 0, 1, &before, &next);
  CHECK(next == (at[0] + 1) % dims[0] * dims[1] + at[1]);
  MPI_Cart_shift(grid, 1, 1, &before, &next);
  CHECK((next == MPI_PROC_NULL) == (at[1] == dims[1] - 1));
  int from[4] = {-1, -1, -1, -1};
  MPI_Neighbor_allgather(&rank, 1, MPI_INT, from, 1, MPI_INT, grid);
  CHECK(from[2] == (at[1] > 0 ? rank - 1 : -1) && from[3] == (at[1] < dims[1] - 1 ? rank + 1 : -1));
  const int keep[2] = {0, 1};
  MPI_Cart_sub(grid, keep, &row);
  int place = -1, count = 0;
  MPI_Comm_rank(row, &place);
  MPI_Comm_size(row, &count);
  CHECK(place == at[1] && count == dims[1]);
  MPI_Comm_free(&row), MPI_Comm_free(&grid);
}

/* A ring: each rank knows its own edges, or somebody else's. */
static void rings(void) {
  const int next = (rank + 1) % size, before = (rank + size - 1) % size;
  MPI_Comm ring;
  MPI_Dist_graph_create_adjacent(MPI_COMM_WORLD, 1, &before, MPI_UNWEIGHTED, 1, &next, MPI_UNWEIGHTED, MPI_INFO_NULL, 0, &ring);
  int out = rank, in = -1, indegree = 0, outdegree = 0, weighted = -1;
  MPI_Dist_graph_neighbors_count(ring, &indegree, &outdegree, &weighted);
  CHECK(indegree == 1 && outdegree == 1 && weighted == 0);
  MPI_Neighbor_alltoall(&out, 1, MPI_INT, &in, 1, MPI_INT, ring);
  CHECK(in == before);
  MPI_Comm_free(&ring);
  const int two = (next + 1) % size, one = 1, weight = rank + 1;
  MPI_Dist_graph_create(MPI_COMM_WORLD, 1, &next, &one, &two, &weight, MPI_INFO_NULL, 0, &ring);
  int source = -1, source_weight = -1, destination = -1, destination_weight = -1;
  MPI_Dist_graph_neighbors(ring, 1, &source, &source_weight, 1, &destination, &destination_weight);
  CHECK(source == before && destination == next && destination_weight == before + 1);
  MPI_Request r;
  in = -1;
  const int counts[1] = {1}, places[1] = {0};
  MPI_Ineighbor_alltoallv(&out, counts, places, MPI_INT, &in, counts, places, MPI_INT, ring, &r);
  MPI_Wait(&r, MPI_STATUS_IGNORE);
  CHECK(in == before);
  MPI_Comm_free(&ring);
}

/* A star with rank 0 in the middle. */
static void stars(void) {
  int index[64], edges[128], n = 0;
  for (int i = 1; i < size; ++i) edges[n++] = i;
  index[0] = n;
  for (int i = 1; i < size; ++i) edges[n++] = 0, index[i] = n;
  MPI_Comm star;
  MPI_Graph_create(MPI_COMM_WORLD, size, index, edges, 0, &star);
  int count = -1, all[64];
  MPI_Graph_neighbors_count(star, rank, &count);
  CHECK(count == (rank == 0 ? size - 1 : size > 1 ? 1 : 0));
  MPI_Neighbor_allgather(&rank, 1, MPI_INT, all, 1, MPI_INT, star);
  for (int i = 0; i < count; ++i) CHECK(all[i] == (rank == 0 ? i + 1 : 0));
  MPI_Comm_free(&star);
}

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  grids();
  rings();
  stars();
  MPI_Finalize();
  return 0;
}
