/* raftd alone, as a process, asked over the bus as the other daemons do: what it acknowledged is there after kill -9, also without its
 * database; watches go on over restarts; every kind of bad request gets its error. */
#include "tests/lib/test.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/base/rand.h"
#include "common/run/bus.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/catalog.pb-c.h"
#include "common/wire/scan.h"
#include "tests/system/raftd_process.h"

enum { CLIENT_WAIT_MS = 9000, NAME_MAX_ = 64 };

/* --- the client -------------------------------------------------------------------------------------------- */

struct known { /* a stream as the watch tells */
    char name[NAME_MAX_];
    uint8_t id[16];
    uint64_t log_group;
};

struct client {
    struct loop *loop;
    struct bus *bus;
    struct bus_peer *peer;
    struct bus_link *link; /* NULL while down */
    struct wheel_timer deadline;
    bool is_late;
    /* following */
    bool follows;
    uint64_t revision;
    bool is_in_snapshot;
    unsigned snapshots;
    struct hash *streams; /* name -> struct known */
    struct hash64 *by_group;
    uint64_t groups; /* put events */
    uint64_t endpoints;
    /* the last answer */
    enum bus_outcome outcome;
    int status;
    struct buf meta;
    unsigned answers;
    void (*on_answer)(struct client *self, void *ud);
};

static void client_forget(struct client *self)
{
    void *value;
    for (size_t at = 0; (value = hash64_next(self->by_group, &at)) != NULL;) {
        mem_free(value);
    }
    hash_destroy(&self->streams);
    hash64_destroy(&self->by_group);
    self->streams = hash_new();
    self->by_group = hash64_new();
}

static void client_learn_stream(struct client *self, const Railgun__CatalogStream *stream)
{
    struct known *known = (struct known *) hash64_get(self->by_group, stream->log_group);
    if (known != NULL && stream->deleted_us != 0) { /* in its grace: without its name */
        (void) hash_remove(self->streams, span_of(known->name));
        return;
    }
    if (known == NULL) {
        known = MEM_NEW(struct known);
        (void) snprintf(known->name, sizeof(known->name), "%s", stream->name);
        known->log_group = stream->log_group;
        (void) hash64_put(self->by_group, known->log_group, known);
        ck_assert_ptr_null(hash_put(self->streams, span_of(known->name), known));
    }
    ck_assert_uint_eq(stream->stream_id.len, 16);
    memcpy(known->id, stream->stream_id.data, 16);
    ck_assert_ptr_nonnull(stream->spec);
    ck_assert(stream->spec->has_replicas && stream->spec->replicas == 1);
}

static void client_on_changes(struct client *self, struct span meta)
{
    Railgun__CatalogChanges *changes = NULL;
    struct scan_limits limits = scan_limits_default(); /* of what daemons tell each other */
    limits.repeated_max = 100000;
    limits.fields_max = 1000000;
    limits.memory_factor = 64;
    ck_assert_int_eq(scan_unpack(meta, &railgun__catalog_changes__descriptor, &limits,
                                 (ProtobufCMessage **) (void *) &changes),
                     0);
    if (changes->has_reset && changes->reset) {
        client_forget(self);
        self->snapshots++;
        self->is_in_snapshot = true;
        ck_assert_uint_ge(changes->revision, self->revision);
    } else if (!self->is_in_snapshot) {
        ck_assert_uint_gt(changes->revision, self->revision);
    }
    self->is_in_snapshot = self->is_in_snapshot && changes->more;
    self->revision = changes->revision;
    for (size_t i = 0; i < changes->n_streams; i++) {
        client_learn_stream(self, changes->streams[i]);
    }
    for (size_t i = 0; i < changes->n_streams_deleted; i++) {
        struct known *known =
            (struct known *) hash64_remove(self->by_group, changes->streams_deleted[i]);
        ck_assert_ptr_nonnull(known);
        if (hash_get(self->streams, span_of(known->name)) == known) {
            (void) hash_remove(self->streams, span_of(known->name));
        }
        mem_free(known);
    }
    self->groups += changes->n_groups;
    self->endpoints += changes->n_endpoints;
    SCAN_FREE(&changes);
    loop_stop(self->loop);
}

