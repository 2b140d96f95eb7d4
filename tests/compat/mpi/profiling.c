/* A program that has MPI_Send for itself, as libraries that measure do, and calls the real one by its other name. */
#include "check.h"

static int sends;
int MPI_Send(const void* buf, int count, MPI_Datatype type, int dest, int tag, MPI_Comm comm) {
  ++sends;
  return PMPI_Send(buf, count, type, dest, tag, comm);
}

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = -1, value = 9;
  PMPI_Comm_rank(MPI_COMM_SELF, &rank);
  CHECK(rank == 0);
  MPI_Request r;
  MPI_Irecv(&value, 1, MPI_INT, 0, 0, MPI_COMM_SELF, &r);
  const int out = 10;
  MPI_Send(&out, 1, MPI_INT, 0, 0, MPI_COMM_SELF);
  MPI_Wait(&r, MPI_STATUS_IGNORE);
  CHECK(value == 10 && sends == 1);
  MPI_Finalize();
  return 0;
}
