/* lead: a caller that waits for one answer reads the socket itself while the I/O thread sleeps: that saves two changes of threads, which is
 * half of a short round trip. The caller takes only its own answer; whatever else comes is left in the inbox, and the I/O thread goes on from
 * there. While a caller leads, nobody else reads or closes the socket. */
#include <errno.h>
#include <poll.h>

#include "common/base/err.h"

#include "client/client_private.h"

enum { LEAD_POLL_MS = 1000 };

/* Has nobody else a use for what comes? Lock held. */
static bool lead_is_possible(const struct rg_client *client)
{
    const struct conn *conn = &client->conn;
    return client->is_sleeping && !client->is_led && client->state == CLIENT_UP &&
           client->consumer_count == 0 && client->subs.count == 0 &&
           hash64_count(client->pending) == 1 && !conn->has_input && !conn->is_writing &&
           !conn->is_blocked;
}

/* Take the answer if it is the next frame. 1: it was; 0: no whole frame yet; ERR_AGAIN: something else has come. */
static int lead_take(struct rg_client *client, uint64_t corr)
{
    struct inbox *inbox = &client->conn.inbox;
    size_t start = inbox->start;
    struct span frame;
    struct frame_view view;

    int result = inbox_next(inbox, &frame);
    if (result == 0) {
        return 0;
    }
    if (result == 1 && frame_parse(frame, &view) == 0 && view.corr == corr && view.channel == 0 &&
        session_take_frame(client, frame) == 0) {
        return 1;
    }
    inbox->start = start; /* the I/O thread sees it again, and says what is wrong with it */
    return ERR_AGAIN;
}

/* Read until the answer is there or something else is. Lock held before and after, not in between. */
static bool lead(struct rg_client *client, const struct waiter *waiter, uint64_t corr)
{
    for (;;) {
        struct pollfd pollfd = {.fd = client->conn.fd, .events = POLLIN};
        client_unlock(client);
        int ready = poll(&pollfd, 1, LEAD_POLL_MS);
        int result = ready > 0 ? conn_receive(&client->conn) : ERR_AGAIN;
        client_lock(client);
        if (result == 0) {
            client->conn.received_us = client_now_us();
            result = lead_take(client, corr);
            if (result != 0) {
                return result == 1;
            }
        } else if (result != ERR_AGAIN) {
            return false;
        }
        if (waiter->is_done) {
            return true; /* its time was over */
        }
    }
}

void lead_wait(struct rg_client *client, struct waiter *waiter, uint64_t corr)
{
    if (!waiter->is_done && lead_is_possible(client)) {
        client->is_led = true;
        conn_update_interest(client);
        bool is_alone = lead(client, waiter, corr);
        client->is_led = false;
        if (client->is_closing) {
            (void) pthread_cond_broadcast(&client->first_over); /* reconnect_stop waits for us */
        }
        struct inbox *inbox = &client->conn.inbox;
        client->conn.has_input = inbox->end != inbox->start;
        if (!is_alone || client->conn.has_input || client->conn.fd == -1) {
            client_wake(client);
        }
        conn_update_interest(client);
    }
    while (!waiter->is_done) {
        (void) pthread_cond_wait(&waiter->cond, &client->lock); /* the predicate decides */
    }
}
