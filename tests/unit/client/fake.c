/* fake: the in-test server. */
#include "tests/unit/client/fake.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "common/base/payload.h"
#include "common/wire/batch.h"
#include "common/wire/hot.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"
#include "tests/lib/test.h"
#include "tests/unit/client/fake_es.h"

enum { INBOX_BYTES = 1 << 20, FAKE_FRAME_MAX = 8 << 20 };

void fake_lock(struct fake *fake)
{
    pthread_mutex_lock(&fake->lock);
}

void fake_unlock(struct fake *fake)
{
    pthread_mutex_unlock(&fake->lock);
}

void fake_handle(struct fake *fake, uint32_t field, fake_handler_fn *handler)
{
    fake_lock(fake);
    fake->handlers[field] = handler;
    fake_unlock(fake);
}

/* --- looking --- */

unsigned fake_frames(struct fake *fake, uint32_t field)
{
    fake_lock(fake);
    unsigned value = fake->frames[field];
    fake_unlock(fake);
    return value;
}

unsigned fake_connections(struct fake *fake)
{
    fake_lock(fake);
    unsigned value = fake->connections;
    fake_unlock(fake);
    return value;
}

uint64_t fake_records(struct fake *fake)
{
    fake_lock(fake);
    uint64_t value = fake->records;
    fake_unlock(fake);
    return value;
}

uint64_t fake_credit(struct fake *fake)
{
    fake_lock(fake);
    uint64_t value = fake->credit;
    fake_unlock(fake);
    return value;
}

uint64_t fake_last_corr(struct fake *fake)
{
    fake_lock(fake);
    uint64_t value = fake->last_corr;
    fake_unlock(fake);
    return value;
}

/* --- sending --- */

void fake_send_raw(struct fake *fake, struct span bytes)
{
    while (bytes.size != 0 && fake->fd != -1) {
        ssize_t sent = send(fake->fd, bytes.data, bytes.size, MSG_NOSIGNAL);
        if (sent <= 0) {
            return; /* the client is gone: seen when reading */
        }
        bytes = span_make(bytes.data + sent, bytes.size - (size_t) sent);
    }
}

void fake_send(struct fake *fake, uint32_t channel, uint64_t corr, uint32_t field, struct span body)
{
    struct buf frame = {0};
    frame_append(&frame, channel, corr, field, body);
    fake_send_raw(fake, buf_span(&frame));
    buf_release(&frame);
}

void fake_send_message(struct fake *fake, uint32_t channel, uint64_t corr, uint32_t field,
                       const ProtobufCMessage *message)
{
    struct buf body = {0};
    scan_pack(&body, message);
    fake_send(fake, channel, corr, field, buf_span(&body));
    buf_release(&body);
}

void fake_send_error(struct fake *fake, uint32_t channel, uint64_t corr, int code,
                     const char *detail)
{
    struct buf body = {0};
    pb_append_varint(&body, 1, (uint64_t) -code);
    pb_append_bytes(&body, 3, span_of(detail));
    fake_send(fake, channel, corr, BODY(ERROR), buf_span(&body));
    buf_release(&body);
}

void fake_send_publish_ok(struct fake *fake, uint64_t corr, uint64_t base, uint32_t count)
{
    struct buf body = {0};
    pb_append_varint(&body, 1, base);
    pb_append_varint(&body, 2, count);
    pb_append_fixed64(&body, 3, 1000000 + base);
    fake_send(fake, 0, corr, BODY(PUBLISH_OK), buf_span(&body));
    buf_release(&body);
}

static void batch_fill(struct buf *batch, uint64_t base, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        char text[32];
        (void) snprintf(text, sizeof(text), "m%" PRIu64, base + i);
        batch_append(batch, span_of(text), (struct span){0}, (struct span){0}, (struct span){0});
    }
}

void fake_deliver(struct fake *fake, uint64_t base, uint32_t count)
{
    struct buf batch = {0};
    struct buf body = {0};
    batch_fill(&batch, base, count);
    pb_append_varint(&body, 2, base);
    pb_append_varint(&body, 3, count);
    pb_append_bytes(&body, 15, buf_span(&batch));
    fake->credit -= count;
    fake_send(fake, fake->channel, 0, BODY(DELIVER), buf_span(&body));
    buf_release(&body);
    buf_release(&batch);
}

