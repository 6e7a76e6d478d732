/* SPDX-License-Identifier: MIT
 *
 * mid: the shape of the classes. A slab has two units, or as many more as one block needs, or as
 * leave no more than an eighth of it unused: enough to spread the cost of taking a slab, few
 * enough to come free again.
 */
#include "mid/mid.h"

enum { SLAB_UNITS = 2 };

size_t mid_max;

static_assert(SS_TINY_NCLASS + 4 * 5 == SS_NCLASS, "four classes a doubling, 8 to 256 KiB");

void mid_init(size_t superslab_bytes, size_t large_bytes)
{
    size_t half = superslab_bytes / 2;
    size_t most = HAK_MIN(half, (size_t)MID_LIMIT);
    mid_max = HAK_MIN(most, large_bytes - 1);
    for (unsigned c = SS_TINY_NCLASS; c < SS_NCLASS; c++) {
        unsigned i = c - SS_TINY_NCLASS;
        size_t size = (size_t)(5 + i % 4) << (11 + i / 4);
        if (size > most)
            break;
        size_t units = HAK_MAX(HAK_MIN((size_t)SLAB_UNITS, half / SS_UNIT),
                               (size + SS_UNIT - 1) / SS_UNIT);
        while (units * SS_UNIT % size * 8 > units * SS_UNIT)
            units++;
        ss_class_define(c, (uint32_t)size, (unsigned)units);
    }
}
