/* raw: frames by hand over a blocking socket with deadlines. Owns the socket and what was received and not yet taken. */
#include "tests/system/raw.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/batch.h"
#include "common/wire/frame.h"
#include "common/wire/hot.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"
#include "tests/lib/test.h"

enum { SEND_SECONDS = 10, ANSWER_SECONDS = 20 };

struct raw {
    int fd;
    struct buf received;
    size_t shown; /* bytes at the front that the last frame took */
    uint64_t corr;
    bool is_closed;
};

static struct raw *raw_connect_port(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    if (connect(fd, (const struct sockaddr *) &address, sizeof(address)) != 0) {
        (void) close(fd);
        return NULL;
    }
    struct raw *self = MEM_NEW(struct raw);
    self->fd = fd;
    self->corr = 1000;
    return self;
}

struct raw *raw_connect(const struct node *node)
{
    return raw_connect_port(node_port(node));
}

struct raw *raw_open(const struct node *node)
{
    struct raw_frame frame;
    struct raw *self = raw_connect(node);
    ck_assert_ptr_nonnull(self);
    ck_assert(raw_hello(self));
    raw_expect(self, RAW_HELLO_OK, &frame);
    return self;
}

struct raw *raw_try_open(const struct node *node)
{
    return raw_open_port(node_port(node));
}

uint16_t raw_local_port(const struct raw *self)
{
    struct sockaddr_in address = {0};
    socklen_t size = sizeof(address);
    ck_assert_int_eq(getsockname(self->fd, (struct sockaddr *) &address, &size), 0);
    return ntohs(address.sin_port);
}

struct raw *raw_open_port(uint16_t port)
{
    struct raw_frame frame;
    struct raw *self = raw_connect_port(port);
    if (self != NULL &&
        (!raw_hello(self) || raw_receive(self, ANSWER_SECONDS, &frame) != RAW_FRAME ||
         frame.field != RAW_HELLO_OK)) {
        raw_close(&self);
    }
    return self;
}

void raw_close(struct raw **self)
{
    if (*self != NULL) {
        (void) close((*self)->fd);
        buf_release(&(*self)->received);
        MEM_FREE(*self);
    }
}

/* --- sending --- */