void fake_hang_up(struct fake *fake)
{
    if (fake->fd != -1) {
        shutdown(fake->fd, SHUT_RDWR);
    }
}

/* --- what a healthy server does --- */

static void handle_hello(struct fake *fake, const struct frame_view *view)
{
    Railgun__HelloOk ok = RAILGUN__HELLO_OK__INIT;
    ok.has_version = true;
    ok.version = 1;
    ok.has_publish_window = true;
    ok.publish_window = fake->publish_window;
    ok.has_frame_max = true;
    ok.frame_max = FAKE_FRAME_MAX;
    ok.has_heartbeat_ms = true;
    ok.heartbeat_ms = fake->heartbeat_ms;
    ok.has_record_max = fake->record_max != 0;
    ok.record_max = fake->record_max;
    fake_send_message(fake, 0, view->corr, BODY(HELLO_OK), &ok.base);
}

uint32_t fake_count(struct span publish_body)
{
    struct hot_publish publish;
    struct batch_limits limits = batch_limits_default();
    struct batch_summary summary = {0};
    uint32_t record = 0;
    if (hot_publish_read(publish_body, &publish) != 0 ||
        batch_check(publish.batch, &limits, &summary, &record) != 0) {
        return 0;
    }
    return summary.records;
}

static void handle_publish(struct fake *fake, const struct frame_view *view)
{
    struct hot_publish publish;
    uint32_t count = fake_count(view->body);
    if (fake->keep && hot_publish_read(view->body, &publish) == 0) {
        buf_append(&fake->stored, publish.batch);
        buf_printf(&fake->stream_log, "%.*s:%u ", (int) publish.stream.size,
                   (const char *) publish.stream.data, count);
    }
    fake_send_publish_ok(fake, view->corr, fake->next_offset, count);
    fake->next_offset += count;
    fake->records += count;
}

static void handle_read(struct fake *fake, const struct frame_view *view)
{
    Railgun__Read *read = NULL;
    ck_assert_int_eq(SCAN_UNPACK(view->body, railgun__read, &read), 0);
    uint64_t from = 1;
    if (read->from->at == RAILGUN__START__AT__AT_OFFSET) {
        from = read->from->offset;
    } else if (read->from->at == RAILGUN__START__AT__AT_LATEST) {
        from = fake->next_offset;
    }
    uint64_t left = fake->next_offset - from;
    uint32_t page = fake->page_records != 0 ? fake->page_records : 10;
    page = page < read->max_records ? page : read->max_records;
    uint32_t count = left < page ? (uint32_t) left : page;
    fake->pages_from = from;
    struct buf batch = {0};
    struct buf body = {0};
    batch_fill(&batch, from, count);
    pb_append_varint(&body, 1, from);
    pb_append_varint(&body, 2, count);
    pb_append_varint(&body, 3, from + count);
    pb_append_varint(&body, 4, 1);
    pb_append_varint(&body, 5, fake->next_offset);
    struct buf mark = {0};
    pb_append_fixed64(&mark, 2, 5000 + from);
    pb_append_bytes(&body, 6, buf_span(&mark));
    if (count != 0) {
        pb_append_bytes(&body, 15, buf_span(&batch));
    }
    fake_send(fake, 0, view->corr, BODY(READ_OK), buf_span(&body));
    buf_release(&mark);
    buf_release(&batch);
    buf_release(&body);
    SCAN_FREE(&read);
}

static void handle_consume(struct fake *fake, const struct frame_view *view)
{
    Railgun__Consume *consume = NULL;
    ck_assert_int_eq(SCAN_UNPACK(view->body, railgun__consume, &consume), 0);
    fake->channel = view->channel;
    fake->credit = consume->credit->messages;
    SCAN_FREE(&consume);
    fake_send(fake, view->channel, view->corr, BODY(CONSUME_OK), (struct span){0});
}

