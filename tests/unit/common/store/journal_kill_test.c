/* The journal in a process that is killed while it writes: after each kill everything that it said was durable is there. */
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/rand.h"
#include "common/store/journal.h"
#include "tests/lib/test.h"
#include "tests/unit/common/store/journal_lib.h"

enum { KILLS = 40, KILL_BYTES_MAX = 20000 };

static struct seen seen;

/* Tell the parent each index that is durable. */
static void tell(void *ud, const struct journal_done *done)
{
    const int *pipe_fd = ud;
    if (done->error != 0 || write(*pipe_fd, &done->index, sizeof(done->index)) < 0) {
        _exit(1);
    }
}

static void child_main(const char *dir, uint64_t next, uint64_t seed, int pipe_fd)
{
    struct prng lot;
    prng_init(&lot, seed);
    struct journal *journal = lib_open(dir, NULL);
    for (;;) {
        uint64_t count = 1 + prng_below(&lot, 8);
        for (uint64_t i = 0; i < count; i++) {
            int error = lib_append(journal, 1, next, (size_t) prng_below(&lot, KILL_BYTES_MAX));
            next += error == 0;
        }
        journal_submit(journal);
        (void) journal_poll(journal, tell, &pipe_fd);
    }
}

/* How many entries from index 1 on are there, without a hole. */
static uint64_t count_entries(const char *dir)
{
    struct journal *journal = lib_open(dir, &seen);
    uint64_t last = 0;
    TEST_ASSERT_FAST(seen.corrupt_count == 0);
    for (size_t i = 0; i < seen.extent_count; i++) {
        uint64_t at = 0;
        TEST_ASSERT_FAST(seen.extents[i].first_index == last + 1);
        TEST_ASSERT_FAST(lib_read_extent(journal, &seen.extents[i], &at) > 0);
        last = seen.extents[i].last_index;
    }
    journal_close(&journal);
    return last;
}

TEST_WITHIN(a_killed_process_loses_nothing_that_was_durable, 60)
{
    const char *dir = test_folder();
    struct prng lot;
    uint64_t there = 0;
    prng_init(&lot, 11);
    for (unsigned round = 0; round < KILLS; round++) {
        int ends[2];
        ck_assert_int_eq(pipe(ends), 0);
        pid_t child = fork();
        if (child == 0) {
            (void) close(ends[0]);
            child_main(dir, there + 1, round, ends[1]);
        }
        (void) close(ends[1]);
        /* Killed after some acknowledgements, whatever it does then; the rest of the pipe was said before it died. */
        uint64_t acked = there;
        uint64_t index = 0;
        uint64_t wanted = prng_below(&lot, 60);
        while (read(ends[0], &index, sizeof(index)) == sizeof(index)) {
            acked = index;
            if (acked - there >= wanted) {
                (void) kill(child, SIGKILL);
            }
        }
        (void) close(ends[0]);
        int status = 0;
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(WIFSIGNALED(status));
        there = count_entries(dir);
        ck_assert_uint_ge(there, acked);
    }
    ck_assert_uint_gt(there, KILLS);
}
