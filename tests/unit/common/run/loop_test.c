/* loop: the order of a turn, and changing what is watched from inside callbacks. */
#include "common/run/loop.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/lib/test.h"

/* What happened, one letter each. */
struct trace {
    struct loop *loop;
    char text[64];
    int fd;
};

static void trace_add(struct trace *trace, char letter)
{
    size_t size = strlen(trace->text);
    ck_assert_uint_lt(size + 1, sizeof(trace->text));
    trace->text[size] = letter;
}

static void on_signal(void *ud, int signal_number)
{
    trace_add(ud, signal_number == SIGTERM ? 's' : 'h');
}

static void on_fd(void *ud, unsigned events)
{
    struct trace *trace = ud;
    eventfd_t value;
    ck_assert_uint_eq(events, LOOP_READ);
    (void) eventfd_read(trace->fd, &value);
    trace_add(trace, 'f');
}

static void on_timer(struct wheel_timer *timer, void *ud)
{
    (void) timer;
    trace_add(ud, 't');
}

static void on_end(void *ud)
{
    trace_add(ud, 'e');
}

static void on_end_again(void *ud)
{
    trace_add(ud, 'E');
}

static void on_deferred(void *ud)
{
    trace_add(ud, 'd');
}

static void on_socket(void *ud, zsock_t *socket)
{
    char text[8];
    while (zmq_recv(zsock_resolve(socket), text, sizeof(text), ZMQ_DONTWAIT) >= 0) {
        trace_add(ud, 'z');
    }
}

TEST(a_turn_has_its_order)
{
    struct trace trace = {.loop = loop_new(), .fd = eventfd(1, 0)};
    struct wheel_timer timer;
    zsock_t *writer = zsock_new_pair("@inproc://order");
    zsock_t *reader = zsock_new_pair(">inproc://order");

    loop_block_signals();
    ck_assert_int_eq(loop_on_signals(trace.loop, on_signal, &trace), 0);
    loop_defer(trace.loop, on_deferred, &trace);
    loop_on_turn_end(trace.loop, on_end, &trace);
    loop_on_turn_end(trace.loop, on_end_again, &trace);
    wheel_timer_init(&timer, on_timer, &trace);
    loop_timer_start(trace.loop, &timer, 0);
    struct loop_fd *fd = loop_fd_add(trace.loop, trace.fd, LOOP_READ, on_fd, &trace);
    struct loop_socket *socket = loop_socket_add(trace.loop, reader, on_socket, &trace);
    ck_assert_int_eq(zmq_send(zsock_resolve(writer), "x", 1, 0), 1);
    ck_assert_int_eq(raise(SIGTERM), 0);
    loop_turn(trace.loop);
    ck_assert_str_eq(trace.text, "sfzteEd");
    ck_assert_uint_eq(loop_last_turn_ms(trace.loop), loop_now_ms(trace.loop));
    loop_socket_remove(&socket);
    loop_fd_remove(&fd);
    zsock_destroy(&writer);
    zsock_destroy(&reader);
    (void) close(trace.fd);
    loop_destroy(&trace.loop);
}

static void on_timer_stop(struct wheel_timer *timer, void *ud)
{
    struct trace *trace = ud;
    on_timer(timer, ud);
    loop_stop(trace->loop);
}

TEST(a_timer_is_never_early_and_stopping_ends_the_turn_properly)
{
    struct trace trace = {.loop = loop_new()};
    struct wheel_timer timer;
    uint64_t start_us = loop_now_us(trace.loop);
    wheel_timer_init(&timer, on_timer_stop, &trace);
    loop_on_turn_end(trace.loop, on_end, &trace);
    loop_timer_start(trace.loop, &timer, 30);
    ck_assert_int_eq(loop_run(trace.loop), 0);
    ck_assert_uint_ge(loop_now_us(trace.loop) / 1000, start_us / 1000 + 30);
    ck_assert_str_eq(trace.text, "te");
    loop_destroy(&trace.loop);
}

/* --- changes from inside --- */

struct two {
    struct trace trace;
    struct loop_fd *fds[2];
    int raw[2];
};

static void on_either(void *ud, unsigned events)
{
    struct two *two = ud;
    (void) events;
    trace_add(&two->trace, 'x');
    for (unsigned i = 0; i < 2; i++) {
        loop_fd_remove(&two->fds[i]);
        (void) close(two->raw[i]);
    }
    /* New descriptors get the numbers just closed: the old one's event must not reach them. */
    for (unsigned i = 0; i < 2; i++) {
        two->raw[i] = eventfd(0, 0);
        two->fds[i] = loop_fd_add(two->trace.loop, two->raw[i], LOOP_READ, on_either, two);
    }
}

