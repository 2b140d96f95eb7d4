/* Messages: all modes, requests of all kinds, probes, and what statuses say. */
#include "check.h"

static int rank, size, next, before;

static void modes(void) {
  int out = rank, in = -1;
  MPI_Request r;
  MPI_Irecv(&in, 1, MPI_INT, before, 1, MPI_COMM_WORLD, &r);
  MPI_Ssend(&out, 1, MPI_INT, next, 1, MPI_COMM_WORLD);
  MPI_Wait(&r, MPI_STATUS_IGNORE);
  CHECK(in == before && r == MPI_REQUEST_NULL);

  char space[2 * (MPI_BSEND_OVERHEAD + 64)];
  MPI_Buffer_attach(space, sizeof space);
  MPI_Bsend(&out, 1, MPI_INT, next, 2, MPI_COMM_WORLD);
  MPI_Recv(&in, 1, MPI_INT, before, 2, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  void* back = NULL;
  int bytes = 0;
  MPI_Buffer_detach(&back, &bytes);
  CHECK(back == (void*)space && bytes == (int)sizeof space);

  in = -1;
  MPI_Irecv(&in, 1, MPI_INT, before, 3, MPI_COMM_WORLD, &r);
  MPI_Barrier(MPI_COMM_WORLD);
  MPI_Rsend(&out, 1, MPI_INT, next, 3, MPI_COMM_WORLD);
  MPI_Wait(&r, MPI_STATUS_IGNORE);
  CHECK(in == before);
}

/* Large and small ones, that are waited for in another order than that in which they come. */
static void many(void) {
  enum { n = 20, large = 300000 };
  static int out[n][large / 10], in[n][large / 10];
  MPI_Request r[2 * n];
  MPI_Status s[2 * n];
  for (int i = 0; i < n; ++i) {
    const int count = i % 3 == 0 ? large / 10 : i;
    for (int k = 0; k < count; ++k) out[i][k] = rank * 1000 + i + k;
    MPI_Irecv(in[i], count, MPI_INT, before, i, MPI_COMM_WORLD, &r[n + i]);
  }
  for (int i = n - 1; i >= 0; --i) MPI_Isend(out[i], i % 3 == 0 ? large / 10 : i, MPI_INT, next, i, MPI_COMM_WORLD, &r[i]);
  MPI_Waitall(2 * n, r, s);
  for (int i = 0; i < n; ++i) {
    const int count = i % 3 == 0 ? large / 10 : i;
    int got = -1;
    MPI_Get_count(&s[n + i], MPI_INT, &got);
    CHECK(got == count && s[n + i].MPI_SOURCE == before && s[n + i].MPI_TAG == i);
    for (int k = 0; k < count; ++k) CHECK(in[i][k] == before * 1000 + i + k);
  }
}

static void any_of_them(void) {
  if (rank == 0) {
    int got[64];
    MPI_Request r[64];
    for (int i = 1; i < size; ++i) MPI_Irecv(&got[i - 1], 1, MPI_INT, i, 4, MPI_COMM_WORLD, &r[i - 1]);
    for (int left = size - 1; left > 0;) {
      int index = -1;
      MPI_Status s;
      MPI_Waitany(size - 1, r, &index, &s);
      CHECK(index >= 0 && s.MPI_SOURCE == index + 1 && got[index] == index + 1);
      --left;
    }
    int index = 0;
    MPI_Waitany(size - 1, r, &index, MPI_STATUS_IGNORE);
    CHECK(index == MPI_UNDEFINED);
    int some = 0, indices[64];
    for (int i = 1; i < size; ++i) MPI_Irecv(&got[i - 1], 1, MPI_INT, MPI_ANY_SOURCE, 5, MPI_COMM_WORLD, &r[i - 1]);
    for (int left = size - 1; left > 0; left -= some) MPI_Waitsome(size - 1, r, &some, indices, MPI_STATUSES_IGNORE);
    int flag = 0;
    MPI_Testall(size - 1, r, &flag, MPI_STATUSES_IGNORE);
    CHECK(flag == 1);
  } else {
    MPI_Send(&rank, 1, MPI_INT, 0, 4, MPI_COMM_WORLD);
    MPI_Request r;
    int flag = 0;
    MPI_Isend(&rank, 1, MPI_INT, 0, 5, MPI_COMM_WORLD, &r);
    while (flag == 0) MPI_Test(&r, &flag, MPI_STATUS_IGNORE);
  }
}

static void probes(void) {
  double out[3] = {1, 2, rank}, in[3] = {0, 0, 0};
  MPI_Status s;
  MPI_Request r;
  MPI_Isend(out, 3, MPI_DOUBLE, next, 6, MPI_COMM_WORLD, &r);
  MPI_Probe(before, MPI_ANY_TAG, MPI_COMM_WORLD, &s);
  int count = 0, flag = 0;
  MPI_Get_count(&s, MPI_DOUBLE, &count);
  CHECK(count == 3 && s.MPI_TAG == 6);
  MPI_Message m;
  while (flag == 0) MPI_Improbe(before, 6, MPI_COMM_WORLD, &flag, &m, &s);
  MPI_Iprobe(before, 6, MPI_COMM_WORLD, &flag, MPI_STATUS_IGNORE);
  CHECK(flag == 0);
  MPI_Mrecv(in, 3, MPI_DOUBLE, &m, &s);
  CHECK(m == MPI_MESSAGE_NULL && in[2] == before);
  MPI_Wait(&r, MPI_STATUS_IGNORE);
  MPI_Recv(in, 3, MPI_DOUBLE, MPI_PROC_NULL, 6, MPI_COMM_WORLD, &s);
  CHECK(s.MPI_SOURCE == MPI_PROC_NULL && s.MPI_TAG == MPI_ANY_TAG);
}

static void exchanges(void) {
  int out = rank, in = -1;
  MPI_Sendrecv(&out, 1, MPI_INT, next, 8, &in, 1, MPI_INT, before, 8, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  CHECK(in == before);
  MPI_Sendrecv_replace(&out, 1, MPI_INT, next, 9, before, 9, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  CHECK(out == before);
  MPI_Request r;
  MPI_Isendrecv(&rank, 1, MPI_INT, next, 10, &in, 1, MPI_INT, before, 10, MPI_COMM_WORLD, &r);
  MPI_Wait(&r, MPI_STATUS_IGNORE);
  CHECK(in == before);
}

static void persistent(void) {
  int out = 0, in = -1;
  MPI_Request r[2];
  MPI_Recv_init(&in, 1, MPI_INT, before, 11, MPI_COMM_WORLD, &r[0]);
  MPI_Send_init(&out, 1, MPI_INT, next, 11, MPI_COMM_WORLD, &r[1]);
  for (int i = 0; i < 5; ++i) {
    out = 100 * i + rank;
    MPI_Startall(2, r);
    MPI_Waitall(2, r, MPI_STATUSES_IGNORE);
    CHECK(in == 100 * i + before && r[0] != MPI_REQUEST_NULL);
  }
  MPI_Request_free(&r[0]);
  MPI_Request_free(&r[1]);
  int flag = 0;
  MPI_Irecv(&in, 1, MPI_INT, before, 12, MPI_COMM_WORLD, &r[0]);
  MPI_Cancel(&r[0]);
  MPI_Status s;
  MPI_Wait(&r[0], &s);
  MPI_Test_cancelled(&s, &flag);
  CHECK(flag == 1);
}

static void truncated(void) {
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  int out[4] = {1, 2, 3, 4}, in[2] = {0, 0};
  MPI_Request r;
  MPI_Irecv(in, 2, MPI_INT, before, 13, MPI_COMM_WORLD, &r);
  MPI_Send(out, 4, MPI_INT, next, 13, MPI_COMM_WORLD);
  CHECK_CLASS(MPI_Wait(&r, MPI_STATUS_IGNORE), MPI_ERR_TRUNCATE);
  CHECK(in[0] == 1 && in[1] == 2);
  CHECK_CLASS(MPI_Send(out, 1, MPI_INT, size, 13, MPI_COMM_WORLD), MPI_ERR_RANK);
  CHECK_CLASS(MPI_Send(out, 1, MPI_INT, next, -5, MPI_COMM_WORLD), MPI_ERR_TAG);
  CHECK_CLASS(MPI_Send(out, -1, MPI_INT, next, 13, MPI_COMM_WORLD), MPI_ERR_COUNT);
  CHECK_CLASS(MPI_Send(out, 1, MPI_DATATYPE_NULL, next, 13, MPI_COMM_WORLD), MPI_ERR_TYPE);
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_ARE_FATAL);
}

int main(int argc, char** argv) {
  int provided = -1;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
  CHECK(provided == MPI_THREAD_SERIALIZED);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  next = (rank + 1) % size;
  before = (rank + size - 1) % size;
  modes();
  many();
  any_of_them();
  probes();
  exchanges();
  persistent();
  truncated();
  MPI_Finalize();
  return 0;
}
