/* SPDX-License-Identifier: MIT
 *
 * os: the memory cgroup of the process, from the files the kernel shows of it.
 *
 *   /proc/self/cgroup      which one      "0::/kubepods/x"  v2;  "4:memory:/docker/y"  v1
 *   /proc/self/mountinfo   where it is    ".. .. .. ROOT MOUNT-POINT .. - cgroup2 .. OPTIONS"
 *
 * The directory is the mount point and what of the cgroup's path is below the mount's root. Inside a
 * cgroup namespace both are told relative to the namespace's own root: what lies above it has ".."
 * for its name, and is not visible unless it is mounted.
 */
#include "os/os.h"

#include <string.h>

#include "base/hak_log.h"

enum { FILE_MAX = OS_CGROUP_PATH_MAX + 64 };

/* What the two versions call the same things. */
static const struct names {
    const char *max, *high, *current, *inactive, *active;
} names[] = {
    [1] = {"memory.limit_in_bytes", NULL, "memory.usage_in_bytes", "total_inactive_file ",
           "total_active_file "},
    [2] = {"memory.max", "memory.high", "memory.current", "inactive_file ", "active_file "},
};

/* ---- Text. ---- */

/* The decimal number at s; what is too large for a limit to be one is UINT64_MAX. Returns what follows
 * it; NULL: there is no number. */
static const char *number_parse(const char *s, uint64_t *out)
{
    uint64_t v = 0;
    bool huge = false;
    if (*s < '0' || *s > '9')
        return NULL;
    for (; *s >= '0' && *s <= '9'; s++)
        huge |= __builtin_mul_overflow(v, (uint64_t)10, &v) ||
                __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v);
    *out = huge || v >= (uint64_t)1 << 62 ? UINT64_MAX : v;
    return s;
}

static bool starts(const char *s, const char *with)
{
    return strncmp(s, with, strlen(with)) == 0;
}

/* Is word one of the words in s, which commas part? */
static bool has_word(const char *s, const char *word)
{
    size_t n = strlen(word);
    for (; s != NULL; s = strchr(s, ',') != NULL ? strchr(s, ',') + 1 : NULL)
        if (strncmp(s, word, n) == 0 && (s[n] == ',' || s[n] == '\0'))
            return true;
    return false;
}

/* ---- Finding it. ---- */

struct search {
    struct os_cgroup *out;
    const char *root;
    unsigned version; /* 0: not known yet */
    bool whole;       /* out is the cgroup itself, not only one above it */
    bool too_long;
    char path[OS_CGROUP_PATH_MAX]; /* the cgroup's, in its hierarchy */
};

static bool own_line(void *arg, char *line)
{
    struct search *s = arg;
    char *controllers = strchr(line, ':');
    char *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
    if (path == NULL)
        return true;
    *path++ = '\0';
    unsigned version = 0;
    if (has_word(controllers + 1, "memory"))
        version = 1;
    else if (controllers[1] == '\0' && starts(line, "0:"))
        version = 2;
    if (version == 0 || s->version == 1)
        return true;
    s->version = version;
    s->too_long = strlen(path) >= sizeof(s->path);
    memcpy(s->path, path, s->too_long ? 0 : strlen(path) + 1);
    return true;
}

/* The kernel writes blanks and such in names as "\040". */
static void unescape(char *s)
{
    char *to = s;
    for (; *s != '\0'; s++) {
        bool octal = s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
                     s[3] >= '0' && s[3] <= '7';
        if (octal) {
            *to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
            s += 3;
        } else {
            *to++ = *s;
        }
    }
    *to = '\0';
}

/* What of path is below the mount's root: "" is the root itself. NULL: not below it. */
static const char *path_below(const char *path, const char *root)
{
    size_t n = strcmp(root, "/") == 0 ? 0 : strlen(root);
    if (strncmp(path, root, n) != 0 || (path[n] != '/' && path[n] != '\0'))
        return NULL;
    path += n;
    if (starts(path, "/..") && (path[3] == '/' || path[3] == '\0'))
        return NULL;
    return strcmp(path, "/") == 0 ? "" : path;
}

