/* SPDX-License-Identifier: MIT
 *
 * Threads whose first requests meet: one of them starts the allocator while the others ask. Each round
 * is a process of its own, for a process starts once. Under ThreadSanitizer what is read before the start
 * has been waited for is found.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hakmem.h"
#include "support/hak_test.h"

enum { ROUNDS = 40, REQUESTS = 8 };

static pthread_barrier_t together;

static void *first_request(void *arg)
{
    unsigned which = (unsigned)(uintptr_t)arg;
    pthread_barrier_wait(&together);
    void *p = NULL;
    char text[256];
    switch (which % REQUESTS) {
    case 0:
        p = hak_malloc(5000);
        break;
    case 1:
        p = hak_malloc(100);
        break;
    case 2:
        p = hak_calloc(3, 40000);
        break;
    case 3:
        p = hak_realloc(NULL, (size_t)3 << 20);
        break;
    case 4:
        p = hak_aligned_alloc(4096, 100);
        break;
    case 5:
        return hak_good_size(5000) >= 5000 ? arg : NULL;
    case 6:
        (void)hak_purge();
        return arg;
    default:
        return hak_stats(text, sizeof(text), HAK_STATS_TEXT) > 0 &&
                       hak_numa_stats(text, sizeof(text), HAK_STATS_TEXT) > 0
                   ? arg
                   : NULL;
    }
    if (p == NULL)
        return NULL;
    memset(p, 1, 100);
    hak_free(p);
    return arg;
}

/* The exit code of a process that has started under all of them. */
static int start(unsigned round)
{
    pthread_t threads[REQUESTS];
    pthread_barrier_init(&together, NULL, REQUESTS);
    for (unsigned i = 0; i < REQUESTS; i++)
        if (pthread_create(&threads[i], NULL, first_request,
                           (void *)(uintptr_t)(1 + i + round)) != 0)
            return 2;
    int code = 0;
    for (unsigned i = 0; i < REQUESTS; i++) {
        void *did = NULL;
        if (pthread_join(threads[i], &did) != 0 || did == NULL)
            code = 1;
    }
    return code;
}

static void first_requests_of_threads_meet(void **state)
{
    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            exit(start(round)); /* the sanitizer counts its finds at exit */
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_requests_of_threads_meet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
