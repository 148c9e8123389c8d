/* lock: one owner, and its pid for people. */
#include "common/store/lock.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/err.h"
#include "tests/lib/test.h"

TEST(a_second_owner_is_refused_and_told_who_has_it)
{
    const char *dir = test_folder();
    int pid = 0;
    int fd = dirlock_take(dir, &pid);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pid, 0);
    ck_assert_int_eq(dirlock_take(dir, &pid), ERR_LOCKED);
    ck_assert_int_eq(pid, getpid());
    (void) close(fd);
    fd = dirlock_take(dir, &pid);
    ck_assert_int_ge(fd, 0);
    (void) close(fd);
}

TEST(the_lock_goes_with_its_process)
{
    const char *dir = test_folder();
    int ready[2];
    ck_assert_int_eq(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        int none = 0;
        char byte = dirlock_take(dir, &none) >= 0 ? 'y' : 'n';
        (void) !write(ready[1], &byte, 1);
        (void) pause();
        _exit(0);
    }
    char byte = 0;
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    ck_assert_int_eq(byte, 'y');
    int pid = 0;
    ck_assert_int_eq(dirlock_take(dir, &pid), ERR_LOCKED);
    ck_assert_int_eq(pid, child);
    (void) kill(child, SIGKILL);
    (void) waitpid(child, NULL, 0);
    int fd = dirlock_take(dir, &pid);
    ck_assert_int_ge(fd, 0);
    (void) close(fd);
}

TEST(a_folder_that_is_not_there_cannot_be_locked)
{
    int pid = 0;
    ck_assert_int_eq(dirlock_take("/nonexistent/folder", &pid), ERR_NOT_FOUND);
}
