/* front_lib: see the header. */
#include "tests/unit/frontd/front_lib.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/batch.h"
#include "common/wire/frame.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"
#include "frontd/frontd.h"

#include "tests/lib/test.h"

static const uint8_t cluster[16] = {1, 2, 3};

/* --- frontd itself --- */

static _Noreturn void front_child(const char *run_dir, const char *const *sets)
{
    char *arguments[64] = {0};
    char run_dir_set[300];
    char log_path[300];
    int count = 0;
    (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void) snprintf(run_dir_set, sizeof(run_dir_set), "run_dir=%s", run_dir);
    (void) snprintf(log_path, sizeof(log_path), "%s/frontd.log", run_dir);
    int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    (void) dup2(log, STDERR_FILENO);
    /* Who is stopped and started again by a test is waited for, however busy the machine is. */
    const char *fixed[] = {
        "frontd", "--set", run_dir_set, "--set", "listen.port=0", "--set", "timeouts.request=100s"};
    for (unsigned i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        arguments[count++] = mem_strdup(fixed[i]);
    }
    for (unsigned i = 0; sets != NULL && sets[i] != NULL; i++) {
        if (strncmp(sets[i], "descriptors=", 12) == 0) {
            rlim_t few = (rlim_t) strtoul(sets[i] + 12, NULL, 10);
            (void) setrlimit(RLIMIT_NOFILE, &(struct rlimit){few, few});
            continue;
        }
        arguments[count++] = mem_strdup("--set");
        arguments[count++] = mem_strdup(sets[i]);
    }
    int code = daemon_main(count, arguments, &frontd_program);
    for (int i = 0; i < count; i++) {
        mem_free(arguments[i]);
    }
    exit(code);
}

static bool front_read_port(struct front *front)
{
    char path[300];
    unsigned port = 0;
    (void) snprintf(path, sizeof(path), "%s/frontd-0.port", front->run_dir);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return false;
    }
    bool is_read = fscanf(file, "%u", &port) == 1;
    (void) fclose(file);
    front->port = (uint16_t) port;
    return is_read;
}

void front_open(struct front *front, const char *const *sets)
{
    *front = (struct front){.run_dir = test_folder(), .next_log_group = 1024, .next_group_id = 1};
    front->next_offset = 1;
    front->revision = 1;
    front->pid = fork();
    ck_assert_int_ge(front->pid, 0);
    if (front->pid == 0) {
        front_child(front->run_dir, sets);
    }
    front->loop = loop_new();
    while (!front_read_port(front)) {
        int status = 0;
        if (waitpid(front->pid, &status, WNOHANG) == front->pid) {
            front->pid = 0;
            front->port = (uint16_t) WEXITSTATUS(status);
            return; /* it did not start: `port` is its exit code */
        }
        front_turn(front);
    }
}

void front_open_node(struct front *front, const char *const *sets)
{
    front_open(front, sets);
    ck_assert_int_ne(front->pid, 0);
    front_add_stream(front, "orders");
    front_add_group(front, 1024, "billing");
    fake_start(front, &front->raftd, "raftd-0");
    fake_start(front, &front->logd, "logd-0");
    FRONT_UNTIL(front, front->raftd.link != NULL && front->logd.link != NULL);
}

int front_wait_exit(struct front *front)
{
    int status = 0;
    while (waitpid(front->pid, &status, WNOHANG) == 0) {
        front_turn(front);
    }
    front->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void front_close(struct front *front)
{
    if (front->pid != 0) {
        (void) kill(front->pid, SIGTERM);
        (void) kill(front->pid, SIGTERM); /* the second: at once */
        ck_assert_int_eq(front_wait_exit(front), 0);
    }
    fake_stop(&front->raftd);
    fake_stop(&front->logd);
    loop_destroy(&front->loop);
    buf_release(&front->streams);
    buf_release(&front->seen.publish_meta);
    buf_release(&front->seen.publish_body);
}

static void front_memory(const struct front *front, uint64_t *ret_mapped, uint64_t *ret_resident)
{
    char path[64];
    unsigned long total = 0;
    unsigned long resident = 0;
    (void) snprintf(path, sizeof(path), "/proc/%ld/statm", (long) front->pid);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fscanf(file, "%lu %lu", &total, &resident), 2);
    (void) fclose(file);
    *ret_mapped = (uint64_t) total * (uint64_t) sysconf(_SC_PAGESIZE);
    *ret_resident = (uint64_t) resident * (uint64_t) sysconf(_SC_PAGESIZE);
}