static void client_on_watch(void *ud, enum bus_outcome outcome, const struct bus_message *reply)
{
    struct client *self = (struct client *) ud;
    if (outcome == BUS_OK) {
        self->status = reply->status;
    }
    loop_stop(self->loop);
}

static void client_watch(struct client *self, uint64_t after)
{
    Railgun__CatalogWatch watch = RAILGUN__CATALOG_WATCH__INIT;
    watch.has_after_revision = 1;
    watch.after_revision = after;
    struct buf meta = {0};
    scan_pack(&meta, &watch.base);
    struct bus_outgoing out = {.type = RAILGUN__BUS_TYPE__BUS_CATALOG_WATCH,
                               .meta = buf_span(&meta)};
    ck_assert_int_eq(bus_request(self->link, &out, CLIENT_WAIT_MS, client_on_watch, self, NULL), 0);
    buf_release(&meta);
}

static void client_on_up(void *ud, struct bus_link *link)
{
    struct client *self = (struct client *) ud;
    self->link = link;
    if (self->follows) {
        client_watch(self, self->revision);
    }
    loop_stop(self->loop);
}

static void client_on_down(void *ud, struct bus_link *link)
{
    (void) link;
    struct client *self = (struct client *) ud;
    self->link = NULL;
    self->is_in_snapshot = false;
    loop_stop(self->loop);
}

static void client_on_message(void *ud, struct bus_link *link, struct bus_message *message)
{
    (void) link;
    ck_assert(!message->is_request);
    ck_assert_uint_eq(message->type, RAILGUN__BUS_TYPE__BUS_CATALOG_CHANGES);
    client_on_changes((struct client *) ud, message->meta);
}

static void client_on_deadline(struct wheel_timer *timer, void *ud)
{
    (void) timer;
    ((struct client *) ud)->is_late = true;
    loop_stop(((struct client *) ud)->loop);
}

/* Run until `is_true`, which is asked whenever something happened. */
typedef bool client_until_fn(const struct client *self, const void *ud);
static void client_run(struct client *self, client_until_fn *is_true, const void *ud)
{
    self->is_late = false;
    loop_timer_start(self->loop, &self->deadline, (uint64_t) (CLIENT_WAIT_MS * test_slowness()));
    while (!is_true(self, ud)) {
        ck_assert(!self->is_late);
        (void) loop_run(self->loop);
    }
    wheel_cancel(loop_wheel(self->loop), &self->deadline);
}

static bool is_up(const struct client *self, const void *ud)
{
    (void) ud;
    return self->link != NULL;
}

static bool is_down(const struct client *self, const void *ud)
{
    (void) ud;
    return self->link == NULL;
}

static bool has_revision(const struct client *self, const void *ud)
{
    return self->revision >= *(const uint64_t *) ud && !self->is_in_snapshot;
}

static bool has_answers(const struct client *self, const void *ud)
{
    return self->answers >= *(const unsigned *) ud;
}

static void client_open(struct client *self, const struct raftd_process *server, bool follows)
{
    char run[200];
    (void) snprintf(run, sizeof(run), "%s/run", server->folder);
    memset(self, 0, sizeof(*self));
    self->follows = follows;
    self->streams = hash_new();
    self->by_group = hash64_new();
    self->loop = loop_new();
    wheel_timer_init(&self->deadline, client_on_deadline, self);
    struct bus_options options = {.run_dir = run, .name = "tester-0"};
    struct bus_handlers handlers = {.on_up = client_on_up,
                                    .on_down = client_on_down,
                                    .on_message = client_on_message,
                                    .ud = self};
    ck_assert_int_eq(bus_open(&options, self->loop, &handlers, &self->bus), 0);
    self->peer = bus_connect(self->bus, "raftd-0");
    ck_assert_ptr_nonnull(self->peer);
    client_run(self, is_up, NULL);
}

static void client_close(struct client *self)
{
    bus_close(&self->bus);
    loop_destroy(&self->loop);
    client_forget(self);
    hash_destroy(&self->streams);
    hash64_destroy(&self->by_group);
    buf_release(&self->meta);
}

