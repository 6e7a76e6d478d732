/* SPDX-License-Identifier: MIT
 *
 * options: read once at start from HAKMEM_* and never written again. options.def is the list.
 *
 * Only policy and api read them; a mechanism is handed numbers. Thread safety: hak_opt_load runs
 * once before any other thread can allocate; after it the struct is constant.
 */
#ifndef HAK_OPT_H
#define HAK_OPT_H

#include "base/hak_base.h"

struct hak_options {
#define HAK_OPT(name, type, fast, balanced, lean, min, max, unit, help) uint64_t name;
#define HAK_OPT_CHOICE(name, def, choices, help)                        uint64_t name;
#define HAK_OPT_TRIPLE(name, def, min, max, unit, help)                 uint64_t name;
#define HAK_OPT_TEXT(name, what, help)                                  uint64_t name;
#define HAK_OPT_LIST(name, limit, unit, help)                           uint64_t name;
#include "base/options.def"
#undef HAK_OPT
#undef HAK_OPT_CHOICE
#undef HAK_OPT_TRIPLE
#undef HAK_OPT_TEXT
#undef HAK_OPT_LIST
};

enum hak_opt_id {
#define HAK_OPT(name, type, fast, balanced, lean, min, max, unit, help) HAK_OPT_##name,
#define HAK_OPT_CHOICE(name, def, choices, help)                        HAK_OPT_##name,
#define HAK_OPT_TRIPLE(name, def, min, max, unit, help)                 HAK_OPT_##name,
#define HAK_OPT_TEXT(name, what, help)                                  HAK_OPT_##name,
#define HAK_OPT_LIST(name, limit, unit, help)                           HAK_OPT_##name,
#include "base/options.def"
#undef HAK_OPT
#undef HAK_OPT_CHOICE
#undef HAK_OPT_TRIPLE
#undef HAK_OPT_TEXT
#undef HAK_OPT_LIST
    HAK_OPT_COUNT
};

enum hak_opt_mode {
    HAK_MODE_FAST,
    HAK_MODE_BALANCED,
    HAK_MODE_LEAN,
};

#define HAK_OPT_AUTO UINT64_MAX /* a LIMIT given as "auto" */

/* The numbers of a LIST, as hak_list_parse takes them: NULL for "all". Good as long as the environment
 * is. */
HAK_FAST const char *hak_opt_list(uint64_t value)
{
    return (const char *)(uintptr_t)value;
}

extern HAK_HIDDEN struct hak_options hak_opt;

/* Set every option to its default, then to what env (NULL: nothing) says. Each bad value and
 * each unknown HAKMEM_ name is one warning; under HAKMEM_STRICT=1 it ends the process. Sets
 * hak_log_max. */
void hak_opt_load(const char *const *env);
/* Does env name any HAKMEM_ option? */
bool hak_opt_any(const char *const *env);
/* "HAKMEM_NAME=value" from a profile: what the environment sets stays. false: no such option, no such
 * value, or not one that a profile may have. Nothing is said. try: change nothing. */
bool hak_opt_profile(const char *entry, bool try);
/* With HAKMEM_SHOW=1 print all options. */
void hak_opt_show(void);

/* The option was set in the environment. */
bool hak_opt_is_set(enum hak_opt_id id);
/* One line "option: NAME='value': expected ..." for a value that only its user can judge; under
 * HAKMEM_STRICT=1 the end of the process. */
void hak_opt_refuse(enum hak_opt_id id, const char *expected);

/* Append "HAKMEM_NAME=value (source)" for one option; source: default, mode, profile or environment. */
struct hak_text;
void hak_opt_print(struct hak_text *t, enum hak_opt_id id);

static inline const char *hak_opt_text(uint64_t value)
{
    return (const char *)(uintptr_t)value;
}

/* The ith number of a triple. */
static inline unsigned hak_opt_part(uint64_t value, unsigned i)
{
    return (unsigned)(value >> (16 * i)) & UINT16_MAX;
}

#endif /* HAK_OPT_H */