uint64_t front_rss_bytes(const struct front *front)
{
    uint64_t mapped = 0;
    uint64_t resident = 0;
    front_memory(front, &mapped, &resident);
    return resident;
}

uint64_t front_mapped_bytes(const struct front *front)
{
    uint64_t mapped = 0;
    uint64_t resident = 0;
    front_memory(front, &mapped, &resident);
    return mapped;
}

static void turn_over(struct wheel_timer *timer, void *ud)
{
    (void) timer;
    (void) ud;
}

void front_turn(struct front *front)
{
    struct wheel_timer timer;
    wheel_timer_init(&timer, turn_over, NULL);
    loop_timer_start(front->loop, &timer, 2); /* sockets of clients are not in the loop */
    loop_turn(front->loop);
    wheel_cancel(loop_wheel(front->loop), &timer);
}

/* Answer; frontd may be gone by now. */
static void fake_reply(struct fake *fake, uint64_t ticket, const struct bus_outgoing *out)
{
    int result = bus_reply(fake->bus, ticket, out);
    ck_assert(result == 0 || result == ERR_CLOSED);
}

/* --- the fake raftd --- */

static void append_stream(struct buf *out, const char *name, uint64_t log_group)
{
    struct buf stream = {0};
    uint8_t id[16] = {(uint8_t) log_group, (uint8_t) (log_group >> 8), 7};
    pb_append_bytes(&stream, 1, span_of("default"));
    pb_append_bytes(&stream, 2, span_of(name));
    pb_append_bytes(&stream, 3, span_make(id, sizeof(id)));
    pb_append_varint(&stream, 4, log_group);
    pb_append_varint(&stream, 5, 1);
    pb_append_bytes(&stream, 6, span_make("\x08\x01", 2)); /* replicas 1 */
    pb_append_fixed64(&stream, 7, 1000);
    pb_append_bytes(out, 4, buf_span(&stream));
    buf_release(&stream);
}

static void append_group(struct buf *out, const char *name, uint64_t id, uint64_t log_group)
{
    struct buf group = {0};
    pb_append_varint(&group, 1, id);
    pb_append_varint(&group, 2, log_group);
    pb_append_bytes(&group, 3, span_of(name));
    pb_append_varint(&group, 4, 1);
    pb_append_bytes(&group, 5, span_make("\x08\x00\x10\x64", 4)); /* shared, max_in_flight 100 */
    pb_append_bytes(out, 6, buf_span(&group));
    buf_release(&group);
}

static void raftd_tell(struct front *front, struct span fields, bool reset)
{
    struct buf changes = {0};
    if (front->raftd.link == NULL) {
        return;
    }
    pb_append_varint(&changes, 1, front->revision);
    pb_append_varint(&changes, 2, reset);
    buf_append(&changes, fields);
    fake_event(&front->raftd, RAILGUN__BUS_TYPE__BUS_CATALOG_CHANGES, 0, buf_span(&changes),
               (struct span){0});
    buf_release(&changes);
}

static void front_add(struct front *front, struct buf *fields)
{
    buf_append(&front->streams, buf_span(fields));
    front->revision++;
    raftd_tell(front, buf_span(fields), false);
    buf_release(fields);
}

void front_add_stream(struct front *front, const char *name)
{
    struct buf fields = {0};
    append_stream(&fields, name, front->next_log_group++);
    front_add(front, &fields);
}

void front_add_group(struct front *front, uint64_t log_group, const char *name)
{
    struct buf fields = {0};
    append_group(&fields, name, front->next_group_id++, log_group);
    front_add(front, &fields);
}

void front_add_exchange(struct front *front, const char *namespace_, const char *name)
{
    struct buf exchange = {0};
    struct buf fields = {0};
    pb_append_bytes(&exchange, 1, span_of(namespace_));
    pb_append_bytes(&exchange, 2, span_of(name));
    pb_append_varint(&exchange, 3, 1);
    pb_append_bytes(&fields, 9, buf_span(&exchange));
    buf_release(&exchange);
    front_add(front, &fields);
}