/* One request whose answer stays in the client. */
struct waiting {
    struct client *client;
    void *ud;
};

static void client_on_done(void *ud, enum bus_outcome outcome, const struct bus_message *reply)
{
    struct waiting *waiting = (struct waiting *) ud;
    struct client *self = waiting->client;
    self->outcome = outcome;
    self->status = outcome == BUS_OK ? reply->status : 0;
    buf_reset(&self->meta);
    if (outcome == BUS_OK) {
        buf_append(&self->meta, reply->meta);
    }
    self->answers++;
    if (self->on_answer != NULL) {
        self->on_answer(self, waiting->ud);
    }
    mem_free(waiting);
    loop_stop(self->loop);
}

static void client_send(struct client *self, int type, struct span meta, void *ud)
{
    struct waiting *waiting = MEM_NEW(struct waiting);
    waiting->client = self;
    waiting->ud = ud;
    struct bus_outgoing out = {.type = (uint16_t) type, .meta = meta};
    ck_assert_int_eq(bus_request(self->link, &out, CLIENT_WAIT_MS, client_on_done, waiting, NULL),
                     0);
}

static int client_ask(struct client *self, int type, struct span meta)
{
    unsigned wanted = self->answers + 1;
    client_send(self, type, meta, NULL);
    client_run(self, has_answers, &wanted);
    ck_assert_int_eq(self->outcome, BUS_OK);
    return self->status;
}

/* --- requests ---------------------------------------------------------------------------------------------- */

static char *text(const char *constant)
{
    return (char *) (uintptr_t) constant;
}

static void pack_ensure(struct buf *out, Railgun__Ensure *ensure)
{
    Railgun__CatalogEnsure wrapped = RAILGUN__CATALOG_ENSURE__INIT;
    bool is_exchange = ensure->kind == RAILGUN__KIND__KIND_EXCHANGE;
    wrapped.namespace_ = is_exchange ? text("games") : NULL;
    wrapped.ensure = ensure;
    scan_pack(out, &wrapped.base);
}

static Railgun__Ensure ensure_of_stream(const char *name)
{
    Railgun__Ensure ensure = RAILGUN__ENSURE__INIT;
    ensure.has_kind = 1;
    ensure.kind = RAILGUN__KIND__KIND_STREAM;
    ensure.name = text(name);
    return ensure;
}

static Railgun__Ensure ensure_of_group(const char *name, const char *group)
{
    Railgun__Ensure ensure = ensure_of_stream(name);
    ensure.kind = RAILGUN__KIND__KIND_GROUP;
    ensure.group = text(group);
    return ensure;
}

/* The status; on 0 the answer in *ret_ok, freed by the caller. */
static int ask_ensure(struct client *self, Railgun__Ensure *ensure, Railgun__EnsureOk **ret_ok)
{
    struct buf meta = {0};
    pack_ensure(&meta, ensure);
    int status = client_ask(self, RAILGUN__BUS_TYPE__BUS_CATALOG_ENSURE, buf_span(&meta));
    buf_release(&meta);
    if (status == 0) {
        ck_assert_int_eq(SCAN_UNPACK(buf_span(&self->meta), railgun__ensure_ok, ret_ok), 0);
    }
    return status;
}

static Railgun__EnsureOk__Result ensure_result(struct client *self, Railgun__Ensure *ensure,
                                               uint64_t *ret_revision)
{
    Railgun__EnsureOk *ok = NULL;
    ck_assert_int_eq(ask_ensure(self, ensure, &ok), 0);
    Railgun__EnsureOk__Result result = ok->result;
    *ret_revision = ok->revision;
    SCAN_FREE(&ok);
    return result;
}

/* The error's detail, or the path of its first difference. */
static void check_refused(struct client *self, Railgun__Ensure *ensure, int status,
                          const char *detail, const char *path)
{
    Railgun__EnsureOk *ok = NULL;
    ck_assert_int_eq(ask_ensure(self, ensure, &ok), status);
    Railgun__Error *error = NULL;
    ck_assert_int_eq(SCAN_UNPACK(buf_span(&self->meta), railgun__error, &error), 0);
    ck_assert_int_eq((int) error->code, -status);
    if (detail != NULL) {
        ck_assert_str_eq(error->detail, detail);
    }
    if (path != NULL) {
        ck_assert_uint_ge(error->n_diff, 1);
        ck_assert_str_eq(error->diff[0]->path, path);
    }
    SCAN_FREE(&error);
}

