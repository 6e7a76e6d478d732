/* SPDX-License-Identifier: MIT
 *
 * doc/sizes.md on stdout: the class table that ss_class.c and mid.c compute. A test compares it
 * with the committed file.
 */
#include <stdio.h>

#include "mid/mid.h"
#include "superslab/ss_internal.h"

int main(void)
{
    ss_classes_init();
    mid_init(2 << 20, SIZE_MAX);
    puts("# Block sizes\n"
         "\n"
         "Made from `src/superslab/ss_class.c` by `tools/gen_sizes_md.c`, for superslabs of 2 "
         "MiB;\n"
         "change that file, not this one.\n"
         "\n"
         "A request gets the smallest block that holds it. *Waste* is the part of a block that "
         "the\n"
         "smallest request served from it leaves unused; *tail* is what is left at the end of "
         "a slab.\n"
         "Requests above the last class are large: whole units of 64 KiB, or a mapping of "
         "their own.\n"
         "\n"
         "| class | block, bytes | slab, units | blocks in a slab | tail, bytes | largest "
         "waste |\n"
         "|---:|---:|---:|---:|---:|---:|");
    unsigned smaller = 0;
    for (unsigned c = 1; c < SS_NCLASS && ss_classes[c].blocks != 0; c++) {
        const struct ss_class *k = &ss_classes[c];
        unsigned waste = k->size - (smaller + 1);
        printf("| %u | %u | %u | %u | %u | %.1f %% |\n", c, k->size, k->units, k->blocks,
               k->units * SS_UNIT - k->blocks * k->size, 100.0 * waste / k->size);
        smaller = k->size;
    }
    return 0;
}