TEST(a_descriptor_removed_in_a_callback_is_not_called_any_more)
{
    struct two two = {.trace.loop = loop_new()};
    for (unsigned i = 0; i < 2; i++) {
        two.raw[i] = eventfd(1, 0);
        two.fds[i] = loop_fd_add(two.trace.loop, two.raw[i], LOOP_READ, on_either, &two);
        ck_assert_ptr_nonnull(two.fds[i]);
    }
    loop_turn(two.trace.loop);
    ck_assert_str_eq(two.trace.text, "x");
    loop_wake(two.trace.loop);
    loop_turn(two.trace.loop);
    ck_assert_str_eq(two.trace.text, "x");
    ck_assert_int_eq(eventfd_write(two.raw[1], 1), 0); /* the new ones are watched */
    loop_turn(two.trace.loop);
    ck_assert_str_eq(two.trace.text, "xx");
    for (unsigned i = 0; i < 2; i++) {
        loop_fd_remove(&two.fds[i]);
        loop_fd_remove(&two.fds[i]);
        (void) close(two.raw[i]);
    }
    loop_destroy(&two.trace.loop);
}

static void on_events(void *ud, unsigned events)
{
    struct trace *trace = ud;
    if ((events & LOOP_READ) != 0) {
        trace_add(trace, 'r');
    }
    if ((events & LOOP_WRITE) != 0) {
        trace_add(trace, 'w');
    }
    if ((events & LOOP_HANGUP) != 0) {
        trace_add(trace, 'h');
    }
}

TEST(what_is_watched_can_change_and_a_hangup_is_always_told)
{
    struct trace trace = {.loop = loop_new()};
    int pipes[2];
    ck_assert_int_eq(pipe(pipes), 0);
    struct loop_fd *writer = loop_fd_add(trace.loop, pipes[1], 0, on_events, &trace);
    loop_wake(trace.loop);
    loop_turn(trace.loop);
    ck_assert_str_eq(trace.text, "");
    loop_fd_change(writer, LOOP_WRITE);
    loop_turn(trace.loop);
    ck_assert_str_eq(trace.text, "w");
    loop_fd_change(writer, 0);
    (void) close(pipes[0]);
    loop_turn(trace.loop);
    ck_assert_str_eq(trace.text, "wh");
    loop_fd_remove(&writer);
    ck_assert_ptr_null(loop_fd_add(trace.loop, -1, LOOP_READ, on_events, &trace));
    (void) close(pipes[1]);
    loop_destroy(&trace.loop);
}

struct sockets {
    struct trace trace;
    struct loop_socket *watches[3];
};

static void on_any_socket(void *ud, zsock_t *socket)
{
    struct sockets *sockets = ud;
    on_socket(&sockets->trace, socket);
    for (unsigned i = 0; i < 3; i++) {
        loop_socket_remove(&sockets->watches[i]);
    }
}

TEST(a_socket_removed_in_a_callback_is_not_called_any_more)
{
    static const char *const addresses[] = {"inproc://a", "inproc://b", "inproc://c"};
    struct sockets sockets = {.trace.loop = loop_new()};
    zsock_t *writers[3];
    zsock_t *readers[3];
    for (unsigned i = 0; i < 3; i++) {
        writers[i] = zsock_new(ZMQ_PAIR);
        readers[i] = zsock_new(ZMQ_PAIR);
        ck_assert_int_eq(zmq_bind(zsock_resolve(writers[i]), addresses[i]), 0);
        ck_assert_int_eq(zmq_connect(zsock_resolve(readers[i]), addresses[i]), 0);
        sockets.watches[i] =
            loop_socket_add(sockets.trace.loop, readers[i], on_any_socket, &sockets);
        ck_assert_int_eq(zmq_send(zsock_resolve(writers[i]), "x", 1, 0), 1);
    }
    loop_turn(sockets.trace.loop);
    ck_assert_str_eq(sockets.trace.text, "z");
    for (unsigned i = 0; i < 3; i++) {
        zsock_destroy(&readers[i]);
        zsock_destroy(&writers[i]);
    }
    loop_destroy(&sockets.trace.loop);
}

