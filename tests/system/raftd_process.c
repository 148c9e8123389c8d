/* raftd_process: see the header. What raftd says goes to raftd.log in its folder. */
#include "tests/system/raftd_process.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/test.h"

void raftd_process_program(const char *name, char *out, size_t size)
{
    char self[1024];
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    ck_assert_int_gt(length, 0);
    self[length] = '\0';
    for (unsigned up = 0; up < 3; up++) {
        *strrchr(self, '/') = '\0'; /* system, system/, tests/ */
    }
    (void) snprintf(out, size, "%s/bin/%s", self, name);
}

/* In the child: become raftd, below strace if its syncs are to fail. */
_Noreturn static void process_become(const struct raftd_process *self, char **arguments)
{
    char journal[240];
    char strace[] = "strace";
    char follow[] = "-fqq";
    char expression[] = "-einject=fdatasync:error=EIO:when=20+";
    char trace[] = "-etrace=fdatasync";
    char only[] = "-P";
    char *traced[24] = {strace, follow, trace, expression, only, journal};
    (void) snprintf(journal, sizeof(journal), "%s/data/journal/0000000001.jnl", self->folder);
    if (!self->fails_syncs) {
        (void) execv(arguments[0], arguments);
        _exit(127);
    }
    size_t count = 6;
    while ((traced[count] = *arguments) != NULL) {
        count++;
        arguments++;
    }
    (void) execvp(strace, traced);
    _exit(127);
}

void raftd_process_start(struct raftd_process *self)
{
    char program[1100];
    char run[200];
    char data[200];
    char log[200];
    raftd_process_program("raftd", program, sizeof(program));
    (void) snprintf(run, sizeof(run), "run_dir=%s/run", self->folder);
    (void) snprintf(data, sizeof(data), "data_dir=%s/data", self->folder);
    (void) snprintf(log, sizeof(log), "%s/raftd.log", self->folder);
    self->pid = fork();
    ck_assert_int_ge(self->pid, 0);
    if (self->pid == 0) {
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        (void) dup2(fd, STDERR_FILENO);
        char set[] = "--set";
        char file_bytes[] = "journal.file_bytes=1M";
        char reserve[] = "journal.reserve=1M";
        char commit[] = "db.commit_every=20ms";
        char *arguments[] = {program,    set, run,     set, data,   set,
                             file_bytes, set, reserve, set, commit, NULL};
        process_become(self, arguments);
    }
}

int raftd_process_wait(struct raftd_process *self)
{
    int status = 0;
    ck_assert_int_eq(waitpid(self->pid, &status, 0), self->pid);
    self->pid = 0;
    return status;
}

void raftd_process_kill(struct raftd_process *self)
{
    ck_assert_int_eq(kill(self->pid, SIGKILL), 0);
    ck_assert(WIFSIGNALED(raftd_process_wait(self)));
}

void raftd_process_stop(struct raftd_process *self)
{
    ck_assert_int_eq(kill(self->pid, SIGTERM), 0);
    int status = raftd_process_wait(self);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
}

void raftd_process_remove_database(const struct raftd_process *self)
{
    char command[300];
    (void) snprintf(command, sizeof(command), "rm -rf '%s/data/db'", self->folder);
    ck_assert_int_eq(system(command), 0);
}

struct raftd_process raftd_process_new(void)
{
    struct raftd_process server = {0};
    (void) snprintf(server.folder, sizeof(server.folder), "%s", test_folder());
    raftd_process_start(&server);
    return server;
}
