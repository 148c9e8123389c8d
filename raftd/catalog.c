/* catalog: the tables and the commands. Owns every object in them. It must never look at a clock, draw a random number or read a
 * setting: all of that is in the command, or replicas would part. */
#include "raftd/catalog_private.h"

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/scan.h"

struct catalog *catalog_new(catalog_change_fn *on_change, void *ud)
{
    struct catalog *self = MEM_NEW(struct catalog);
    self->streams = hash_new();
    self->streams_by_group = hash64_new();
    self->groups = hash_new();
    self->groups_by_id = hash64_new();
    self->exchanges = hash_new();
    self->endpoints = hash_new();
    self->next_log_group = CATALOG_LOG_GROUP_FIRST;
    self->next_group_id = CATALOG_GROUP_ID_FIRST;
    self->on_change = on_change;
    self->ud = ud;
    return self;
}

void catalog_destroy(struct catalog **self)
{
    struct catalog *catalog = *self;
    if (catalog == NULL) {
        return;
    }
    void *object;
    for (size_t cursor = 0; (object = hash64_next(catalog->groups_by_id, &cursor)) != NULL;) {
        struct catalog_group *group = (struct catalog_group *) object;
        catalog_group_destroy(&group);
    }
    for (size_t cursor = 0; (object = hash64_next(catalog->streams_by_group, &cursor)) != NULL;) {
        struct catalog_stream *stream = (struct catalog_stream *) object;
        catalog_stream_destroy(&stream);
    }
    for (size_t cursor = 0; (object = hash_next(catalog->exchanges, &cursor)) != NULL;) {
        struct catalog_exchange *exchange = (struct catalog_exchange *) object;
        catalog_exchange_destroy(&exchange);
    }
    for (size_t cursor = 0; (object = hash_next(catalog->endpoints, &cursor)) != NULL;) {
        struct catalog_endpoint *endpoint = (struct catalog_endpoint *) object;
        catalog_endpoint_destroy(&endpoint);
    }
    hash_destroy(&catalog->endpoints);
    hash_destroy(&catalog->exchanges);
    hash64_destroy(&catalog->groups_by_id);
    hash_destroy(&catalog->groups);
    hash64_destroy(&catalog->streams_by_group);
    hash_destroy(&catalog->streams);
    MEM_FREE(*self);
}

/* --- asking ------------------------------------------------------------------------------------------------ */

uint64_t catalog_revision(const struct catalog *self)
{
    return self->applied;
}

uint64_t catalog_node(const struct catalog *self)
{
    return self->node;
}

const struct uuid *catalog_cluster(const struct catalog *self)
{
    return &self->cluster;
}

size_t catalog_stream_count(const struct catalog *self)
{
    return hash_count(self->streams);
}

size_t catalog_deleted_count(const struct catalog *self)
{
    return hash64_count(self->streams_by_group) - hash_count(self->streams);
}

size_t catalog_group_count(const struct catalog *self)
{
    return hash_count(self->groups);
}

size_t catalog_exchange_count(const struct catalog *self)
{
    return hash_count(self->exchanges);
}

const struct catalog_stream *catalog_find_stream(const struct catalog *self, struct span key)
{
    return (const struct catalog_stream *) hash_get(self->streams, key);
}

const struct catalog_group *catalog_find_group(const struct catalog *self, struct span key)
{
    return (const struct catalog_group *) hash_get(self->groups, key);
}

const struct catalog_exchange *catalog_find_exchange(const struct catalog *self, struct span key)
{
    return (const struct catalog_exchange *) hash_get(self->exchanges, key);
}

const struct catalog_endpoint *catalog_find_endpoint(const struct catalog *self, struct span key)
{
    return (const struct catalog_endpoint *) hash_get(self->endpoints, key);
}

const struct catalog_stream *catalog_next_stream(const struct catalog *self, size_t *cursor)
{
    return (const struct catalog_stream *) hash64_next(self->streams_by_group, cursor);
}

const struct catalog_group *catalog_next_group(const struct catalog *self, size_t *cursor)
{
    return (const struct catalog_group *) hash64_next(self->groups_by_id, cursor);
}

const struct catalog_exchange *catalog_next_exchange(const struct catalog *self, size_t *cursor)
{
    return (const struct catalog_exchange *) hash_next(self->exchanges, cursor);
}