static int ask_delete_in(struct client *self, const char *namespace_, Railgun__Kind kind,
                         const char *name, const char *group)
{
    Railgun__Delete delete_ = RAILGUN__DELETE__INIT;
    delete_.has_kind = 1;
    delete_.kind = kind;
    delete_.name = text(name);
    delete_.group = text(group);
    Railgun__CatalogDelete wrapped = RAILGUN__CATALOG_DELETE__INIT;
    wrapped.namespace_ = text(namespace_);
    wrapped.delete_ = &delete_;
    struct buf meta = {0};
    scan_pack(&meta, &wrapped.base);
    int status = client_ask(self, RAILGUN__BUS_TYPE__BUS_CATALOG_DELETE, buf_span(&meta));
    buf_release(&meta);
    return status;
}

static int ask_delete(struct client *self, const char *name, const char *group)
{
    return ask_delete_in(self, NULL,
                         group == NULL ? RAILGUN__KIND__KIND_STREAM : RAILGUN__KIND__KIND_GROUP,
                         name, group);
}

static int ask_register(struct client *self, const char *daemon, const char *endpoint)
{
    Railgun__CatalogRegister request = RAILGUN__CATALOG_REGISTER__INIT;
    request.daemon = text(daemon);
    request.endpoint = text(endpoint);
    struct buf meta = {0};
    scan_pack(&meta, &request.base);
    int status = client_ask(self, RAILGUN__BUS_TYPE__BUS_CATALOG_REGISTER, buf_span(&meta));
    buf_release(&meta);
    return status;
}

/* --- tests ------------------------------------------------------------------------------------------------- */

TEST_WITHIN(raftd_ensures_and_deletes_and_tells_who_follows, 30)
{
    struct raftd_process server = raftd_process_new();
    struct client client;
    client_open(&client, &server, true);
    uint64_t one = 1;
    client_run(&client, has_revision, &one);
    ck_assert_uint_eq(client.snapshots, 1);

    Railgun__Ensure stream = ensure_of_stream("orders");
    uint64_t created;
    uint64_t revision;
    ck_assert_int_eq(ensure_result(&client, &stream, &created),
                     RAILGUN__ENSURE_OK__RESULT__CREATED);
    ck_assert_int_eq(ensure_result(&client, &stream, &revision),
                     RAILGUN__ENSURE_OK__RESULT__UNCHANGED);
    ck_assert_uint_eq(revision, created); /* what changes nothing is no entry of the log */
    client_run(&client, has_revision, &created);
    ck_assert_ptr_nonnull(hash_get(client.streams, span_of("orders")));

    Railgun__GroupSpec spec = RAILGUN__GROUP_SPEC__INIT;
    spec.has_max_in_flight = 1;
    spec.max_in_flight = 10;
    Railgun__Ensure group = ensure_of_group("orders", "workers");
    group.group_spec = &spec;
    ck_assert_int_eq(ensure_result(&client, &group, &revision),
                     RAILGUN__ENSURE_OK__RESULT__CREATED);
    client_run(&client, has_revision, &revision);
    ck_assert_uint_eq(client.groups, 1);
    spec.max_in_flight = 20;
    check_refused(&client, &group, ERR_VERSION_CONFLICT, NULL, "max_in_flight");
    Railgun__EnsureOk *ok = NULL;
    group.has_mode = 1;
    group.mode = RAILGUN__ENSURE__MODE__MODE_WARN;
    ck_assert_int_eq(ask_ensure(&client, &group, &ok), 0);
    ck_assert_int_eq(ok->result, RAILGUN__ENSURE_OK__RESULT__DIFFERS);
    ck_assert_uint_eq(ok->n_diff, 1);
    ck_assert_str_eq(ok->diff[0]->path, "max_in_flight");
    ck_assert_str_eq(ok->diff[0]->current, "10");
    ck_assert_str_eq(ok->diff[0]->wanted, "20");
    ck_assert_str_eq(ok->diff[0]->class_, "dynamic");
    ck_assert(ok->has_stream_id);
    SCAN_FREE(&ok);
    group.has_mode = 0;
    group.has_version = 1;
    group.version = 2;
    ck_assert_int_eq(ensure_result(&client, &group, &revision),
                     RAILGUN__ENSURE_OK__RESULT__UPDATED);

    ck_assert_int_eq(ask_register(&client, "logd-0", "ipc:///x"), 0);
    ck_assert_int_eq(ask_register(&client, "logd-0", "ipc:///x"), 0); /* known: not logged again */
    revision += 1;
    client_run(&client, has_revision, &revision);
    ck_assert_uint_eq(client.endpoints, 1);

    ck_assert_int_eq(ask_delete(&client, "orders", "workers"), 0);
    ck_assert_int_eq(ask_delete(&client, "orders", "workers"), ERR_NOT_FOUND);
    ck_assert_int_eq(ask_delete(&client, "orders", NULL), 0);
    ck_assert_int_eq(ask_delete(&client, "orders", NULL), ERR_NOT_FOUND);
    revision += 2;
    client_run(&client, has_revision, &revision);
    ck_assert_uint_eq(hash_count(client.streams), 0);
    ck_assert_uint_eq(client.snapshots, 1);
    client_close(&client);
    raftd_process_stop(&server);
}

