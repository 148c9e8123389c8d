/* catalog_lib: see the header. */
#include "tests/unit/raftd/catalog_lib.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "common/wire/catalog.pb-c.h"
#include "common/wire/scan.h"

static char *text(const char *constant)
{
    return (char *) (uintptr_t) constant;
}

void command_bootstrap(struct buf *out, uint8_t cluster)
{
    uint8_t id[16];
    memset(id, cluster, sizeof(id));
    Railgun__CatalogNode node = RAILGUN__CATALOG_NODE__INIT;
    node.has_node = 1;
    node.node = 1;
    node.has_cluster = 1;
    node.cluster = (ProtobufCBinaryData){sizeof(id), id};
    Railgun__CatalogCommand command = RAILGUN__CATALOG_COMMAND__INIT;
    command.bootstrap = &node;
    scan_pack(out, &command.base);
}

static void pack_ensure_in(struct buf *out, const char *namespace_, Railgun__Ensure *ensure,
                           uint8_t id)
{
    uint8_t fresh[16];
    memset(fresh, id, sizeof(fresh));
    Railgun__CatalogEnsure wrapped = RAILGUN__CATALOG_ENSURE__INIT;
    wrapped.namespace_ = text(namespace_);
    wrapped.ensure = ensure;
    Railgun__CatalogCommand command = RAILGUN__CATALOG_COMMAND__INIT;
    command.ensure = &wrapped;
    command.has_now_us = 1;
    command.now_us = 1000000U + id;
    command.has_fresh_id = 1;
    command.fresh_id = (ProtobufCBinaryData){sizeof(fresh), fresh};
    scan_pack(out, &command.base);
}

static void pack_ensure(struct buf *out, Railgun__Ensure *ensure, uint8_t id)
{
    pack_ensure_in(out, NULL, ensure, id);
}

void command_ensure_stream(struct buf *out, const char *name, uint64_t version,
                           const char *description, uint8_t id)
{
    Railgun__StreamSpec spec = RAILGUN__STREAM_SPEC__INIT;
    spec.description = text(description);
    Railgun__Ensure ensure = RAILGUN__ENSURE__INIT;
    ensure.has_kind = 1;
    ensure.kind = RAILGUN__KIND__KIND_STREAM;
    ensure.name = text(name);
    ensure.has_version = 1;
    ensure.version = version;
    ensure.stream = &spec;
    pack_ensure(out, &ensure, id);
}

void command_ensure_group(struct buf *out, const char *stream, const char *group, uint64_t version,
                          uint32_t max_in_flight)
{
    Railgun__GroupSpec spec = RAILGUN__GROUP_SPEC__INIT;
    spec.has_max_in_flight = 1;
    spec.max_in_flight = max_in_flight;
    Railgun__Ensure ensure = RAILGUN__ENSURE__INIT;
    ensure.has_kind = 1;
    ensure.kind = RAILGUN__KIND__KIND_GROUP;
    ensure.name = text(stream);
    ensure.group = text(group);
    ensure.has_version = 1;
    ensure.version = version;
    ensure.group_spec = &spec;
    pack_ensure(out, &ensure, 1);
}

void command_ensure_exchange(struct buf *out, const char *namespace_, const char *name,
                             uint64_t version, uint64_t max_topics)
{
    Railgun__ExchangeSpec spec = RAILGUN__EXCHANGE_SPEC__INIT;
    spec.has_max_topics = 1;
    spec.max_topics = max_topics;
    Railgun__Ensure ensure = RAILGUN__ENSURE__INIT;
    ensure.has_kind = 1;
    ensure.kind = RAILGUN__KIND__KIND_EXCHANGE;
    ensure.name = text(name);
    ensure.has_version = 1;
    ensure.version = version;
    ensure.exchange = &spec;
    pack_ensure_in(out, namespace_, &ensure, 1);
}

static void pack_delete_in(struct buf *out, const char *namespace_, Railgun__Delete *delete_)
{
    Railgun__CatalogDelete wrapped = RAILGUN__CATALOG_DELETE__INIT;
    wrapped.namespace_ = text(namespace_);
    wrapped.delete_ = delete_;
    Railgun__CatalogCommand command = RAILGUN__CATALOG_COMMAND__INIT;
    command.delete_ = &wrapped;
    scan_pack(out, &command.base);
}

