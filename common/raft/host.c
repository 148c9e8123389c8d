/* host: drains the core into storage, network and state machine. Owns the core's memory and the waiting requests. It must never answer a write before it is applied. */
#include "common/raft/host.h"

#include <string.h>

#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/raft/host_private.h"

enum { SNAPSHOT_ENTRIES = 5000, KEEP_ENTRIES = 1000, REQUESTS_MAX = 65536 };

void raft_host_options_init(struct raft_host_options *self)
{
    memset(self, 0, sizeof(*self));
    raft_config_init(&self->config);
    self->snapshot_entries = SNAPSHOT_ENTRIES;
    self->keep_entries = KEEP_ENTRIES;
    self->requests_max = REQUESTS_MAX;
}

static int restore(struct raft_host *self)
{
    struct raft_snapshot snapshot = self->storage->trail.snapshot;
    struct slice state = {0};
    int error = self->storage->ops->snapshot_read(self->storage, &state);
    if (error == 0) {
        self->callbacks.restore(self->callbacks.ud, snapshot.index, state.bytes);
        self->applied = snapshot.index;
        slice_release(&state);
    }
    return error;
}

int raft_host_start(const struct raft_host_options *options, raft_time now,
                    struct raft_host **ret_host)
{
    const char *field = NULL;
    if (raft_config_check(&options->config, &field) != 0 ||
        options->config.message_entries_max > RAFT_PACKET_ENTRIES_MAX) {
        return ERR_BAD_CONFIG;
    }
    struct raft_host *self = MEM_NEW(struct raft_host);
    size_t size = raft_size(&options->config);
    struct raft_boot boot;
    int error = 0;
    self->packet = MEM_NEW(struct raft_packet);
    self->storage = options->storage;
    self->callbacks = options->callbacks;
    self->options = *options;
    self->applied = options->applied;
    uint64_t start[] = {options->config.seed, now};
    self->token = hash_bytes(span_make(start, sizeof(start)), 0); /* never again: raft_read */
    list_init(&self->writes);
    list_init(&self->others);
    self->now = now;
    if (self->storage->trail.snapshot.index > self->applied) {
        error = restore(self);
    }
    if (error == 0) {
        self->storage->ops->boot(self->storage, self->applied, &boot);
        self->applied = boot.applied;
        error = raft_init(mem_new(size), size, &options->config, &boot, &raft_trail_reads,
                          &self->storage->trail, now, &self->raft);
    }
    if (error != 0) {
        raft_host_stop(&self);
        return error;
    }
    *ret_host = self;
    return 0;
}

void raft_host_stop(struct raft_host **self)
{
    if (*self == NULL) {
        return;
    }
    raft_host_requests_fail(*self, ERR_CLOSED);
    buf_release(&(*self)->out);
    raft_packet_release((*self)->packet);
    mem_free((*self)->packet);
    mem_free((*self)->raft);
    MEM_FREE(*self);
}

/* The requests are answered by the turn: callbacks come out of nothing else. */
void raft_host_fail(struct raft_host *self, int error)
{
    if (self->failed == 0) {
        self->failed = error;
        raft_failed(self->raft);
    }
}

static void trace(const struct raft_host *self, const struct raft_message *received, int error,
                  const struct raft_output *output)
{
    if (self->callbacks.trace != NULL) {
        struct raft_host_event event = {self->now, received, error, output};
        self->callbacks.trace(self->callbacks.ud, &event);
    }
}

/* --- inputs --- */

int raft_host_recv(struct raft_host *self, raft_time now, struct span packet)
{
    struct raft_packet *decoded = self->packet;
    struct raft_taken taken;
    self->now = now > self->now ? now : self->now;
    int error = raft_packet_decode(packet, decoded);
    if (error == 0) {
        error = raft_recv(self->raft, now, &decoded->message, &taken);
        trace(self, &decoded->message, error, NULL);
    }
    if (error != 0) {
        return error;
    }
    struct raft_message *message = &decoded->message;
    struct raft_taken rest = taken;
    rest.count = 0;
    int stored = raft_storage_take(self->storage, message, &rest, NULL, decoded->chunk);
    for (uint32_t i = 0; i < taken.count && stored == 0; i++) {
        struct span bytes = decoded->payloads[taken.skip + i];
        struct payload *payload = bytes.size != 0 ? payload_copy(bytes) : NULL;
        struct slice slice = {payload, payload != NULL ? payload_span(payload) : bytes};
        stored = bytes.size != 0 && payload == NULL
                     ? ERR_NO_MEMORY
                     : raft_storage_put(self->storage, taken.first + i,
                                        &message->entries[taken.skip + i], 1, &slice);
        payload_unref(&payload);
    }
    if (stored != 0) {
        raft_host_fail(self, stored);
    }
    return 0;
}

void raft_host_advance(struct raft_host *self, raft_time now)
{
    self->now = now > self->now ? now : self->now;
    raft_advance(self->raft, now);
}

raft_time raft_host_deadline(const struct raft_host *self)
{
    return raft_deadline(self->raft);
}

/* --- outputs --- */

static void on_commit(struct raft_host *self, raft_index commit)
{
    while (self->applied < commit && self->failed == 0) {
        raft_index index = self->applied + 1;
        struct raft_entry entry = raft_trail_entry(&self->storage->trail, index);
        struct slice payload = {0};
        struct slice response = {0};
        int result = 0;
        if (entry.type == RAFT_ENTRY_NORMAL) {
            int error = self->storage->ops->read(self->storage, index, &payload);
            if (error != 0) {
                raft_host_fail(self, error);
                return;
            }
            result = self->callbacks.apply(self->callbacks.ud, index, payload.bytes, &response);
        }
        self->applied = index;
        raft_host_requests_applied(self, index, entry.term, result, &response);
        slice_release(&payload);
        slice_release(&response);
    }
    raft_applied(self->raft, self->applied);
}