const struct catalog_endpoint *catalog_next_endpoint(const struct catalog *self, size_t *cursor)
{
    return (const struct catalog_endpoint *) hash_next(self->endpoints, cursor);
}

struct catalog_stream *catalog_stream_of(const struct catalog *self, struct span namespace_,
                                         struct span name)
{
    struct buf key = {0};
    catalog_stream_key(&key, namespace_, name);
    struct catalog_stream *stream =
        (struct catalog_stream *) hash_get(self->streams, buf_span(&key));
    buf_release(&key);
    return stream;
}

struct catalog_group *catalog_group_of(const struct catalog *self,
                                       const struct catalog_stream *stream, struct span name)
{
    struct buf key = {0};
    catalog_group_key(&key, span_of(stream->key), name);
    struct catalog_group *group = (struct catalog_group *) hash_get(self->groups, buf_span(&key));
    buf_release(&key);
    return group;
}

struct catalog_exchange *catalog_exchange_of(const struct catalog *self, struct span namespace_,
                                             struct span name)
{
    struct buf key = {0};
    catalog_exchange_key(&key, namespace_, name);
    struct catalog_exchange *exchange =
        (struct catalog_exchange *) hash_get(self->exchanges, buf_span(&key));
    buf_release(&key);
    return exchange;
}

static void catalog_decide_exchange(const struct catalog *self,
                                    const struct ensure_request *request,
                                    struct ensure_decision *ret_decision)
{
    const struct catalog_exchange *exchange =
        catalog_exchange_of(self, request->namespace_, request->name);
    ensure_decide(request, exchange != NULL ? &exchange->spec : NULL,
                  exchange != NULL ? exchange->version : 0, 0, ret_decision);
    if (ret_decision->action == ENSURE_DO_CREATE &&
        hash_count(self->exchanges) >= CATALOG_EXCHANGES_MAX) {
        ensure_decision_release(ret_decision);
        ensure_decide_error(ERR_QUOTA, "10,000 exchanges exist", ret_decision);
    }
}

void catalog_decide(const struct catalog *self, const struct ensure_request *request,
                    struct ensure_decision *ret_decision)
{
    if (request->kind == SPEC_EXCHANGE) {
        catalog_decide_exchange(self, request, ret_decision);
        return;
    }
    const struct catalog_stream *stream =
        catalog_stream_of(self, request->namespace_, request->name);
    if (request->kind == SPEC_STREAM) {
        ensure_decide(request, stream != NULL ? &stream->spec : NULL,
                      stream != NULL ? stream->version : 0, stream != NULL ? stream->locked : 0,
                      ret_decision);
        if (ret_decision->error == ERR_NOT_FOUND && request->mode == ENSURE_MODE_UPDATE_ONLY) {
            ret_decision->error = catalog_missing(self, request->namespace_, request->name);
        }
        if (ret_decision->action == ENSURE_DO_CREATE &&
            hash64_count(self->streams_by_group) >= CATALOG_STREAMS_MAX) {
            ensure_decision_release(ret_decision);
            ensure_decide_error(ERR_QUOTA, "100,000 streams exist, with the deleted ones",
                                ret_decision);
        }
    } else if (stream == NULL) {
        int error = catalog_missing(self, request->namespace_, request->name);
        ensure_decide_error(error, error == ERR_NOT_FOUND ? "no such stream" : NULL, ret_decision);
    } else {
        const struct catalog_group *group = catalog_group_of(self, stream, request->group);
        ensure_decide(request, group != NULL ? &group->spec : NULL,
                      group != NULL ? group->version : 0, group != NULL ? group->locked : 0,
                      ret_decision);
        if (ret_decision->action == ENSURE_DO_CREATE &&
            hash64_count(self->groups_by_id) >= CATALOG_GROUPS_MAX) {
            ensure_decision_release(ret_decision);
            ensure_decide_error(ERR_QUOTA, "100,000 groups exist, with those of deleted streams",
                                ret_decision);
        }
    }
    if (stream != NULL) {
        ret_decision->stream_id = stream->id;
    }
}

/* The same sum in whatever order the tables are walked. */
static uint64_t catalog_digest_one(const struct buf *packed, uint64_t seed)
{
    return hash_bytes(buf_span(packed), seed);
}

