/* Groups and communicators, also between two groups; attributes, names and hints. */
#include "check.h"

static int rank, size;

static void groups(void) {
  MPI_Group all, odd, even, both, none;
  MPI_Comm_group(MPI_COMM_WORLD, &all);
  int range[1][3] = {{0, size - 1, 2}}, count = 0, result = 0;
  MPI_Group_range_incl(all, 1, range, &even);
  MPI_Group_range_excl(all, 1, range, &odd);
  MPI_Group_size(even, &count);
  CHECK(count == (size + 1) / 2);
  MPI_Group_union(even, odd, &both);
  MPI_Group_compare(all, both, &result);
  CHECK(result == (size > 2 ? MPI_SIMILAR : MPI_IDENT));
  MPI_Group_intersection(even, odd, &none);
  CHECK(none == MPI_GROUP_EMPTY);
  int place = -5;
  MPI_Group_rank(even, &place);
  CHECK(place == (rank % 2 == 0 ? rank / 2 : MPI_UNDEFINED));
  int here[2] = {0, MPI_PROC_NULL}, there[2];
  MPI_Group_translate_ranks(even, 2, here, all, there);
  CHECK(there[0] == 0 && there[1] == MPI_PROC_NULL);
  MPI_Comm made;
  MPI_Comm_create(MPI_COMM_WORLD, even, &made);
  CHECK((made == MPI_COMM_NULL) == (rank % 2 == 1));
  if (made != MPI_COMM_NULL) MPI_Comm_free(&made);
  if (rank % 2 == 0) {
    MPI_Comm_create_group(MPI_COMM_WORLD, even, 3, &made);
    MPI_Comm_size(made, &count);
    CHECK(count == (size + 1) / 2);
    MPI_Comm_free(&made);
  }
  MPI_Group_free(&all), MPI_Group_free(&both), MPI_Group_free(&even);
  if (odd != MPI_GROUP_EMPTY) MPI_Group_free(&odd);
}

static void parts(void) {
  MPI_Comm half, copy;
  MPI_Comm_split(MPI_COMM_WORLD, rank % 2, -rank, &half);
  int place = -1, count = 0, sum = 0, result = -1;
  MPI_Comm_rank(half, &place);
  MPI_Comm_size(half, &count);
  CHECK(count == (size + 1 - rank % 2) / 2 && place == count - 1 - rank / 2);
  MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, half);
  int expected = 0;
  for (int r = rank % 2; r < size; r += 2) expected += r;
  CHECK(sum == expected);
  MPI_Comm_dup(half, &copy);
  MPI_Comm_compare(half, copy, &result);
  CHECK(result == MPI_CONGRUENT);
  /* What is sent in one is not received in the other. */
  if (count > 1 && place == 0) {
    int first = 1, second = 2;
    MPI_Send(&first, 1, MPI_INT, 1, 0, half);
    MPI_Send(&second, 1, MPI_INT, 1, 0, copy);
  } else if (place == 1) {
    int value = 0;
    MPI_Recv(&value, 1, MPI_INT, 0, 0, copy, MPI_STATUS_IGNORE);
    CHECK(value == 2);
    MPI_Recv(&value, 1, MPI_INT, 0, 0, half, MPI_STATUS_IGNORE);
    CHECK(value == 1);
  }
  MPI_Comm_free(&copy), MPI_Comm_free(&half);
  MPI_Request r;
  MPI_Comm_idup(MPI_COMM_WORLD, &copy, &r);
  MPI_Wait(&r, MPI_STATUS_IGNORE);
  MPI_Barrier(copy);
  MPI_Comm_free(&copy);
  MPI_Comm machine;
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine);
  MPI_Comm_size(machine, &count);
  CHECK(count == size);
  MPI_Comm_free(&machine);
}