static void pack_delete(struct buf *out, Railgun__Delete *delete_)
{
    pack_delete_in(out, "default", delete_);
}

void command_delete_stream(struct buf *out, const char *name)
{
    Railgun__Delete delete_ = RAILGUN__DELETE__INIT;
    delete_.has_kind = 1;
    delete_.kind = RAILGUN__KIND__KIND_STREAM;
    delete_.name = text(name);
    pack_delete(out, &delete_);
}

void command_bury_stream(struct buf *out, const char *name, uint64_t now_us)
{
    Railgun__Delete delete_ = RAILGUN__DELETE__INIT;
    delete_.has_kind = 1;
    delete_.kind = RAILGUN__KIND__KIND_STREAM;
    delete_.name = text(name);
    Railgun__CatalogDelete wrapped = RAILGUN__CATALOG_DELETE__INIT;
    wrapped.namespace_ = text("default");
    wrapped.delete_ = &delete_;
    wrapped.has_grace = 1;
    wrapped.grace = 1;
    Railgun__CatalogCommand command = RAILGUN__CATALOG_COMMAND__INIT;
    command.has_now_us = 1;
    command.now_us = now_us;
    command.delete_ = &wrapped;
    scan_pack(out, &command.base);
}

void command_undelete(struct buf *out, const char *name, const struct uuid *id)
{
    struct uuid copy = id != NULL ? *id : (struct uuid){0};
    Railgun__Undelete undelete = RAILGUN__UNDELETE__INIT;
    undelete.name = text(name);
    undelete.has_stream_id = id != NULL;
    undelete.stream_id = (ProtobufCBinaryData){sizeof(copy.bytes), copy.bytes};
    Railgun__CatalogUndelete wrapped = RAILGUN__CATALOG_UNDELETE__INIT;
    wrapped.namespace_ = text("default");
    wrapped.undelete = &undelete;
    Railgun__CatalogCommand command = RAILGUN__CATALOG_COMMAND__INIT;
    command.undelete = &wrapped;
    scan_pack(out, &command.base);
}

void command_reap(struct buf *out, uint64_t log_group, uint64_t now_us)
{
    Railgun__CatalogReap reap = RAILGUN__CATALOG_REAP__INIT;
    reap.n_log_groups = 1;
    reap.log_groups = &log_group;
    Railgun__CatalogCommand command = RAILGUN__CATALOG_COMMAND__INIT;
    command.has_now_us = 1;
    command.now_us = now_us;
    command.reap = &reap;
    scan_pack(out, &command.base);
}

void command_lock(struct buf *out, const char *stream, const char *group, const char *path,
                  bool unlock)
{
    char *paths[] = {text(path)};
    Railgun__Lock lock = RAILGUN__LOCK__INIT;
    lock.has_kind = 1;
    lock.kind = group != NULL ? RAILGUN__KIND__KIND_GROUP : RAILGUN__KIND__KIND_STREAM;
    lock.name = text(stream);
    lock.group = group != NULL ? text(group) : NULL;
    lock.n_paths = 1;
    lock.paths = paths;
    lock.has_unlock = 1;
    lock.unlock = unlock;
    Railgun__CatalogLock wrapped = RAILGUN__CATALOG_LOCK__INIT;
    wrapped.namespace_ = text("default");
    wrapped.lock = &lock;
    Railgun__CatalogCommand command = RAILGUN__CATALOG_COMMAND__INIT;
    command.lock = &wrapped;
    scan_pack(out, &command.base);
}

void command_delete_group(struct buf *out, const char *stream, const char *group)
{
    Railgun__Delete delete_ = RAILGUN__DELETE__INIT;
    delete_.has_kind = 1;
    delete_.kind = RAILGUN__KIND__KIND_GROUP;
    delete_.name = text(stream);
    delete_.group = text(group);
    pack_delete(out, &delete_);
}

void command_delete_exchange(struct buf *out, const char *namespace_, const char *name)
{
    Railgun__Delete delete_ = RAILGUN__DELETE__INIT;
    delete_.has_kind = 1;
    delete_.kind = RAILGUN__KIND__KIND_EXCHANGE;
    delete_.name = text(name);
    pack_delete_in(out, namespace_, &delete_);
}