/* Who asks, in the front; returns what for. */
static struct span raftd_read_change(struct front *front, const struct bus_message *message)
{
    struct span rest = message->meta;
    struct span body = {0};
    struct pb_field field;
    while (pb_next(&rest, &field) == 1) {
        if (field.number == 1) {
            (void) snprintf(front->namespace_, sizeof(front->namespace_), "%.*s",
                            (int) field.bytes.size, (const char *) field.bytes.data);
        } else if (field.number == 2) {
            body = field.bytes;
        }
    }
    return body;
}

static void raftd_ensure(struct front *front, const struct bus_message *message)
{
    struct span body = raftd_read_change(front, message);
    Railgun__Ensure *ensure = NULL;
    ck_assert_int_eq(SCAN_UNPACK(body, railgun__ensure, &ensure), 0);
    struct buf meta = {0};
    pb_append_varint(&meta, 1, RAILGUN__ENSURE_OK__RESULT__CREATED);
    pb_append_varint(&meta, 3, 1);
    pb_append_varint(&meta, 5, front->revision + 1);
    struct bus_outgoing out = {.type = message->type, .meta = buf_span(&meta)};
    if (front->late_changes) {
        fake_reply(&front->raftd, message->ticket, &out);
    }
    if (ensure->kind == RAILGUN__KIND__KIND_STREAM) {
        front_add_stream(front, ensure->name);
    } else if (ensure->kind == RAILGUN__KIND__KIND_EXCHANGE) {
        front_add_exchange(front, front->namespace_, ensure->name);
    } else {
        front_add_group(front, 1024, ensure->group);
    }
    if (!front->late_changes) {
        fake_reply(&front->raftd, message->ticket, &out);
    }
    buf_release(&meta);
    SCAN_FREE(&ensure);
}

static void raftd_message(struct front *front, const struct bus_message *message)
{
    struct buf meta = {0};
    if (message->type == RAILGUN__BUS_TYPE__BUS_CATALOG_WATCH) {
        raftd_tell(front, buf_span(&front->streams), true);
        pb_append_bytes(&meta, 1, span_make(cluster, sizeof(cluster)));
        pb_append_varint(&meta, 2, 1);
        pb_append_varint(&meta, 3, front->revision);
        struct bus_outgoing out = {.type = message->type, .meta = buf_span(&meta)};
        fake_reply(&front->raftd, message->ticket, &out);
    } else if (message->type == RAILGUN__BUS_TYPE__BUS_CATALOG_ENSURE) {
        raftd_ensure(front, message);
    } else if (message->type == RAILGUN__BUS_TYPE__BUS_STATUS) {
        pb_append_bytes(&meta, 1, span_of("raftd-0"));
        pb_append_bytes(&meta, 4, span_of("ready"));
        struct bus_outgoing out = {.type = message->type, .meta = buf_span(&meta)};
        fake_reply(&front->raftd, message->ticket, &out);
    } else {
        (void) raftd_read_change(front, message);
        ck_assert_int_eq(bus_reply_error(front->raftd.bus, message->ticket, ERR_NOT_FOUND, "fake"),
                         0);
    }
    buf_release(&meta);
}

/* --- the fake logd --- */

static void logd_reply(struct front *front, uint64_t ticket, struct span meta,
                       const struct slice *body)
{
    struct bus_outgoing out = {.meta = meta};
    if (body != NULL) {
        out.body = *body;
    }
    fake_reply(&front->logd, ticket, &out);
}

static void logd_stored(struct front *front, uint64_t ticket)
{
    struct buf meta = {0};
    pb_append_varint(&meta, 1, front->next_offset++);
    pb_append_varint(&meta, 2, 1);
    logd_reply(front, ticket, buf_span(&meta), NULL);
    buf_release(&meta);
}

void front_release_publishes(struct front *front)
{
    for (unsigned i = 0; i < front->seen.ticket_count; i++) {
        logd_stored(front, front->seen.tickets[i]);
    }
    front->seen.ticket_count = 0;
}

static void logd_publish(struct front *front, const struct bus_message *message)
{
    struct logd_seen *seen = &front->seen;
    seen->publish_sizes[seen->publishes++ % 256] = message->body.bytes.size;
    seen->publish_group = message->subject;
    buf_reset(&seen->publish_meta);
    buf_append(&seen->publish_meta, message->meta);
    buf_reset(&seen->publish_body);
    buf_append(&seen->publish_body, message->body.bytes);
    if (front->hold_publishes) {
        ck_assert_uint_lt(seen->ticket_count, 64);
        seen->tickets[seen->ticket_count++] = message->ticket;
    } else if (front->publish_error != 0) {
        ck_assert_int_eq(
            bus_reply_error(front->logd.bus, message->ticket, front->publish_error, "fake"), 0);
    } else {
        logd_stored(front, message->ticket);
    }
}

