/* Datatypes of the program's own: what they cover, how they travel, packing, and what is told of them. */
#include "check.h"

#include <stddef.h>

static int rank, size, next, before;

struct particle {
  char kind;
  double position[3];
  int id;
};

static MPI_Datatype particle_type(void) {
  const int lengths[3] = {1, 3, 1};
  const MPI_Aint places[3] = {offsetof(struct particle, kind), offsetof(struct particle, position), offsetof(struct particle, id)};
  const MPI_Datatype types[3] = {MPI_CHAR, MPI_DOUBLE, MPI_INT};
  MPI_Datatype raw, type;
  MPI_Type_create_struct(3, lengths, places, types, &raw);
  MPI_Type_create_resized(raw, 0, sizeof(struct particle), &type);
  MPI_Type_commit(&type);
  MPI_Type_free(&raw);
  return type;
}

static void structures(void) {
  MPI_Datatype type = particle_type();
  int bytes = 0;
  MPI_Aint lower = -1, extent = 0;
  MPI_Type_size(type, &bytes);
  MPI_Type_get_extent(type, &lower, &extent);
  CHECK(bytes == 1 + 3 * 8 + 4 && lower == 0 && extent == (MPI_Aint)sizeof(struct particle));
  struct particle out[3], in[3];
  memset(in, 0, sizeof in);
  for (int i = 0; i < 3; ++i) {
    out[i].kind = (char)('a' + i);
    for (int k = 0; k < 3; ++k) out[i].position[k] = rank + i + k / 10.0;
    out[i].id = 100 * rank + i;
  }
  MPI_Status s;
  MPI_Sendrecv(out, 3, type, next, 1, in, 3, type, before, 1, MPI_COMM_WORLD, &s);
  for (int i = 0; i < 3; ++i) CHECK(in[i].kind == 'a' + i && in[i].id == 100 * before + i && in[i].position[2] == before + i + 0.2);
  int count = 0, elements = 0;
  MPI_Get_count(&s, type, &count);
  MPI_Get_elements(&s, type, &elements);
  CHECK(count == 3 && elements == 15);
  MPI_Bcast(out, 3, type, 0, MPI_COMM_WORLD);
  CHECK(out[2].id == 2);
  MPI_Type_free(&type);
  CHECK(type == MPI_DATATYPE_NULL);
}

