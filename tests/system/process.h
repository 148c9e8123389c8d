/* process: programs run by a test, with what they printed. Children die with the test process (PR_SET_PDEATHSIG), so they are started on its
 * main thread only. Failures of the harness itself end the test. */
#ifndef TESTS_SYSTEM_PROCESS_H
#define TESTS_SYSTEM_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/buf.h"

/* --- deadlines: every wait has one; slow builds get more --- */

uint64_t now_ms(void); /* monotonic */
uint64_t now_ns(void);
/* The moment `seconds` from now (more of them under sanitizers). */
uint64_t deadline_in(double seconds);
/* Let a moment pass before a condition is looked at again; false when the deadline is over. */
bool deadline_turn(uint64_t deadline_ms);

/* Wait until `fact` holds, at most `seconds`; the value is whether it does. */
#define WAIT_FOR(fact, seconds)                                                                    \
    ({                                                                                             \
        uint64_t wait_until_ms = deadline_in(seconds);                                             \
        bool wait_holds = (fact);                                                                  \
        while (!wait_holds && deadline_turn(wait_until_ms)) {                                      \
            wait_holds = (fact);                                                                   \
        }                                                                                          \
        wait_holds || (fact);                                                                      \
    })

/* --- processes --- */

/* Wait for a child to end. true: reaped, *ret_status as of waitpid; false: it runs on. */
bool child_wait(pid_t pid, uint64_t deadline_ms, int *ret_status);
/* "exit 3", "signal 9"; for messages. */
const char *child_status_text(int status, char out[32]);
/* The folder of the programs under test, and one of them: build/debug/bin/frontd. `out` has 4,096 bytes; returns it. */
const char *program_path(const char *name, char *out);

struct process {
    pid_t pid; /* 0: ended */
    int exit;  /* exit code, or 128 + signal */
    int out_fd;
    int err_fd;
    struct buf out; /* what was printed: complete after the end, so far after process_look */
    struct buf err;
};

/* Start `words` (NULL-terminated; the first is the path) with `input` (may be NULL: nothing) on its standard input. `self` is released first: zeroed
 * memory or a used one. */
void process_start(struct process *self, const char *const *words, const char *input);
/* Start and wait; the test fails when it takes longer. Returns the exit code. */
int process_run(struct process *self, double seconds, const char *const *words, const char *input);
/* true: it has ended, `exit`, `out` and `err` are there. */
bool process_wait(struct process *self, double seconds);
/* Read what it has printed so far. */
void process_look(struct process *self);
/* Kill if it still runs; free everything. Zeroed memory is fine. */
void process_release(struct process *self);
/* Do these texts occur in what was printed? */
bool process_said(struct process *self, const char *text);
bool process_complained(struct process *self, const char *text);

/* --- looking into JSON as far as tests need it --- */

/* The number behind the first "name": in the text, at or behind the first occurrence of `after` (NULL: anywhere); UINT64_MAX: none. */
uint64_t json_number(const char *text, const char *after, const char *name);
/* Does "name":"value" occur (spaces allowed behind the colon)? */
bool json_has_text(const char *text, const char *name, const char *value);

#endif
