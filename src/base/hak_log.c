/* SPDX-License-Identifier: MIT
 *
 * log: a formatter small enough to be used inside malloc: no locale, no allocation, no lock.
 */
#include "base/hak_log.h"

#include <stdarg.h>

enum hak_log_level hak_log_max = HAK_LOG_WARN;

static void text_char(struct hak_text *t, char c)
{
    if (t->len + 1 < t->size)
        t->buf[t->len] = c;
    t->len++;
}

static void text_string(struct hak_text *t, const char *s)
{
    while (*s != '\0')
        text_char(t, *s++);
}

static void text_number(struct hak_text *t, uint64_t v, unsigned base)
{
    char digits[20];
    unsigned n = 0;
    do {
        digits[n++] = "0123456789abcdef"[v % base];
        v /= base;
    } while (v != 0);
    while (n > 0)
        text_char(t, digits[--n]);
}

/* 65536 -> "64K": the unit that leaves a whole number. */
static void text_size(struct hak_text *t, uint64_t v)
{
    unsigned unit = 0;
    while (unit < 4 && v >= 1024 && v % 1024 == 0) {
        v /= 1024;
        unit++;
    }
    text_number(t, v, 10);
    if (unit > 0)
        text_char(t, " KMGT"[unit]);
}

/* One conversion after the '%'. Returns the format's next character. */
static const char *text_convert(struct hak_text *t, const char *f, va_list *ap)
{
    unsigned longs = 0;
    for (; *f == 'l' || *f == 'z'; f++)
        longs++;
    switch (*f) {
    case 's':
        text_string(t, va_arg(*ap, const char *));
        break;
    case 'c':
        text_char(t, (char)va_arg(*ap, int));
        break;
    case 'd': {
        int64_t v = longs > 0 ? va_arg(*ap, long) : va_arg(*ap, int);
        if (v < 0)
            text_char(t, '-');
        text_number(t, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, 10);
        break;
    }
    case 'u':
    case 'x':
        text_number(t, longs > 0 ? va_arg(*ap, unsigned long) : va_arg(*ap, unsigned),
                    *f == 'x' ? 16 : 10);
        break;
    case 'S':
        text_size(t, va_arg(*ap, size_t));
        break;
    case 'p':
        text_string(t, "0x");
        text_number(t, (uintptr_t)va_arg(*ap, void *), 16);
        break;
    default:
        text_char(t, *f);
    }
    return f + 1;
}

static void text_vadd(struct hak_text *t, const char *format, va_list *ap)
{
    for (const char *f = format; *f != '\0';) {
        if (*f == '%')
            f = text_convert(t, f + 1, ap);
        else
            text_char(t, *f++);
    }
    if (t->size > 0)
        t->buf[HAK_MIN(t->len, t->size - 1)] = '\0';
}

void hak_text_add(struct hak_text *t, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    text_vadd(t, format, &ap);
    va_end(ap);
}

/* A line longer than the buffer ends in "..." rather than losing its newline. */
static void line_write(struct hak_text *t)
{
    if (t->len > t->size - 2) {
        t->len = t->size - 2;
        for (size_t i = t->len - 3; i < t->len; i++)
            t->buf[i] = '.';
    }
    t->buf[t->len] = '\n';
    hak_write_err(t->buf, t->len + 1);
}

void hak_log(enum hak_log_level level, const char *format, ...)
{
    if (level > hak_log_max)
        return;
    char line[512];
    struct hak_text t = {line, sizeof(line), 0};
    hak_text_add(&t, "hakmem: ");
    va_list ap;
    va_start(ap, format);
    text_vadd(&t, format, &ap);
    va_end(ap);
    line_write(&t);
}

void hak_fatal(const char *what)
{
    hak_log(HAK_LOG_ERROR, "%s", what);
    hak_abort();
}

void hak_fatal_pointer(const char *what, const void *p)
{
    hak_log(HAK_LOG_ERROR, "%s %p", what, p);
    hak_abort();
}

void hak_assert_failed(const char *file, int line, const char *what)
{
    hak_log(HAK_LOG_ERROR, "%s:%d: assertion failed: %s", file, line, what);
    hak_abort();
}
