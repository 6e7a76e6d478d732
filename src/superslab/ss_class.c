/* SPDX-License-Identifier: MIT
 *
 * superslab: the class table, computed once from the superslab size.
 */
#include "superslab/ss_internal.h"

struct ss_params ss_params;
struct ss_class ss_classes[SS_NCLASS];
size_t ss_mid_max;

static uint32_t class_size(unsigned c)
{
    if (c < 16)
        return 16 * (c + 1);
    if (c < SS_TINY_NCLASS)
        return (9 + (c - 16) % 8) << (5 + (c - 16) / 8);
    return (5 + (c - SS_TINY_NCLASS) % 4) << (11 + (c - SS_TINY_NCLASS) / 4);
}

/* A slab of mid blocks: eight of them where that fits in half a superslab, fewer where not. */
static void slab_shape(struct ss_class *k, uint32_t units_max)
{
    uint32_t units = HAK_MIN((8 * k->size + SS_UNIT - 1) / SS_UNIT, units_max);
    uint32_t blocks = units * SS_UNIT / k->size;
    k->blocks = (uint16_t)blocks;
    k->units = (uint16_t)((blocks * k->size + SS_UNIT - 1) / SS_UNIT);
}

void ss_classes_init(void)
{
    uint32_t units_max = (uint32_t)(ss_params.superslab_bytes / SS_UNIT / 2);
    for (unsigned c = 0; c < SS_NCLASS; c++) {
        struct ss_class *k = &ss_classes[c];
        k->size = class_size(c);
        if (c < SS_TINY_NCLASS) {
            k->units = 1;
            k->blocks = (uint16_t)(SS_UNIT / k->size);
            k->magic = UINT64_MAX / k->size + 1;
        } else if (k->size <= units_max * SS_UNIT) {
            slab_shape(k, units_max);
        }
    }
    ss_mid_max = HAK_MIN((size_t)SS_MID_MAX, ss_params.superslab_bytes / 2);
}

bool ss_block_starts(const void *p, uint32_t word)
{
    const struct ss_class *k = &ss_classes[ss_word_class(word)];
    const struct ss_slab *s = ss_slab_of(p);
    size_t offset = (size_t)((const char *)p - ss_unit_address(ss_slab_unit(s)));
    return offset % k->size == 0 && offset / k->size < s->blocks;
}
