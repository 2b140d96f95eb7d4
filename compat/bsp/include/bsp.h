/* BSPlib for p2pdvm: the twenty primitives of Hill, McColl, Stefanescu, Goudreau, Lang, Rao, Suel, Tsantilas and Bisseling,
 * "BSPlib: The BSP programming library", Parallel Computing 24 (1998).
 *
 * Compile with p2pdvm-bspcc or p2pdvm-bspcxx, run with p2pdvm-bsprun -n N. Sizes and offsets are in bytes.
 * What a program must not do ends it with a sentence that names the file and line of the call. */
#ifndef P2PDVM_BSP_H
#define P2PDVM_BSP_H

#include <stddef.h>
#include <stdio.h> /* as the first implementation's header did, on which programs rely */

#ifdef __cplusplus
extern "C" {
#endif

/* What programs for other implementations call these. */
typedef int bsp_pid_t;
typedef int bsp_nprocs_t;
typedef int bsp_size_t;

/* --- the parallel part of a program --- */

/* First in `main`, where that is not itself the parallel part: every process but the first runs `spmd` instead of what follows, and ends. */
void bsp_init(void (*spmd)(void), int argc, char** argv);
/* Begins the parallel part, on `maxprocs` processes at most. Once in a program. */
void bsp_begin(int maxprocs);
/* Ends it, for all of them. */
void bsp_end(void);
/* Ends all processes, with a sentence as of printf. */
void bsp_abort(const char* format, ...)
#ifdef __GNUC__
    __attribute__((noreturn, format(printf, 1, 2)))
#endif
    ;
/* How many take part; before bsp_begin, how many could. */
int bsp_nprocs(void);
/* 0 ... bsp_nprocs() - 1; not before bsp_begin. */
int bsp_pid(void);
/* Seconds since bsp_begin. */
double bsp_time(void);

/* Ends the superstep: what was asked for in it is there after it. */
void bsp_sync(void);

/* --- memory that others reach --- */

/* Collective, in the same order everywhere; counts from the next superstep on. Every process has a size of its own; NULL with 0 where
 * there is none. */
void bsp_push_reg(const void* ident, size_t nbytes);
/* Collective: takes back the last registration of that memory that was not taken back; counts from the next superstep on. */
void bsp_pop_reg(const void* ident);
/* At the end of the superstep, after all gets. `src` is copied at the call. */
void bsp_put(int pid, const void* src, void* dst, size_t offset, size_t nbytes);
/* The same, where `src` and `dst` stay as they are until the end of the superstep. */
void bsp_hpput(int pid, const void* src, void* dst, size_t offset, size_t nbytes);
/* What `src` is at the end of the superstep, before all puts. */
void bsp_get(int pid, const void* src, size_t offset, void* dst, size_t nbytes);
void bsp_hpget(int pid, const void* src, size_t offset, void* dst, size_t nbytes);

/* --- messages, which are there in the next superstep, and no longer --- */

/* Collective: tags have `*tag_nbytes` from the next superstep on. Gives back how many they have now: 0 at first. */
void bsp_set_tagsize(int* tag_nbytes);
/* Copied at the call. */
void bsp_send(int pid, const void* tag, const void* payload, size_t payload_nbytes);
/* How many messages there are, and how many bytes they have without their tags. */
void bsp_qsize(int* nmessages, int* accum_nbytes);
/* Of the first one: how many bytes it has, or -1 when there is none; and its tag. */
void bsp_get_tag(int* status, void* tag);
/* Copies that many bytes of it at most, and removes it. */
void bsp_move(void* payload, size_t reception_nbytes);
/* The same without a copy: how many bytes it has, or -1. What it points to is there until the end of the superstep, and aligned for
 * doubles, long integers and pointers. */
long bsp_hpmove(void** tag_ptr, void** payload_ptr);

/* --- where an int is too small; not in BSPlib --- */

void bsp_set_tagsize_c(size_t* tag_nbytes);
void bsp_qsize_c(size_t* nmessages, size_t* accum_nbytes);
void bsp_get_tag_c(ptrdiff_t* status, void* tag);

/* Calls that can be wrong are macros as well, which say where in the program they stand; P2PDVM_BSP_NO_PLACES: they are not. */
struct p2pdvm_bsp_place {
  const char* file;
  unsigned line;
};
extern struct p2pdvm_bsp_place p2pdvm_bsp_here;

#ifdef __cplusplus
}
#endif

#ifndef P2PDVM_BSP_NO_PLACES
#define P2PDVM_BSP_AT(...) (p2pdvm_bsp_here.file = __FILE__, p2pdvm_bsp_here.line = __LINE__, __VA_ARGS__)
#define bsp_init(...) P2PDVM_BSP_AT(bsp_init(__VA_ARGS__))
#define bsp_begin(...) P2PDVM_BSP_AT(bsp_begin(__VA_ARGS__))
#define bsp_end(...) P2PDVM_BSP_AT(bsp_end(__VA_ARGS__))
#define bsp_sync(...) P2PDVM_BSP_AT(bsp_sync(__VA_ARGS__))
#define bsp_push_reg(...) P2PDVM_BSP_AT(bsp_push_reg(__VA_ARGS__))
#define bsp_pop_reg(...) P2PDVM_BSP_AT(bsp_pop_reg(__VA_ARGS__))
#define bsp_put(...) P2PDVM_BSP_AT(bsp_put(__VA_ARGS__))
#define bsp_hpput(...) P2PDVM_BSP_AT(bsp_hpput(__VA_ARGS__))
#define bsp_get(...) P2PDVM_BSP_AT(bsp_get(__VA_ARGS__))
#define bsp_hpget(...) P2PDVM_BSP_AT(bsp_hpget(__VA_ARGS__))
#define bsp_set_tagsize(...) P2PDVM_BSP_AT(bsp_set_tagsize(__VA_ARGS__))
#define bsp_send(...) P2PDVM_BSP_AT(bsp_send(__VA_ARGS__))
#define bsp_qsize(...) P2PDVM_BSP_AT(bsp_qsize(__VA_ARGS__))
#define bsp_get_tag(...) P2PDVM_BSP_AT(bsp_get_tag(__VA_ARGS__))
#define bsp_move(...) P2PDVM_BSP_AT(bsp_move(__VA_ARGS__))
#define bsp_hpmove(...) P2PDVM_BSP_AT(bsp_hpmove(__VA_ARGS__))
#define bsp_set_tagsize_c(...) P2PDVM_BSP_AT(bsp_set_tagsize_c(__VA_ARGS__))
#define bsp_qsize_c(...) P2PDVM_BSP_AT(bsp_qsize_c(__VA_ARGS__))
#define bsp_get_tag_c(...) P2PDVM_BSP_AT(bsp_get_tag_c(__VA_ARGS__))
#endif

#endif