uint64_t catalog_digest(const struct catalog *self)
{
    enum { SEED_STREAM = 1, SEED_GROUP, SEED_ENDPOINT, SEED_STATE, SEED_EXCHANGE };
    struct buf packed = {0};
    uint64_t sum = 0;
    const struct catalog_stream *stream;
    for (size_t cursor = 0; (stream = catalog_next_stream(self, &cursor)) != NULL;) {
        buf_reset(&packed);
        catalog_stream_pack(stream, &packed);
        sum += catalog_digest_one(&packed, SEED_STREAM);
    }
    const struct catalog_group *group;
    for (size_t cursor = 0; (group = catalog_next_group(self, &cursor)) != NULL;) {
        buf_reset(&packed);
        catalog_group_pack(group, &packed);
        sum += catalog_digest_one(&packed, SEED_GROUP);
    }
    const struct catalog_exchange *exchange;
    for (size_t cursor = 0; (exchange = catalog_next_exchange(self, &cursor)) != NULL;) {
        buf_reset(&packed);
        catalog_exchange_pack(exchange, &packed);
        sum += catalog_digest_one(&packed, SEED_EXCHANGE);
    }
    const struct catalog_endpoint *endpoint;
    for (size_t cursor = 0; (endpoint = catalog_next_endpoint(self, &cursor)) != NULL;) {
        buf_reset(&packed);
        catalog_endpoint_pack(endpoint, &packed);
        sum += catalog_digest_one(&packed, SEED_ENDPOINT);
    }
    buf_reset(&packed);
    catalog_pack_state(self, &packed);
    sum += catalog_digest_one(&packed, SEED_STATE);
    buf_release(&packed);
    return sum;
}

/* --- putting in -------------------------------------------------------------------------------------------- */

void catalog_tell(const struct catalog *self, const struct catalog_change *change)
{
    if (self->on_change != NULL) {
        self->on_change(self->ud, change);
    }
}

void catalog_add_stream(struct catalog *self, struct catalog_stream *stream)
{
    void *old = NULL;
    if (stream->deleted_us == 0) {
        old = hash_put(self->streams, span_of(stream->key), stream);
        INVARIANT(old == NULL);
    }
    old = hash64_put(self->streams_by_group, stream->log_group, stream);
    INVARIANT(old == NULL);
}

void catalog_add_group(struct catalog *self, struct catalog_group *group)
{
    void *old = NULL;
    if (group->stream->deleted_us == 0) {
        old = hash_put(self->groups, span_of(group->key), group);
        INVARIANT(old == NULL);
    }
    old = hash64_put(self->groups_by_id, group->id, group);
    INVARIANT(old == NULL);
}

void catalog_add_exchange(struct catalog *self, struct catalog_exchange *exchange)
{
    void *old = hash_put(self->exchanges, span_of(exchange->key), exchange);
    INVARIANT(old == NULL);
}

/* --- commands ---------------------------------------------------------------------------------------------- */

int catalog_apply_bootstrap(struct catalog *self, const Railgun__CatalogNode *message)
{
    struct uuid cluster;
    if (self->node != 0 || !message->has_node || message->node == 0 || !message->has_cluster ||
        uuid_from_bytes(span_make(message->cluster.data, message->cluster.len), &cluster) != 0) {
        return ERR_BAD_FORMAT;
    }
    self->node = message->node;
    self->cluster = cluster;
    self->node_created_us = message->has_created_us ? message->created_us : 0;
    return 0;
}

static void catalog_create_stream(struct catalog *self, const struct ensure_request *request,
                                  uint64_t now_us, const struct uuid *fresh_id,
                                  struct ensure_decision *decision)
{
    struct catalog_stream *stream = catalog_stream_new(request->namespace_, request->name);
    stream->id = *fresh_id;
    stream->log_group = self->next_log_group++;
    stream->version = decision->version;
    stream->created_us = now_us;
    spec_copy(&stream->spec, &decision->effective);
    catalog_add_stream(self, stream);
    decision->stream_id = *fresh_id;
    catalog_tell(self, &(struct catalog_change){.kind = CATALOG_STREAM_PUT, .stream = stream});
}