TEST_WITHIN(raftd_refuses_what_is_wrong_or_not_built, 30)
{
    struct raftd_process server = raftd_process_new();
    struct client client;
    client_open(&client, &server, false);
    Railgun__Ensure good = ensure_of_stream("orders");
    uint64_t revision;
    ck_assert_int_eq(ensure_result(&client, &good, &revision), RAILGUN__ENSURE_OK__RESULT__CREATED);

    Railgun__Ensure bad = ensure_of_stream("no good");
    check_refused(&client, &bad, ERR_BAD_REQUEST, NULL, NULL);
    bad = ensure_of_group("missing", "g");
    check_refused(&client, &bad, ERR_NOT_FOUND, "no such stream", NULL);
    bad = ensure_of_stream("missing");
    bad.has_mode = 1;
    bad.mode = RAILGUN__ENSURE__MODE__MODE_CHECK;
    check_refused(&client, &bad, ERR_NOT_FOUND, NULL, NULL);

    Railgun__StreamSpec spec = RAILGUN__STREAM_SPEC__INIT;
    bad = ensure_of_stream("orders");
    bad.stream = &spec;
    spec.has_replicas = 1;
    spec.replicas = 3;
    check_refused(&client, &bad, ERR_BAD_CONFIG, "replicas: 3 asked; only 1 is possible", NULL);
    spec.has_replicas = 0;
    spec.has_max_bytes = 1;
    spec.max_bytes = UINT64_MAX;
    check_refused(&client, &bad, ERR_BAD_CONFIG, NULL, NULL);

    Railgun__Start start = RAILGUN__START__INIT;
    start.has_at = 1;
    start.at = RAILGUN__START__AT__AT_LATEST;
    Railgun__GroupSpec group_spec = RAILGUN__GROUP_SPEC__INIT;
    Railgun__Ensure group = ensure_of_group("orders", "g");
    group.group_spec = &group_spec;
    ck_assert_int_eq(ensure_result(&client, &group, &revision),
                     RAILGUN__ENSURE_OK__RESULT__CREATED);
    group_spec.start = &start;
    group.has_version = 1;
    group.version = 2;
    check_refused(&client, &group, ERR_IMMUTABLE, NULL, "start.at");

    ck_assert_int_eq(
        client_ask(&client, RAILGUN__BUS_TYPE__BUS_CATALOG_ENSURE, span_of("\xff\xff")),
        ERR_PROTOCOL);
    ck_assert_int_eq(client_ask(&client, RAILGUN__BUS_TYPE__BUS_CATALOG_ENSURE, span_of("")),
                     ERR_BAD_REQUEST);
    ck_assert_int_eq(client_ask(&client, RAILGUN__BUS_TYPE__BUS_CATALOG_DELETE, span_of("")),
                     ERR_BAD_REQUEST);
    ck_assert_int_eq(client_ask(&client, RAILGUN__BUS_TYPE__BUS_LOG_READ, span_of("")),
                     ERR_UNKNOWN_FRAME);
    ck_assert_int_eq(ask_register(&client, "logd 0", "ipc:///x"), ERR_BAD_REQUEST);
    ck_assert_int_eq(ask_register(&client, "logd-0", ""), ERR_BAD_REQUEST);

    uint8_t other[16] = {1, 2, 3};
    Railgun__CatalogWatch watch = RAILGUN__CATALOG_WATCH__INIT;
    watch.has_cluster = 1;
    watch.cluster = (ProtobufCBinaryData){sizeof(other), other};
    struct buf meta = {0};
    scan_pack(&meta, &watch.base);
    ck_assert_int_eq(client_ask(&client, RAILGUN__BUS_TYPE__BUS_CATALOG_WATCH, buf_span(&meta)),
                     ERR_WRONG_CLUSTER);
    buf_release(&meta);
    client_close(&client);
    raftd_process_stop(&server);
}

