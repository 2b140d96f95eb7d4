/* What the C programs here check with: a failed check names its line, and ends the job. */
#ifndef P2PDVM_TESTS_CHECK_H
#define P2PDVM_TESTS_CHECK_H

#include <bsp.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                      \
  do {                                                                                                        \
    if (!(condition)) bsp_abort("process %d: %s:%d: %s", bsp_pid(), __FILE__, __LINE__, #condition);          \
  } while (0)

#endif