static void catalog_create_group(struct catalog *self, const struct ensure_request *request,
                                 uint64_t now_us, const struct ensure_decision *decision)
{
    struct catalog_stream *stream = catalog_stream_of(self, request->namespace_, request->name);
    struct catalog_group *group = catalog_group_new(stream, request->group);
    group->id = self->next_group_id++;
    group->version = decision->version;
    group->created_us = now_us;
    spec_copy(&group->spec, &decision->effective);
    catalog_add_group(self, group);
    catalog_tell(self, &(struct catalog_change){.kind = CATALOG_GROUP_PUT, .group = group});
}

static void catalog_create_exchange(struct catalog *self, const struct ensure_request *request,
                                    uint64_t now_us, const struct ensure_decision *decision)
{
    struct catalog_exchange *exchange = catalog_exchange_new(request->namespace_, request->name);
    exchange->version = decision->version;
    exchange->created_us = now_us;
    spec_copy(&exchange->spec, &decision->effective);
    catalog_add_exchange(self, exchange);
    catalog_tell(self,
                 &(struct catalog_change){.kind = CATALOG_EXCHANGE_PUT, .exchange = exchange});
}

static void catalog_create(struct catalog *self, const struct ensure_request *request,
                           uint64_t now_us, const struct uuid *fresh_id,
                           struct ensure_decision *decision)
{
    switch (request->kind) {
    case SPEC_STREAM:
        catalog_create_stream(self, request, now_us, fresh_id, decision);
        break;
    case SPEC_GROUP:
        catalog_create_group(self, request, now_us, decision);
        break;
    case SPEC_EXCHANGE:
        catalog_create_exchange(self, request, now_us, decision);
        break;
    }
}

static void catalog_update(struct catalog *self, const struct ensure_request *request,
                           const struct ensure_decision *decision)
{
    if (request->kind == SPEC_EXCHANGE) {
        struct catalog_exchange *exchange =
            catalog_exchange_of(self, request->namespace_, request->name);
        exchange->version = decision->version;
        spec_release(&exchange->spec);
        spec_copy(&exchange->spec, &decision->effective);
        catalog_tell(self,
                     &(struct catalog_change){.kind = CATALOG_EXCHANGE_PUT, .exchange = exchange});
        return;
    }
    struct catalog_stream *stream = catalog_stream_of(self, request->namespace_, request->name);
    if (request->kind == SPEC_STREAM) {
        stream->version = decision->version;
        spec_release(&stream->spec);
        spec_copy(&stream->spec, &decision->effective);
        catalog_tell(self, &(struct catalog_change){.kind = CATALOG_STREAM_PUT, .stream = stream});
        return;
    }
    struct catalog_group *group = catalog_group_of(self, stream, request->group);
    group->version = decision->version;
    spec_release(&group->spec);
    spec_copy(&group->spec, &decision->effective);
    catalog_tell(self, &(struct catalog_change){.kind = CATALOG_GROUP_PUT, .group = group});
}

static int catalog_apply_ensure(struct catalog *self, const Railgun__CatalogCommand *command,
                                struct ensure_decision *ret_decision)
{
    struct uuid fresh_id;
    if (!command->has_fresh_id ||
        uuid_from_bytes(span_make(command->fresh_id.data, command->fresh_id.len), &fresh_id) != 0) {
        return ERR_BAD_FORMAT;
    }
    struct ensure_request request;
    struct buf problem = {0};
    int error =
        ensure_read(command->ensure->namespace_, command->ensure->ensure, &request, &problem);
    buf_release(&problem); /* whoever proposed it had asked before */
    if (error != 0) {
        return ERR_BAD_FORMAT;
    }
    catalog_decide(self, &request, ret_decision);
    struct uuid dlq_id;
    if (command->has_fresh_dlq_id &&
        uuid_from_bytes(span_make(command->fresh_dlq_id.data, command->fresh_dlq_id.len),
                        &dlq_id) == 0) {
        catalog_dead_decide(self, &request, ret_decision);
        catalog_dead_create(self, &request, command->now_us, &dlq_id, ret_decision);
    }
    switch (ret_decision->action) {
    case ENSURE_DO_NOTHING:
        break;
    case ENSURE_DO_CREATE:
        catalog_create(self, &request, command->now_us, &fresh_id, ret_decision);
        break;
    case ENSURE_DO_UPDATE:
        catalog_update(self, &request, ret_decision);
        break;
    }
    ensure_request_release(&request);
    return 0;
}

