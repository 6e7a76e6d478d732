/* SPDX-License-Identifier: MIT
 *
 * policy: profiles. A text file:
 *
 *   hakmem-profile 1                     what it is, and the version of its form
 *   made-by 0.1.0                        stale under another version
 *   option HAKMEM_LARGE_THRESHOLD=8M     a default for this process; the environment wins
 *   elo 12 151234 7                      strategy, rating in hundredths, matches
 *   ace 64 4096 64 256                   size of class, capacity, refill, remote batch in blocks
 *   checksum 89abcdef01234567            of all bytes before it: FNV-1a, 64 bits
 *
 * Nothing of a file that is refused takes effect.
 */
#include <string.h>

#include "base/hak_log.h"
#include "base/hak_opt.h"
#include "policy/policy_internal.h"
#include "superslab/ss.h"

enum {
    TEXT_MAX = 16384,
    PATH_BYTES = 1024,
    FORM = 1,
};

static HAK_RARE struct {
    char text[TEXT_MAX]; /* of a file read, or to be written */
    size_t length;
    bool too_long;
} file;
static HAK_RARE char save_path[PATH_BYTES];

static uint64_t fnv(const char *text, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
    return h;
}

static void head_add(struct hak_text *t)
{
    hak_text_add(t, "hakmem-profile %u\nmade-by " HAK_VERSION "\n", FORM);
}

static void hex_add(struct hak_text *t, uint64_t v)
{
    for (unsigned i = 0; i < 16; i++)
        hak_text_add(t, "%c", "0123456789abcdef"[v >> (60 - 4 * i) & 15]);
}

bool profile_numbers(const char *line, const char *word, uint64_t *value, unsigned n)
{
    size_t length = strlen(word);
    if (strncmp(line, word, length) != 0)
        return false;
    line += length;
    for (unsigned i = 0; i < n; i++) {
        uint64_t v = 0;
        unsigned digits = 0;
        if (*line++ != ' ')
            return false;
        for (; *line >= '0' && *line <= '9'; line++, digits++)
            v = v * 10 + (uint64_t)(*line - '0');
        if (digits == 0 || digits > 15)
            return false;
        value[i] = v;
    }
    return *line == '\0';
}

/* ---- Reading. ---- */

static bool line_keep(void *unused, char *line)
{
    size_t n = strlen(line);
    if (file.length + n + 1 >= TEXT_MAX) {
        file.too_long = true;
        return false;
    }
    memcpy(file.text + file.length, line, n);
    file.length += n;
    file.text[file.length++] = '\n';
    (void)unused;
    return true;
}

/* Cut the checksum's line off. false: it is not the last, or wrong. */
static bool checksum_good(void)
{
    enum { TAIL = sizeof("checksum ") - 1 + 16 + 1 };
    char want[TAIL + 1];
    struct hak_text t = {want, sizeof(want), 0};
    if (file.length < TAIL)
        return false;
    size_t body = file.length - TAIL;
    hak_text_add(&t, "checksum ");
    hex_add(&t, fnv(file.text, body));
    hak_text_add(&t, "\n");
    file.length = body;
    return memcmp(want, file.text + body, TAIL) == 0;
}

static bool line_use(const char *line, bool try)
{
    if (strncmp(line, "option ", 7) == 0)
        return hak_opt_profile(line + 7, try);
    return threshold_profile_line(line, try) || caches_profile_line(line, try);
}

/* Each line after the first two. They are tried first, and end in NUL from then on. */
static bool lines_use(bool try)
{
    char *at = file.text;
    for (unsigned i = 0; at < file.text + file.length; i++) {
        char *end = memchr(at, try ? '\n' : '\0', (size_t)(file.text + file.length - at));
        if (end == NULL)
            return false;
        *end = '\0';
        if (i >= 2 && !line_use(at, try))
            return false;
        at = end + 1;
    }
    return true;
}

/* Why not? NULL: it is in effect. */
static const char *load(const char *path)
{
    static char head[128];
    struct hak_text t = {head, sizeof(head), 0};
    file.length = 0;
    file.too_long = false;
    if (!os_file_lines(path, line_keep, NULL) && !file.too_long)
        return "a file that can be read";
    size_t word = strlen("hakmem-profile ");
    if (file.length < word || memcmp(file.text, "hakmem-profile ", word) != 0)
        return "a profile of hakmem";
    if (file.text[word] != '0' + FORM || file.text[word + 1] != '\n')
        return "a profile of form 1";
    if (file.too_long || !checksum_good())
        return "an undamaged profile: its checksum is wrong";
    head_add(&t);
    if (file.length < t.len || memcmp(file.text, head, t.len) != 0)
        return "a profile made by hakmem " HAK_VERSION ": this one is stale";
    if (!lines_use(true) || !lines_use(false))
        return "a profile with lines this hakmem knows";
    return NULL;
}

void policy_profile_load(void)
{
    const char *path = hak_opt_text(hak_opt.profile),
               *save = hak_opt_text(hak_opt.profile_save);
    if (path[0] != '\0') {
        const char *expected = load(path);
        if (expected != NULL)
            hak_opt_refuse(HAK_OPT_profile, expected);
        else
            hak_log(HAK_LOG_INFO, "profile: %s is in effect", path);
    }
    if (save[0] != '\0' && !os_path_absolute(save, save_path, sizeof(save_path)))
        hak_opt_refuse(HAK_OPT_profile_save, "a shorter path");
}

/* ---- Writing. ---- */

void policy_profile_save(void)
{
    struct hak_text t = {file.text, TEXT_MAX, 0};
    if (hak_opt_text(hak_opt.profile_save)[0] == '\0')
        return;
    head_add(&t);
    size_t head = t.len;
    threshold_profile_save(&t);
    caches_profile_save(&t);
    if (t.len == head)
        return; /* a shell that learned nothing does not wipe what the program it started did */
    uint64_t sum = fnv(file.text, HAK_MIN(t.len, (size_t)TEXT_MAX - 1));
    hak_text_add(&t, "checksum ");
    hex_add(&t, sum);
    hak_text_add(&t, "\n");
    if (t.len >= TEXT_MAX || !os_file_replace(save_path, file.text, t.len))
        hak_log(HAK_LOG_WARN, "profile: %s cannot be written", save_path);
}
