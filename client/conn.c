/* conn: the client's socket as bytes: what comes in is cut into frames where it lies, what goes out is gathered from control frames,
 * batches and parcels. Owns the socket and the inbox. Must never allocate for a length that the server announced, nor write a part of a frame and
 * then something else. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/invariant.h"

#include "client/client_private.h"
#include "client/outbox.h"
#include "client/publish.h"
#include "client/subscription.h"

enum {
    INBOX_CHUNK_BYTES_MIN = 256 << 10,
    INBOX_CHUNK_BYTES_MAX = 4 << 20,
    INBOX_ROOM_MIN = 4096,
    INBOX_GROWTH = 8, /* room for a frame is at most so many times what has come of it */
    INBOX_FRAME_BYTES_MAX = 64 << 10, /* before HelloOk */
    WRITE_VECTORS = 64,
};

/* --- inbox --- */

static struct span inbox_span(const struct inbox *self)
{
    if (self->chunk == NULL) {
        return (struct span){0};
    }
    return span_make(payload_span(self->chunk).data + self->start, self->end - self->start);
}

/* A new chunk of that size with what is left of the old one at its front. */
static int inbox_renew(struct inbox *self, size_t size)
{
    struct span left = inbox_span(self);
    struct payload *chunk = payload_new(size);
    if (chunk == NULL) {
        return ERR_NO_MEMORY;
    }
    if (left.size != 0) {
        memcpy(payload_data(chunk), left.data, left.size);
    }
    payload_unref(&self->chunk);
    self->chunk = chunk;
    self->start = 0;
    self->end = left.size;
    return 0;
}

/* Room behind what has come, for a whole frame if possible. */
static int inbox_make_room(struct inbox *self)
{
    size_t have = self->end - self->start;
    if (self->chunk == NULL) {
        return inbox_renew(self, self->chunk_bytes);
    }
    if (have == 0 && payload_is_sole(self->chunk)) {
        self->start = 0;
        self->end = 0;
    }
    size_t capacity = payload_size(self->chunk);
    size_t total = INBOX_ROOM_MIN;
    if (have >= FRAME_PREFIX_SIZE) {
        total = FRAME_PREFIX_SIZE +
                (size_t) bytes_get_u32(payload_span(self->chunk).data + self->start);
        total = total < have * INBOX_GROWTH ? total : have * INBOX_GROWTH;
    }
    if (capacity - self->start >= total && capacity != self->end) {
        return 0;
    }
    return inbox_renew(self, total > self->chunk_bytes ? total : self->chunk_bytes);
}

int inbox_next(struct inbox *self, struct span *ret_frame)
{
    size_t total = 0;
    int result = frame_split(inbox_span(self), self->frame_bytes_max, ret_frame, &total);
    if (result == ERR_INCOMPLETE) {
        return 0;
    }
    if (result < 0) {
        return result;
    }
    self->start += total;
    if (total > self->chunk_bytes && total <= INBOX_CHUNK_BYTES_MAX) {
        self->chunk_bytes = total; /* such frames do come: the next will need no second copy */
    }
    return 1;
}

static void inbox_reset(struct inbox *self)
{
    payload_unref(&self->chunk);
    *self = (struct inbox){
        .chunk_bytes = INBOX_CHUNK_BYTES_MIN,
        .frame_bytes_max = INBOX_FRAME_BYTES_MAX,
    };
}

int conn_receive(struct conn *self)
{
    struct inbox *inbox = &self->inbox;
    int result = inbox_make_room(inbox);
    if (result < 0) {
        return result;
    }
    uint8_t *at = payload_data(inbox->chunk) + inbox->end;
    ssize_t received = recv(self->fd, at, payload_size(inbox->chunk) - inbox->end, MSG_DONTWAIT);
    if (received < 0) {
        return errno == EINTR ? ERR_AGAIN : err_from_errno(errno);
    }
    if (received == 0) {
        return ERR_CLOSED;
    }
    inbox->end += (size_t) received;
    return 0;
}

/* --- life --- */

void conn_init(struct conn *self)
{
    *self = (struct conn){.fd = -1};
    list_init(&self->sending);
    list_init(&self->mail);
    inbox_reset(&self->inbox);
}

void conn_release(struct conn *self)
{
    INVARIANT(self->fd == -1);
    buf_release(&self->control);
    buf_release(&self->writing);
    payload_unref(&self->inbox.chunk);
}

