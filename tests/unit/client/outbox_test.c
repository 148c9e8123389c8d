/* The outbox by itself: what becomes of parcels when a connection is lost in the middle of writing. */
#include "client/outbox.h"

#include "client/ask.h"
#include "common/wire/client.pb-c.h"
#include "tests/lib/test.h"

/* As much of a client as the outbox needs: no connection. */
static void client_init(struct rg_client *client)
{
    *client = (struct rg_client){.state = CLIENT_BACKOFF};
    client->options.send_buffer_bytes = 1 << 20;
    conn_init(&client->conn);
    outbox_init(client);
}

static void client_release(struct rg_client *client)
{
    outbox_stop(client);
    ck_assert_uint_eq(client->outbox.bytes, 0);
    outbox_release(client);
    conn_release(&client->conn);
}

static void append(struct rg_client *client, const char *body)
{
    outbox_append(client, RAILGUN__FRAME__BODY_REPLY, span_of(body), (struct span){0});
}

/* The bodies of all frames that wait or are written, "a b ". */
static void log_frames(const struct list *list, char *out)
{
    LIST_FOREACH (list, node) {
        const struct parcel *parcel = LIST_ENTRY(node, struct parcel, of_queue);
        struct span rest = buf_span(&parcel->bytes);
        struct span frame;
        size_t total = 0;
        while (frame_split(rest, 1 << 20, &frame, &total) == 0) {
            struct frame_view view;
            ck_assert_int_eq(frame_parse(frame, &view), 0);
            memcpy(out, view.body.data, view.body.size);
            out += view.body.size;
            *out++ = ' ';
            rest = span_make(rest.data + total, rest.size - total);
        }
        ck_assert_uint_eq(rest.size, 0);
    }
    *out = 0;
}

static struct parcel *first_of(const struct list *list)
{
    return LIST_ENTRY(list->next, struct parcel, of_queue);
}

TEST(of_a_parcel_that_was_begun_the_frames_that_were_not_go_out_again)
{
    enum { FRAME_BYTES = 4 + 2 + 2 }; /* length, tag and size, body */
    static const char *const expected[] = {"f1 f2 f3 f4 ", "f2 f3 f4 ", "f2 f3 f4 ", "f3 f4 ",
                                           "f3 f4 ",       "f4 ",       "f4 "};
    static const size_t written[] = {
        0, 1, FRAME_BYTES, FRAME_BYTES + 1, 2 * FRAME_BYTES, 2 * FRAME_BYTES + 1, 3 * FRAME_BYTES};
    for (size_t i = 0; i < sizeof(written) / sizeof(written[0]); i++) {
        struct rg_client client;
        char log[64];
        client_init(&client);
        append(&client, "f1");
        append(&client, "f2");
        append(&client, "f3");
        outbox_take(&client, &client.conn.mail);
        append(&client, "f4");
        first_of(&client.conn.mail)->written = written[i];
        outbox_lost(&client);
        ck_assert(list_is_empty(&client.conn.mail));
        log_frames(&client.outbox.queue, log);
        ck_assert_str_eq(log, expected[i]);
        client_release(&client);
    }
}

static struct parcel *post_ask(struct rg_client *client, struct ask *ask, const char *body)
{
    struct parcel *parcel = parcel_take(client);
    parcel->ask = ask;
    frame_append(&parcel->bytes, 0, 7, RAILGUN__FRAME__BODY_REQUEST, span_of(body));
    outbox_post(client, parcel);
    return parcel;
}

TEST(a_request_that_ended_while_it_was_taken_is_not_sent_again)
{
    struct rg_client client;
    struct ask asks[3] = {{.is_sent = false}};
    char log[64];
    client_init(&client);
    append(&client, "f1");
    struct parcel *ended = post_ask(&client, &asks[0], "r1");
    (void) post_ask(&client, &asks[1], "r2");
    outbox_take(&client, &client.conn.mail);
    outbox_retract(&client, ended); /* stays: the system may read it */
    log_frames(&client.conn.mail, log);
    ck_assert_str_eq(log, "f1 r1 r2 ");
    struct parcel *waiting = post_ask(&client, &asks[2], "r3");
    append(&client, "f4");
    outbox_retract(&client, waiting); /* goes at once */
    log_frames(&client.outbox.queue, log);
    ck_assert_str_eq(log, "f4 ");
    outbox_lost(&client);
    log_frames(&client.outbox.queue, log);
    ck_assert_str_eq(log, "f1 r2 f4 ");
    outbox_take(&client, &client.conn.mail);
    outbox_written(&client, first_of(&client.conn.mail));
    ck_assert(!asks[1].is_sent);
    outbox_written(&client, first_of(&client.conn.mail));
    ck_assert(asks[1].is_sent);
    client_release(&client);
}