static void on_send(struct raft_host *self, const struct raft_message *message)
{
    buf_reset(&self->out);
    int error = raft_packet_encode(message, self->storage, &self->out);
    if (error == 0) {
        self->callbacks.send(self->callbacks.ud, message->to.node, buf_span(&self->out));
    } else if (error != ERR_NOT_FOUND) {
        raft_host_fail(self, error);
    }
}

static void on_output(struct raft_host *self, const struct raft_output *output)
{
    int error = 0;
    switch (output->type) {
    case RAFT_OUTPUT_ENTRY:
        error = raft_storage_put(self->storage, output->entry.index, &output->entry.entry, 1, NULL);
        break;
    case RAFT_OUTPUT_WRITE:
        if ((output->write.flags & RAFT_WRITE_SNAPSHOT) != 0) {
            self->install_wseq = output->write.wseq;
        }
        error = self->storage->ops->write(self->storage, &output->write);
        break;
    case RAFT_OUTPUT_COMMIT:
        on_commit(self, output->commit);
        break;
    case RAFT_OUTPUT_READ:
        raft_host_requests_read(self, output->read.token, output->read.index, output->read.error);
        break;
    case RAFT_OUTPUT_SEND:
        on_send(self, &output->message);
        break;
    case RAFT_OUTPUT_STATE:
    case RAFT_OUTPUT_MEMBERS:
    default:
        break; /* looked at behind each turn */
    }
    if (error != 0) {
        raft_host_fail(self, error);
    }
}

/* What the disk has done since. */
static bool take_durable(struct raft_host *self)
{
    uint64_t wseq = self->wseq;
    if (self->failed != 0) {
        return false;
    }
    int error = self->storage->ops->durable(self->storage, &wseq);
    if (error != 0) {
        raft_host_fail(self, error);
        return true;
    }
    if (wseq == self->wseq) {
        return false;
    }
    self->wseq = wseq;
    if (self->install_wseq != 0 && wseq >= self->install_wseq) {
        self->install_wseq = 0;
        error = restore(self);
        if (error != 0) {
            raft_host_fail(self, error);
            return true;
        }
        raft_persisted(self->raft, wseq);
        raft_applied(self->raft, self->applied);
        return true;
    }
    raft_persisted(self->raft, wseq);
    return true;
}

static void take_snapshot(struct raft_host *self)
{
    const struct raft_snapshot *before = &self->storage->trail.snapshot;
    if (self->options.snapshot_entries == 0 || self->failed != 0 || self->install_wseq != 0 ||
        self->applied < before->index + self->options.snapshot_entries) {
        return;
    }
    struct slice state = {0};
    if (self->callbacks.snapshot(self->callbacks.ud, &state) != 0) {
        return;
    }
    int error = self->storage->ops->snapshot_save(self->storage, self->applied, &state);
    slice_release(&state);
    raft_index keep = self->options.keep_entries;
    raft_index edge = self->applied > keep ? self->applied - keep : 0;
    if (error == 0 && edge != 0 && raft_compacted(self->raft, edge) == 0) {
        error = self->storage->ops->compact(self->storage, edge);
    }
    if (error != 0) {
        raft_host_fail(self, error);
    }
}

static void tell_changes(struct raft_host *self)
{
    struct raft_host_metrics now;
    if (self->callbacks.changed == NULL) {
        return;
    }
    memset(&now, 0, sizeof(now));
    raft_host_metrics(self, &now);
    if (now.status.state != self->told.status.state || now.status.term != self->told.status.term ||
        now.status.last != self->told.status.last ||
        now.status.applied != self->told.status.applied ||
        !raft_id_equal(now.status.leader, self->told.status.leader) ||
        now.snapshot != self->told.snapshot || now.error != self->told.error ||
        !raft_members_equal(&now.members, &self->told.members)) {
        self->told = now;
        self->callbacks.changed(self->callbacks.ud, &now);
    }
}

/* Nobody waits for a replica that has stopped. */
static void requests_end(struct raft_host *self)
{
    if (self->failed != 0) {
        raft_host_requests_fail(self, ERR_POISONED);
    }
}

void raft_host_turn(struct raft_host *self)
{
    bool again = true;
    INVARIANT(!self->in_turn);
    self->in_turn = true;
    while (again) {
        again = false;
        requests_end(self);
        while (raft_drain(self->raft, &self->output)) {
            trace(self, NULL, 0, &self->output);
            on_output(self, &self->output);
            requests_end(self);
            again = true;
        }
        again |= take_durable(self);
        requests_end(self);
        again |= raft_host_requests_turn(self);
        take_snapshot(self);
    }
    tell_changes(self);
    self->in_turn = false;
}

/* --- what it is --- */

struct raft_id raft_host_leader(const struct raft_host *self)
{
    return raft_leader(self->raft);
}

void raft_host_metrics(const struct raft_host *self, struct raft_host_metrics *ret_metrics)
{
    raft_status_read(self->raft, &ret_metrics->status);
    raft_members_read(self->raft, &ret_metrics->members);
    ret_metrics->snapshot = self->storage->trail.snapshot.index;
    ret_metrics->error = self->failed;
}

struct raft *raft_host_core(struct raft_host *self)
{
    return self->raft;
}