static void handle_ack(struct fake *fake, const struct frame_view *view)
{
    struct hot_ack ack;
    struct span rest;
    struct hot_range range;
    struct hot_nack nack;
    bool is_nack = false;
    ck_assert_int_eq(hot_ack_read(view->body, &ack), 0);
    rest = ack.body;
    while (hot_ack_next(&rest, &is_nack, &range, &nack) == 1) {
        const struct hot_range *shown = is_nack ? &nack.range : &range;
        buf_printf(&fake->ack_log, "%s%" PRIu64 "-%" PRIu64 " ",
                   is_nack    ? "n"
                   : ack.sync ? "s"
                              : "",
                   shown->first, shown->last);
    }
    if (view->corr != 0) {
        fake_send(fake, view->channel, view->corr, BODY(ACK_OK), (struct span){0});
    }
}

static void handle_default(struct fake *fake, const struct frame_view *view)
{
    struct hot_credit credit;
    switch (view->field) {
    case BODY(HELLO):
        handle_hello(fake, view);
        break;
    case BODY(PUBLISH):
        handle_publish(fake, view);
        break;
    case BODY(READ):
        handle_read(fake, view);
        break;
    case BODY(CONSUME):
        handle_consume(fake, view);
        break;
    case BODY(ACK):
        handle_ack(fake, view);
        break;
    case BODY(CREDIT):
        ck_assert_int_eq(hot_credit_read(view->body, &credit), 0);
        fake->credit += view->channel == fake->channel ? credit.messages : 0;
        break;
    case BODY(CANCEL):
        if (view->corr != 0) {
            fake_send(fake, view->channel, view->corr, BODY(CANCEL_OK), (struct span){0});
        }
        break;
    case BODY(PING):
        fake_send(fake, 0, view->corr, BODY(PONG), view->body);
        break;
    case BODY(PONG):
        break;
    default:
        if (!fake_es_handle(fake, view)) {
            fake_send_error(fake, view->channel, view->corr, -404, "not here");
        }
        break;
    }
}

/* --- the thread --- */

static void take_frame(struct fake *fake, struct span frame)
{
    struct frame_view view;
    ck_assert_int_eq(frame_parse(frame, &view), 0);
    TEST_ASSERT_FAST(view.field < FAKE_FIELDS);
    fake->last_corr = view.corr;
    fake_handler_fn *handler = fake->handlers[view.field];
    if (handler == NULL || !handler(fake, &view)) {
        handle_default(fake, &view);
    }
    fake->frames[view.field]++;
}

static void serve(struct fake *fake, int fd)
{
    uint8_t *inbox = mem_new(FAKE_FRAME_MAX + 4);
    size_t have = 0;
    for (;;) {
        ssize_t got = recv(fd, inbox + have, FAKE_FRAME_MAX + 4 - have, 0);
        if (got <= 0) {
            break;
        }
        have += (size_t) got;
        struct span rest = span_make(inbox, have);
        struct span frame;
        size_t total = 0;
        fake_lock(fake);
        while (frame_split(rest, FAKE_FRAME_MAX, &frame, &total) == 0) {
            take_frame(fake, frame);
            rest = span_make(rest.data + total, rest.size - total);
        }
        pthread_cond_broadcast(&fake->changed);
        fake_unlock(fake);
        if (rest.size != 0) {
            memmove(inbox, rest.data, rest.size);
        }
        have = rest.size;
    }
    mem_free(inbox);
}

static void *fake_main(void *ud)
{
    struct fake *fake = ud;
    for (;;) {
        struct pollfd polls[2] = {{.fd = fake->listen_fd, .events = POLLIN},
                                  {.fd = fake->wake_fds[0], .events = POLLIN}};
        (void) poll(polls, 2, -1);
        fake_lock(fake);
        bool stop = fake->stop;
        fake_unlock(fake);
        if (stop) {
            return NULL;
        }
        int fd = accept(fake->listen_fd, NULL, NULL);
        if (fd == -1) {
            continue;
        }
        int yes = 1;
        (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
        fake_lock(fake);
        bool refuse = fake->refuse;
        fake->fd = refuse ? -1 : fd;
        fake->connections += refuse ? 0 : 1;
        pthread_cond_broadcast(&fake->changed);
        fake_unlock(fake);
        if (!refuse) {
            serve(fake, fd);
        }
        fake_lock(fake);
        fake->fd = -1;
        fake_unlock(fake);
        close(fd);
    }
}

struct fake *fake_new(void)
{
    struct fake *fake = MEM_NEW(struct fake);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    void *generic = &address;
    pthread_mutex_init(&fake->lock, NULL);
    pthread_cond_init(&fake->changed, NULL);
    fake->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fake->listen_fd, generic, size), 0);
    ck_assert_int_eq(listen(fake->listen_fd, 8), 0);
    ck_assert_int_eq(getsockname(fake->listen_fd, generic, &size), 0);
    (void) snprintf(fake->address, sizeof(fake->address), "127.0.0.1:%u", ntohs(address.sin_port));
    ck_assert_int_eq(pipe(fake->wake_fds), 0);
    fake->fd = -1;
    fake->publish_window = 4 << 20;
    fake->heartbeat_ms = 10000;
    fake->next_offset = 1;
    ck_assert_int_eq(pthread_create(&fake->thread, NULL, fake_main, fake), 0);
    return fake;
}

