/* SPDX-License-Identifier: MIT
 *
 * large: the table of mappings. Linear probing with backward-shift deletion (Knuth, TAOCP vol. 3,
 * 6.4, algorithm R): no tombstones, so it never needs cleaning. Grows at half full; its memory is
 * a mapping too, outside the table.
 */
#include "large/large_internal.h"

struct entry {
    uintptr_t address; /* 0: free */
    size_t bytes;
};

static struct os_lock lock;
static struct entry *table;      /* [lock] */
static size_t capacity;          /* [lock] entries, a power of two, or 0 */
static struct large_stats stats; /* [lock] */

static size_t slot_of(uintptr_t address)
{
    /* Fibonacci hashing: Knuth, TAOCP vol. 3, 6.4 */
    return (size_t)((address >> 12) * 0x9E3779B97F4A7C15u) >> 20 & (capacity - 1);
}

/* The slot of address, or the free slot where it would go. */
static size_t probe(uintptr_t address)
{
    size_t i = slot_of(address);
    while (table[i].address != 0 && table[i].address != address)
        i = (i + 1) & (capacity - 1);
    return i;
}

static size_t table_bytes(size_t entries)
{
    return HAK_ALIGN_UP(entries * sizeof(struct entry), os_page_size());
}

static bool grow(void)
{
    struct entry *old = table;
    size_t old_capacity = capacity;
    size_t entries = HAK_MAX(2 * capacity, (size_t)256);
    if (!ss_held_take(table_bytes(entries)))
        return false;
    struct entry *new = os_map(table_bytes(entries), os_page_size());
    if (new == NULL) {
        ss_held_give(table_bytes(entries));
        return false;
    }
    os_name_records(new, table_bytes(entries));
    table = new;
    capacity = entries;
    for (size_t i = 0; i < old_capacity; i++) {
        if (old[i].address != 0)
            table[probe(old[i].address)] = old[i];
    }
    if (old != NULL) {
        os_unmap(old, table_bytes(old_capacity));
        ss_held_give(table_bytes(old_capacity));
    }
    return true;
}

bool map_table_add(void *p, size_t bytes)
{
    os_lock(&lock);
    /* Where growing is refused the table may fill further, up to one free slot. */
    bool ok = 2 * stats.mappings < capacity || grow() || stats.mappings + 1 < capacity;
    if (ok) {
        table[probe((uintptr_t)p)] = (struct entry){(uintptr_t)p, bytes};
        stats.mappings++;
        stats.mapped_bytes += bytes;
        stats.maps++;
    }
    os_unlock(&lock);
    return ok;
}

size_t map_table_find(const void *p)
{
    os_lock(&lock);
    size_t bytes = capacity != 0 && p != NULL ? table[probe((uintptr_t)p)].bytes : 0;
    os_unlock(&lock);
    return bytes;
}

static void slot_clear(size_t hole)
{
    table[hole] = (struct entry){0, 0};
    for (size_t i = (hole + 1) & (capacity - 1); table[i].address != 0;
         i = (i + 1) & (capacity - 1)) {
        size_t home = slot_of(table[i].address);
        /* May entry i move back to the hole? Only if its home is not between them. */
        if (((i - home) & (capacity - 1)) >= ((i - hole) & (capacity - 1))) {
            table[hole] = table[i];
            table[i] = (struct entry){0, 0};
            hole = i;
        }
    }
}

static size_t remove_locked(const void *p)
{
    size_t i = capacity != 0 ? probe((uintptr_t)p) : 0;
    size_t bytes = capacity != 0 ? table[i].bytes : 0;
    if (bytes != 0) {
        slot_clear(i);
        stats.mappings--;
        stats.mapped_bytes -= bytes;
    }
    return bytes;
}

size_t map_table_remove(void *p)
{
    os_lock(&lock);
    size_t bytes = remove_locked(p);
    os_unlock(&lock);
    return bytes;
}

void *map_table_resize(void *p, size_t bytes)
{
    os_lock(&lock);
    size_t old = capacity != 0 ? table[probe((uintptr_t)p)].bytes : 0;
    size_t more = bytes > old ? bytes - old : 0;
    bool ok = old != 0 && ss_held_take(more);
    void *q = ok ? os_remap(p, old, bytes) : NULL;
    if (ok)
        ss_held_give(q == NULL ? more : bytes < old ? old - bytes : 0);
    if (q != NULL) {
        (void)remove_locked(p);
        table[probe((uintptr_t)q)] = (struct entry){(uintptr_t)q, bytes};
        stats.mappings++;
        stats.mapped_bytes += bytes;
    }
    os_unlock(&lock);
    return q;
}

bool map_table_contains(const void *p)
{
    bool found = false;
    os_lock(&lock);
    for (size_t i = 0; i < capacity && !found; i++)
        found = (uintptr_t)p - table[i].address < table[i].bytes;
    os_unlock(&lock);
    return found;
}

void large_stats(struct large_stats *out)
{
    os_lock(&lock);
    *out = stats;
    out->table_bytes = capacity != 0 ? table_bytes(capacity) : 0;
    os_unlock(&lock);
}

void large_fork_prepare(void)
{
    os_lock_fork(&lock);
}

void large_fork_end(void)
{
    os_lock_fork_end(&lock);
}
