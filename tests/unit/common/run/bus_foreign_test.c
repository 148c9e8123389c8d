/* bus: what somebody may send who is none of ours: nothing of it reaches a handler, nobody else notices. */
#include <stdio.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/run/bus_private.h"

#include "tests/lib/test.h"
#include "tests/unit/common/run/bus_lib.h"

/* A bare DEALER beside a proper client. */
struct foreign {
    struct pair pair;
    zsock_t *socket;
};

static void foreign_open(struct foreign *self, const struct bus_options *options)
{
    char endpoint[300];
    pair_open(&self->pair, options, NULL);
    self->socket = zsock_new(ZMQ_DEALER);
    (void) snprintf(endpoint, sizeof(endpoint), "ipc://%s/server.sock",
                    self->pair.server.bus->dir.path);
    ck_assert_int_eq(zmq_connect(zsock_resolve(self->socket), endpoint), 0);
}

static void foreign_close(struct foreign *self)
{
    zsock_destroy(&self->socket);
    pair_close(&self->pair);
}

static void foreign_send(struct foreign *self, const void *data, size_t size, int flags)
{
    ck_assert_int_eq(zmq_send(zsock_resolve(self->socket), data, size, flags), (int) size);
}

static struct bus_stats foreign_stats(struct foreign *self)
{
    struct bus_stats stats;
    bus_stats_read(self->pair.server.bus, &stats);
    return stats;
}

struct awaited {
    struct foreign *foreign;
    uint64_t malformed;
    uint64_t stale;
    uint64_t refused;
};

static bool awaited_is_reached(void *ud)
{
    const struct awaited *awaited = ud;
    struct bus_stats stats = foreign_stats(awaited->foreign);
    return stats.malformed >= awaited->malformed && stats.stale >= awaited->stale &&
           stats.refused >= awaited->refused;
}

/* Wait until exactly so many were counted, and see that the proper client still works. */
static void foreign_expect(struct foreign *self, uint64_t malformed, uint64_t stale,
                           uint64_t refused)
{
    struct awaited awaited = {self, malformed, stale, refused};
    run_until(self->pair.loop, awaited_is_reached, &awaited);
    struct bus_stats stats = foreign_stats(self);
    ck_assert_uint_eq(stats.malformed, malformed);
    ck_assert_uint_eq(stats.stale, stale);
    ck_assert_uint_eq(stats.refused, refused);
    ck_assert_uint_eq(self->pair.server.downs, 0);
    run_through(self->pair.loop, &self->pair.client);
}

static size_t make_hello(uint8_t *out, size_t capacity, const char *name, uint64_t session)
{
    struct bus_hello hello = {
        .epoch = 5, .window_bytes = 1000000, .window_messages = 1000, .message_bytes_max = 1000000};
    struct buf meta = {0};
    (void) snprintf(hello.name, sizeof(hello.name), "%s", name);
    bus_hello_write(&hello, &meta);
    struct bus_head head = {
        .kind = BUS_KIND_HELLO, .session = session, .meta_size = (uint32_t) meta.size};
    ck_assert_uint_ge(capacity, BUS_HEAD_SIZE + meta.size);
    bus_head_write(&head, out);
    memcpy(out + BUS_HEAD_SIZE, meta.data, meta.size);
    size_t size = BUS_HEAD_SIZE + meta.size;
    buf_release(&meta);
    return size;
}

/* The next message's head. */
static struct bus_head foreign_receive(struct foreign *self)
{
    uint8_t frame[1000];
    struct bus_head head = {0};
    int size;
    while ((size = zmq_recv(zsock_resolve(self->socket), frame, sizeof(frame), ZMQ_DONTWAIT)) < 0) {
        run_for(self->pair.loop, 1);
    }
    ck_assert_int_eq(bus_head_read(span_make(frame, (size_t) size), &head), 0);
    return head;
}

