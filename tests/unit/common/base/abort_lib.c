/* abort_lib: a child that may abort. */
#include "tests/unit/common/base/abort_lib.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/test.h"

bool ends_by_abort(void (*code)(void))
{
    int status = 0;
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        const struct rlimit no_core = {0, 0};
        int sink = open("/dev/null", O_WRONLY | O_CLOEXEC);
        (void) setrlimit(RLIMIT_CORE, &no_core);
        (void) dup2(sink, STDERR_FILENO);
        code();
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}
