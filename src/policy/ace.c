/* SPDX-License-Identifier: MIT
 *
 * policy: ACE, the arithmetic. A step up or down is a factor of two, as in the slow start of Jacobson,
 * "Congestion Avoidance and Control", 1988; the dead band between both is what keeps a relay from chattering
 * (Tsypkin, "Relay Control Systems", 1984).
 */
#include "policy/ace.h"

static const double GROW = 2, SHRINK = 0.25; /* worth by price */
enum {
    UP_LOOKS = 2,
    DOWN_LOOKS = 8,
    LISTS = 2, /* the bin's and a spare one */
};

static uint32_t cap_of(const struct ace_class *k, const struct ace_base *base)
{
    return k->cap != 0 ? k->cap : base->cap;
}

static uint32_t remote_of(const struct ace_class *k, const struct ace_base *base)
{
    return k->remote != 0 ? k->remote : base->remote;
}

static uint32_t least_cap(const struct ace_base *base)
{
    return HAK_MIN((uint32_t)ACE_CAP_MIN, base->cap);
}

static uint32_t looks_needed(const struct ace_class *k, unsigned usual)
{
    return usual * HAK_MAX(k->wait, (uint8_t)1);
}

static bool counted(uint8_t *looks, bool wanted, uint32_t needed)
{
    *looks = wanted ? (uint8_t)HAK_MIN(*looks + 1u, 255u) : 0;
    return *looks >= HAK_MIN(needed, 255u);
}

static void moved(struct ace_class *k, int way)
{
    if (k->last == -way) /* A3 */
        k->wait = (uint8_t)HAK_MIN(HAK_MAX(k->wait, (uint8_t)1) * 2u, (unsigned)ACE_WAIT_MAX);
    k->last = (int8_t)way;
    k->up = k->down = 0;
}

/* A thread that only takes wants long refills; one that also gives back, room for what comes. */
static uint16_t refill_for(uint32_t cap, const struct ace_seen *seen)
{
    uint32_t blocks = seen->flushes == 0                 ? cap
                      : seen->flushes > 2 * seen->misses ? cap / 4
                                                         : cap / 2;
    return (uint16_t)HAK_MAX(blocks, 1u);
}

/* Longer remote lists mean fewer of them to sort and send. */
static void remote_look(struct ace_class *k, const struct ace_base *base,
                        const struct ace_seen *seen, double seconds, double price)
{
    uint32_t now = remote_of(k, base);
    double worth = seen->sent * (double)seen->miss_ns / 2 / seconds;
    double cost = (double)now * base->size * price;
    uint32_t most = HAK_MIN(4 * base->remote, (uint32_t)ACE_REMOTE_MAX);
    if (worth > GROW * cost && now < most)
        k->remote = (uint16_t)HAK_MIN(2 * now, most);
    else if (k->remote != 0 && 2 * worth < SHRINK * cost && now > base->remote)
        k->remote = (uint16_t)HAK_MAX(now / 2, base->remote);
    if (k->remote == base->remote)
        k->remote = 0;
}

enum ace_move ace_look(struct ace_class *k, const struct ace_base *base,
                       const struct ace_seen *seen, double seconds, double price)
{
    uint32_t cap = cap_of(k, base);
    bool quiet = seen->misses + seen->flushes + seen->sent == 0;
    k->idle &= quiet;
    if (base->cap == 0 || seconds <= 0)
        return ACE_STAYS;
    double lost = ((double)seen->misses + seen->flushes) * seen->miss_ns / seconds; /* ns a s */
    double bytes = (double)LISTS * cap * base->size;
    bool up = lost / 2 > GROW * bytes * price && cap < ACE_CAP_MAX;
    bool down = HAK_MAX(lost, (double)k->feared) < SHRINK * bytes / 2 * price &&
                cap > least_cap(base) && (k->cap != 0 || !quiet);
    bool grows = counted(&k->up, up, looks_needed(k, UP_LOOKS));
    bool shrinks = counted(&k->down, down, looks_needed(k, DOWN_LOOKS));
    remote_look(k, base, seen, seconds, price);
    if (grows || shrinks) {
        cap =
            grows ? HAK_MIN(2 * cap, (uint32_t)ACE_CAP_MAX) : HAK_MAX(cap / 2, least_cap(base));
        k->cap = (uint16_t)cap; /* A1 */
        k->feared = grows ? (float)lost : 0;
        moved(k, grows ? 1 : -1);
    }
    if (k->cap != 0 && !quiet)
        k->refill = refill_for(cap, seen);
    return grows ? ACE_GROWS : shrinks ? ACE_SHRINKS : ACE_STAYS;
}

bool ace_slow(struct ace_class *k)
{
    bool was = k->cap != 0 || k->refill != 0 || k->remote != 0;
    bool idle = k->idle;
    k->wait /= 2;
    k->feared /= 2;
    if (idle)
        *k = (struct ace_class){.wait = k->wait};
    k->idle = true;
    return was && idle;
}

uint64_t ace_bytes(const struct ace_class *k, const struct ace_base *base)
{
    if (k->cap == 0 && k->remote == 0 && k->idle)
        return 0;
    return ((uint64_t)LISTS * cap_of(k, base) + remote_of(k, base)) * base->size;
}

uint64_t ace_fit(struct ace_class *k, const struct ace_base *base, unsigned n, uint64_t budget)
{
    for (;;) {
        uint64_t sum = 0, most = 0;
        unsigned largest = n;
        for (unsigned i = 0; i < n; i++) {
            uint64_t bytes = ace_bytes(&k[i], &base[i]);
            sum += bytes;
            bool can = cap_of(&k[i], &base[i]) > base[i].cap || k[i].remote > base[i].remote;
            if (bytes > most && can) {
                most = bytes;
                largest = i;
            }
        }
        if (sum <= budget || largest == n)
            return sum;
        struct ace_class *c = &k[largest];
        if (cap_of(c, &base[largest]) > base[largest].cap)
            c->cap = (uint16_t)HAK_MAX(cap_of(c, &base[largest]) / 2, base[largest].cap);
        c->refill = HAK_MIN(c->refill, c->cap);
        c->remote = 0;
        moved(c, -1); /* or it would be back at the next look */
    }
}

double ace_price(double price, double usual, uint64_t bytes, uint64_t budget)
{
    if (bytes > budget)
        return HAK_MIN(2 * price, 1024 * usual);
    if (bytes < budget / 2)
        return HAK_MAX(price / 2, usual);
    return price;
}
