/* Error handlers, classes and codes, and requests of the program's own. */
#include "check.h"

static int called, last_class;
static void handler(MPI_Comm* comm, int* code, ...) {
  (void)comm;
  ++called;
  MPI_Error_class(*code, &last_class);
}

static void handlers(void) {
  MPI_Errhandler own, got;
  MPI_Comm c;
  MPI_Comm_dup(MPI_COMM_WORLD, &c);
  MPI_Comm_create_errhandler(handler, &own);
  MPI_Comm_set_errhandler(c, own);
  MPI_Comm_get_errhandler(c, &got);
  CHECK(got == own);
  MPI_Errhandler_free(&got);
  MPI_Errhandler_free(&own);
  CHECK(own == MPI_ERRHANDLER_NULL);
  int data = 0;
  CHECK_CLASS(MPI_Bcast(&data, 1, MPI_INT, 1000, c), MPI_ERR_ROOT);
  CHECK(called == 1 && last_class == MPI_ERR_ROOT);
  MPI_Comm_call_errhandler(c, MPI_ERR_OTHER);
  CHECK(called == 2 && last_class == MPI_ERR_OTHER);
  MPI_Comm_set_errhandler(c, MPI_ERRORS_RETURN);
  MPI_Comm_get_errhandler(c, &got);
  CHECK(got == MPI_ERRORS_RETURN);
  CHECK_CLASS(MPI_Allreduce(&data, &data, 1, MPI_INT, MPI_SUM, c), MPI_ERR_BUFFER);
  CHECK_CLASS(MPI_Reduce(&data, NULL, 1, MPI_INT, MPI_OP_NULL, 0, c), MPI_ERR_OP);
  MPI_Comm_free(&c);
}

static void codes(void) {
  int own_class = 0, own_code = 0, back = 0, length = 0, flag = 0;
  char text[MPI_MAX_ERROR_STRING];
  MPI_Add_error_class(&own_class);
  MPI_Add_error_code(own_class, &own_code);
  MPI_Add_error_string(own_code, "too hot");
  MPI_Error_class(own_code, &back);
  CHECK(back == own_class && own_class > MPI_ERR_LASTCODE);
  MPI_Error_string(own_code, text, &length);
  CHECK(strcmp(text, "too hot") == 0 && length == 7);
  int* last = NULL;
  MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_LASTUSEDCODE, &last, &flag);
  CHECK(flag == 1 && *last >= own_code);
  MPI_Error_string(MPI_ERR_RANK, text, &length);
  CHECK(strstr(text, "MPI_ERR_RANK") != NULL);
}

static int freed;
static int query(void* state, MPI_Status* status) {
  MPI_Status_set_elements(status, MPI_INT, *(int*)state);
  MPI_Status_set_cancelled(status, 0);
  status->MPI_SOURCE = 3;
  status->MPI_TAG = 4;
  return MPI_SUCCESS;
}
static int release(void* state) {
  (void)state;
  ++freed;
  return MPI_SUCCESS;
}
static int cancel(void* state, int complete) {
  (void)state, (void)complete;
  return MPI_SUCCESS;
}

static void own_requests(void) {
  MPI_Request r;
  int flag = 1, count = 0, state = 6;
  MPI_Status s;
  MPI_Grequest_start(query, release, cancel, &state, &r);
  MPI_Test(&r, &flag, &s);
  CHECK(flag == 0);
  MPI_Grequest_complete(r);
  MPI_Wait(&r, &s);
  MPI_Get_count(&s, MPI_INT, &count);
  CHECK(count == 6 && s.MPI_SOURCE == 3 && freed == 1 && r == MPI_REQUEST_NULL);
}

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  handlers();
  codes();
  own_requests();
  MPI_Finalize();
  return 0;
}
