/* raftd_process: raftd alone as a child process of a test, without the other daemons. */
#ifndef TESTS_SYSTEM_RAFTD_PROCESS_H
#define TESTS_SYSTEM_RAFTD_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct raftd_process {
    char folder[160];
    pid_t pid;
    bool fails_syncs; /* from the next start: the 20th sync of the journal and all after it fail */
};

/* Started in the folder of the test. */
struct raftd_process raftd_process_new(void);
void raftd_process_start(struct raftd_process *self);
/* Until it ended; returns its status as of waitpid. */
int raftd_process_wait(struct raftd_process *self);
/* With SIGKILL, and wait. */
void raftd_process_kill(struct raftd_process *self);
/* With SIGTERM; the test fails unless it ends with 0. */
void raftd_process_stop(struct raftd_process *self);
/* build/<BUILD>/bin/<name>, from where this test lies. */
void raftd_process_program(const char *name, char *out, size_t size);
void raftd_process_remove_database(const struct raftd_process *self);

#endif