/* Is the mount's root above the namespace's, and so above all that can be in it? "/..", "/../.." */
static bool is_above(const char *root)
{
    while (starts(root, "/.."))
        root += 3;
    return *root == '\0';
}

/* The fields of a line of mountinfo. false: it is no line of a memory cgroup's file system. */
static bool mount_fields(char *line, unsigned version, char **root, char **point)
{
    char *tail = strstr(line, " - "), *save = line;
    if (tail == NULL || !starts(tail + 3, version == 1 ? "cgroup " : "cgroup2 "))
        return false;
    char *options = strrchr(tail, ' ') + 1;
    if (version == 1 && !has_word(options, "memory"))
        return false;
    *tail = '\0';
    for (unsigned i = 0; i < 5; i++) {
        char *field = strsep(&save, " ");
        if (field == NULL)
            return false;
        *(i == 3 ? root : point) = field;
    }
    unescape(*root);
    unescape(*point);
    return true;
}

static bool mount_line(void *arg, char *line)
{
    struct search *s = arg;
    char *root = NULL, *point = NULL;
    if (!mount_fields(line, s->version, &root, &point))
        return true;
    const char *below = path_below(s->path, root);
    bool whole = below != NULL;
    if (whole ? false : s->whole || !is_above(root) || starts(s->path, "/.."))
        return true; /* of a part of the hierarchy where we are not */
    below = whole ? below : "";
    if (strlen(s->root) + strlen(point) + strlen(below) >= sizeof(s->out->path))
        return true;
    struct hak_text t = {s->out->path, sizeof(s->out->path), 0};
    hak_text_add(&t, "%s%s", s->root, strcmp(point, "/") == 0 ? "" : point);
    s->out->top = t.len;
    hak_text_add(&t, "%s", below);
    s->out->version = s->version;
    s->whole = whole;
    return true; /* of equals the last: it covers those before */
}

const char *os_cgroup_find(const char *root, struct os_cgroup *out)
{
    char file[FILE_MAX];
    struct hak_text t = {file, sizeof(file), 0};
    struct search s = {.out = out, .root = root};
    *out = (struct os_cgroup){0};
    hak_text_add(&t, "%s/proc/self/cgroup", root);
    if (t.len >= t.size || !os_file_lines(file, own_line, &s))
        return "/proc/self/cgroup cannot be read";
    if (s.version == 0)
        return "/proc/self/cgroup names no memory cgroup";
    if (s.too_long)
        return "its path is too long";
    t.len = 0;
    hak_text_add(&t, "%s/proc/self/mountinfo", root);
    if (!os_file_lines(file, mount_line, &s)) {
        out->version = 0;
        return "/proc/self/mountinfo cannot be read";
    }
    return out->version != 0 ? NULL : "it is not mounted where this process can see it";
}

/* ---- Reading it. ---- */

static bool number_line(void *arg, char *line)
{
    uint64_t *out = arg, v;
    const char *rest = number_parse(line, &v);
    if (rest != NULL && *rest == '\0')
        *out = v;
    return false;
}

/* The number that is the file's first line; "max", anything else, and no such file: otherwise. */
static uint64_t file_number(const char *path, size_t len, const char *name, uint64_t otherwise)
{
    char file[FILE_MAX];
    struct hak_text t = {file, sizeof(file), 0};
    uint64_t v = otherwise;
    for (size_t i = 0; i < len; i++)
        hak_text_add(&t, "%c", path[i]);
    hak_text_add(&t, "/%s", name);
    return os_file_lines(file, number_line, &v) ? v : otherwise;
}

struct stat_search {
    const struct names *names;
    uint64_t cache;        /* pages of files */
    uint64_t hierarchical; /* v1: the least limit of this level and of all above it */
};

static bool stat_line(void *arg, char *line)
{
    struct stat_search *s = arg;
    const char *value = strchr(line, ' ');
    uint64_t v;
    if (value == NULL || number_parse(value + 1, &v) == NULL)
        return true;
    if (starts(line, s->names->inactive) || starts(line, s->names->active))
        s->cache = v > UINT64_MAX - s->cache ? UINT64_MAX : s->cache + v;
    else if (starts(line, "hierarchical_memory_limit "))
        s->hierarchical = v;
    return true;
}