TEST(bytes_that_are_no_message_are_counted_and_dropped)
{
    struct foreign self = {0};
    uint8_t head[BUS_HEAD_SIZE + 8] = {0};
    uint64_t malformed = 0;
    foreign_open(&self, NULL);

    foreign_send(&self, "", 0, 0);
    foreign_send(&self, "short", 5, 0);
    foreign_send(&self, head, sizeof(head), 0); /* version 0: refused, too */
    foreign_expect(&self, malformed += 3, 0, 1);

    struct bus_head good = {.kind = BUS_KIND_EVENT};
    bus_head_write(&good, head);
    head[1] = BUS_KIND_COUNT;
    foreign_send(&self, head, BUS_HEAD_SIZE, 0);
    head[1] = 0;
    foreign_send(&self, head, BUS_HEAD_SIZE, 0);
    bus_head_write(&good, head);
    bytes_put_u32(head + 8, 9); /* more meta than there is */
    foreign_send(&self, head, BUS_HEAD_SIZE + 8, 0);
    bytes_put_u32(head + 8, UINT32_MAX);
    foreign_send(&self, head, BUS_HEAD_SIZE + 8, 0);
    bus_head_write(&good, head); /* less than there is */
    foreign_send(&self, head, BUS_HEAD_SIZE + 8, 0);
    bytes_put_u64(head + 56, UINT64_MAX); /* a body that is not there */
    foreign_send(&self, head, BUS_HEAD_SIZE, 0);
    bytes_put_u32(head + 4, 7); /* a status above zero */
    foreign_send(&self, head, BUS_HEAD_SIZE, 0);
    foreign_expect(&self, malformed += 7, 0, 1);

    bus_head_write(&good, head);
    foreign_send(&self, head, BUS_HEAD_SIZE, ZMQ_SNDMORE);
    foreign_send(&self, "body", 4, 0); /* not announced */
    foreign_send(&self, head, BUS_HEAD_SIZE, ZMQ_SNDMORE);
    foreign_send(&self, "", 0, ZMQ_SNDMORE);
    foreign_send(&self, "", 0, 0); /* three frames */
    foreign_expect(&self, malformed += 2, 0, 1);
    foreign_close(&self);
}

TEST(who_has_no_session_is_told_so)
{
    struct foreign self = {0};
    uint8_t frame[BUS_HEAD_SIZE];
    struct bus_head head = {.kind = BUS_KIND_REQUEST, .session = 77, .correlation = 1};
    foreign_open(&self, NULL);
    bus_head_write(&head, frame);
    foreign_send(&self, frame, sizeof(frame), 0);
    foreign_expect(&self, 0, 1, 0);
    struct bus_head answer = foreign_receive(&self);
    ck_assert_int_eq(answer.kind, BUS_KIND_BYE);
    ck_assert_uint_eq(answer.session, 77);
    ck_assert_uint_eq(self.pair.server.messages, 0);
    foreign_close(&self);
}

TEST(a_bad_hello_is_refused)
{
    struct foreign self = {0};
    uint8_t frame[200];
    foreign_open(&self, NULL);
    size_t size = make_hello(frame, sizeof(frame), "../../etc/passwd", 9);
    foreign_send(&self, frame, size, 0);
    foreign_expect(&self, 1, 0, 1);
    ck_assert_int_eq(foreign_receive(&self).status, ERR_PROTOCOL);
    foreign_close(&self);
}

static void foreign_greet(struct foreign *self, const char *name, uint64_t session)
{
    uint8_t frame[200];
    size_t size = make_hello(frame, sizeof(frame), name, session);
    unsigned ups = self->pair.server.ups;
    foreign_send(self, frame, size, 0);
    struct bus_head answer = foreign_receive(self);
    if (answer.kind == BUS_KIND_BYE) { /* of the session before */
        ck_assert_uint_ne(answer.session, session);
        answer = foreign_receive(self);
    }
    ck_assert_int_eq(answer.kind, BUS_KIND_HELLO_OK);
    ck_assert_uint_eq(answer.session, session);
    ck_assert_uint_eq(self->pair.server.ups, ups + 1);
}

static void foreign_event(struct foreign *self, uint64_t session)
{
    uint8_t frame[BUS_HEAD_SIZE];
    struct bus_head head = {.kind = BUS_KIND_EVENT, .session = session};
    bus_head_write(&head, frame);
    foreign_send(self, frame, sizeof(frame), 0);
}

