/* loop: the one thread that owns a daemon's state. A turn is always, in this order:
 *   1 wait (at most until the next timer)
 *   2 signals
 *   3 descriptors and sockets that are ready: their callbacks, each with bounded work
 *   4 timers that are due
 *   5 the end-of-turn hooks, in the order they were added: flush what the turn gathered (journal_submit, replies, socket
 *     writes)
 *   6 deferred calls: destroying what callbacks above may still have on their stack
 * Built on one epoll descriptor for everything, ZeroMQ sockets included (loop.c says how their edge-triggered descriptors
 * are kept from losing a wake-up, and why not zloop). @thread the loop's own, except loop_wake. */
#ifndef COMMON_RUN_LOOP_H
#define COMMON_RUN_LOOP_H

#include <czmq.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/wheel.h"

struct loop;

struct loop *loop_new(void);
void loop_destroy(struct loop **self);

/* Run until loop_stop. Returns 0. */
int loop_run(struct loop *self);
void loop_stop(struct loop *self);
/* One turn, for who looks at the world between turns: commands, tests. */
void loop_turn(struct loop *self);

/* When events follow one another closely, wait for the next one awake, at most so long (vigil.h). 0, the default: never. */
void loop_stay_awake(struct loop *self, uint64_t window_us);

/* Monotonic time of this turn; refreshed once a turn. */
uint64_t loop_now_ms(const struct loop *self);
uint64_t loop_now_us(const struct loop *self);

/* --- descriptors (epoll, level-triggered) --- */
enum { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_HANGUP = 4 }; /* HANGUP is reported, never asked for */
struct loop_fd;
typedef void loop_fd_fn(void *ud, unsigned events);
/* Watch fd until loop_fd_remove, which must come before close(fd). Safe to remove from any callback. NULL if epoll
 * refuses. */
struct loop_fd *loop_fd_add(struct loop *self, int fd, unsigned events, loop_fd_fn *call, void *ud);
void loop_fd_change(struct loop_fd *fd, unsigned events);
void loop_fd_remove(struct loop_fd **fd); /* nulls; accepts NULL */

/* --- ZeroMQ sockets --- */
struct loop_socket;
typedef void loop_socket_fn(void *ud, zsock_t *socket);
/* Called when the socket may be readable (now and then it is not): read a bounded number of messages without waiting and
 * return. Remove it before destroying the socket; safe from any callback. NULL: the system refused. */
struct loop_socket *loop_socket_add(struct loop *self, zsock_t *socket, loop_socket_fn *call,
                                    void *ud);
void loop_socket_remove(struct loop_socket **socket); /* nulls; accepts NULL */
/* Must be told after every use of the socket outside its callback (a send takes in commands too, and with them the
 * wake-up for a message that came in). */
void loop_socket_used(struct loop_socket *socket);
/* May be told in the callback when a receive found nothing more and nothing was sent since: saves asking again. */
void loop_socket_is_empty(struct loop_socket *socket);

/* --- timers --- */
struct wheel *loop_wheel(struct loop *self);
/* wheel_add relative to this turn's time. */
void loop_timer_start(struct loop *self, struct wheel_timer *timer, uint64_t in_ms);

/* --- order --- */
typedef void loop_call_fn(void *ud);
/* Called at the end of each turn in which anything happened. For the life of the loop. */
void loop_on_turn_end(struct loop *self, loop_call_fn *call, void *ud);
/* Once, at step 6 of this turn (of the next one when asked there). */
void loop_defer(struct loop *self, loop_call_fn *call, void *ud);
/* Forget all deferred calls with this function and ud. */
void loop_defer_cancel(struct loop *self, loop_call_fn *call, const void *ud);

/* --- signals: SIGTERM and SIGINT (stop: first graceful, second at once), SIGHUP (reload). They are blocked for all threads
 * by loop_block_signals, which main calls before any thread starts, and read by signalfd. --- */
void loop_block_signals(void);
typedef void loop_signal_fn(void *ud, int signal_number);
/* 0, or ERR_IO, ERR_NO_MEMORY. */
int loop_on_signals(struct loop *self, loop_signal_fn *call, void *ud);

/* From another thread: make the loop turn once. @thread any */
void loop_wake(struct loop *self);

/* The watchdog's view: when the last turn ended. @thread any */
uint64_t loop_last_turn_ms(const struct loop *self);

#endif