static void between_groups(void) {
  if (size < 2) return;
  MPI_Comm half, both, whole;
  const int side = rank % 2;
  MPI_Comm_split(MPI_COMM_WORLD, side, rank, &half);
  MPI_Intercomm_create(half, 0, MPI_COMM_WORLD, 1 - side, 4, &both);
  int flag = 0, others = 0, mine = 0;
  MPI_Comm_test_inter(both, &flag);
  MPI_Comm_remote_size(both, &others);
  MPI_Comm_size(both, &mine);
  CHECK(flag == 1 && mine + others == size);
  int sum = 0, expected = 0;
  for (int r = 1 - side; r < size; r += 2) expected += r;
  MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, both);
  CHECK(sum == expected);
  int data = side == 0 && rank == 0 ? 77 : 0;
  MPI_Bcast(&data, 1, MPI_INT, side == 1 ? 0 : rank == 0 ? MPI_ROOT : MPI_PROC_NULL, both);
  CHECK(data == (side == 1 || rank == 0 ? 77 : 0));
  int all[64];
  MPI_Allgather(&rank, 1, MPI_INT, all, 1, MPI_INT, both);
  for (int i = 0; i < others; ++i) CHECK(all[i] == 2 * i + 1 - side);
  MPI_Intercomm_merge(both, side, &whole);
  int place = -1, count = 0;
  MPI_Comm_rank(whole, &place);
  MPI_Comm_size(whole, &count);
  CHECK(count == size && place == (side == 0 ? rank / 2 : (size + 1) / 2 + rank / 2));
  MPI_Comm_free(&whole), MPI_Comm_free(&both), MPI_Comm_free(&half);
}

static int copied, deleted;
static int copy_it(MPI_Comm c, int key, void* state, void* in, void* out, int* flag) {
  (void)c, (void)key;
  CHECK(*(int*)state == 5);
  *(void**)out = (char*)in + 1;
  *flag = 1;
  ++copied;
  return MPI_SUCCESS;
}
static int delete_it(MPI_Comm c, int key, void* value, void* state) {
  (void)c, (void)key, (void)value, (void)state;
  ++deleted;
  return MPI_SUCCESS;
}

static void attributes(void) {
  int key = MPI_KEYVAL_INVALID, flag = 0, state = 5;
  static char memory[4];
  MPI_Comm_create_keyval(copy_it, delete_it, &key, &state);
  MPI_Comm c, d;
  MPI_Comm_dup(MPI_COMM_WORLD, &c);
  void* value = NULL;
  MPI_Comm_get_attr(c, key, &value, &flag);
  CHECK(flag == 0);
  MPI_Comm_set_attr(c, key, memory);
  MPI_Comm_dup(c, &d);
  MPI_Comm_get_attr(d, key, &value, &flag);
  CHECK(flag == 1 && value == (void*)(memory + 1) && copied == 1);
  MPI_Comm_free(&d);
  MPI_Comm_delete_attr(c, key);
  CHECK(deleted == 2);
  MPI_Comm_free(&c);
  MPI_Comm_free_keyval(&key);
  CHECK(key == MPI_KEYVAL_INVALID);
  int* bound = NULL;
  MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &bound, &flag);
  CHECK(flag == 1 && *bound >= 32767);
}

static void names_and_hints(void) {
  char name[MPI_MAX_OBJECT_NAME], text[16];
  int length = 0, flag = 0, keys = 0;
  MPI_Comm_get_name(MPI_COMM_WORLD, name, &length);
  CHECK(strcmp(name, "MPI_COMM_WORLD") == 0);
  MPI_Info info, copy;
  MPI_Info_create(&info);
  MPI_Info_set(info, "file", "a");
  MPI_Info_set(info, "host", "b");
  MPI_Info_set(info, "file", "long value");
  MPI_Info_dup(info, &copy);
  MPI_Info_delete(info, "host");
  MPI_Info_get_nkeys(copy, &keys);
  CHECK(keys == 2);
  MPI_Info_get_nthkey(copy, 0, text);
  CHECK(strcmp(text, "file") == 0);
  MPI_Info_get(copy, "file", 4, text, &flag);
  CHECK(flag == 1 && strcmp(text, "long") == 0);
  MPI_Info_get_valuelen(copy, "file", &length, &flag);
  CHECK(flag == 1 && length == 10);
  MPI_Info_get(info, "host", 4, text, &flag);
  CHECK(flag == 0);
  MPI_Comm c;
  MPI_Info used;
  MPI_Comm_dup_with_info(MPI_COMM_WORLD, copy, &c);
  MPI_Comm_get_info(c, &used);
  MPI_Info_get_nkeys(used, &keys);
  CHECK(keys == 2);
  MPI_Info_free(&used), MPI_Info_free(&info), MPI_Info_free(&copy), MPI_Comm_free(&c);
  CHECK(info == MPI_INFO_NULL);
}

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  groups();
  parts();
  between_groups();
  attributes();
  names_and_hints();
  MPI_Finalize();
  return 0;
}