int catalog_put_endpoint(struct catalog *self, const Railgun__CatalogEndpoint *message,
                         const struct catalog_endpoint **ret_endpoint)
{
    if (!message->has_node || message->daemon == NULL || message->endpoint == NULL) {
        return ERR_BAD_FORMAT;
    }
    struct buf key = {0};
    catalog_endpoint_key(&key, message->node, message->daemon);
    struct catalog_endpoint *endpoint =
        (struct catalog_endpoint *) hash_get(self->endpoints, buf_span(&key));
    buf_release(&key);
    if (endpoint == NULL && hash_count(self->endpoints) >= CATALOG_ENDPOINTS_MAX) {
        return ERR_QUOTA;
    }
    if (endpoint == NULL) {
        endpoint = catalog_endpoint_new(message->node, message->daemon, message->endpoint);
        (void) hash_put(self->endpoints, span_of(endpoint->key), endpoint); /* there was none */
    } else {
        mem_free(endpoint->endpoint);
        endpoint->endpoint = mem_strdup(message->endpoint);
    }
    *ret_endpoint = endpoint;
    return 0;
}

static int catalog_apply_endpoint(struct catalog *self, const Railgun__CatalogEndpoint *message,
                                  int *ret_error)
{
    const struct catalog_endpoint *endpoint;
    int error = catalog_put_endpoint(self, message, &endpoint);
    if (error == ERR_BAD_FORMAT) {
        return error;
    }
    *ret_error = error;
    if (error == 0) {
        catalog_tell(self,
                     &(struct catalog_change){.kind = CATALOG_ENDPOINT_PUT, .endpoint = endpoint});
    }
    return 0;
}

static int catalog_apply_command(struct catalog *self, const Railgun__CatalogCommand *command,
                                 struct catalog_outcome *outcome)
{
    int parts = (command->bootstrap != NULL) + (command->ensure != NULL) +
                (command->delete_ != NULL) + (command->endpoint != NULL) +
                (command->undelete != NULL) + (command->reap != NULL) + (command->lock != NULL);
    if (parts != 1 || (self->node == 0) != (command->bootstrap != NULL)) {
        return ERR_BAD_FORMAT; /* the first command, and only it, tells who we are */
    }
    if (command->bootstrap != NULL) {
        outcome->command = CATALOG_BOOTSTRAP;
        return catalog_apply_bootstrap(self, command->bootstrap);
    }
    if (command->ensure != NULL) {
        outcome->command = CATALOG_ENSURE;
        return catalog_apply_ensure(self, command, &outcome->ensure);
    }
    if (command->delete_ != NULL) {
        outcome->command = CATALOG_DELETE;
        return catalog_apply_delete(self, command->delete_, command->now_us, outcome);
    }
    if (command->undelete != NULL) {
        outcome->command = CATALOG_UNDELETE;
        return catalog_apply_undelete(self, command->undelete, outcome);
    }
    if (command->reap != NULL) {
        outcome->command = CATALOG_REAP;
        catalog_apply_reap(self, command->reap, command->now_us);
        return 0;
    }
    if (command->lock != NULL) {
        outcome->command = CATALOG_LOCK;
        return catalog_apply_lock(self, command->lock, outcome);
    }
    outcome->command = CATALOG_ENDPOINT;
    return catalog_apply_endpoint(self, command->endpoint, &outcome->error);
}

int catalog_apply(struct catalog *self, uint64_t index, struct span command,
                  struct catalog_outcome *ret_outcome)
{
    INVARIANT(index == self->applied + 1);

    Railgun__CatalogCommand *message = NULL;
    if (SCAN_UNPACK(command, railgun__catalog_command, &message) != 0) {
        return ERR_BAD_FORMAT;
    }
    struct catalog_outcome outcome = {0};
    int error = catalog_apply_command(self, message, &outcome);
    SCAN_FREE(&message);
    if (error != 0) {
        return error;
    }
    self->applied = index;
    *ret_outcome = outcome;
    return 0;
}

void catalog_outcome_release(struct catalog_outcome *self)
{
    if (self->command == CATALOG_ENSURE) {
        ensure_decision_release(&self->ensure);
    }
}
