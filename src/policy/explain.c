/* SPDX-License-Identifier: MIT
 *
 * policy: explain. Lines are few, so a file is opened for each: a program that closes all its files and
 * opens its own under the same numbers does not find these lines in them.
 */
#include <string.h>

#include "base/hak_log.h"
#include "base/hak_opt.h"
#include "os/os.h"
#include "policy/policy_internal.h"

enum {
    PATH_MAX_ = 1024,
    LINES_A_SECOND = 20,
};
static const uint64_t SECOND = 1000000000u;

static HAK_RARE struct {
    _Atomic bool on;
    bool to_stderr;
    uint64_t start_ns;
    char path[PATH_MAX_];
    struct os_lock lock; /* only ever tried */
    uint64_t second_ns;  /* [lock] when this second began */
    unsigned lines;      /* [lock] in it */
    _Atomic unsigned left_out;
} out;

const char *policy_size(char *text, size_t bytes)
{
    struct hak_text t = {text, POLICY_SIZE_MAX, 0};
    size_t kib = bytes >> 10;
    if (bytes % 1024 != 0)
        hak_text_add(&t, "%zu B", bytes);
    else if (kib % 1024 != 0 || kib == 0)
        hak_text_add(&t, "%zu KB", kib);
    else
        hak_text_add(&t, "%zu MB", kib >> 10);
    return text;
}

void explain_init(void)
{
    const char *where = hak_opt_text(hak_opt.explain);
    if (where[0] == '\0')
        return;
    out.start_ns = os_now_ns();
    out.to_stderr = strcmp(where, "stderr") == 0;
    if (!out.to_stderr && (!os_path_absolute(where, out.path, sizeof(out.path)) ||
                           !os_file_append(out.path, "", 0))) {
        hak_opt_refuse(HAK_OPT_explain, "stderr or a file that can be written");
        return;
    }
    atomic_store_explicit(&out.on, true, memory_order_relaxed);
}

bool explain_wanted(void)
{
    return HAK_UNLIKELY(atomic_load_explicit(&out.on, memory_order_relaxed));
}

/* A fork may have left the lock taken: then the child is silent, which it may be. */
void explain(const char *text)
{
    char line[600];
    struct hak_text t = {line, sizeof(line), 0};
    uint64_t now = os_now_ns(), ms = (now - out.start_ns) / 1000000;
    if (!explain_wanted())
        return;
    if (!os_lock_try(&out.lock)) {
        atomic_fetch_add_explicit(&out.left_out, 1, memory_order_relaxed);
        return;
    }
    if (now - out.second_ns >= SECOND) {
        out.second_ns = now;
        out.lines = 0;
    }
    if (out.lines++ >= LINES_A_SECOND) {
        atomic_fetch_add_explicit(&out.left_out, 1, memory_order_relaxed);
        os_unlock(&out.lock);
        return;
    }
    hak_text_add(&t, "hakmem: explain: t=%lu.%lu%lu%lu s, %s", ms / 1000, ms / 100 % 10,
                 ms / 10 % 10, ms % 10, text);
    unsigned left_out = atomic_exchange_explicit(&out.left_out, 0, memory_order_relaxed);
    if (left_out > 0)
        hak_text_add(&t, "; %u lines left out before this", left_out);
    hak_text_add(&t, "\n");
    size_t n = HAK_MIN(t.len, sizeof(line) - 1);
    line[n - 1] = '\n'; /* also where it was cut */
    if (out.to_stderr)
        hak_write_err(line, n);
    else
        (void)os_file_append(out.path, line, n);
    os_unlock(&out.lock);
}