void conn_open(struct rg_client *client, int fd)
{
    struct conn *self = &client->conn;
    int yes = 1;
    /* Without it small frames would wait; should it fail they do, and all is still correct. */
    (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    self->fd = fd;
    self->interest = EPOLLOUT;
    self->is_blocked = true;
    self->sent_us = client_now_us();
    self->received_us = self->sent_us;
    struct epoll_event event = {.events = EPOLLOUT, .data.u64 = 1};
    int result = epoll_ctl(client->epoll_fd, EPOLL_CTL_ADD, fd, &event);
    INVARIANT(result == 0);
}

void conn_close(struct rg_client *client)
{
    struct conn *self = &client->conn;
    if (self->fd != -1) {
        (void) close(self->fd); /* whatever was not sent is accounted for by the caller */
    }
    self->fd = -1;
    self->interest = 0;
    self->has_input = false;
    self->is_blocked = false;
    buf_reset(&self->control);
    buf_reset(&self->writing);
    self->written = 0;
    inbox_reset(&self->inbox);
}

void conn_update_interest(struct rg_client *client)
{
    struct conn *self = &client->conn;
    if (self->fd == -1) {
        return;
    }
    uint32_t interest = self->is_blocked ? EPOLLOUT : 0;
    if (subscriptions_are_full(client)) {
        interest |= EPOLLET; /* a hang-up is then told once, not again and again */
    } else if (!client->is_led && client->state != CLIENT_CONNECTING) {
        interest |= EPOLLIN;
    }
    if (interest == self->interest) {
        return;
    }
    struct epoll_event event = {.events = interest, .data.u64 = 1};
    int result = epoll_ctl(client->epoll_fd, EPOLL_CTL_MOD, self->fd, &event);
    INVARIANT(result == 0);
    self->interest = interest;
}

/* --- output --- */

void conn_queue_frame(struct rg_client *client, uint32_t channel, uint64_t corr, uint32_t field,
                      struct span body)
{
    frame_append(&client->conn.control, channel, corr, field, body);
}

bool conn_has_output(const struct rg_client *client)
{
    const struct conn *self = &client->conn;
    return self->control.size != 0 || self->writing.size != 0 || !list_is_empty(&self->sending) ||
           !list_is_empty(&self->mail) ||
           (client->state == CLIENT_UP && (publish_may_send(client) || outbox_has_waiting(client)));
}

/* Everything taken so far is written: take what is next. */
static void conn_refill(struct rg_client *client)
{
    struct conn *self = &client->conn;
    if (self->writing.size != 0 || !list_is_empty(&self->sending) || !list_is_empty(&self->mail)) {
        return;
    }
    struct buf written = self->writing;
    self->writing = self->control;
    self->control = written;
    self->written = 0;
    if (client->state == CLIENT_UP) {
        publish_take(client, &self->sending);
        if (self->writing.size != 0 || !list_is_empty(&self->sending) || outbox_is_due(client)) {
            outbox_take(client, &self->mail);
        }
    }
}

static size_t conn_gather(const struct conn *self, struct iovec *vectors)
{
    size_t count = 0;
    size_t skip = self->written;
    if (self->writing.size != 0) {
        vectors[count++] = (struct iovec){self->writing.data + skip, self->writing.size - skip};
        skip = 0;
    }
    LIST_FOREACH (&self->sending, node) {
        if (count + 2 > WRITE_VECTORS) {
            break;
        }
        struct pack *pack = LIST_ENTRY(node, struct pack, of_queue);
        if (skip < pack->head.size) {
            vectors[count++] = (struct iovec){pack->head.data + skip, pack->head.size - skip};
            skip = 0;
        } else {
            skip -= pack->head.size;
        }
        vectors[count++] = (struct iovec){pack->records.data + skip, pack->records.size - skip};
        skip = 0;
    }
    LIST_FOREACH (&self->mail, node) {
        if (count == WRITE_VECTORS) {
            break;
        }
        const struct parcel *parcel = LIST_ENTRY(node, struct parcel, of_queue);
        vectors[count++] = (struct iovec){parcel->bytes.data + parcel->written,
                                          parcel->bytes.size - parcel->written};
    }
    return count;
}

/* So many bytes were taken by the socket. */
static void conn_advance(struct rg_client *client, size_t bytes)
{
    struct conn *self = &client->conn;
    size_t written = self->written + bytes;
    if (self->writing.size != 0) {
        if (written < self->writing.size) {
            self->written = written;
            return;
        }
        written -= self->writing.size;
        buf_reset(&self->writing);
    }
    while (!list_is_empty(&self->sending)) {
        struct pack *pack = LIST_ENTRY(self->sending.next, struct pack, of_queue);
        if (written < pack->head.size + pack->records.size) {
            self->written = written;
            return;
        }
        written -= pack->head.size + pack->records.size;
        publish_sent(client, pack);
    }
    self->written = 0;
    while (!list_is_empty(&self->mail)) {
        struct parcel *parcel = LIST_ENTRY(self->mail.next, struct parcel, of_queue);
        size_t left = parcel->bytes.size - parcel->written;
        if (written < left) {
            parcel->written += written;
            return;
        }
        written -= left;
        outbox_written(client, parcel);
    }
}

int conn_write(struct rg_client *client, bool may_unlock)
{
    struct conn *self = &client->conn;
    struct iovec vectors[WRITE_VECTORS];

    self->is_blocked = false;
    for (;;) {
        conn_refill(client);
        struct msghdr message = {.msg_iov = vectors, .msg_iovlen = conn_gather(self, vectors)};
        if (message.msg_iovlen == 0) {
            return 0;
        }
        int fd = self->fd;
        self->is_writing = true;
        if (may_unlock) {
            client_unlock(client);
        }
        ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        int system_errno = errno;
        if (may_unlock) {
            client_lock(client);
        }
        self->is_writing = false;
        if (sent < 0 && system_errno == EAGAIN) {
            self->is_blocked = true;
            return 0;
        }
        if (sent < 0 && system_errno != EINTR) {
            return err_from_errno(system_errno);
        }
        if (sent > 0) {
            self->sent_us = client_now_us();
            conn_advance(client, (size_t) sent);
        }
    }
}