static struct stat_search stat_read(const char *path, size_t len, const struct names *n)
{
    char file[FILE_MAX];
    struct hak_text t = {file, sizeof(file), 0};
    struct stat_search s = {n, 0, UINT64_MAX};
    for (size_t i = 0; i < len; i++)
        hak_text_add(&t, "%c", path[i]);
    hak_text_add(&t, "/memory.stat");
    if (!os_file_lines(file, stat_line, &s))
        s = (struct stat_search){n, 0, UINT64_MAX};
    return s;
}

/* One level, the first len bytes of cg's path. false: it has no limit. */
static bool level_read(const struct os_cgroup *cg, size_t len, struct os_cgroup_level *out)
{
    const struct names *n = &names[cg->version];
    bool own = cg->path[len] == '\0';
    struct stat_search stat = {n, 0, UINT64_MAX};
    bool asked = cg->version == 1 && own; /* only the statistics know of levels not visible */
    if (asked)
        stat = stat_read(cg->path, len, n);
    uint64_t max = file_number(cg->path, len, n->max, UINT64_MAX);
    out->max = HAK_MIN(max, stat.hierarchical);
    out->high = UINT64_MAX;
    if (n->high != NULL)
        out->high = file_number(cg->path, len, n->high, UINT64_MAX);
    uint64_t least = HAK_MIN(out->max, out->high);
    if (least == UINT64_MAX)
        return false;
    out->used = file_number(cg->path, len, n->current, 0);
    if (out->used <= least / 2)
        return true;
    if (!asked)
        stat = stat_read(cg->path, len, n);
    out->used -= HAK_MIN(out->used, stat.cache);
    return true;
}

/* The length of the path of the level above; at the top, that. */
static size_t level_above(const struct os_cgroup *cg, size_t len)
{
    while (len > cg->top && cg->path[--len] != '/') {
    }
    return len;
}

unsigned os_cgroup_read(const struct os_cgroup *cg, struct os_cgroup_level *levels)
{
    unsigned n = 0;
    size_t len = strlen(cg->path);
    for (bool more = cg->version != 0; more && n < OS_CGROUP_LEVELS;) {
        n += level_read(cg, len, &levels[n]);
        more = len > cg->top;
        len = level_above(cg, len);
        if (more && cg->version == 1) /* a level may be told not to count those below it */
            more = file_number(cg->path, len, "memory.use_hierarchy", 1) != 0;
    }
    return n;
}

/* ---- Pressure. ---- */

/* "some avg10=1.23 avg60=0.00 avg300=0.00 total=456789" */
static bool pressure_line(void *arg, char *line)
{
    struct os_pressure *p = arg;
    uint64_t whole, hundredths;
    if (!starts(line, "some "))
        return true;
    const char *s = strstr(line, " avg10="), *t = strstr(line, " total=");
    if (s == NULL || t == NULL || (s = number_parse(s + 7, &whole)) == NULL || *s != '.' ||
        number_parse(s + 1, &hundredths) == NULL || number_parse(t + 7, &p->total_us) == NULL)
        return false;
    p->avg10 = whole > 100 ? 10000 : (unsigned)(whole * 100 + HAK_MIN(hundredths, 99u));
    return false;
}

static bool pressure_file(const char *dir, const char *name, struct os_pressure *out)
{
    char file[FILE_MAX];
    struct hak_text t = {file, sizeof(file), 0};
    *out = (struct os_pressure){.total_us = UINT64_MAX};
    hak_text_add(&t, "%s%s", dir, name);
    return t.len < t.size && os_file_lines(file, pressure_line, out) &&
           out->total_us != UINT64_MAX;
}

bool os_pressure_read(const char *root, const struct os_cgroup *cg, struct os_pressure *out)
{
    return (cg->version == 2 && pressure_file(cg->path, "/memory.pressure", out)) ||
           pressure_file(root, "/proc/pressure/memory", out);
}