static void hold_all(struct side *side, struct bus_link *link, struct bus_message *message)
{
    (void) side;
    (void) link;
    bus_message_hold(message);
}

TEST(sending_beyond_the_credit_ends_the_session)
{
    struct bus_options small = {.window_messages = 3};
    struct foreign self = {.pair.server.on_message = hold_all};
    foreign_open(&self, &small);
    foreign_greet(&self, "foreign", 5);
    for (unsigned i = 0; i < 4; i++) {
        foreign_event(&self, 5);
    }
    struct bus_head answer = foreign_receive(&self);
    ck_assert_int_eq(answer.kind, BUS_KIND_BYE);
    ck_assert_uint_eq(self.pair.server.messages, 3);
    ck_assert_uint_eq(self.pair.server.downs, 1);
    ck_assert_uint_eq(foreign_stats(&self).malformed, 1);
    foreign_close(&self);
}

TEST(giving_back_credit_that_was_never_taken_ends_the_session)
{
    struct foreign self = {0};
    uint8_t frame[BUS_HEAD_SIZE];
    struct bus_head head = {.kind = BUS_KIND_CREDIT, .session = 5, .credit_bytes = 1};
    foreign_open(&self, NULL);
    foreign_greet(&self, "foreign", 5);
    bus_head_write(&head, frame);
    foreign_send(&self, frame, sizeof(frame), 0);
    ck_assert_int_eq(foreign_receive(&self).kind, BUS_KIND_BYE);
    ck_assert_uint_eq(self.pair.server.downs, 1);
    foreign_close(&self);
}

TEST(messages_of_an_older_session_are_dropped)
{
    struct foreign self = {0};
    foreign_open(&self, NULL);
    foreign_greet(&self, "foreign", 5);
    foreign_event(&self, 4);
    /* the same connection opens anew: the old session is over */
    foreign_greet(&self, "foreign", 6);
    ck_assert_uint_eq(self.pair.server.downs, 1);
    foreign_event(&self, 5);
    foreign_event(&self, 6);
    run_for(self.pair.loop, 20);
    ck_assert_uint_eq(self.pair.server.messages, 1);
    ck_assert_uint_eq(foreign_stats(&self).stale, 2);
    foreign_close(&self);
}

TEST(a_new_session_of_a_name_ends_the_older_one)
{
    struct foreign self = {0};
    foreign_open(&self, NULL);
    foreign_greet(&self, "client", 5); /* our proper client's name */
    ck_assert_uint_eq(self.pair.server.downs, 1);
    run_until(self.pair.loop, side_is_down, &self.pair.client);
    foreign_close(&self);
}

TEST(an_answer_to_a_question_never_asked_is_dropped)
{
    struct foreign self = {0};
    uint8_t frame[BUS_HEAD_SIZE];
    struct bus_head head = {.kind = BUS_KIND_REPLY, .session = 5, .correlation = 1};
    foreign_open(&self, NULL);
    foreign_greet(&self, "foreign", 5);
    struct bus_outgoing out = {.type = 7};
    ck_assert_int_eq(
        bus_request(self.pair.client.link, &out, 60000, side_done, &self.pair.client, NULL), 0);
    for (uint64_t i = 0; i < 100; i++) {
        head.correlation = i << 32 | 1; /* also guesses of ours */
        bus_head_write(&head, frame);
        foreign_send(&self, frame, sizeof(frame), 0);
    }
    run_for(self.pair.loop, 20);
    ck_assert_uint_eq(foreign_stats(&self).late, 100);
    ck_assert_uint_eq(self.pair.server.downs, 0);
    foreign_close(&self);
}

TEST(a_frame_over_the_limit_costs_its_sender_the_connection)
{
    struct bus_options small = {.message_bytes_max = 10000};
    struct foreign self = {0};
    static uint8_t large[20000];
    foreign_open(&self, &small);
    foreign_greet(&self, "foreign", 5);
    foreign_send(&self, large, sizeof(large), 0);
    while (self.pair.server.downs == 0) {
        loop_turn(self.pair.loop);
    }
    ck_assert_uint_eq(self.pair.server.messages, 0);
    run_through(self.pair.loop, &self.pair.client);
    foreign_close(&self);
}

