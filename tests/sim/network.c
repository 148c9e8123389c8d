/* network: messages between nodes. They are lost, doubled, late by two distributions, out of order, delivered once more seconds later, cut off in one
 * direction, and damaged (which the header's checksum must notice). Nothing is ever changed unnoticed. */
#include "tests/sim/sim.h"

#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"

struct envelope *envelope_new(struct sim *self)
{
    struct envelope *envelope = self->free_envelopes;
    if (envelope == NULL) {
        return MEM_NEW(struct envelope);
    }
    self->free_envelopes = envelope->next;
    return envelope;
}

void envelope_free(struct sim *self, struct envelope *envelope)
{
    envelope->next = self->free_envelopes;
    self->free_envelopes = envelope;
}

static struct envelope *envelope_copy(struct sim *self, const struct envelope *from)
{
    struct envelope *copy = envelope_new(self);
    copy->message = from->message;
    copy->snapshot = from->snapshot;
    copy->hollow = from->hollow;
    memcpy(copy->entry, from->entry, from->message.count * sizeof(from->entry[0]));
    return copy;
}

/* In transcripts: only what matters for this type. */
static void message_tell(const struct sim *self, const char *what,
                         const struct raft_message *message)
{
    char text[200];
    const char *name = raft_message_name(message->type);
    bool rejected = (message->flags & RAFT_FLAG_REJECT) != 0;
    int length = snprintf(text, sizeof(text), "%u>%u %s t%u", message->from.node, message->to.node,
                          name, (unsigned) message->term);
    char *end = text + length;
    size_t left = sizeof(text) - (size_t) length;
    switch ((enum raft_message_type) message->type) {
    case RAFT_MESSAGE_APPEND:
        (void) snprintf(end, left, " after %u(%u) +%u commit %u%s", (unsigned) message->index,
                        (unsigned) message->index_term, message->count, (unsigned) message->commit,
                        (message->flags & RAFT_FLAG_SILENT) != 0 ? " silent" : "");
        break;
    case RAFT_MESSAGE_APPEND_REPLY:
        if (rejected) {
            (void) snprintf(end, left, " refuses %u, hint %u(%u)", (unsigned) message->index,
                            (unsigned) message->hint, (unsigned) message->hint_term);
        } else {
            (void) snprintf(end, left, " has %u, takes %u", (unsigned) message->index,
                            (unsigned) message->appended);
        }
        break;
    case RAFT_MESSAGE_SNAPSHOT:
        (void) snprintf(end, left, " of %u(%u) at %u", (unsigned) message->index,
                        (unsigned) message->index_term, (unsigned) message->offset);
        break;
    case RAFT_MESSAGE_VOTE:
    case RAFT_MESSAGE_PRE_VOTE:
    case RAFT_MESSAGE_TIMEOUT_NOW:
    case RAFT_MESSAGE_QUIESCE:
        (void) snprintf(end, left, " last %u(%u)%s", (unsigned) message->index,
                        (unsigned) message->index_term,
                        (message->flags & RAFT_FLAG_TRANSFER) != 0 ? " transfer" : "");
        break;
    case RAFT_MESSAGE_READ_REPLY:
    case RAFT_MESSAGE_SNAPSHOT_REPLY:
        (void) snprintf(end, left, " %u%s", (unsigned) message->index, rejected ? " no" : "");
        break;
    case RAFT_MESSAGE_VOTE_REPLY:
    case RAFT_MESSAGE_PRE_VOTE_REPLY:
    case RAFT_MESSAGE_QUIESCE_REPLY:
        (void) snprintf(end, left, rejected ? " no" : " yes");
        break;
    case RAFT_MESSAGE_READ:
    case RAFT_MESSAGE_TYPE_COUNT:
    default:
        break;
    }
    sim_trace(self, "%s %s", what, text);
}

