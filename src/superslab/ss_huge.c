/* SPDX-License-Identifier: MIT
 *
 * superslab: huge pages.
 *
 * A huge page saves walks of the page table where memory is used, and wastes what of it is not. So
 * it is asked for where a superslab, or a part of a run given out, has been full for a whole decay
 * and nearly all of it has pages: that cannot make a program much bigger. The rest of the region is
 * told to do without: where the administrator has said "always", the first block of a superslab
 * would bring in 2 MiB, and what was returned would fill up again.
 *
 * A huge page is broken to return memory once half of it is free, never for less: what stays of it
 * is spread over small pages again, and what is free of it costs at most as much again as is used.
 * Then it shall stay broken until it has been full for a decay once more. doc/why/007-huge-pages.md.
 *
 * A superslab and a huge page are of one size here, 2 MiB of 4 KiB pages, or nothing is asked for:
 * other superslabs are an option for diagnosis, and huge pages of 32 or 512 MiB too big to be full.
 */
#include "base/hak_log.h"
#include "superslab/ss_internal.h"

enum {
    WORTH_UNITS = 32 * 1024 * 1024 / SS_UNIT, /* a smaller program is no reason for a thread */
    ISLANDS_MAX = 4096, /* of 65,530 mappings that a process may have each takes two */
    LOOKS = 256,        /* at a tick: of 3 us each */
};

static _Atomic bool worth;   /* so much was handed out once; stays */
static _Atomic bool refused; /* once and for all */
static bool allowed, looked; /* [way] os_huge_allowed */
static unsigned nislands;    /* [way] rows of superslabs that are `huge` */

/* What was done of what may be. */
struct quota {
    unsigned most, asked, looks;
    bool over; /* the system has none now */
};

static bool one_size(void)
{
    return os_huge_bytes() == ss_params.superslab_bytes;
}

static void refuse(enum hak_log_level level)
{
    if (!atomic_exchange_explicit(&refused, true, memory_order_relaxed))
        hak_log(level, "huge pages: the system refuses them; it goes without");
}

void ss_huge_reserved(char *addr, size_t bytes)
{
    bool on = ss_params.huge == SS_HUGE_ON;
    if (!os_huge_advise(addr, bytes, on))
        refuse(on ? HAK_LOG_WARN : HAK_LOG_INFO);
}

bool ss_huge_worth(void)
{
    return atomic_load_explicit(&worth, memory_order_relaxed) &&
           !atomic_load_explicit(&refused, memory_order_relaxed);
}

void ss_huge_note_locked(void)
{
    size_t units = 0;
    for (unsigned i = 0; i < ss_region.nparts; i++)
        units += ss_region.part[i].frontier - ss_region.part[i].first;
    if (units < WORTH_UNITS || ss_params.huge != SS_HUGE_AUTO || !one_size())
        return;
    atomic_store_explicit(&worth, true, memory_order_relaxed);
    if (ss_huge_worth())
        ss_due_raise(SS_DUE_OPS);
}

static bool is_asked(const struct ss_superslab *ss)
{
    return atomic_load_explicit(&ss->huge, memory_order_relaxed);
}

static bool is_all_huge(void)
{
    return ss_params.huge == SS_HUGE_ON && one_size();
}

bool ss_huge_is(const struct ss_superslab *ss)
{
    return is_asked(ss) || is_all_huge();
}

bool ss_huge_any(void)
{
    return atomic_load_explicit(&ss_region.huge, memory_order_relaxed) > 0 || is_all_huge();
}

/* ---- Asking. ---- */

static char *superslab_address(const struct ss_superslab *ss)
{
    return ss_unit_address(ss_superslab_index(ss) * ss_region.ss_units);
}

/* Islands are told apart by their neighbours. Returns whether there may be one more, if it is. */
static bool islands_change(const struct ss_superslab *ss, int by)
{
    size_t index = ss_superslab_index(ss);
    int neighbours = (index > 0 && is_asked(ss_superslab_at(index - 1))) +
                     is_asked(ss_superslab_at(index + 1));
    if (by > 0 && neighbours == 0 && nislands >= ISLANDS_MAX)
        return false;
    nislands += (unsigned)(by * (1 - neighbours));
    return true;
}

