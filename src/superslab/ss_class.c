/* SPDX-License-Identifier: MIT
 *
 * superslab: the class table, computed once.
 */
#include "superslab/ss_internal.h"

struct ss_params ss_params;
struct ss_class ss_classes[SS_NCLASS];

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
    ss_classes[class] = (struct ss_class){.size = size,
                                          .units = (uint16_t)units,
                                          .blocks = (uint16_t)(units * SS_UNIT / size),
                                          .magic = UINT64_MAX / size + 1};
}