bool raw_send_bytes(struct raw *self, struct span bytes)
{
    uint64_t deadline = deadline_in(SEND_SECONDS);
    size_t sent = 0;
    while (sent < bytes.size) {
        ssize_t size =
            send(self->fd, bytes.data + sent, bytes.size - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (size >= 0) {
            sent += (size_t) size;
        } else if (errno == EAGAIN) {
            struct pollfd wait = {.fd = self->fd, .events = POLLOUT};
            (void) poll(&wait, 1, 20);
            if (now_ms() > deadline) {
                return false;
            }
        } else if (errno != EINTR) {
            return false;
        }
    }
    return true;
}

bool raw_send(struct raw *self, uint32_t channel, uint64_t corr, uint32_t field,
              const ProtobufCMessage *body)
{
    struct buf packed = {0};
    struct buf frame = {0};
    scan_pack(&packed, body);
    frame_append(&frame, channel, corr, field, buf_span(&packed));
    bool sent = raw_send_bytes(self, buf_span(&frame));
    buf_release(&packed);
    buf_release(&frame);
    return sent;
}

bool raw_hello(struct raw *self)
{
    char name[] = "raw";
    Railgun__Hello hello = RAILGUN__HELLO__INIT;
    hello.has_version_min = true;
    hello.version_min = 1;
    hello.has_version_max = true;
    hello.version_max = 1;
    hello.client = name;
    return raw_send(self, 0, 1, RAW_HELLO, &hello.base);
}

/* --- receiving --- */

int raw_code_of(const struct raw_frame *frame)
{
    Railgun__Error *error = NULL;
    if (frame->field != RAW_ERROR) {
        return 0;
    }
    ck_assert_int_eq(SCAN_UNPACK(frame->body, railgun__error, &error), 0);
    int code = (int) error->code;
    SCAN_FREE(&error);
    return code;
}

/* Take a frame out of what was received. */
static bool take_frame(struct raw *self, struct raw_frame *ret_frame)
{
    struct frame_view view;
    struct span body;
    size_t total = 0;
    buf_consume(&self->received, self->shown);
    self->shown = 0;
    int result = frame_split(buf_span(&self->received), FRAME_SIZE_MAX_HARD, &body, &total);
    if (result == ERR_INCOMPLETE) {
        return false;
    }
    TEST_ASSERT_FAST(result == 0);
    TEST_ASSERT_FAST(frame_parse(body, &view) == 0);
    self->shown = total;
    *ret_frame = (struct raw_frame){view.channel, view.corr, view.field, view.body};
    return true;
}

/* Wait for bytes; false: the deadline is over or the connection closed. */
static bool receive_some(struct raw *self, uint64_t deadline_ms)
{
    struct pollfd wait = {.fd = self->fd, .events = POLLIN};
    uint64_t now = now_ms();
    if (self->is_closed || poll(&wait, 1, now < deadline_ms ? (int) (deadline_ms - now) : 0) <= 0) {
        return false;
    }
    uint8_t *at = buf_reserve(&self->received, 65536);
    ssize_t size = recv(self->fd, at, 65536, 0);
    if (size <= 0) {
        self->is_closed = true;
        return false;
    }
    buf_advance(&self->received, (size_t) size);
    return true;
}

enum raw_got raw_receive(struct raw *self, double seconds, struct raw_frame *ret_frame)
{
    uint64_t deadline = deadline_in(seconds);
    do {
        while (take_frame(self, ret_frame)) {
            if (ret_frame->field != RAW_PING) {
                return RAW_FRAME;
            }
            Railgun__Pong pong = RAILGUN__PONG__INIT;
            (void) raw_send(self, 0, ret_frame->corr, RAW_PONG, &pong.base);
        }
    } while (receive_some(self, deadline));
    return self->is_closed ? RAW_CLOSED : RAW_NOTHING;
}

static void describe_error(const struct raw_frame *frame, char out[256])
{
    Railgun__Error *error = NULL;
    out[0] = 0;
    if (frame->field == RAW_ERROR && SCAN_UNPACK(frame->body, railgun__error, &error) == 0) {
        (void) snprintf(out, 256, " (%u %s)", error->code,
                        error->detail != NULL ? error->detail : "");
        SCAN_FREE(&error);
    }
}

void raw_expect(struct raw *self, uint32_t field, struct raw_frame *ret_frame)
{
    char text[256] = "";
    enum raw_got got = raw_receive(self, ANSWER_SECONDS, ret_frame);
    ck_assert_msg(got == RAW_FRAME, "waited for frame %u: %s", field,
                  got == RAW_CLOSED ? "closed" : "nothing came");
    describe_error(ret_frame, text);
    ck_assert_msg(ret_frame->field == field, "waited for frame %u, got %u%s", field,
                  ret_frame->field, text);
}

int raw_error_code(struct raw *self, double seconds)
{
    struct raw_frame frame;
    for (;;) {
        switch (raw_receive(self, seconds, &frame)) {
        case RAW_FRAME:
            if (frame.field == RAW_ERROR) {
                return raw_code_of(&frame);
            }
            break;
        case RAW_CLOSED:
            return 0;
        case RAW_NOTHING:
        default:
            return -1;
        }
    }
}

bool raw_is_closed(struct raw *self, double seconds)
{
    struct raw_frame frame;
    enum raw_got got = RAW_FRAME;
    uint64_t deadline = deadline_in(seconds);
    while (got == RAW_FRAME && now_ms() < deadline) {
        got = raw_receive(self, seconds, &frame);
    }
    return got == RAW_CLOSED;
}

bool raw_drain_until_closed(struct raw *self, double seconds, struct buf *ret_bytes)
{
    uint64_t deadline = deadline_in(seconds);
    while (receive_some(self, deadline)) {
    }
    buf_append(ret_bytes, buf_span(&self->received));
    return self->is_closed;
}

bool raw_has_error(struct span bytes, int error)
{
    struct span body;
    size_t total = 0;
    while (frame_split(bytes, FRAME_SIZE_MAX_HARD, &body, &total) == 0) {
        struct frame_view view;
        if (frame_parse(body, &view) == 0 && view.field == RAW_ERROR) {
            struct raw_frame frame = {view.channel, view.corr, view.field, view.body};
            if (raw_code_of(&frame) == -error) {
                return true;
            }
        }
        bytes = span_make(bytes.data + total, bytes.size - total);
    }
    return false;
}

bool raw_has_input(struct raw *self)
{
    struct pollfd wait = {.fd = self->fd, .events = POLLIN};
    return poll(&wait, 1, 0) > 0;
}

/* --- common requests --- */

/* Wait for the answer to `corr`; deliveries and events that come before are skipped. */
static void await_answer(struct raw *self, uint64_t corr, struct raw_frame *ret_frame)
{
    do {
        enum raw_got got = raw_receive(self, ANSWER_SECONDS, ret_frame);
        ck_assert_msg(got == RAW_FRAME, "no answer: %s",
                      got == RAW_CLOSED ? "closed" : "nothing came");
    } while (ret_frame->corr != corr);
}

static void ensure_one(struct raw *self, Railgun__Ensure *request)
{
    struct raw_frame answer;
    char text[256];
    uint64_t corr = ++self->corr;
    ck_assert(raw_send(self, 0, corr, RAW_ENSURE, &request->base));
    await_answer(self, corr, &answer);
    describe_error(&answer, text);
    ck_assert_msg(answer.field == RAW_ENSURE_OK, "cannot ensure '%s'%s", request->name, text);
}

void raw_ensure_specs(struct raw *self, const char *stream, Railgun__StreamSpec *stream_spec,
                      const char *group, Railgun__GroupSpec *group_spec)
{
    Railgun__Ensure request = RAILGUN__ENSURE__INIT;
    request.has_kind = true;
    request.kind = RAILGUN__KIND__KIND_STREAM;
    memcpy(&request.name, &stream, sizeof(char *)); /* protobuf-c has no const strings */
    request.stream = stream_spec;
    ensure_one(self, &request);
    if (group != NULL) {
        request.kind = RAILGUN__KIND__KIND_GROUP;
        memcpy(&request.group, &group, sizeof(char *));
        request.stream = NULL;
        request.group_spec = group_spec;
        ensure_one(self, &request);
    }
}

void raw_ensure(struct raw *self, const char *stream, const char *group, uint32_t max_in_flight)
{
    Railgun__GroupSpec spec = RAILGUN__GROUP_SPEC__INIT;
    spec.has_max_in_flight = max_in_flight > 0;
    spec.max_in_flight = max_in_flight;
    raw_ensure_specs(self, stream, NULL, group, &spec);
}

uint64_t raw_publish(struct raw *self, const char *stream, const char *payload, int *ret_code)
{
    struct buf batch = {0};
    struct buf body = {0};
    struct buf frame = {0};
    struct raw_frame answer;
    struct hot_publish_ok ok = {0};
    uint64_t corr = ++self->corr;

    batch_append(&batch, span_of(payload), (struct span){0}, (struct span){0}, (struct span){0});
    pb_append_bytes(&body, 1, span_of(stream));
    pb_append_bytes(&body, 2, buf_span(&batch));
    frame_append(&frame, 0, corr, RAW_PUBLISH, buf_span(&body));
    ck_assert(raw_send_bytes(self, buf_span(&frame)));
    buf_release(&batch);
    buf_release(&body);
    buf_release(&frame);
    await_answer(self, corr, &answer);
    *ret_code = raw_code_of(&answer);
    if (*ret_code == 0) {
        ck_assert_uint_eq(answer.field, RAW_PUBLISH_OK);
        ck_assert_int_eq(hot_publish_ok_read(answer.body, &ok), 0);
    }
    return ok.base_offset;
}

void raw_consume(struct raw *self, uint32_t channel, const char *stream, const char *group,
                 uint64_t credit_messages)
{
    struct raw_frame answer;
    char text[256];
    Railgun__Consume consume = RAILGUN__CONSUME__INIT;
    Railgun__Credit credit = RAILGUN__CREDIT__INIT;
    memcpy(&consume.stream, &stream, sizeof(char *)); /* protobuf-c has no const strings */
    memcpy(&consume.group, &group, sizeof(char *));
    credit.has_messages = true;
    credit.messages = credit_messages;
    credit.has_bytes = true;
    credit.bytes = 1 << 20;
    consume.credit = &credit;
    uint64_t corr = ++self->corr;
    ck_assert(raw_send(self, channel, corr, RAW_CONSUME, &consume.base));
    await_answer(self, corr, &answer);
    describe_error(&answer, text);
    ck_assert_msg(answer.field == RAW_CONSUME_OK, "cannot consume%s", text);
}

static void page_of_error(const struct raw_frame *answer, struct raw_page *page)
{
    Railgun__Error *error = NULL;
    ck_assert_int_eq(SCAN_UNPACK(answer->body, railgun__error, &error), 0);
    page->code = (int) error->code;
    if (error->range != NULL) {
        page->damaged_first = error->range->first;
        page->damaged_last = error->range->last;
    }
    SCAN_FREE(&error);
}

void raw_read(struct raw *self, const char *stream, uint64_t from, struct raw_page *ret_page)
{
    struct raw_frame answer;
    struct hot_delivery ok = {0};
    Railgun__Read read = RAILGUN__READ__INIT;
    Railgun__Start start = RAILGUN__START__INIT;
    uint64_t corr = ++self->corr;
    memcpy(&read.stream, &stream, sizeof(char *));
    read.from = &start;
    start.has_at = true;
    start.at = RAILGUN__START__AT__AT_OFFSET;
    start.has_offset = true;
    start.offset = from;
    ck_assert(raw_send(self, 0, corr, RAW_READ, &read.base));
    await_answer(self, corr, &answer);
    *ret_page = (struct raw_page){.batch = ret_page->batch};
    buf_reset(&ret_page->batch);
    if (answer.field == RAW_ERROR) {
        page_of_error(&answer, ret_page);
        return;
    }
    ck_assert_uint_eq(answer.field, RAW_READ_OK);
    ck_assert_int_eq(hot_read_ok_read(answer.body, &ok), 0);
    ret_page->base = ok.base_offset;
    ret_page->count = ok.count;
    ret_page->next = ok.next_offset;
    ret_page->first = ok.first_offset;
    ret_page->end = ok.end_offset;
    buf_append(&ret_page->batch, ok.batch);
}

Railgun__DescribeOk *raw_describe(struct raw *self, const char *stream, const char *group)
{
    struct raw_frame answer;
    char text[256];
    Railgun__Describe request = RAILGUN__DESCRIBE__INIT;
    Railgun__DescribeOk *ok = NULL;
    request.has_kind = true;
    request.kind = group != NULL ? RAILGUN__KIND__KIND_GROUP : RAILGUN__KIND__KIND_STREAM;
    memcpy(&request.name, &stream, sizeof(char *));
    memcpy(&request.group, &group, sizeof(char *));
    uint64_t corr = ++self->corr;
    ck_assert(raw_send(self, 0, corr, RAW_DESCRIBE, &request.base));
    await_answer(self, corr, &answer);
    describe_error(&answer, text);
    ck_assert_msg(answer.field == RAW_DESCRIBE_OK, "cannot describe%s", text);
    ck_assert_int_eq(SCAN_UNPACK(answer.body, railgun__describe_ok, &ok), 0);
    return ok;
}

bool raw_credit(struct raw *self, uint32_t channel, uint64_t messages)
{
    Railgun__Credit credit = RAILGUN__CREDIT__INIT;
    credit.has_messages = true;
    credit.messages = messages;
    credit.has_bytes = true;
    credit.bytes = messages * 65536; /* more than any record here has */
    return raw_send(self, channel, 0, RAW_CREDIT, &credit.base);
}

bool raw_deliver(struct raw *self, uint32_t channel, double seconds, struct raw_delivery *ret)
{
    struct raw_frame frame;
    struct hot_delivery delivery;
    do {
        if (raw_receive(self, seconds, &frame) != RAW_FRAME) {
            return false;
        }
    } while (frame.field != RAW_DELIVER || frame.channel != channel);
    ck_assert_int_eq(hot_deliver_read(frame.body, &delivery), 0);
    *ret = (struct raw_delivery){delivery.base_offset, delivery.count, 1, 0, delivery.epoch};
    struct span rest = frame.body;
    struct pb_field field;
    while (pb_next(&rest, &field) > 0) {
        struct hot_redelivered again;
        if (field.number == 5 && hot_redelivered_read(field.bytes, &again) == 0 &&
            again.first <= ret->base && again.last >= ret->base) {
            ret->attempt = again.attempt;
            ret->failed = again.failed;
        }
    }
    return true;
}

static int ack_ask(struct raw *self, uint32_t channel, uint64_t first, uint64_t last, bool sync,
                   uint64_t epoch)
{
    struct raw_frame answer;
    Railgun__Ack ack = RAILGUN__ACK__INIT;
    Railgun__OffsetRange range = RAILGUN__OFFSET_RANGE__INIT;
    Railgun__OffsetRange *ranges[] = {&range};
    Railgun__AckOk *ok = NULL;
    range.has_first = true;
    range.first = first;
    range.has_last = true;
    range.last = last;
    ack.n_ranges = 1;
    ack.ranges = ranges;
    ack.has_sync = sync;
    ack.sync = sync;
    ack.has_epoch = epoch != 0;
    ack.epoch = epoch;
    uint64_t corr = ++self->corr;
    ck_assert(raw_send(self, channel, corr, RAW_ACK, &ack.base));
    await_answer(self, corr, &answer);
    if (answer.field == RAW_ERROR) {
        return raw_code_of(&answer);
    }
    ck_assert_uint_eq(answer.field, RAW_ACK_OK);
    ck_assert_int_eq(SCAN_UNPACK(answer.body, railgun__ack_ok, &ok), 0);
    int code = ok->n_results > 0 ? (int) ok->results[0]->code : 0;
    SCAN_FREE(&ok);
    return code;
}

int raw_ack(struct raw *self, uint32_t channel, uint64_t first, uint64_t last, bool sync)
{
    return ack_ask(self, channel, first, last, sync, 0);
}

int raw_ack_epoch(struct raw *self, uint32_t channel, uint64_t first, uint64_t last, uint64_t epoch)
{
    return ack_ask(self, channel, first, last, false, epoch);
}

void raw_post_ack(struct raw *self, uint32_t channel, uint64_t first, uint64_t last)
{
    struct buf range = {0};
    struct buf ack = {0};
    struct buf frame = {0};
    pb_append_varint(&range, 1, first);
    pb_append_varint(&range, 2, last);
    pb_append_bytes(&ack, 1, buf_span(&range));
    frame_append(&frame, channel, 0, RAW_ACK, buf_span(&ack));
    ck_assert(raw_send_bytes(self, buf_span(&frame)));
    buf_release(&range);
    buf_release(&ack);
    buf_release(&frame);
}

void raw_nack(struct raw *self, uint32_t channel, uint64_t first, uint64_t last)
{
    Railgun__Ack ack = RAILGUN__ACK__INIT;
    Railgun__Nack nack = RAILGUN__NACK__INIT;
    Railgun__Nack *nacks[] = {&nack};
    Railgun__OffsetRange range = RAILGUN__OFFSET_RANGE__INIT;
    range.has_first = true;
    range.first = first;
    range.has_last = true;
    range.last = last;
    nack.range = &range;
    nack.has_delay_ms = true;
    nack.delay_ms = 0;
    ack.n_nacks = 1;
    ack.nacks = nacks;
    ck_assert(raw_send(self, channel, 0, RAW_ACK, &ack.base));
}
