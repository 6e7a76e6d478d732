/* SPDX-License-Identifier: MIT
 *
 * options: the parser made from options.def. Linear in the environment, no allocation.
 */
#include "base/hak_opt.h"

#include <string.h>

#include "base/hak_list.h"
#include "base/hak_log.h"

enum opt_type {
    FLAG,
    COUNT,
    SIZE,
    LIMIT,
    CHOICE,
    TRIPLE,
    TEXT,
    LIST,
};

enum opt_source {
    SOURCE_DEFAULT,
    SOURCE_MODE,
    SOURCE_PROFILE,
    SOURCE_ENVIRONMENT,
};

/* Numbers stay as options.def writes them ("64K") and go through the user's own parser. */
struct opt_row {
    const char *name; /* lower case */
    enum opt_type type;
    const char *def[3]; /* by enum hak_opt_mode */
    const char *min, *max;
    const char *words; /* the unit, or the choices "a|b|c" */
};

static const struct opt_row rows[HAK_OPT_COUNT] = {
#define HAK_OPT(name, type, fast, balanced, lean, min, max, unit, help)                        \
    {#name, type, {#fast, #balanced, #lean}, #min, #max, unit},
#define HAK_OPT_CHOICE(name, def, choices, help)                                               \
    {#name, CHOICE, {#def, #def, #def}, "", "", choices},
#define HAK_OPT_TRIPLE(name, def, min, max, unit, help)                                        \
    {#name, TRIPLE, {#def, #def, #def}, #min, #max, unit},
#define HAK_OPT_TEXT(name, what, help) {#name, TEXT, {"", "", ""}, "", "", what},
#define HAK_OPT_LIST(name, limit, unit, help)                                                  \
    {#name, LIST, {"all", "all", "all"}, "0", #limit, unit},
#include "base/options.def"
#undef HAK_OPT
#undef HAK_OPT_CHOICE
#undef HAK_OPT_TRIPLE
#undef HAK_OPT_TEXT
#undef HAK_OPT_LIST
};

struct hak_options hak_opt;
static uint8_t sources[HAK_OPT_COUNT];

/* The struct has one uint64_t per row, in the order of the rows. */
static_assert(sizeof(struct hak_options) == HAK_OPT_COUNT * sizeof(uint64_t), "one word a row");
static uint64_t *opt_value(enum hak_opt_id id)
{
    return (uint64_t *)(void *)&hak_opt + id;
}

static char upper(char c)
{
    return (char)(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
}

static void name_add(struct hak_text *t, const char *name)
{
    hak_text_add(t, "HAKMEM_");
    for (; *name != '\0'; name++)
        hak_text_add(t, "%c", upper(*name));
}

/* Digits, then for sizes one of K M G T. false: not a number, junk after it, or too large. */
static bool number_parse(const char *s, bool suffix, uint64_t *out)
{
    uint64_t v = 0;
    if (*s < '0' || *s > '9')
        return false;
    for (; *s >= '0' && *s <= '9'; s++) {
        if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
            return false;
    }
    const char *units = "KMGT";
    const char *u = suffix && *s != '\0' ? strchr(units, upper(*s)) : NULL;
    if (u != NULL) {
        if (__builtin_mul_overflow(v, 1ull << (10 * (u - units + 1)), &v))
            return false;
        s++;
    }
    *out = v;
    return *s == '\0';
}

/* Index of the word s in "a|b|c". */
static bool choice_parse(const char *s, const char *words, uint64_t *out)
{
    size_t n = strlen(s);
    uint64_t i = 0;
    for (const char *w = words; n > 0;) {
        const char *end = strchr(w, '|');
        size_t len = end != NULL ? (size_t)(end - w) : strlen(w);
        if (len == n && memcmp(w, s, n) == 0) {
            *out = i;
            return true;
        }
        if (end == NULL)
            break;
        w = end + 1;
        i++;
    }
    return false;
}

static bool is_bytes(const struct opt_row *r)
{
    return r->type == SIZE || r->type == LIMIT;
}

static bool is_auto(const struct opt_row *r, const char *s)
{
    return r->type == LIMIT && strcmp(s, "auto") == 0;
}

/* "a:b:c" */
static bool triple_parse(const char *s, uint64_t min, uint64_t max, uint64_t *out)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < 3; i++) {
        char part[8];
        const char *colon = strchr(s, ':');
        size_t n = colon != NULL ? (size_t)(colon - s) : strlen(s);
        uint64_t v;
        if (n >= sizeof(part) || (colon != NULL) != (i < 2))
            return false;
        memcpy(part, s, n);
        part[n] = '\0';
        if (!number_parse(part, false, &v) || v < min || v > max)
            return false;
        sum |= v << (16 * i);
        s += n + 1;
    }
    *out = sum;
    return true;
}

/* The environment may change later: keep a copy. */
static bool text_parse(const char *s, uint64_t *out)
{
    enum { TEXT_MAX = 256, TEXTS_MAX = 8 };
    static HAK_RARE char texts[TEXTS_MAX][TEXT_MAX];
    static unsigned used;
    size_t n = strlen(s);
    for (size_t i = 0; i < n; i++) {
        if (s[i] < ' ' || s[i] > '~')
            return false;
    }
    if (n == 0 || n >= TEXT_MAX)
        return false;
    char *text = texts[used++ % TEXTS_MAX];
    memcpy(text, s, n + 1);
    *out = (uintptr_t)text;
    return true;
}

enum { LIST_LIMIT = 1024 }; /* of any LIST's numbers */

static bool list_parse(const char *s, uint64_t *out)
{
    uint64_t bits[LIST_LIMIT / 64] = {0};
    bool all = strcmp(s, "all") == 0;
    if (!all && (*s == '\0' || !hak_list_parse(s, bits, LIST_LIMIT)))
        return false;
    *out = all ? 0 : (uint64_t)(uintptr_t)s;
    return true;
}

static uint64_t constant(const struct opt_row *r, const char *s)
{
    uint64_t v = HAK_OPT_AUTO;
    if (r->type == TEXT)
        return (uintptr_t) "";
    bool ok = r->type == TRIPLE ? triple_parse(s, 0, UINT16_MAX, &v)
              : r->type == LIST ? list_parse(s, &v)
                                : is_auto(r, s) || number_parse(s, is_bytes(r), &v);
    HAK_CHECK(ok, "option: options.def holds a number that does not parse");
    return v;
}

static uint64_t constant_number(const char *s)
{
    uint64_t v = 0;
    (void)number_parse(s, false, &v);
    return v;
}

static bool value_parse(const struct opt_row *r, const char *s, uint64_t *out)
{
    if (r->type == CHOICE)
        return choice_parse(s, r->words, out);
    if (r->type == TEXT)
        return text_parse(s, out);
    if (r->type == TRIPLE)
        return triple_parse(s, constant_number(r->min), constant_number(r->max), out);
    if (r->type == LIST)
        return list_parse(s, out);
    uint64_t v;
    if (is_auto(r, s)) {
        *out = HAK_OPT_AUTO;
        return true;
    }
    if (!number_parse(s, is_bytes(r), &v))
        return false;
    bool none = r->type == LIMIT && v == 0;
    if (!none && (v < constant(r, r->min) || v > constant(r, r->max)))
        return false;
    *out = v;
    return true;
}

static void value_add(struct hak_text *t, const struct opt_row *r, uint64_t v)
{
    if (r->type == LIMIT && v == HAK_OPT_AUTO) {
        hak_text_add(t, "auto");
        return;
    }
    if (r->type == TEXT) {
        hak_text_add(t, "%s", hak_opt_text(v));
        return;
    }
    if (r->type == TRIPLE) {
        hak_text_add(t, "%u:%u:%u", hak_opt_part(v, 0), hak_opt_part(v, 1), hak_opt_part(v, 2));
        return;
    }
    if (r->type == LIST) {
        hak_text_add(t, "%s", v != 0 ? hak_opt_list(v) : "all");
        return;
    }
    if (r->type != CHOICE) {
        hak_text_add(t, is_bytes(r) ? "%S" : "%lu", v);
        return;
    }
    const char *w = r->words;
    while (v-- > 0)
        w = strchr(w, '|') + 1;
    for (; *w != '\0' && *w != '|'; w++)
        hak_text_add(t, "%c", *w);
}

void hak_opt_print(struct hak_text *t, enum hak_opt_id id)
{
    static const char *const names[] = {"default", "HAKMEM_MODE", "profile", "environment"};
    name_add(t, rows[id].name);
    hak_text_add(t, "=");
    value_add(t, &rows[id], *opt_value(id));
    hak_text_add(t, " (%s)", names[sources[id]]);
}

/* Levenshtein distance between a row's name and an upper-case word, both short. */
static unsigned distance(const char *name, const char *word, size_t word_len)
{
    enum { WORD_MAX = 40 };
    unsigned row[WORD_MAX + 1];
    if (word_len > WORD_MAX)
        return WORD_MAX;
    for (unsigned j = 0; j <= word_len; j++)
        row[j] = j;
    for (unsigned i = 1; name[i - 1] != '\0'; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= word_len; j++) {
            unsigned change = diagonal + (upper(name[i - 1]) != upper(word[j - 1]));
            diagonal = row[j];
            row[j] = HAK_MIN(change, HAK_MIN(row[j], row[j - 1]) + 1);
        }
    }
    return row[word_len];
}

static enum hak_opt_id nearest(const char *word, size_t word_len)
{
    unsigned best = UINT32_MAX;
    enum hak_opt_id id = 0;
    for (unsigned i = 0; i < HAK_OPT_COUNT; i++) {
        unsigned d = distance(rows[i].name, word, word_len);
        if (d < best) {
            best = d;
            id = i;
        }
    }
    return id;
}

/* One bad setting: warn, or end the process under HAKMEM_STRICT=1. */
static void complain(const struct hak_text *t)
{
    hak_log(hak_opt.strict ? HAK_LOG_ERROR : HAK_LOG_WARN, "%s", t->buf);
    if (hak_opt.strict)
        hak_abort();
}

static void bad_value(enum hak_opt_id id, const char *value, const char *expected)
{
    const struct opt_row *r = &rows[id];
    char line[400];
    struct hak_text t = {line, sizeof(line), 0};
    hak_text_add(&t, "option: ");
    name_add(&t, r->name);
    hak_text_add(&t, "='");
    for (size_t i = 0; value[i] != '\0' && i < 200; i++) /* neither too long nor two lines */
        hak_text_add(&t, "%c", value[i] >= ' ' && value[i] <= '~' ? value[i] : '?');
    hak_text_add(&t, "': expected ");
    if (expected != NULL)
        hak_text_add(&t, "%s", expected);
    else if (r->type == TEXT)
        hak_text_add(&t, "%s, of 1 to 255 printable characters", r->words);
    else if (r->type == CHOICE)
        hak_text_add(&t, "%s", r->words);
    else if (r->type == TRIPLE)
        hak_text_add(&t, "a:b:c, each %s..%s %s", r->min, r->max, r->words);
    else if (r->type == LIST)
        hak_text_add(&t, "all, or %s below %s as in 0-1,3", r->words, r->max);
    else
        hak_text_add(&t, "%s%s..%s%s%s%s", r->type == LIMIT ? "auto, 0 or " : "", r->min,
                     r->max, r->words[0] != '\0' ? " " : "", r->words,
                     is_bytes(r) ? ", K M G T allowed" : "");
    hak_text_add(&t, "; using ");
    if (r->type == TEXT)
        hak_text_add(&t, "none");
    else
        value_add(&t, r, *opt_value(id));
    complain(&t);
}

static void unknown_name(const char *name, size_t len)
{
    char line[400];
    struct hak_text t = {line, sizeof(line), 0};
    hak_text_add(&t, "option: ");
    for (size_t i = 0; i < len && i < 200; i++)
        hak_text_add(&t, "%c", name[i]);
    hak_text_add(&t, ": unknown name; the nearest is ");
    name_add(&t, rows[nearest(name + strlen("HAKMEM_"), len - strlen("HAKMEM_"))].name);
    complain(&t);
}

/* "HAKMEM_NAME=value" -> row, or HAK_OPT_COUNT where no row has that name. */
static enum hak_opt_id find(const char *name, size_t len)
{
    for (unsigned id = 0; id < HAK_OPT_COUNT; id++) {
        const char *r = rows[id].name;
        size_t i = 0;
        while (i < len && r[i] != '\0' && upper(r[i]) == name[i])
            i++;
        if (i == len && r[i] == '\0')
            return id;
    }
    return HAK_OPT_COUNT;
}

/* An environment has a hundred entries, and every process of a script has one. */
static bool is_ours(const char *entry)
{
    return entry[0] == 'H' && strncmp(entry, "HAKMEM_", strlen("HAKMEM_")) == 0;
}

bool hak_opt_any(const char *const *env)
{
    while (env != NULL && *env != NULL && !is_ours(*env))
        env++;
    return env != NULL && *env != NULL;
}

/* Quietly take one option from env where it is good; used for those the parser itself needs. */
static void peek(const char *const *env, enum hak_opt_id id)
{
    size_t prefix = strlen("HAKMEM_");
    for (; env != NULL && *env != NULL; env++) {
        const char *eq = is_ours(*env) ? strchr(*env, '=') : NULL;
        if (eq != NULL && find(*env + prefix, (size_t)(eq - *env) - prefix) == id) {
            (void)value_parse(&rows[id], eq + 1, opt_value(id));
            return;
        }
    }
}

static void entry_apply(const char *entry)
{
    size_t prefix = strlen("HAKMEM_");
    const char *eq = is_ours(entry) ? strchr(entry, '=') : NULL;
    if (eq == NULL)
        return;
    enum hak_opt_id id = find(entry + prefix, (size_t)(eq - entry) - prefix);
    if (id == HAK_OPT_COUNT)
        unknown_name(entry, (size_t)(eq - entry));
    else if (sources[id] == SOURCE_ENVIRONMENT)
        return; /* a name given twice: the first holds, as for getenv */
    else if (value_parse(&rows[id], eq + 1, opt_value(id)))
        sources[id] = SOURCE_ENVIRONMENT;
    else
        bad_value(id, eq + 1, NULL);
}

static void defaults_set(const char *const *env)
{
    for (unsigned id = 0; id < HAK_OPT_COUNT; id++)
        *opt_value(id) = constant(&rows[id], rows[id].def[HAK_MODE_BALANCED]);
    peek(env, HAK_OPT_mode);
    peek(env, HAK_OPT_log);
    peek(env, HAK_OPT_strict);
    for (unsigned id = 0; id < HAK_OPT_COUNT; id++) {
        uint64_t preset = constant(&rows[id], rows[id].def[hak_opt.mode]);
        uint64_t balanced = constant(&rows[id], rows[id].def[HAK_MODE_BALANCED]);
        sources[id] = preset == balanced ? SOURCE_DEFAULT : SOURCE_MODE;
        if (preset != balanced)
            *opt_value(id) = preset;
    }
    hak_log_max = (enum hak_log_level)hak_opt.log;
}

void hak_opt_load(const char *const *env)
{
    defaults_set(env);
    for (const char *const *e = env; e != NULL && *e != NULL; e++)
        entry_apply(*e);
    hak_log_max = (enum hak_log_level)hak_opt.log;
}

bool hak_opt_is_set(enum hak_opt_id id)
{
    return sources[id] == SOURCE_ENVIRONMENT;
}

void hak_opt_refuse(enum hak_opt_id id, const char *expected)
{
    bad_value(id, hak_opt_text(*opt_value(id)), expected);
    *opt_value(id) = (uintptr_t) "";
    sources[id] = SOURCE_DEFAULT;
}

/* Those that have had their effect by then are no matter of a profile, and files are the user's. */
static bool profile_may_have(enum hak_opt_id id)
{
    return id != HAK_OPT_COUNT && id != HAK_OPT_mode && id != HAK_OPT_log &&
           id != HAK_OPT_strict && id != HAK_OPT_show && id != HAK_OPT_stats &&
           rows[id].type != TEXT;
}

bool hak_opt_profile(const char *entry, bool try)
{
    size_t prefix = strlen("HAKMEM_");
    const char *eq = is_ours(entry) ? strchr(entry, '=') : NULL;
    if (eq == NULL)
        return false;
    enum hak_opt_id id = find(entry + prefix, (size_t)(eq - entry) - prefix);
    uint64_t value;
    if (!profile_may_have(id) || !value_parse(&rows[id], eq + 1, &value))
        return false;
    if (!try && sources[id] != SOURCE_ENVIRONMENT) {
        *opt_value(id) = value;
        sources[id] = SOURCE_PROFILE;
    }
    return true;
}

void hak_opt_show(void)
{
    for (unsigned id = 0; hak_opt.show && id < HAK_OPT_COUNT; id++) {
        char line[400];
        struct hak_text t = {line, sizeof(line), 0};
        hak_text_add(&t, "hakmem: ");
        hak_opt_print(&t, id);
        hak_text_add(&t, "\n");
        hak_write_err(line, HAK_MIN(t.len, sizeof(line) - 1));
    }
}