static void logd_attach(struct front *front, const struct bus_message *message)
{
    struct logd_seen *seen = &front->seen;
    Railgun__LogAttach *attach = NULL;
    struct buf meta = {0};
    ck_assert_int_eq(SCAN_UNPACK(message->meta, railgun__log_attach, &attach), 0);
    seen->attaches++;
    seen->consumer = attach->consumer;
    seen->attach_messages = attach->credit_messages;
    seen->attach_bytes = attach->credit_bytes;
    seen->attach_group_id = attach->group_id;
    seen->attach_ephemeral = attach->ephemeral;
    seen->attach_priority = attach->priority;
    (void) snprintf(seen->attach_group, sizeof seen->attach_group, "%s",
                    attach->group != NULL ? attach->group : "");
    if (seen->attaches <= 16) {
        seen->consumers[seen->attaches - 1] = attach->consumer;
    }
    bool is_nameless = seen->attach_group[0] == 0;
    SCAN_FREE(&attach);
    pb_append_varint(&meta, 1, seen->attaches);     /* member */
    pb_append_varint(&meta, 6, front->next_offset); /* end_offset */
    pb_append_bytes(&meta, 7, span_make(NULL, 0));  /* as the real one: frontd knows better */
    if (is_nameless) {
        pb_append_bytes(&meta, 11, span_of("e-made"));
    }
    logd_reply(front, message->ticket, buf_span(&meta), NULL);
    buf_release(&meta);
}

static void logd_read(struct front *front, const struct bus_message *message)
{
    Railgun__Read *read = NULL;
    struct buf meta = {0};
    struct buf batch = {0};
    ck_assert_int_eq(SCAN_UNPACK(message->meta, railgun__read, &read), 0);
    front->seen.reads++;
    front->seen.read_max_bytes = read->max_bytes;
    SCAN_FREE(&read);
    batch_fill(&batch, front->read_records, 100);
    pb_append_varint(&meta, 1, 1);
    pb_append_varint(&meta, 2, front->read_records);
    struct payload *payload = payload_copy(buf_span(&batch));
    struct slice body = {payload, payload_span(payload)};
    logd_reply(front, message->ticket, buf_span(&meta), &body);
    slice_release(&body);
    buf_release(&meta);
    buf_release(&batch);
}

static void logd_credit(struct front *front, struct span meta)
{
    struct pb_field field;
    while (pb_next(&meta, &field) == 1) {
        if (field.number == 1) {
            front->seen.credit_messages += field.value;
        } else {
            front->seen.credit_bytes += field.value;
        }
    }
}

static void logd_message(struct front *front, const struct bus_message *message)
{
    struct logd_seen *seen = &front->seen;
    switch (message->type) {
    case RAILGUN__BUS_TYPE__BUS_LOG_PUBLISH:
        logd_publish(front, message);
        break;
    case RAILGUN__BUS_TYPE__BUS_LOG_READ:
        logd_read(front, message);
        break;
    case RAILGUN__BUS_TYPE__BUS_LOG_ATTACH:
        logd_attach(front, message);
        break;
    case RAILGUN__BUS_TYPE__BUS_LOG_DETACH:
        seen->detaches++;
        seen->detach_count_failed = pb_find_varint(message->meta, 1) != 0;
        seen->detach_drain = pb_find_varint(message->meta, 2) != 0;
        seen->detach_drain_ms = pb_find_varint(message->meta, 3);
        if (seen->detach_drain) {
            seen->detach_ticket = message->ticket;
        } else {
            logd_reply(front, message->ticket, (struct span){0}, NULL);
        }
        break;
    case RAILGUN__BUS_TYPE__BUS_LOG_ACK:
        seen->acks++;
        logd_reply(front, message->ticket, (struct span){0}, NULL);
        break;
    case RAILGUN__BUS_TYPE__BUS_LOG_ACK_ONEWAY:
        seen->acks_oneway++;
        break;
    case RAILGUN__BUS_TYPE__BUS_LOG_CREDIT:
        logd_credit(front, message->meta);
        break;
    default: {
        struct buf meta = {0};
        if (message->type == RAILGUN__BUS_TYPE__BUS_LOG_GROUP_INFO &&
            pb_find_varint(message->meta, 1) == 0) { /* no ephemeral groups here */
            ck_assert_int_eq(bus_reply_error(front->logd.bus, message->ticket, ERR_NOT_FOUND, NULL),
                             0);
            break;
        }
        pb_append_varint(&meta, 5, 42); /* first_offset or floor */
        logd_reply(front, message->ticket, buf_span(&meta), NULL);
        buf_release(&meta);
    }
    }
}