TEST_WITHIN(an_exchange_outlives_kill_9_in_its_namespace_until_it_is_deleted, 30)
{
    struct raftd_process server = raftd_process_new();
    struct client client;
    client_open(&client, &server, false);
    Railgun__Ensure exchange = ensure_of_stream("ticks");
    exchange.kind = RAILGUN__KIND__KIND_EXCHANGE; /* in "games": pack_ensure */
    uint64_t revision;
    ck_assert_int_eq(ensure_result(&client, &exchange, &revision),
                     RAILGUN__ENSURE_OK__RESULT__CREATED);
    raftd_process_kill(&server);
    client_run(&client, is_down, NULL);
    raftd_process_start(&server);
    client_run(&client, is_up, NULL);
    ck_assert_int_eq(ensure_result(&client, &exchange, &revision),
                     RAILGUN__ENSURE_OK__RESULT__UNCHANGED);
    Railgun__StreamSpec wrong = RAILGUN__STREAM_SPEC__INIT;
    Railgun__Ensure bad = exchange;
    bad.stream = &wrong;
    check_refused(&client, &bad, ERR_BAD_REQUEST, NULL, NULL);
    Railgun__ExchangeSpec spec = RAILGUN__EXCHANGE_SPEC__INIT;
    bad = ensure_of_stream("orders");
    bad.exchange = &spec;
    check_refused(&client, &bad, ERR_BAD_REQUEST, NULL, NULL);
    Railgun__Kind kind = RAILGUN__KIND__KIND_EXCHANGE;
    ck_assert_int_eq(ask_delete_in(&client, NULL, kind, "ticks", NULL), ERR_NOT_FOUND);
    ck_assert_int_eq(ask_delete_in(&client, "a/b", kind, "ticks", NULL), ERR_BAD_REQUEST);
    ck_assert_int_eq(ask_delete_in(&client, "games", kind, "ticks", "g"), ERR_BAD_REQUEST);
    ck_assert_int_eq(ask_delete_in(&client, "games", RAILGUN__KIND__KIND_STREAM, "t", NULL),
                     ERR_UNSUPPORTED);
    ck_assert_int_eq(ask_delete_in(&client, "games", kind, "ticks", NULL), 0);
    ck_assert_int_eq(ask_delete_in(&client, "games", kind, "ticks", NULL), ERR_NOT_FOUND);
    client_close(&client);
    raftd_process_stop(&server);
}

struct tally {
    unsigned created;
    unsigned unchanged;
};

static void count_result(struct client *self, void *ud)
{
    struct tally *tally = (struct tally *) ud;
    Railgun__EnsureOk *ok = NULL;
    ck_assert_int_eq(self->status, 0);
    ck_assert_int_eq(SCAN_UNPACK(buf_span(&self->meta), railgun__ensure_ok, &ok), 0);
    tally->created += ok->result == RAILGUN__ENSURE_OK__RESULT__CREATED;
    tally->unchanged += ok->result == RAILGUN__ENSURE_OK__RESULT__UNCHANGED;
    SCAN_FREE(&ok);
}

