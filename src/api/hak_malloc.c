/* SPDX-License-Identifier: MIT
 *
 * api: malloc and free, whole. Read this file first.
 *
 *   hak_malloc(n)
 *     n <= 8 KiB        pop this thread's bin                <- the only fast exit
 *     anything else     hak_malloc_slow(n)
 *       tiny, mid       pop, or tiny_refill: spare list <- remote frees <- ss_refill: slab <-
 *                       superslab <- pool <- region
 *       large           a run of units, or a mapping
 *       no memory       hak_purge, one retry, ENOMEM
 *   hak_free(p)
 *     tiny or mid block, its bin has room: push              <- the only fast exit
 *     anything else     hak_free_slow(p)
 *       own heap        tiny_give: set the full list aside, ss_flush
 *       another heap    tiny_give_remote: keep the full list, or sort it, ss_send_home
 *       large           run or mapping; and every pointer that is none of ours: abort
 *
 * Nothing here asks "set up yet?", "ended?" or "counting?": tiny.h (T3) makes each of those fail the one
 * comparison there is; "NULL?" and "in our region?" are one more. tiny_enter and tiny_leave are a plain store each, so that
 * another thread can tell whether this one is in here (T6). tests/fastpath holds it to its instructions.
 */
#include "api/hak_slow.h"
#include "hakmem.h"
#include "tiny/tiny.h"

void *hak_malloc(size_t n)
{
    if (HAK_LIKELY(n <= SS_TINY_MAX)) {
        void *p = tiny_pop(tiny_bin_of(tiny_enter(), n));
        if (HAK_LIKELY(p != NULL)) {
            tiny_leave();
            return p;
        }
    }
    return hak_malloc_slow(n);
}

void hak_free(void *p)
{
    if (HAK_LIKELY(tiny_push(tiny_enter(), p)))
        tiny_leave();
    else
        hak_free_slow(p);
}