void front_end_drain(struct front *front)
{
    logd_reply(front, front->seen.detach_ticket, (struct span){0}, NULL);
}

/* --- both --- */

static void fake_up(void *ud, struct bus_link *link)
{
    struct fake *fake = ud;
    fake->link = link;
    fake->ups++;
}

static void fake_down(void *ud, struct bus_link *link)
{
    struct fake *fake = ud;
    (void) link;
    fake->link = NULL;
}

static void fake_message(void *ud, struct bus_link *link, struct bus_message *message)
{
    struct fake *fake = ud;
    (void) link;
    if (fake == &fake->front->raftd) {
        raftd_message(fake->front, message);
    } else {
        if (fake->front->hold_credit) {
            bus_message_hold(message);
        }
        logd_message(fake->front, message);
    }
}

void fake_start(struct front *front, struct fake *fake, const char *name)
{
    struct bus_options options = {.run_dir = front->run_dir, .name = name};
    if (fake == &front->logd) {
        options.window_bytes = front->window_bytes;
        options.window_messages = front->window_messages;
    }
    struct bus_handlers handlers = {
        .on_up = fake_up, .on_down = fake_down, .on_message = fake_message, .ud = fake};
    fake->front = front;
    fake->name = name;
    ck_assert_int_eq(bus_open(&options, front->loop, &handlers, &fake->bus), 0);
    ck_assert_int_eq(bus_bind(fake->bus), 0);
}

void fake_stop(struct fake *fake)
{
    if (fake->bus != NULL) {
        bus_close(&fake->bus);
    }
}

void fake_event(struct fake *fake, uint16_t type, uint64_t subject, struct span meta,
                struct span body)
{
    struct payload *payload = payload_copy(body);
    struct bus_outgoing out = {.type = type, .subject = subject, .meta = meta};
    out.body = (struct slice){payload, payload_span(payload)};
    int result = 0;
    while ((result = bus_event(fake->link, &out)) == ERR_AGAIN) {
        front_turn(fake->front);
    }
    ck_assert_int_eq(result, 0);
    payload_unref(&payload);
}

/* --- clients --- */

void client_connect(struct client *client, struct front *front)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(front->port)};
    *client = (struct client){.front = front};
    client->fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_ge(client->fd, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(connect(client->fd, (struct sockaddr *) &address, sizeof(address)), 0);
}

void client_open(struct client *client, struct front *front)
{
    Railgun__Hello hello = RAILGUN__HELLO__INIT;
    client_connect(client, front);
    client_send(client, 0, 1, RAILGUN__FRAME__BODY_HELLO, &hello);
    Railgun__Frame *frame = client_expect(client, RAILGUN__FRAME__BODY_HELLO_OK, 1);
    SCAN_FREE(&frame);
}

void client_close(struct client *client)
{
    (void) close(client->fd);
    buf_release(&client->in);
}

void client_send_bytes(struct client *client, struct span bytes)
{
    while (bytes.size != 0) {
        ssize_t sent = send(client->fd, bytes.data, bytes.size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN) {
            return; /* closed on us: the test finds out when it reads */
        }
        if (sent > 0) {
            bytes = span_make(bytes.data + sent, bytes.size - (size_t) sent);
        } else {
            front_turn(client->front);
        }
    }
}

void client_send(struct client *client, uint32_t channel, uint64_t corr, uint32_t field,
                 const void *body)
{
    struct buf bytes = {0};
    struct buf frame = {0};
    if (body != NULL) {
        scan_pack(&bytes, (const ProtobufCMessage *) body);
    }
    frame_append(&frame, channel, corr, field, buf_span(&bytes));
    client_send_bytes(client, buf_span(&frame));
    buf_release(&bytes);
    buf_release(&frame);
}