void command_endpoint(struct buf *out, const char *daemon, const char *endpoint)
{
    Railgun__CatalogEndpoint message = RAILGUN__CATALOG_ENDPOINT__INIT;
    message.has_node = 1;
    message.node = 1;
    message.daemon = text(daemon);
    message.endpoint = text(endpoint);
    Railgun__CatalogCommand command = RAILGUN__CATALOG_COMMAND__INIT;
    command.endpoint = &message;
    scan_pack(out, &command.base);
}

void command_random(struct prng *prng, uint64_t n, struct buf *out)
{
    if (n == 1) {
        command_bootstrap(out, 7);
        return;
    }
    char stream[16];
    char group[16];
    char value[16];
    (void) snprintf(stream, sizeof(stream), "s%u", (unsigned) prng_below(prng, 12));
    (void) snprintf(group, sizeof(group), "g%u", (unsigned) prng_below(prng, 4));
    (void) snprintf(value, sizeof(value), "v%u", (unsigned) prng_below(prng, 3));
    uint64_t version = 1 + prng_below(prng, 5);
    enum { STEP_US = 10000000 }; /* a grace of a day lasts for 8640 of them */
    switch (prng_below(prng, 18)) {
    case 0:
        command_delete_stream(out, stream);
        break;
    case 13:
    case 14:
        command_bury_stream(out, stream, n * STEP_US);
        break;
    case 15:
        command_undelete(out, stream, NULL);
        break;
    case 16: /* on time, or too early */
        command_reap(out, CATALOG_LOG_GROUP_FIRST + prng_below(prng, n),
                     n * STEP_US * (prng_below(prng, 2) * 10000 + 1));
        break;
    case 17:
        command_lock(out, stream, prng_below(prng, 2) == 0 ? group : NULL, "description",
                     prng_below(prng, 2) == 0);
        break;
    case 1:
        command_delete_group(out, stream, group);
        break;
    case 2:
        command_endpoint(out, group, value);
        break;
    case 3:
    case 4:
    case 5:
        command_ensure_stream(out, stream, version, value, (uint8_t) (1 + n % 255));
        break;
    case 6:
    case 7:
        command_ensure_exchange(out, group, stream, version, prng_below(prng, 3));
        break;
    case 8:
        command_delete_exchange(out, group, stream);
        break;
    default:
        command_ensure_group(out, stream, group, version, (uint32_t) (1 + prng_below(prng, 3)));
        break;
    }
}

int apply(struct catalog *catalog, const struct buf *command)
{
    struct catalog_outcome outcome;
    int error = catalog_apply(catalog, catalog_revision(catalog) + 1, buf_span(command), &outcome);
    ck_assert_int_eq(error, 0);
    error = outcome.command == CATALOG_ENSURE ? outcome.ensure.error : outcome.error;
    catalog_outcome_release(&outcome);
    return error;
}

const struct catalog_stream *find_buried(const struct catalog *catalog, const char *name)
{
    const struct catalog_stream *stream;
    for (size_t at = 0; (stream = catalog_next_stream(catalog, &at)) != NULL;) {
        if (stream->deleted_us != 0 && strcmp(stream->name, name) == 0) {
            return stream;
        }
    }
    return NULL;
}

const struct catalog_stream *find_stream(const struct catalog *catalog, const char *name)
{
    struct buf key = {0};
    catalog_stream_key(&key, span_of("default"), span_of(name));
    const struct catalog_stream *stream = catalog_find_stream(catalog, buf_span(&key));
    buf_release(&key);
    return stream;
}

const struct catalog_group *find_group(const struct catalog *catalog, const char *stream,
                                       const char *group)
{
    struct buf stream_key = {0};
    struct buf key = {0};
    catalog_stream_key(&stream_key, span_of("default"), span_of(stream));
    catalog_group_key(&key, buf_span(&stream_key), span_of(group));
    const struct catalog_group *found = catalog_find_group(catalog, buf_span(&key));
    buf_release(&key);
    buf_release(&stream_key);
    return found;
}

const struct catalog_exchange *find_exchange(const struct catalog *catalog, const char *namespace_,
                                             const char *name)
{
    struct buf key = {0};
    catalog_exchange_key(&key, span_of(namespace_), span_of(name));
    const struct catalog_exchange *exchange = catalog_find_exchange(catalog, buf_span(&key));
    buf_release(&key);
    return exchange;
}
