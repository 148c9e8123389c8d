/* handle_ensure: BUS_CATALOG_ENSURE. What changes nothing is answered from the present state; what does is proposed, and decided again when it is
 * applied: that decision is the answer. */
#include "raftd/handle.h"

#include <inttypes.h>

#include "common/base/err.h"
#include "common/base/uuid.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/scan.h"
#include "raftd/raftd.h"

static const uint64_t HANDLE_VERSION_MAX = UINT64_C(1) << 62;

static Railgun__EnsureOk__Result ensure_result_to_wire(enum ensure_result result)
{
    switch (result) {
    case ENSURE_CREATED:
        return RAILGUN__ENSURE_OK__RESULT__CREATED;
    case ENSURE_UNCHANGED:
        return RAILGUN__ENSURE_OK__RESULT__UNCHANGED;
    case ENSURE_UPDATED:
        return RAILGUN__ENSURE_OK__RESULT__UPDATED;
    case ENSURE_STALE_VERSION:
        return RAILGUN__ENSURE_OK__RESULT__STALE_VERSION;
    case ENSURE_DIFFERS:
        return RAILGUN__ENSURE_OK__RESULT__DIFFERS;
    }
    return RAILGUN__ENSURE_OK__RESULT__RESULT_NONE;
}

/* The differences as messages; they borrow the decision. */
struct handle_diffs {
    Railgun__Diff messages[SPEC_FIELDS_MAX];
    Railgun__Diff *pointers[SPEC_FIELDS_MAX];
};

static void handle_fill_diffs(const struct ensure_decision *decision, struct handle_diffs *diffs)
{
    for (unsigned i = 0; i < decision->diff_count; i++) {
        const struct ensure_diff *diff = &decision->diffs[i];
        Railgun__Diff *message = &diffs->messages[i];
        railgun__diff__init(message);
        message->path = (char *) (uintptr_t) diff->path;
        message->class_ = (char *) (uintptr_t) diff->class_;
        message->current = diff->current;
        message->wanted = diff->wanted;
        diffs->pointers[i] = message;
    }
}

static void handle_ensure_fill_ok(const struct raftd *self, const struct ensure_decision *decision,
                                  struct handle_diffs *diffs, struct buf *meta)
{
    struct uuid id = decision->stream_id;
    Railgun__EnsureOk ok = RAILGUN__ENSURE_OK__INIT;
    ok.has_result = 1;
    ok.result = ensure_result_to_wire(decision->result);
    ok.n_diff = decision->diff_count;
    ok.diff = diffs->pointers;
    ok.has_version = 1;
    ok.version = decision->version;
    ok.has_stream_id = !uuid_is_nil(&id);
    ok.stream_id = (ProtobufCBinaryData){sizeof(id.bytes), id.bytes};
    ok.has_revision = 1;
    ok.revision = catalog_revision(raftd_catalog(self));
    scan_pack(meta, &ok.base);
}

static void handle_ensure_fill_error(const struct ensure_decision *decision,
                                     struct handle_diffs *diffs, struct buf *meta)
{
    Railgun__Error error = RAILGUN__ERROR__INIT;
    error.has_code = 1;
    error.code = (uint32_t) -decision->error;
    error.text = (char *) (uintptr_t) err_text(decision->error);
    error.detail = (char *) (uintptr_t) decision->detail;
    error.n_diff = decision->diff_count;
    error.diff = diffs->pointers;
    scan_pack(meta, &error.base);
}

void handle_ensure_reply(struct raftd *self, uint64_t ticket,
                         const struct ensure_decision *decision)
{
    struct handle_diffs diffs;
    struct buf meta = {0};
    handle_fill_diffs(decision, &diffs);
    if (decision->error == 0) {
        handle_ensure_fill_ok(self, decision, &diffs, &meta);
    } else {
        handle_ensure_fill_error(decision, &diffs, &meta);
    }
    struct bus_outgoing out = {
        .type = RAILGUN__BUS_TYPE__BUS_CATALOG_ENSURE,
        .status = decision->error,
        .meta = buf_span(&meta),
    };
    (void) bus_reply(raftd_bus(self), ticket, &out); /* The asker may be gone: it knows. */
    buf_release(&meta);
}

static void handle_ensure_propose(struct raftd *self, Railgun__CatalogEnsure *ensure,
                                  uint64_t ticket, struct span key)
{
    struct uuid fresh = uuid_random();
    struct uuid fresh_dlq = uuid_random();
    Railgun__CatalogCommand command = RAILGUN__CATALOG_COMMAND__INIT;
    command.ensure = ensure;
    command.has_fresh_id = 1;
    command.fresh_id = (ProtobufCBinaryData){sizeof(fresh.bytes), fresh.bytes};
    command.has_fresh_dlq_id = ensure->ensure->kind == RAILGUN__KIND__KIND_GROUP;
    command.fresh_dlq_id = (ProtobufCBinaryData){sizeof(fresh_dlq.bytes), fresh_dlq.bytes};
    raftd_propose(self, &command, ticket, key);
}

static void handle_ensure_decide(struct raftd *self, Railgun__CatalogEnsure *ensure,
                                 const struct ensure_request *request, uint64_t ticket)
{
    struct buf key = {0};
    catalog_stream_key(&key, request->namespace_, request->name);
    struct ensure_decision decision;
    catalog_decide(raftd_catalog(self), request, &decision);
    catalog_dead_decide(raftd_catalog(self), request, &decision);
    if (decision.action != ENSURE_DO_NOTHING || raftd_is_pending(self, buf_span(&key))) {
        handle_ensure_propose(self, ensure, ticket, buf_span(&key));
    } else {
        handle_ensure_reply(self, ticket, &decision);
    }
    ensure_decision_release(&decision);
    buf_release(&key);
}

void handle_ensure(struct raftd *self, const struct bus_message *message)
{
    Railgun__CatalogEnsure *ensure = NULL;
    int error = SCAN_UNPACK(message->meta, railgun__catalog_ensure, &ensure);
    if (error != 0) {
        (void) bus_reply_error(raftd_bus(self), message->ticket, error, NULL); /* may be gone */
        return;
    }
    struct ensure_request request;
    struct buf problem = {0};
    error = ensure_read(ensure->namespace_, ensure->ensure, &request, &problem);
    if (error == 0 && request.kind != SPEC_EXCHANGE && ensure->ensure->exchange != NULL) {
        buf_append_text(&problem, "exchange: a specification of the other kind");
        error = ERR_BAD_REQUEST;
        ensure_request_release(&request);
    }
    if (error == 0 && request.version > HANDLE_VERSION_MAX) {
        /* Behind the last number there is no higher one: nobody could change it any more. */
        buf_printf(&problem, "version: at most %" PRIu64, HANDLE_VERSION_MAX);
        error = ERR_BAD_REQUEST;
        ensure_request_release(&request);
    }
    if (error == 0) {
        /* Only here, not when it is applied: what is refused may be built later, and replay must not change with it. */
        error = spec_check(&request.wanted, &problem);
        if (error == 0) {
            handle_ensure_decide(self, ensure, &request, message->ticket);
        }
        ensure_request_release(&request);
    }
    if (error != 0) {
        /* may be gone */
        (void) bus_reply_error(raftd_bus(self), message->ticket, error, buf_text(&problem));
    }
    buf_release(&problem);
    SCAN_FREE(&ensure);
}