void fake_destroy(struct fake **fake)
{
    struct fake *self = *fake;
    *fake = NULL;
    fake_lock(self);
    self->stop = true;
    fake_hang_up(self);
    fake_unlock(self);
    ck_assert_int_eq((int) write(self->wake_fds[1], "x", 1), 1);
    pthread_join(self->thread, NULL);
    close(self->listen_fd);
    close(self->wake_fds[0]);
    close(self->wake_fds[1]);
    buf_release(&self->stored);
    buf_release(&self->ack_log);
    buf_release(&self->stream_log);
    buf_release(&self->es_log);
    pthread_mutex_destroy(&self->lock);
    pthread_cond_destroy(&self->changed);
    mem_free(self);
}

/* --- waiting --- */

static struct timespec deadline_make(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t) (25 * test_slowness());
    return until;
}

void fake_await(struct fake *fake, fake_fact_fn *fact)
{
    struct timespec until = deadline_make();
    fake_lock(fake);
    while (!fact(fake)) {
        int result = pthread_cond_timedwait(&fake->changed, &fake->lock, &until);
        if (result == ETIMEDOUT) {
            ck_abort_msg("it did not come about in time");
        }
    }
    fake_unlock(fake);
}

void fake_ping(struct rg_client *client)
{
    int result = RG_ERR_TIMEOUT;
    for (int i = 0; i < 100 && result == RG_ERR_TIMEOUT; i++) {
        result = rg_ping(client, NULL);
    }
    ck_assert_int_eq(result, 0);
}

void fake_await_frames(struct fake *fake, uint32_t field, unsigned count)
{
    struct timespec until = deadline_make();
    fake_lock(fake);
    while (fake->frames[field] < count) {
        if (pthread_cond_timedwait(&fake->changed, &fake->lock, &until) == ETIMEDOUT) {
            ck_abort_msg("%u of %u frames of field %u", fake->frames[field], count, field);
        }
    }
    fake_unlock(fake);
}

void fake_await_connections(struct fake *fake, unsigned count)
{
    struct timespec until = deadline_make();
    fake_lock(fake);
    while (fake->connections < count) {
        if (pthread_cond_timedwait(&fake->changed, &fake->lock, &until) == ETIMEDOUT) {
            ck_abort_msg("%u of %u connections", fake->connections, count);
        }
    }
    fake_unlock(fake);
}

void fake_await_acks(struct fake *fake, const char *log)
{
    struct timespec until = deadline_make();
    fake_lock(fake);
    while (strcmp(buf_text(&fake->ack_log), log) != 0) {
        if (pthread_cond_timedwait(&fake->changed, &fake->lock, &until) == ETIMEDOUT) {
            ck_abort_msg("acknowledged \"%s\", not \"%s\"", buf_text(&fake->ack_log), log);
        }
    }
    fake_unlock(fake);
}

struct rg_client *fake_client(struct fake *fake, struct rg_options *options)
{
    struct rg_options defaults = {0};
    struct rg_client *client = NULL;
    if (options == NULL) {
        options = &defaults;
    }
    fake_lock(fake); /* what the test has set is seen by the server from now on */
    fake_unlock(fake);
    int result = rg_connect(fake->address, options, &client);
    ck_assert_msg(result == 0, "rg_connect: %s", rg_last_error(NULL));
    return client;
}
