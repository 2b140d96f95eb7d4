/* What the C programs here check with: a failed check names its line, and ends the job. */
#ifndef P2PDVM_TESTS_CHECK_H
#define P2PDVM_TESTS_CHECK_H

#include <mpi.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_rank(void) {
  int rank = -1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}

#define CHECK(condition)                                                                            \
  do {                                                                                              \
    if (!(condition)) {                                                                             \
      fprintf(stderr, "rank %d: %s:%d: %s\n", check_rank(), __FILE__, __LINE__, #condition);        \
      MPI_Abort(MPI_COMM_WORLD, 3);                                                                 \
    }                                                                                               \
  } while (0)

/* Of a call that must give this class of errors; its communicator returns errors. */
#define CHECK_CLASS(call, expected)         \
  do {                                      \
    int check_class_ = -1;                  \
    MPI_Error_class((call), &check_class_); \
    CHECK(check_class_ == (expected));      \
  } while (0)

#endif