TEST_WITHIN(of_many_that_ensure_one_name_at_once_one_creates_it, 30)
{
    struct raftd_process server = raftd_process_new();
    struct client client;
    client_open(&client, &server, false);
    client.on_answer = count_result;
    struct tally tally = {0};
    struct buf meta = {0};
    Railgun__Ensure stream = ensure_of_stream("orders");
    pack_ensure(&meta, &stream);
    unsigned wanted = 50;
    for (unsigned i = 0; i < wanted; i++) {
        client_send(&client, RAILGUN__BUS_TYPE__BUS_CATALOG_ENSURE, buf_span(&meta), &tally);
    }
    client_run(&client, has_answers, &wanted);
    ck_assert_uint_eq(tally.created, 1);
    ck_assert_uint_eq(tally.unchanged, wanted - 1);
    buf_release(&meta);
    client_close(&client);
    raftd_process_stop(&server);
}

/* What was acknowledged: names are numbers, ids as answered. */
enum { ACKED_MAX = 20000 };
struct ledger {
    uint8_t ids[ACKED_MAX][16];
    bool is_acked[ACKED_MAX];
    unsigned acked;
    unsigned unknown;
};

struct asked {
    struct ledger *ledger;
    unsigned number;
};

static void note_answer(struct client *self, void *ud)
{
    struct asked *asked = (struct asked *) ud;
    struct ledger *ledger = asked->ledger;
    if (self->outcome != BUS_OK) {
        ledger->unknown++;
    } else {
        Railgun__EnsureOk *ok = NULL;
        ck_assert_int_eq(self->status, 0);
        ck_assert_int_eq(SCAN_UNPACK(buf_span(&self->meta), railgun__ensure_ok, &ok), 0);
        ck_assert_int_eq(ok->result, RAILGUN__ENSURE_OK__RESULT__CREATED);
        memcpy(ledger->ids[asked->number], ok->stream_id.data, 16);
        ledger->is_acked[asked->number] = true;
        ledger->acked++;
        SCAN_FREE(&ok);
    }
    mem_free(asked);
}

static void send_numbered(struct client *client, struct ledger *ledger, unsigned number)
{
    char name[NAME_MAX_];
    (void) snprintf(name, sizeof(name), "s%u", number);
    Railgun__Ensure stream = ensure_of_stream(name);
    struct buf meta = {0};
    pack_ensure(&meta, &stream);
    struct asked *asked = MEM_NEW(struct asked);
    asked->ledger = ledger;
    asked->number = number;
    client_send(client, RAILGUN__BUS_TYPE__BUS_CATALOG_ENSURE, buf_span(&meta), asked);
    buf_release(&meta);
}

static void check_ledger(const struct client *client, const struct ledger *ledger, unsigned asked)
{
    for (unsigned i = 0; i < asked; i++) {
        char name[NAME_MAX_];
        (void) snprintf(name, sizeof(name), "s%u", i);
        const struct known *known = (const struct known *) hash_get(client->streams, span_of(name));
        if (ledger->is_acked[i]) {
            ck_assert_msg(known != NULL, "%s was acknowledged and is gone", name);
            ck_assert_int_eq(memcmp(known->id, ledger->ids[i], 16), 0);
        }
    }
    ck_assert_uint_le(hash_count(client->streams), ledger->acked + ledger->unknown);
}

/* Wait until the watch has told the revision of the last answer. */
static void hear_of_last_answer(struct client *client)
{
    Railgun__EnsureOk *ok = NULL;
    ck_assert_int_eq(client->outcome, BUS_OK);
    ck_assert_int_eq(SCAN_UNPACK(buf_span(&client->meta), railgun__ensure_ok, &ok), 0);
    uint64_t revision = ok->revision;
    SCAN_FREE(&ok);
    client_run(client, has_revision, &revision);
}

static bool has_acked(const struct client *self, const void *ud)
{
    (void) self;
    const struct ledger *ledger = ((const struct ledger *const *) ud)[0];
    return ledger->acked >= *((const unsigned *const *) ud)[1];
}

