/* SPDX-License-Identifier: MIT
 *
 * model: a machine of up to 64 cores on which instrumented code runs, and what it costs there.
 *
 * Code compiled with -fsanitize=thread calls a function before every access to memory. Here
 * those functions (instrument.c) do not look for races: they keep the state of every cache line
 * (lines.c), a clock for every thread (machine.c), and counts for every operation (paths.c).
 *
 *   instrumented code --> instrument.c --> lines.c     who has a copy of this line?
 *                                      --> machine.c   whose turn is it?
 *   workload: model_op .. model_op_end --> paths.c     which functions ran, what did they do?
 *
 * One thread runs at a time: the one whose clock is behind all others. The turn passes where
 * threads can notice each other: before an atomic read-modify-write, before a record's line
 * moves from one core to another, when a thread sleeps on a futex. So a run is the same every
 * time, the number of real CPUs does not matter, and nothing here needs a lock.
 *
 * Invariants:
 *   M1  a core's accesses between two changes of a line by others move it at most once.
 *   M2  what a thread does on its own stack and thread-local memory is never counted.
 *   M3  of the threads that are not asleep, the running one had the smallest clock when it last
 *       passed a point where threads can notice each other.
 */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MODEL_CORES = 64,
    MODEL_LINE_SHIFT = 6, /* cache lines of 64 bytes */
    MODEL_FUNCTIONS = 512,
    MODEL_PLACES = 64, /* below it a place is a number of the program's, above it an address */
};

/* What is counted, in the order in which it is printed. */
enum model_count {
    N_READS,
    N_WRITES,
    N_ATOMIC_READS, /* relaxed */
    N_ATOMIC_WRITES,
    N_ACQUIRES, /* atomic reads that are more than relaxed */
    N_RELEASES, /* atomic writes that are */
    N_RMW,      /* atomic read-modify-writes, failed ones too */
    N_RMW_FAILED,
    N_FENCES,
    N_LOCKS,        /* locks taken: see swapped() in instrument.c */
    N_WAITS,        /* futex waits */
    N_SYSTEM_CALLS, /* of those that change the address space, and futex */
    N_RECORD_MOVES, /* lines that another core wrote last: of the allocator's own records */
    N_BLOCK_MOVES,  /* of blocks, for the links in them */
    N_SHARES,       /* lines that were here and elsewhere, written, so taken from the others */
    N_PROGRAM_MOVES,
    N_CYCLES,
    N_COUNTS
};
extern const char *const model_count_names[N_COUNTS];

/* Cycles. Round figures for a server CPU; counts do not depend on them but through the order of
 * events. */
enum {
    CYCLES_ACCESS = 1,
    CYCLES_CALL = 2,
    CYCLES_RMW = 20,
    CYCLES_MOVE = 100,
    CYCLES_SHARE = 60,
    CYCLES_SPIN = 40, /* a pause instruction */
    CYCLES_SYSTEM_CALL = 1000,
    CYCLES_WAKE = 5000, /* from FUTEX_WAKE to the sleeper's next instruction */
    CYCLES_BIRTH = 20000,
};

struct model_thread {
    uint64_t clock, pace;
    int core;
    int kind;                                 /* of the operation that runs; -1: none */
    bool measure;                             /* count operations */
    uint64_t functions[MODEL_FUNCTIONS / 64]; /* entered in this operation */
    uint64_t n[N_COUNTS];                     /* of this operation */
    uint64_t began;                           /* the clock at its start */
    uintptr_t spun_on;      /* address of the last access, if an atomic read */
    uintptr_t own, own_end; /* M2 */
    /* machine.c */
    int state;
    _Atomic uint32_t go;
    const void *asleep_on;
    void (*run)(void *);
    void *argument;
};
/* The calling thread; before and outside model_run the main one, on core 0, never counted. */
extern __thread struct model_thread *model_self;

/* ---- The machine. ---- */

/* Make a thread on a core. From main before model_run, or from a running thread. */
void model_spawn(void (*run)(void *), void *argument, int core);
/* Let the threads run until all have ended. */
void model_run(void);
/* Let time pass in the program. Keeps threads that notice nothing of each other in step. */
void model_work(uint64_t cycles);
/* Pass the turn until no other thread is behind the calling one. */
void model_sync(void);
/* Sleep, in the program, until another thread wakes all that sleep on word. */
void model_sleep(const void *word);
void model_wake(const void *word);
/* CPUs that the code is told there are. */
int model_cpus(void);
/* Print "<what>: <value>" and exit 1. */
_Noreturn void model_fail(const char *what, const char *value);

/* ---- Lines. ---- */

enum model_access { A_READ, A_WRITE, A_PROGRAM_READ, A_PROGRAM_WRITE };

/* Would this access move a line to the calling thread's core, or take it from others? A block's
 * line does not count here: blocks pass between threads by way of records, which do. */
bool model_access_noticed(uintptr_t address, size_t bytes, bool write);
/* Do it, and count what moved. pc: who does it. */
void model_access(uintptr_t address, size_t bytes, enum model_access how, const void *pc);
/* The program reads or writes a block of its own. */
void model_touch(const void *p, bool write);
/* Set by the program: what is at this address? Below MODEL_PLACES, or an address for a static
 * variable. model_block_place is the one whose moves count as a block's. */
extern uintptr_t (*model_place)(uintptr_t address);
extern uintptr_t model_block_place;

/* ---- Operations. ---- */

/* What the program's own accesses moved since the last operation counts as this one's. */
void model_op(int kind);
void model_op_end(void);
/* A function was entered. */
void model_entered(const void *pc);
/* Print everything counted: machine-readable, one item a line. */
void model_report(const char *const *kinds, const char *const *places);
void model_lines_report(const char *const *places);
/* The sum over all operations of a kind, and their number. */
uint64_t model_total(int kind, enum model_count what);
uint64_t model_operations(int kind);

#endif /* MODEL_H */
