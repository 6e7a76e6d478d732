/* SPDX-License-Identifier: MIT
 *
 * log: text into fixed buffers, and lines on stderr, without malloc, stdio or locale.
 *
 * Used by everything that speaks: the option parser, the log, statistics, fatal errors.
 */
#ifndef HAK_LOG_H
#define HAK_LOG_H

#include "base/hak_base.h"

/* Given by src/os (or by a test): the two things base cannot do without the system. */
void hak_write_err(const char *text, size_t length);
_Noreturn void hak_abort(void);

/* A bounded text. len counts what was asked for, as snprintf does: len >= size means cut. */
struct hak_text {
    char *buf;
    size_t size;
    size_t len;
};

/* Append. Knows %s %c %d %u %lu %llu %zu %x %p %%, and %S: a size_t as 64K, 2M or plain bytes. */
void hak_text_add(struct hak_text *t, const char *format, ...);

enum hak_log_level {
    HAK_LOG_ERROR,
    HAK_LOG_WARN,
    HAK_LOG_INFO,
    HAK_LOG_DEBUG,
};

extern enum hak_log_level hak_log_max; /* set once at start; HAKMEM_LOG */

/* One line "hakmem: ..." in one write; the newline is added. Formats as hak_text_add. */
HAK_SLOW void hak_log(enum hak_log_level level, const char *format, ...);

#endif /* HAK_LOG_H */