static void huge_set(struct ss_superslab *ss, bool huge)
{
    atomic_store_explicit(&ss->huge, huge, memory_order_relaxed);
    if (huge)
        atomic_fetch_add_explicit(&ss_region.huge, 1, memory_order_relaxed);
    else
        atomic_fetch_sub_explicit(&ss_region.huge, 1, memory_order_relaxed);
}

/* Full of memory in use, not of addresses. */
static bool has_pages(const struct ss_superslab *ss)
{
    size_t bytes = ss_params.superslab_bytes;
    return os_resident(superslab_address(ss), bytes) >= bytes - bytes / 8;
}

/* Marked first: whoever returns a part of it in a fork child has to know. */
static void huge_ask(struct ss_superslab *ss, struct quota *q)
{
    if (!islands_change(ss, 1))
        return;
    q->asked++;
    huge_set(ss, true);
    if (!os_huge_advise(superslab_address(ss), ss_params.superslab_bytes, true)) {
        refuse(HAK_LOG_INFO);
        (void)islands_change(ss, -1);
        huge_set(ss, false);
        q->over = true;
    } else if (!os_huge_make(superslab_address(ss))) {
        q->over = true; /* later it does by itself */
    }
}

/* false: it may be fit later. */
static bool huge_consider(struct ss_superslab *ss, struct quota *q)
{
    if (is_asked(ss))
        return true;
    if (q->looks == LOOKS || q->over)
        return false;
    q->looks++;
    bool fit = has_pages(ss);
    if (fit)
        huge_ask(ss, q);
    return fit;
}

static bool quota_left(const struct quota *q)
{
    return q->asked < q->most && q->looks < LOOKS && !q->over;
}

static void heap_ask(struct ss_heap *h, struct quota *q)
{
    struct ss_superslab *ss;
    while (quota_left(q) && (ss = ss_full_take(h)) != NULL) {
        if (!huge_consider(ss, q))
            ss_full_again(h, ss);
    }
}

/* A run is asked for whole: the next time would be a decay later. */
static void runs_ask(struct quota *q)
{
    size_t first, units, n = ss_region.ss_units;
    while (quota_left(q) && (units = ss_run_full_take(&first)) > 0) {
        bool done = true;
        for (size_t i = (first + n - 1) / n; (i + 1) * n <= first + units; i++)
            done &= huge_consider(ss_superslab_at(i), q);
        if (!done)
            ss_run_full_again(first);
    }
}

unsigned ss_huge_ask(unsigned most)
{
    if (!ss_huge_worth())
        return 0;
    struct quota q = {.most = most};
    ss_way_enter(NULL, NULL);
    if (!looked)
        allowed = os_huge_allowed();
    looked = true;
    for (unsigned id = 1; id <= ss_nheaps() && allowed; id++)
        heap_ask(ss_heap_by_id(id), &q);
    if (allowed)
        runs_ask(&q);
    ss_way_leave();
    return q.asked;
}

/* ---- Breaking. ---- */

void ss_huge_trim(size_t *start, size_t *end)
{
    size_t n = ss_region.ss_units, half = n / 2;
    size_t head = HAK_MIN((*start / n + 1) * n, *end);
    if (*start < *end && head - *start < half && ss_huge_is(ss_superslab_at(*start / n)))
        *start = head;
    size_t tail = HAK_MAX(HAK_ALIGN_DOWN(*end, n), *start);
    if (*end - tail > 0 && *end - tail < half && ss_huge_is(ss_superslab_at(tail / n)))
        *end = tail;
}

void ss_huge_break(size_t first, size_t units)
{
    if (atomic_load_explicit(&ss_region.huge, memory_order_relaxed) == 0)
        return;
    size_t n = ss_region.ss_units;
    for (size_t i = first / n; i * n < first + units; i++) {
        struct ss_superslab *ss = ss_superslab_at(i);
        if (!is_asked(ss) ||
            !os_huge_advise(superslab_address(ss), ss_params.superslab_bytes, false))
            continue; /* refused: asked again when more of it goes back */
        huge_set(ss, false);
        (void)islands_change(ss, -1);
    }
}
