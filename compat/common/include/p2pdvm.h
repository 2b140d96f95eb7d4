/* Checkpoints of C programs on p2pdvm, whether they call MPI or BSPlib.
 *
 * A process cannot be begun again in the middle, so a program says what it needs to go on, and where:
 *
 *     p2pdvm_state("field", field, cells * sizeof *field);
 *     p2pdvm_state("step", &step, sizeof step);
 *     if (!p2pdvm_restore()) initialise(field, cells);
 *     for (; step < steps; ++step) {
 *       if (step % 100 == 0) p2pdvm_checkpoint();
 *       ...
 *     }
 *
 * With `--on-loss restart` a launcher begins all processes again when one is lost, and `--restart` does when all are gone; either way
 * p2pdvm_restore fills in what the last checkpoint holds. These calls come after MPI_Init or bsp_begin. */
#ifndef P2PDVM_H
#define P2PDVM_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* This memory belongs to checkpoints, under a name of up to 64 bytes; on each process its own. Naming it again says where it is now; with
 * size 0 it is forgotten. */
void p2pdvm_state(const char* name, void* memory, size_t bytes);

/* 1: the program was begun again, and what was named before this call is as it was at the last checkpoint; the same on all processes. 0: it
 * begins. Ends the program with a sentence where memory of that name has another size now. */
int p2pdvm_restore(void);

/* Collective over all processes: the named memory of all of them is one checkpoint, which any of them finds again, and the job goes on
 * when it is safe. Its number; 0 when none could be made, and the one before is still the last.
 * Messages that are sent before and received after it are not in it: there must be none. */
long p2pdvm_checkpoint(void);

#ifdef __cplusplus
}
#endif

#endif
