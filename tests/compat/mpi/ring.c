/* The least that programs do: who am I, a message around the ring, a sum over all. */
#include "check.h"

int main(int argc, char** argv) {
  int flag = 1;
  MPI_Initialized(&flag);
  if (flag != 0) return 1;
  MPI_Init(&argc, &argv);
  MPI_Initialized(&flag);
  CHECK(flag == 1);
  int rank = -1, size = -1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  CHECK(rank >= 0 && rank < size);
  char name[MPI_MAX_PROCESSOR_NAME];
  int length = 0;
  MPI_Get_processor_name(name, &length);
  CHECK(length > 0 && (int)strlen(name) == length);
  int version = 0, subversion = -1;
  MPI_Get_version(&version, &subversion);
  CHECK(version == MPI_VERSION && subversion == MPI_SUBVERSION);
  const double began = MPI_Wtime();
  CHECK(MPI_Wtick() > 0);

  int token = 0;
  MPI_Status status;
  if (size > 1) {
    if (rank == 0) {
      token = 41;
      MPI_Send(&token, 1, MPI_INT, 1, 7, MPI_COMM_WORLD);
      MPI_Recv(&token, 1, MPI_INT, size - 1, 7, MPI_COMM_WORLD, &status);
    } else {
      MPI_Recv(&token, 1, MPI_INT, rank - 1, 7, MPI_COMM_WORLD, &status);
      ++token;
      MPI_Send(&token, 1, MPI_INT, (rank + 1) % size, 7, MPI_COMM_WORLD);
    }
    int count = 0;
    MPI_Get_count(&status, MPI_INT, &count);
    CHECK(count == 1 && status.MPI_TAG == 7 && status.MPI_SOURCE == (rank + size - 1) % size);
    if (rank == 0) CHECK(token == 41 + size - 1);
  }
  int sum = 0;
  MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  CHECK(sum == size * (size - 1) / 2);
  MPI_Barrier(MPI_COMM_WORLD);
  CHECK(MPI_Wtime() >= began);
  if (rank == 0) printf("sum over %d ranks: %d\n", size, sum);
  MPI_Finalize();
  MPI_Finalized(&flag);
  return flag == 1 ? 0 : 1;
}