/* --- the head itself --- */

TEST(a_head_is_read_as_it_was_written)
{
    struct bus_head head = {.kind = BUS_KIND_REPLY,
                            .type = 0xfffe,
                            .status = -412,
                            .meta_size = 0xfffffffd,
                            .session = 1,
                            .correlation = UINT64_MAX,
                            .subject = UINT64_MAX - 1,
                            .credit_bytes = UINT64_MAX - 2,
                            .credit_messages = UINT64_MAX - 3,
                            .body_size = UINT64_MAX - 4};
    struct bus_head read = {0};
    uint8_t bytes[BUS_HEAD_SIZE];
    bus_head_write(&head, bytes);
    ck_assert_int_eq(bus_head_read(span_make(bytes, sizeof(bytes)), &read), 0);
    ck_assert_int_eq(read.kind, head.kind);
    ck_assert_uint_eq(read.type, head.type);
    ck_assert_int_eq(read.status, head.status);
    ck_assert_uint_eq(read.meta_size, head.meta_size);
    ck_assert_uint_eq(read.session, head.session);
    ck_assert_uint_eq(read.correlation, head.correlation);
    ck_assert_uint_eq(read.subject, head.subject);
    ck_assert_uint_eq(read.credit_bytes, head.credit_bytes);
    ck_assert_uint_eq(read.credit_messages, head.credit_messages);
    ck_assert_uint_eq(read.body_size, head.body_size);
}

TEST(a_hello_is_read_as_it_was_written_and_unknown_fields_are_skipped)
{
    struct bus_hello hello = {.epoch = 1,
                              .window_bytes = 2,
                              .window_messages = 3,
                              .message_bytes_max = 4,
                              .cluster = uuid_random(),
                              .name = "logd-63"};
    struct bus_hello read = {0};
    struct buf meta = {0};
    bus_hello_write(&hello, &meta);
    buf_append(&meta, span_make("\xf8\x01\x05\xfa\x01\x02hi", 8)); /* fields 31 */
    ck_assert_int_eq(bus_hello_read(buf_span(&meta), &read), 0);
    ck_assert_int_eq(memcmp(&hello, &read, sizeof(hello)), 0);
    for (size_t size = 0; size < meta.size; size++) {
        (void) bus_hello_read(span_make(meta.data, size), &read); /* must not read past the end */
    }
    ck_assert_int_eq(bus_hello_read(span_make("\x32\x01", 2), &read), ERR_PROTOCOL);
    ck_assert_int_eq(bus_hello_read(span_make("", 0), &read), ERR_PROTOCOL);
    buf_release(&meta);
}

TEST(numbers_of_things_that_are_gone_name_nothing)
{
    struct bus_slots slots = {0};
    static int things[1000];
    uint64_t ids[1000];
    for (unsigned i = 0; i < 1000; i++) {
        ids[i] = bus_slots_put(&slots, &things[i]);
        TEST_ASSERT_FAST(ids[i] != 0);
    }
    for (unsigned i = 0; i < 1000; i += 2) {
        bus_slots_remove(&slots, ids[i]);
    }
    for (unsigned i = 0; i < 1000; i++) {
        TEST_ASSERT_FAST(bus_slots_get(&slots, ids[i]) == (i % 2 == 0 ? NULL : &things[i]));
    }
    for (unsigned i = 0; i < 500; i++) {
        uint64_t id = bus_slots_put(&slots, &things[i]);
        for (unsigned k = 0; k < 1000; k += 2) {
            TEST_ASSERT_FAST(id != ids[k]);
        }
    }
    ck_assert_uint_eq(slots.count, 1000); /* the places were used again */
    ck_assert_ptr_null(bus_slots_get(&slots, 0));
    ck_assert_ptr_null(bus_slots_get(&slots, UINT64_MAX));
    bus_slots_release(&slots);
}