static void message_trace(const struct sim *self, const char *what,
                          const struct raft_message *message)
{
    if (self->out != NULL) {
        message_tell(self, what, message);
        return;
    }
    sim_trace(self, "%s g%u %u.%u>%u.%u %s t%u i%u(%u) n%u c%u app%u hint%u(%u) off%u/%u seq%u f%x",
              what, (unsigned) message->group, message->from.node, message->from.incarnation,
              message->to.node, message->to.incarnation, raft_message_name(message->type),
              (unsigned) message->term, (unsigned) message->index, (unsigned) message->index_term,
              message->count, (unsigned) message->commit, (unsigned) message->appended,
              (unsigned) message->hint, (unsigned) message->hint_term, (unsigned) message->offset,
              (unsigned) message->total, message->seq, message->flags);
}

static uint64_t network_delay(struct sim *self)
{
    const struct options *options = &self->options;
    if (sim_chance(self, options->slow_per_mille)) {
        return sim_between(self, options->delay_us_max, options->slow_us_max);
    }
    return sim_between(self, options->delay_us_min, options->delay_us_max);
}

static void bits_damage(struct sim *self, uint8_t *bytes, unsigned size)
{
    uint64_t first = sim_below(self, size * 8);
    for (unsigned i = 0; i < 1 + first % 3; i++) {
        uint64_t bit = (first + i * 97) % (size * 8);
        bytes[bit / 8] ^= (uint8_t) (1u << bit % 8);
    }
}

/* Damage a few bits of the encoded header: it must be noticed. */
static void network_corrupt(struct sim *self, const struct raft_message *message)
{
    uint8_t bytes[RAFT_HEADER_BYTES];
    struct raft_message decoded;
    raft_message_encode(message, bytes);
    bits_damage(self, bytes, sizeof(bytes));
    if (raft_message_decode(bytes, sizeof(bytes), &decoded) == 0) {
        sim_violation(self, "a damaged header was accepted");
    }
}

/* What leaves can be read again, and is the same. */
static void network_encode(struct sim *self, const struct raft_message *message,
                           struct raft_message *ret_message)
{
    uint8_t bytes[RAFT_HEADER_BYTES];
    uint8_t again[RAFT_HEADER_BYTES];
    raft_message_encode(message, bytes);
    if (raft_message_decode(bytes, sizeof(bytes), ret_message) != 0) {
        sim_violation(self, "a header can't be read: %s", raft_message_name(message->type));
    }
    raft_message_encode(ret_message, again);
    if (memcmp(bytes, again, sizeof(bytes)) != 0) {
        sim_violation(self, "a header changes when it is read: %s",
                      raft_message_name(message->type));
    }
}

static void envelope_fill(struct sim *self, const struct replica *from, struct envelope *envelope)
{
    const struct raft_message *message = &envelope->message;
    const struct image *memory = &from->memory;
    envelope->hollow = (message->flags & RAFT_FLAG_WITNESS) != 0;
    if (message->count != 0 &&
        (message->count > SIM_BATCH || message->index + message->count > memory->last ||
         message->index < memory->base)) {
        sim_violation(self, "node %u sends entries it does not have: %u behind %u", from->node,
                      message->count, (unsigned) message->index);
    }
    for (unsigned i = 0; i < message->count; i++) {
        envelope->entry[i] = memory->entry[message->index + 1 + i];
        if (envelope->entry[i].hollow && !envelope->hollow) {
            sim_violation(self, "node %u sends an entry whose payload it does not have",
                          from->node);
        }
    }
    if (message->type == RAFT_MESSAGE_SNAPSHOT) {
        if (memory->snapshot.machine.index != message->index) {
            sim_violation(self, "node %u sends a snapshot it does not have", from->node);
        }
        envelope->snapshot = memory->snapshot;
    }
}