TEST_WITHIN(what_raftd_acknowledged_is_there_after_kill_9_and_without_its_database, 90)
{
    struct raftd_process server = raftd_process_new();
    struct ledger *ledger = MEM_NEW(struct ledger);
    struct prng prng;
    prng_init(&prng, 5);
    struct client client;
    client_open(&client, &server, true);
    client.on_answer = note_answer;
    unsigned asked = 0;
    for (unsigned round = 0; round < 10; round++) {
        unsigned enough = ledger->acked + 20 + (unsigned) prng_below(&prng, 150);
        for (unsigned i = 0; i < 300; i++) {
            send_numbered(&client, ledger, asked++);
        }
        const void *until[2] = {ledger, &enough};
        client_run(&client, has_acked, until);
        raftd_process_kill(&server); /* in the middle of the rest */
        client_run(&client, is_down, NULL);
        if (round % 3 == 1) {
            raftd_process_remove_database(&server);
        }
        raftd_process_start(&server);
        client_run(&client, is_up, NULL);
        /* One more: its revision is behind all that was acknowledged before, so the watch must have told all of that. */
        send_numbered(&client, ledger, asked++);
        unsigned answers = asked;
        client_run(&client, has_answers, &answers);
        ck_assert_uint_eq(ledger->acked + ledger->unknown, asked);
        hear_of_last_answer(&client);
        check_ledger(&client, ledger, asked);
    }
    ck_assert_uint_gt(ledger->unknown, 0); /* else nothing was in the middle of anything */
    unsigned kept = ledger->acked;
    ck_assert_uint_ge(kept, 200);
    client_close(&client);
    raftd_process_stop(&server);
    mem_free(ledger);
}

static bool has_settled(const struct client *self, const void *ud)
{
    return self->link == NULL && has_answers(self, ud);
}

TEST_WITHIN(after_a_failed_sync_raftd_acknowledges_nothing_and_ends, 60)
{
    struct raftd_process server = {.fails_syncs = true};
    (void) snprintf(server.folder, sizeof(server.folder), "%s", test_folder());
    raftd_process_start(&server);
    struct ledger *ledger = MEM_NEW(struct ledger);
    struct client client;
    client_open(&client, &server, true);
    client.on_answer = note_answer;
    unsigned asked = 0;
    while (client.link != NULL && asked < 1000) { /* one at a time: a sync each */
        send_numbered(&client, ledger, asked++);
        client_run(&client, has_answers, &asked);
    }
    ck_assert_uint_gt(ledger->acked, 5);
    ck_assert_uint_eq(ledger->unknown, 1);
    client_run(&client, has_settled, &asked);
    int status = raftd_process_wait(&server);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 1);

    server.fails_syncs = false;
    raftd_process_start(&server);
    client_run(&client, is_up, NULL);
    send_numbered(&client, ledger, asked++);
    client_run(&client, has_answers, &asked);
    hear_of_last_answer(&client);
    check_ledger(&client, ledger, asked);
    client_close(&client);
    raftd_process_stop(&server);
    mem_free(ledger);
}

TEST_WITHIN(a_second_raftd_on_the_same_directory_does_not_start, 30)
{
    struct raftd_process server = raftd_process_new();
    struct client client;
    client_open(&client, &server, false); /* it runs */
    struct raftd_process second = server;
    raftd_process_start(&second);
    int status = raftd_process_wait(&second);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 1);
    client_close(&client);
    raftd_process_stop(&server);
}

TEST(the_configuration_in_etc_is_what_a_daemon_prints_and_reads)
{
    static const char *const daemons[] = {"raftd", "logd", "routerd", "frontd"};
    char program[1100];
    char command[2600];
    for (unsigned i = 0; i < sizeof(daemons) / sizeof(daemons[0]); i++) {
        raftd_process_program(daemons[i], program, sizeof(program));
        (void) snprintf(command, sizeof(command),
                        "'%s' --print-config | cmp - etc/%s.conf && "
                        "'%s' --check-config --config etc/%s.conf > /dev/null",
                        program, daemons[i], program, daemons[i]);
        ck_assert_msg(system(command) == 0, "etc/%s.conf", daemons[i]);
    }
}
