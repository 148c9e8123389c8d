/* test: the main function of every test program. Zero tests, or an unknown filter, is a failure. */
#include "tests/lib/test.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern const struct test_entry __start_railgun_tests[];
extern const struct test_entry __stop_railgun_tests[];

enum { TEST_SECONDS_DEFAULT = 30, TEST_FOLDERS_MAX = 64 };

static char test_root[64];

/* Asked by the sanitizers at the start: a size without memory is to give NULL, as it does without them. */
const char *__asan_default_options(void);
const char *__tsan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void) info;
    (void) type;
    (void) walk;
    return remove(path);
}

static int leaks_are_allowed;

void test_allow_leaks(void)
{
    leaks_are_allowed = 1;
}

/* Asked by the leak sanitizer at the end of each process, that is of each test. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return leaks_are_allowed;
}

double test_slowness(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return 4;
#else
    return getenv("RAILGUN_TEST_SLOW") != NULL ? 10 : 1;
#endif
}

/* The folders of this test's process: they go when it ends, not only when all have run, or a hundred nodes would fill the disk. What a test
 * that was killed leaves behind goes at the end. */
static char test_folders[TEST_FOLDERS_MAX][128];
static int test_folder_count;
static pid_t test_pid;

static void remove_folders(void)
{
    for (int i = 0; i < test_folder_count && getpid() == test_pid; i++) { /* not in its children */
        (void) nftw(test_folders[i], remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
}

const char *test_folder(void)
{
    static char path[128];
    (void) snprintf(path, sizeof(path), "%s/XXXXXX", test_root);
    ck_assert_ptr_nonnull(mkdtemp(path));
    if (test_pid != getpid()) {
        test_pid = getpid();
        test_folder_count = 0;
        (void) atexit(remove_folders);
    }
    if (test_folder_count < TEST_FOLDERS_MAX) {
        (void) snprintf(test_folders[test_folder_count++], sizeof(path), "%s", path);
    }
    return path;
}

int main(int argc, char **argv)
{
    const char *filter = argc > 1 ? argv[1] : NULL;
    const char *program = strrchr(argv[0], '/') != NULL ? strrchr(argv[0], '/') + 1 : argv[0];
    Suite *suite = suite_create(program);
    int count = 0;

    (void) snprintf(test_root, sizeof(test_root), "/tmp/rgt-XXXXXX");
    if (mkdtemp(test_root) == NULL) {
        perror("mkdtemp");
        return 1;
    }
    for (const struct test_entry *entry = __start_railgun_tests; entry < __stop_railgun_tests;
         entry++) {
        if (filter != NULL && strstr(entry->test->name, filter) == NULL) {
            continue;
        }
        TCase *tcase = tcase_create(entry->test->name);
        double seconds = entry->timeout_s > 0 ? entry->timeout_s : TEST_SECONDS_DEFAULT;
        /* Only against hanging for ever: a busy machine may be several times slower than ours. */
        tcase_set_timeout(tcase, 2 * seconds * test_slowness());
        tcase_add_test(tcase, entry->test);
        suite_add_tcase(suite, tcase);
        count++;
    }
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    (void) nftw(test_root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    if (count == 0) {
        (void) fprintf(stderr, "%s: no test matches '%s'\n", program, filter != NULL ? filter : "");
        return 1;
    }
    return failed == 0 ? 0 : 1;
}