void network_send(struct sim *self, struct replica *from, const struct raft_message *message)
{
    self->count.messages++;
    struct envelope *envelope = envelope_new(self);
    if (self->steps % 8 == 0) {
        network_encode(self, message, &envelope->message);
    } else {
        envelope->message = *message;
    }
    envelope_fill(self, from, envelope);
    if (self->trace) {
        message_trace(self, "send", message);
    }
    if (self->manual) {
        INVARIANT(self->manual_count < 1024);
        self->manual_queue[self->manual_count++] = envelope;
        return;
    }
    unsigned to = message->to.node;
    if (to == 0 || to > self->options.nodes || self->cut[from->node][to] ||
        sim_chance(self, self->options.loss)) {
        envelope_free(self, envelope);
        return;
    }
    if (sim_chance(self, self->options.corrupt)) {
        network_corrupt(self, message);
        envelope_free(self, envelope);
        return;
    }
    if (sim_chance(self, self->options.duplicate)) {
        sim_at(self, self->now + network_delay(self), EVENT_MESSAGE, to, from->group, 0,
               envelope_copy(self, envelope));
    }
    unsigned late = message->type == RAFT_MESSAGE_TIMEOUT_NOW ? 10 : 1; /* orders above all */
    if (sim_chance(self, self->options.replay * late)) {
        sim_at(self, self->now + sim_between(self, 100000, 3000000), EVENT_MESSAGE, to, from->group,
               0, envelope_copy(self, envelope));
    }
    sim_at(self, self->now + network_delay(self), EVENT_MESSAGE, to, from->group, 0, envelope);
}

void network_deliver(struct sim *self, struct envelope *envelope)
{
    struct raft_message *message = &envelope->message;
    struct node *node = &self->node[message->to.node];
    struct replica *replica = &node->replica[message->group - 1];
    if (!node->up || replica->stopped || self->cut[message->from.node][message->to.node]) {
        envelope_free(self, envelope);
        return;
    }
    /* whoever finds a violation below does not come back here */
    self->delivering = envelope;
    if (self->trace) {
        message_trace(self, "recv", message);
    }
    struct raft_entry entries[SIM_BATCH];
    for (unsigned i = 0; i < message->count; i++) {
        const struct entry *entry = &envelope->entry[i];
        entries[i] = (struct raft_entry){
            .term = entry->term,
            .bytes = entry->bytes,
            .type = entry->type,
            .members = entry->type == RAFT_ENTRY_CONFIG ? entry->members : NULL};
    }
    message->entries = entries;
    message->members = message->type == RAFT_MESSAGE_SNAPSHOT ? envelope->snapshot.members : NULL;
    struct raft_taken taken;
    int error = raft_recv(replica->raft, node_clock(self, node, self->now), message, &taken);
    if (error != 0) {
        sim_violation(self, "node %u refuses a %s of a correct peer: %d", replica->node,
                      raft_message_name(message->type), error);
    }
    replica_take(self, replica, envelope, &taken);
    self->delivering = NULL;
    envelope_free(self, envelope);
    checker_step(self, replica);
    replica_touch(self, replica);
}

static void beat_later(struct sim *self, const struct raft_beat *beat, uint64_t delay)
{
    struct raft_beat *copy = mem_copy(beat, sizeof(*beat));
    sim_at(self, self->now + delay, EVENT_BEAT, beat->to, 0, 0, copy);
}

void network_beat(struct sim *self, const struct raft_beat *beat)
{
    self->count.messages++;
    if (self->cut[beat->from][beat->to] || sim_chance(self, self->options.loss)) {
        return;
    }
    uint8_t bytes[RAFT_BEAT_BYTES];
    struct raft_beat decoded;
    raft_beat_encode(beat, bytes);
    if (sim_chance(self, self->options.corrupt)) {
        bits_damage(self, bytes, sizeof(bytes));
        if (raft_beat_decode(bytes, sizeof(bytes), &decoded) == 0) {
            sim_violation(self, "a damaged beat was accepted");
        }
        return;
    }
    if (raft_beat_decode(bytes, sizeof(bytes), &decoded) != 0) {
        sim_violation(self, "a beat can't be read");
    }
    beat_later(self, &decoded, network_delay(self));
    if (sim_chance(self, self->options.duplicate)) {
        beat_later(self, &decoded, network_delay(self));
    }
    if (sim_chance(self, self->options.replay)) { /* perhaps of a process that is gone by then */
        beat_later(self, &decoded, sim_between(self, 100000, 3000000));
    }
}

void network_heal(struct sim *self)
{
    memset(self->cut, 0, sizeof(self->cut));
}