void client_poll(struct client *client)
{
    uint8_t piece[65536];
    ssize_t size = 0;
    while (!client->ended && (size = recv(client->fd, piece, sizeof(piece), MSG_DONTWAIT)) != -1) {
        client->ended = size == 0;
        buf_append(&client->in, span_make(piece, (size_t) size));
    }
    if (!client->ended && size < 0 && errno != EAGAIN) {
        client->ended = true;
    }
}

Railgun__Frame *client_recv(struct client *client)
{
    struct span body;
    size_t total = 0;
    for (;;) {
        client_poll(client);
        int result = frame_split(buf_span(&client->in), FRAME_SIZE_MAX_HARD, &body, &total);
        if (result == ERR_INCOMPLETE && client->ended) {
            ck_assert_uint_eq(client->in.size, 0);
            return NULL;
        }
        if (result == ERR_INCOMPLETE) {
            front_turn(client->front);
            continue;
        }
        ck_assert_int_eq(result, 0);
        Railgun__Frame *frame = NULL;
        struct scan_limits limits = scan_limits_default();
        limits.repeated_max = 100000;
        limits.fields_max = 1000000;
        limits.memory_factor = 100;
        ck_assert_int_eq(scan_unpack(body, &railgun__frame__descriptor, &limits,
                                     (ProtobufCMessage **) (void *) &frame),
                         0);
        buf_consume(&client->in, total);
        if (frame->body_case != RAILGUN__FRAME__BODY_PING) {
            return frame;
        }
        SCAN_FREE(&frame);
        if (!client->mute) {
            client_send(client, 0, 0, RAILGUN__FRAME__BODY_PONG, NULL);
        }
    }
}

Railgun__Frame *client_expect(struct client *client, uint32_t field, uint64_t corr)
{
    Railgun__Frame *frame = client_recv(client);
    ck_assert_ptr_nonnull(frame);
    if (frame->body_case == RAILGUN__FRAME__BODY_ERROR && field != RAILGUN__FRAME__BODY_ERROR) {
        ck_abort_msg("error %u: %s", frame->error->code,
                     frame->error->detail != NULL ? frame->error->detail : "");
    }
    ck_assert_uint_eq((uint32_t) frame->body_case, field);
    ck_assert_uint_eq(frame->corr, corr);
    return frame;
}

void client_expect_error(struct client *client, uint64_t corr, unsigned code)
{
    Railgun__Frame *frame = client_expect(client, RAILGUN__FRAME__BODY_ERROR, corr);
    ck_assert_uint_eq(frame->error->code, code);
    ck_assert_ptr_nonnull(frame->error->text);
    SCAN_FREE(&frame);
}

void client_expect_end(struct client *client)
{
    ck_assert_ptr_null(client_recv(client));
}

void batch_fill(struct buf *batch, unsigned count, size_t size)
{
    struct buf payload = {0};
    memset(buf_reserve(&payload, size), 'r', size);
    buf_advance(&payload, size);
    for (unsigned i = 0; i < count; i++) {
        batch_append(batch, buf_span(&payload), (struct span){0}, (struct span){0},
                     (struct span){0});
    }
    buf_release(&payload);
}

void client_publish(struct client *client, const char *stream, uint64_t corr, unsigned count,
                    size_t size)
{
    struct buf batch = {0};
    struct buf body = {0};
    struct buf frame = {0};
    batch_fill(&batch, count, size);
    pb_append_bytes(&body, 1, span_of(stream));
    pb_append_bytes(&body, 2, buf_span(&batch));
    frame_append(&frame, 0, corr, RAILGUN__FRAME__BODY_PUBLISH, buf_span(&body));
    client_send_bytes(client, buf_span(&frame));
    buf_release(&batch);
    buf_release(&body);
    buf_release(&frame);
}

void client_consume(struct client *client, uint32_t channel, uint64_t corr, const char *group,
                    uint64_t messages, uint64_t bytes)
{
    Railgun__Consume consume = RAILGUN__CONSUME__INIT;
    Railgun__Credit credit = RAILGUN__CREDIT__INIT;
    char stream[] = "orders";
    char *name = mem_strdup(group);
    consume.stream = stream;
    consume.group = name;
    credit.has_messages = true;
    credit.messages = messages;
    credit.has_bytes = true;
    credit.bytes = bytes;
    consume.credit = &credit;
    client_send(client, channel, corr, RAILGUN__FRAME__BODY_CONSUME, &consume);
    mem_free(name);
}
