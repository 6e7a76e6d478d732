/* SPDX-License-Identifier: MIT
 *
 * policy: ACE, the arithmetic: how much one thread caches of one class. Time and counters are inputs: no
 * clock, no thread, no system. doc/policy.md has the model and where its constants come from.
 *
 *   worth of a capacity twice as large    half of what misses and flushes cost now
 *   price of it                           the bytes more, at so many ns for a byte and second
 *
 * It grows where the worth is more than twice the price, twice in a row, and shrinks where what that would
 * cost is less than a quarter of what it saves, eight times in a row; as long as it remembers why it grew, that is
 * what shrinking would cost. In between nothing happens. Whoever turns
 * round has to wait twice as long the next time.
 *
 * Invariants:
 *   A1  a capacity is from ACE_CAP_MIN blocks (or its base, if that is less) to ACE_CAP_MAX.
 *   A2  after ace_fit what one thread's lists may hold fits its budget, but for lists that are no longer than the
 *       built-in rule has them.
 *   A3  one that turns round waits at least twice as long as before, up to ACE_WAIT_MAX times.
 */
#ifndef HAK_ACE_H
#define HAK_ACE_H

#include "base/hak_base.h"

enum {
    ACE_CAP_MIN = 2,
    ACE_CAP_MAX = 4096,
    ACE_REMOTE_MAX = 4096,
    ACE_WAIT_MAX = 64,
};

/* What a class's lists did in one thread since the last look. */
struct ace_seen {
    uint32_t misses;  /* refills from the heap */
    uint32_t flushes; /* lists given back to it */
    uint32_t sent;    /* remote lists sent home */
    uint32_t miss_ns; /* what one refill costs */
};

/* Of a class: constant. */
struct ace_base {
    uint32_t size;   /* bytes of a block */
    uint32_t cap;    /* blocks of a list under the built-in rule */
    uint32_t remote; /* and of a remote list */
};

/* What is decided, and on the way to it. Zero: the built-in rule. */
struct ace_class {
    uint16_t cap, refill, remote; /* blocks; 0: the built-in rule's */
    uint8_t up, down;             /* looks in a row that wanted that */
    uint8_t wait;                 /* how many times as long as usual: 0 is once */
    int8_t last;                  /* the last move: 1, -1, 0: none */
    float feared;                 /* ns a second that it cost before it last grew, fading */
    bool idle;                    /* nothing has happened since the last slow look */
};

enum ace_move { ACE_STAYS, ACE_GROWS, ACE_SHRINKS };

/* The fast loop. price: ns for a byte held for a second. */
enum ace_move ace_look(struct ace_class *k, const struct ace_base *base,
                       const struct ace_seen *seen, double seconds, double price);
/* The slow loop: who has been idle forgets, and waits grow shorter. Returns whether k was anything. */
bool ace_slow(struct ace_class *k);
/* Bytes its lists may hold: the bin's and a spare one, and the remote one. Idle ones under the built-in rule: 0. */
uint64_t ace_bytes(const struct ace_class *k, const struct ace_base *base);
/* Halve the largest of n that are longer than the built-in rule has them, until all fit the budget (A2). Returns what they may hold then. */
uint64_t ace_fit(struct ace_class *k, const struct ace_base *base, unsigned n, uint64_t budget);
/* The price that follows one, given what all threads together may hold: up at once where that is more than
 * the budget, down to the usual one where it is less than half. */
double ace_price(double price, double usual, uint64_t bytes, uint64_t budget);

#endif /* HAK_ACE_H */