/* A send takes in commands, and with them the wake-up of a message that came: it must be found all the same. */
TEST_WITHIN(no_wake_up_is_lost_when_a_socket_is_used_outside_its_callback, 20)
{
    struct trace trace = {.loop = loop_new()};
    zsock_t *far = zsock_new_pair("@inproc://lost");
    zsock_t *near = zsock_new_pair(">inproc://lost");
    struct loop_socket *watch = loop_socket_add(trace.loop, near, on_socket, &trace);
    struct wheel_timer guard;
    wheel_timer_init(&guard, on_timer, &trace);
    loop_wake(trace.loop);
    loop_turn(trace.loop);
    for (unsigned i = 0; i < 2000; i++) {
        int events;
        size_t size = sizeof(events);
        trace.text[0] = '\0';
        ck_assert_int_eq(zmq_send(zsock_resolve(far), "x", 1, 0), 1);
        (void) zmq_getsockopt(zsock_resolve(near), ZMQ_EVENTS, &events, &size);
        loop_socket_used(watch);
        loop_timer_start(trace.loop, &guard, 5000);
        loop_turn(trace.loop);
        wheel_cancel(loop_wheel(trace.loop), &guard);
        TEST_ASSERT_FAST(strcmp(trace.text, "z") == 0);
        memset(trace.text, 0, sizeof(trace.text));
    }
    loop_socket_remove(&watch);
    zsock_destroy(&near);
    zsock_destroy(&far);
    loop_destroy(&trace.loop);
}

/* --- deferred calls --- */

static void defer_again(void *ud)
{
    struct trace *trace = ud;
    trace_add(trace, 'D');
    loop_defer(trace->loop, on_deferred, trace);
}

TEST(a_call_deferred_at_the_end_of_a_turn_is_made_in_the_next_without_waiting)
{
    struct trace trace = {.loop = loop_new()};
    loop_defer(trace.loop, defer_again, &trace);
    loop_turn(trace.loop);
    ck_assert_str_eq(trace.text, "D");
    loop_turn(trace.loop);
    ck_assert_str_eq(trace.text, "Dd");
    loop_destroy(&trace.loop);
}

static void cancel_other(void *ud)
{
    struct trace *trace = ud;
    trace_add(trace, 'c');
    loop_defer_cancel(trace->loop, on_deferred, trace);
}

TEST(a_deferred_call_can_be_cancelled_even_by_the_one_before_it)
{
    struct trace trace = {.loop = loop_new()};
    loop_defer(trace.loop, cancel_other, &trace);
    loop_defer(trace.loop, on_deferred, &trace);
    loop_turn(trace.loop);
    ck_assert_str_eq(trace.text, "c");
    loop_defer(trace.loop, on_deferred, &trace);
    loop_defer_cancel(trace.loop, on_deferred, &trace);
    loop_turn(trace.loop);
    ck_assert_str_eq(trace.text, "c");
    loop_defer(trace.loop, on_deferred, &trace); /* destroying makes the calls that are owed */
    loop_destroy(&trace.loop);
    ck_assert_str_eq(trace.text, "cd");
}

/* --- wake-ups from other threads --- */

enum { WAKES = 20000 };

struct waker {
    struct loop *loop;
    atomic_uint asked;
    atomic_uint seen;
};

/* Now in a burst, now waiting until the loop has seen it and sleeps again. */
static void *wake_many(void *ud)
{
    struct waker *waker = ud;
    for (unsigned i = 1; i <= WAKES; i++) {
        atomic_store(&waker->asked, i);
        loop_wake(waker->loop);
        while (i % 10 == 0 && atomic_load(&waker->seen) < i) {
            (void) sched_yield();
        }
    }
    return NULL;
}

static void look(void *ud)
{
    struct waker *waker = ud;
    unsigned asked = atomic_load(&waker->asked);
    atomic_store(&waker->seen, asked);
    if (asked == WAKES) {
        loop_stop(waker->loop);
    }
}

TEST(what_was_said_before_a_wake_up_is_seen_by_a_turn_after_it)
{
    struct waker waker = {.loop = loop_new()};
    pthread_t thread;
    loop_on_turn_end(waker.loop, look, &waker);
    ck_assert_int_eq(pthread_create(&thread, NULL, wake_many, &waker), 0);
    (void) loop_run(waker.loop); /* for ever, were the last wake-up lost */
    ck_assert_uint_eq(atomic_load(&waker.seen), WAKES);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    loop_destroy(&waker.loop);
}
