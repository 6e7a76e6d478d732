/* SPDX-License-Identifier: MIT
 *
 * superslab: the class table, computed once.
 */
#include "superslab/ss_internal.h"

struct ss_params ss_params;
struct ss_class ss_classes[SS_NCLASS];

/* Of 16 i bytes. Up to SS_STEP_MAX, 2^7, the doubling is 0, and the class i. */
#define DOUBLING(i) (31 - __builtin_clz(((i)-1) | 8) - 3)
#define CLASS(i)    (8 * DOUBLING(i) + (((i)-1) >> DOUBLING(i)) + 1)
#define BITS(i)     CLASS(i) << SS_CLASS_SHIFT
#define BITS_4(i)   BITS(i), BITS(i + 1), BITS(i + 2), BITS(i + 3)
#define BITS_16(i)  BITS_4(i), BITS_4(i + 4), BITS_4(i + 8), BITS_4(i + 12)
#define BITS_64(i)  BITS_16(i), BITS_16(i + 16), BITS_16(i + 32), BITS_16(i + 48)
#define BITS_256(i) BITS_64(i), BITS_64(i + 64), BITS_64(i + 128), BITS_64(i + 192)
_Alignas(HAK_LINE) const uint16_t ss_class_bits[SS_TINY_MAX / 16 + 1] = {0, BITS_256(1),
                                                                         BITS_256(257)};

static uint32_t class_size(unsigned c)
{
    unsigned above = c - (SS_STEP_MAX / 16 + 1);
    return c <= SS_STEP_MAX / 16 ? 16 * c : (9 + above % 8) << (4 + above / 8);
}

void ss_classes_init(void)
{
    for (unsigned c = 1; c < SS_TINY_NCLASS; c++) {
        ss_class_define(c, class_size(c), 1);
    }
}

void ss_class_define(unsigned class, uint32_t size, unsigned units)
{
    HAK_ASSERT(class < SS_NCLASS && units > 0 && size <= units * (size_t)SS_UNIT);
    HAK_ASSERT(units * SS_UNIT <= ss_params.superslab_bytes);
    uint64_t magic = UINT64_MAX / size + 1, blocks = units * SS_UNIT / size;
    /* From block to block, modulo 2^64. 0: no multiple is left behind the last one. */
    uint64_t step = magic * size;
    ss_classes[class] = (struct ss_class){.magic = magic,
                                          .behind = step > 0 ? (uint32_t)(blocks * step) : 1,
                                          .size = size,
                                          .units = (uint16_t)units,
                                          .blocks = (uint16_t)blocks};
}
