/* A sample sort: how programs for BSPlib are mostly written. */
#include "check.h"

enum { each = 2000 };

static int ascending(const void* a, const void* b) {
  const unsigned x = *(const unsigned*)a, y = *(const unsigned*)b;
  return x < y ? -1 : x > y;
}

int main(void) {
  bsp_begin(bsp_nprocs());
  const int p = bsp_nprocs(), me = bsp_pid();
  unsigned* const mine = malloc(each * sizeof *mine);
  unsigned state = 12345u + (unsigned)me;
  unsigned long sum = 0;
  for (int i = 0; i < each; ++i) {
    state = state * 1664525u + 1013904223u;
    mine[i] = state >> 3;
    sum += mine[i];
  }
  qsort(mine, each, sizeof *mine, ascending);

  unsigned* const samples = malloc((size_t)(p * p) * sizeof *samples);
  unsigned long* const sums = malloc((size_t)p * sizeof *sums);
  bsp_push_reg(samples, (size_t)(p * p) * sizeof *samples);
  bsp_push_reg(sums, (size_t)p * sizeof *sums);
  bsp_sync();
  for (int r = 0; r < p; ++r) {
    for (int i = 0; i < p; ++i) bsp_put(r, &mine[i * each / p], samples, (size_t)(me * p + i) * sizeof *samples, sizeof *samples);
    bsp_put(r, &sum, sums, (size_t)me * sizeof sum, sizeof sum);
  }
  bsp_sync();
  qsort(samples, (size_t)(p * p), sizeof *samples, ascending);
  for (int r = 0, i = 0; r < p; ++r) {
    const int first = i;
    while (i < each && (r == p - 1 || mine[i] < samples[(r + 1) * p])) ++i;
    bsp_send(r, NULL, &mine[first], (size_t)(i - first) * sizeof *mine);
  }
  bsp_sync();
  int n, bytes;
  bsp_qsize(&n, &bytes);
  const int count = bytes / (int)sizeof(unsigned);
  unsigned* const sorted = malloc((size_t)bytes + 1);
  for (int k = 0, at = 0; k < n; ++k) {
    int status;
    bsp_get_tag(&status, NULL);
    bsp_move(sorted + at, (size_t)status);
    at += status / (int)sizeof(unsigned);
  }
  qsort(sorted, (size_t)count, sizeof *sorted, ascending);

  /* Each one's largest is at most the smallest of the next, and nothing was lost. */
  unsigned largest = count > 0 ? sorted[count - 1] : 0;
  unsigned long total = 0;
  for (int i = 0; i < count; ++i) total += sorted[i];
  int size = sizeof(int);
  bsp_set_tagsize(&size);
  bsp_sync();
  bsp_send((me + 1) % p, &me, &largest, sizeof largest);
  for (int r = 0; r < p; ++r) bsp_put(r, &total, samples, 0, 0);
  bsp_push_reg(&total, sizeof total);
  bsp_sync();
  if (me > 0 && count > 0) {
    unsigned before;
    bsp_move(&before, sizeof before);
    CHECK(before <= sorted[0]);
  }
  unsigned long* const totals = malloc((size_t)p * sizeof *totals);
  for (int r = 0; r < p; ++r) bsp_get(r, &total, 0, &totals[r], sizeof total);
  bsp_sync();
  unsigned long expected = 0, found = 0;
  for (int r = 0; r < p; ++r) expected += sums[r], found += totals[r];
  CHECK(expected == found);
  if (me == 0) printf("sorted %d numbers\n", p * each);
  bsp_pop_reg(&total);
  bsp_pop_reg(sums);
  bsp_pop_reg(samples);
  bsp_end();
  free(totals), free(sorted), free(sums), free(samples), free(mine);
  return 0;
}