/* A column of a matrix comes as a row; a part of a message is counted in its elements. */
static void matrices(void) {
  enum { rows = 6, columns = 4 };
  int m[rows][columns], row[rows];
  for (int i = 0; i < rows; ++i) {
    for (int k = 0; k < columns; ++k) m[i][k] = 1000 * rank + 10 * i + k;
  }
  MPI_Datatype column;
  MPI_Type_vector(rows, 1, columns, MPI_INT, &column);
  MPI_Type_commit(&column);
  MPI_Sendrecv(&m[0][2], 1, column, next, 2, row, rows, MPI_INT, before, 2, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  for (int i = 0; i < rows; ++i) CHECK(row[i] == 1000 * before + 10 * i + 2);

  MPI_Datatype both;
  const int lengths[2] = {2, 1}, places[2] = {0, 3};
  MPI_Type_indexed(2, lengths, places, MPI_INT, &both);
  MPI_Type_commit(&both);
  int in[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
  MPI_Status s;
  MPI_Sendrecv(row, 4, MPI_INT, next, 3, in, 2, both, before, 3, MPI_COMM_WORLD, &s);
  int count = 0, elements = 0;
  MPI_Get_count(&s, both, &count);
  MPI_Get_elements(&s, both, &elements);
  CHECK(count == MPI_UNDEFINED && elements == 4 && in[2] == -1 && in[3] != -1 && in[4] != -1 && in[5] == -1);

  const int sizes[2] = {rows, columns}, subsizes[2] = {2, 2}, starts[2] = {1, 1};
  MPI_Datatype block;
  MPI_Type_create_subarray(2, sizes, subsizes, starts, MPI_ORDER_C, MPI_INT, &block);
  MPI_Type_commit(&block);
  int packed[4], position = 0, room = 0;
  MPI_Pack_size(1, block, MPI_COMM_WORLD, &room);
  CHECK(room == (int)sizeof packed);
  MPI_Pack(m, 1, block, packed, sizeof packed, &position, MPI_COMM_WORLD);
  CHECK(position == (int)sizeof packed && packed[0] == m[1][1] && packed[1] == m[1][2] && packed[3] == m[2][2]);
  int back[rows][columns];
  memset(back, 0, sizeof back);
  position = 0;
  MPI_Unpack(packed, sizeof packed, &position, back, 1, block, MPI_COMM_WORLD);
  CHECK(back[2][1] == m[2][1] && back[0][0] == 0 && back[3][3] == 0);

  MPI_Aint room_outside = 0, at = 0;
  MPI_Pack_external_size("external32", 2, MPI_INT, &room_outside);
  CHECK(room_outside == 8);
  unsigned char outside[8];
  const int values[2] = {1, 258};
  MPI_Pack_external("external32", values, 2, MPI_INT, outside, 8, &at);
  CHECK(at == 8 && outside[3] == 1 && outside[6] == 1 && outside[7] == 2);
  MPI_Type_free(&column), MPI_Type_free(&both), MPI_Type_free(&block);
}

/* The parts that processes have of a distributed array cover it, each element once. */
static void distributions(void) {
  enum { rows = 7, columns = 5 };
  int dims[2] = {0, 0};
  MPI_Dims_create(size, 2, dims);
  const int sizes[2] = {rows, columns}, how[2] = {MPI_DISTRIBUTE_CYCLIC, MPI_DISTRIBUTE_BLOCK},
            arguments[2] = {2, MPI_DISTRIBUTE_DFLT_DARG};
  char all[rows * columns], seen[rows * columns];
  memset(seen, 0, sizeof seen);
  for (int r = 0; r < size; ++r) {
    MPI_Datatype part;
    MPI_Type_create_darray(size, r, 2, sizes, how, arguments, dims, MPI_ORDER_C, MPI_CHAR, &part);
    MPI_Type_commit(&part);
    int bytes = 0, position = 0;
    MPI_Type_size(part, &bytes);
    char ones[rows * columns];
    memset(ones, 1, sizeof ones);
    memset(all, 0, sizeof all);
    MPI_Unpack(ones, bytes, &position, all, 1, part, MPI_COMM_SELF);
    for (int i = 0; i < rows * columns; ++i) seen[i] = (char)(seen[i] + all[i]);
    MPI_Aint lower = -1, extent = 0;
    MPI_Type_get_extent(part, &lower, &extent);
    CHECK(lower == 0 && extent == rows * columns);
    MPI_Type_free(&part);
  }
  for (int i = 0; i < rows * columns; ++i) CHECK(seen[i] == 1);
}

static void told(void) {
  MPI_Datatype vector, old[1];
  MPI_Type_vector(3, 2, 5, MPI_DOUBLE, &vector);
  int integers = 0, addresses = -1, types = 0, combiner = 0, given[3];
  MPI_Type_get_envelope(vector, &integers, &addresses, &types, &combiner);
  CHECK(integers == 3 && addresses == 0 && types == 1 && combiner == MPI_COMBINER_VECTOR);
  MPI_Type_get_contents(vector, 3, 0, 1, given, NULL, old);
  CHECK(given[0] == 3 && given[1] == 2 && given[2] == 5 && old[0] == MPI_DOUBLE);
  char name[MPI_MAX_OBJECT_NAME];
  int length = 0;
  MPI_Type_set_name(vector, "three pairs");
  MPI_Type_get_name(vector, name, &length);
  CHECK(strcmp(name, "three pairs") == 0 && length == 11);
  MPI_Type_get_name(MPI_INT, name, &length);
  CHECK(strcmp(name, "MPI_INT") == 0);
  MPI_Type_free(&vector);
  /* Memory anywhere, by its address. */
  int a = rank, b = -1;
  MPI_Aint at = 0;
  MPI_Get_address(&a, &at);
  MPI_Datatype here;
  const int one = 1;
  MPI_Type_create_hindexed(1, &one, &at, MPI_INT, &here);
  MPI_Type_commit(&here);
  MPI_Sendrecv(MPI_BOTTOM, 1, here, next, 5, &b, 1, MPI_INT, before, 5, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  CHECK(b == before);
  MPI_Type_free(&here);
}

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  next = (rank + 1) % size;
  before = (rank + size - 1) % size;
  structures();
  matrices();
  distributions();
  told();
  MPI_Finalize();
  return 0;
}
