/* SPDX-License-Identifier: MIT
 *
 * list: see hak_list.h.
 */
#include "base/hak_list.h"

/* Returns what follows the number at s; NULL: there is none below limit. */
static const char *number_parse(const char *s, unsigned limit, unsigned *out)
{
    unsigned v = 0;
    if (*s < '0' || *s > '9')
        return NULL;
    for (; *s >= '0' && *s <= '9'; s++) {
        v = v * 10 + (unsigned)(*s - '0');
        if (v >= limit)
            return NULL;
    }
    *out = v;
    return s;
}

bool hak_list_parse(const char *s, uint64_t *bits, unsigned nbits)
{
    if (*s == '\0' || *s == '\n')
        return true;
    for (;;) {
        unsigned first, last;
        s = number_parse(s, nbits, &first);
        if (s == NULL)
            return false;
        last = first;
        if (*s == '-' && ((s = number_parse(s + 1, nbits, &last)) == NULL || last < first))
            return false;
        for (unsigned i = first; i <= last; i++)
            bits[i / 64] |= (uint64_t)1 << (i % 64);
        if (*s != ',')
            return *s == '\0' || *s == '\n';
        s++;
    }
}
