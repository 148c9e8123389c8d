/* node: see node.h. Owns the table of sessions, sorted by node, behind its head. */
#include "common/raft/node.h"

#include <string.h>

#include "common/base/bytes.h"
#include "common/base/crc32c.h"
#include "common/base/err.h"

struct session {
    uint32_t node;
    uint8_t up;
    uint8_t was_up;  /* as told by drain */
    uint8_t bounced; /* lost and up again since: tell both */
    uint8_t beat_due;
    uint32_t losses;     /* ours */
    uint32_t its_losses; /* the other's, as heard last */
    uint64_t epoch;      /* of the other; 0: not heard */
    raft_time heard;     /* our clock, at its last beat */
    raft_time its_sent;  /* its clock, of that beat */
    raft_time contact;   /* our clock, when we sent what it echoed last */
};

struct raft_node {
    uint64_t epoch;
    uint32_t node;
    uint32_t beat_us;
    uint32_t timeout_us;
    uint16_t count;
    uint16_t max;
    raft_time now;
    raft_time beat_deadline;
    struct session session[];
};

void raft_beat_encode(const struct raft_beat *self, uint8_t *at)
{
    memset(at, 0, RAFT_BEAT_BYTES);
    at[0] = RAFT_BEAT_VERSION;
    bytes_put_u32(at + 4, self->from);
    bytes_put_u32(at + 8, self->to);
    bytes_put_u64(at + 12, self->epoch);
    bytes_put_u64(at + 20, self->echo_epoch);
    bytes_put_u64(at + 28, self->sent);
    bytes_put_u64(at + 36, self->echo);
    bytes_put_u32(at + 44, self->losses);
    bytes_put_u32(at + 48, self->echo_losses);
    bytes_put_u32(at + 52, crc32c_extend(0, span_make(at, 52)));
}

int raft_beat_decode(const uint8_t *data, size_t size, struct raft_beat *ret_beat)
{
    if (size < RAFT_BEAT_BYTES) {
        return ERR_INCOMPLETE;
    }
    struct raft_beat beat;
    memset(&beat, 0, sizeof(beat));
    beat.from = bytes_get_u32(data + 4);
    beat.to = bytes_get_u32(data + 8);
    beat.epoch = bytes_get_u64(data + 12);
    beat.echo_epoch = bytes_get_u64(data + 20);
    beat.sent = bytes_get_u64(data + 28);
    beat.echo = bytes_get_u64(data + 36);
    beat.losses = bytes_get_u32(data + 44);
    beat.echo_losses = bytes_get_u32(data + 48);
    if (data[0] != RAFT_BEAT_VERSION || data[1] != 0 || bytes_get_u16(data + 2) != 0 ||
        bytes_get_u32(data + 52) != crc32c_extend(0, span_make(data, 52)) || beat.from == 0 ||
        beat.to == 0 || beat.from == beat.to || beat.epoch == 0) {
        return ERR_BAD_FORMAT;
    }
    *ret_beat = beat;
    return 0;
}

size_t raft_node_size(const struct raft_node_config *config)
{
    return sizeof(struct raft_node) + config->peers_max * sizeof(struct session);
}

int raft_node_init(void *memory, size_t size, const struct raft_node_config *config, raft_time now,
                   struct raft_node **ret_node)
{
    if (config->node == 0 || config->epoch == 0 || config->beat_us == 0 ||
        config->timeout_us < 2 * (uint64_t) config->beat_us) {
        return ERR_BAD_CONFIG;
    }
    if (size < raft_node_size(config)) {
        return ERR_USAGE;
    }
    struct raft_node *self = memory;
    memset(self, 0, raft_node_size(config));
    self->epoch = config->epoch;
    self->node = config->node;
    self->beat_us = config->beat_us;
    self->timeout_us = config->timeout_us;
    self->max = config->peers_max;
    self->now = now;
    self->beat_deadline = now;
    *ret_node = self;
    return 0;
}

/* Where that node is, or belongs. */
static uint16_t session_place(const struct raft_node *self, uint32_t node)
{
    uint16_t low = 0;
    uint16_t high = self->count;
    while (low < high) {
        uint16_t middle = (uint16_t) ((low + high) / 2);
        if (self->session[middle].node < node) {
            low = (uint16_t) (middle + 1);
        } else {
            high = middle;
        }
    }
    return low;
}

static const struct session *session_find(const struct raft_node *self, uint32_t node)
{
    uint16_t at = session_place(self, node);
    return at < self->count && self->session[at].node == node ? &self->session[at] : NULL;
}

int raft_node_add(struct raft_node *self, uint32_t node)
{
    if (node == 0 || node == self->node) {
        return ERR_BAD_CONFIG;
    }
    if (session_find(self, node) != NULL) {
        return ERR_ALREADY;
    }
    if (self->count == self->max) {
        return ERR_OUT_OF_RANGE;
    }
    uint16_t at = session_place(self, node);
    memmove(&self->session[at + 1], &self->session[at],
            (size_t) (self->count - at) * sizeof(self->session[0]));
    memset(&self->session[at], 0, sizeof(self->session[0]));
    self->session[at].node = node;
    self->session[at].beat_due = 1;
    self->count++;
    return 0;
}

int raft_node_remove(struct raft_node *self, uint32_t node)
{
    if (session_find(self, node) == NULL) {
        return ERR_NOT_FOUND;
    }
    uint16_t at = session_place(self, node);
    self->count--;
    memmove(&self->session[at], &self->session[at + 1],
            (size_t) (self->count - at) * sizeof(self->session[0]));
    memset(&self->session[self->count], 0, sizeof(self->session[0]));
    return 0;
}

static void session_lose(struct session *session)
{
    session->up = 0;
    session->contact = 0;
    session->losses++;
}

void raft_node_advance(struct raft_node *self, raft_time now)
{
    self->now = now > self->now ? now : self->now;
    for (uint16_t i = 0; i < self->count; i++) {
        struct session *session = &self->session[i];
        if (session->up && (self->now >= session->heard + self->timeout_us ||
                            self->now >= session->contact + 2 * (raft_time) self->timeout_us)) {
            session_lose(session); /* it is silent, or deaf to us */
        }
        if (self->now >= self->beat_deadline) {
            session->beat_due = 1;
        }
    }
    if (self->now >= self->beat_deadline) {
        self->beat_deadline = self->now + self->beat_us;
    }
}

void raft_node_recv(struct raft_node *self, raft_time now, const struct raft_beat *beat)
{
    self->now = now > self->now ? now : self->now;
    uint16_t at = session_place(self, beat->from);
    if (beat->to != self->node || at == self->count || self->session[at].node != beat->from) {
        return;
    }
    struct session *session = &self->session[at];
    if (session->epoch != beat->epoch) {
        if (session->epoch > beat->epoch) {
            return; /* of a process that is gone */
        }
        if (session->up) {
            session_lose(session); /* another process: what the old one promised is void */
            session->bounced = session->was_up;
        }
        session->epoch = beat->epoch;
        session->its_losses = beat->losses;
        session->its_sent = 0;
        session->beat_due = 1; /* let it hear at once that it is heard */
    }
    if (beat->sent < session->its_sent) {
        return; /* late: something newer was heard */
    }
    if (beat->losses != session->its_losses) {
        if (session->up) {
            session_lose(session); /* it gave us up for a moment */
            session->bounced = session->was_up;
        }
        session->its_losses = beat->losses;
    }
    session->its_sent = beat->sent;
    session->heard = self->now;
    if (beat->echo_epoch == self->epoch && beat->echo_losses == session->losses &&
        beat->echo != 0 && beat->echo <= self->now) {
        bool fresh = self->now < beat->echo + self->timeout_us;
        session->contact = beat->echo > session->contact ? beat->echo : session->contact;
        session->up = session->up || fresh;
    }
    if (!session->up) {
        session->contact = 0;
    }
}

bool raft_node_drain(struct raft_node *self, struct raft_node_output *ret_output)
{
    memset(ret_output, 0, sizeof(*ret_output));
    for (uint16_t i = 0; i < self->count; i++) {
        struct session *session = &self->session[i];
        ret_output->node = session->node;
        if (session->up != session->was_up || session->bounced) {
            bool lost = session->bounced || !session->up;
            session->was_up = !lost;
            session->bounced = 0;
            ret_output->type = lost ? RAFT_NODE_LOST : RAFT_NODE_UP;
            return true;
        }
        if (session->beat_due) {
            session->beat_due = 0;
            ret_output->type = RAFT_NODE_SEND;
            ret_output->beat.from = self->node;
            ret_output->beat.to = session->node;
            ret_output->beat.epoch = self->epoch;
            ret_output->beat.echo_epoch = session->epoch;
            ret_output->beat.sent = self->now;
            ret_output->beat.losses = session->losses;
            ret_output->beat.echo_losses = session->its_losses;
            ret_output->beat.echo = session->its_sent;
            return true;
        }
    }
    return false;
}

raft_time raft_node_deadline(const struct raft_node *self)
{
    raft_time deadline = self->count != 0 ? self->beat_deadline : UINT64_MAX;
    for (uint16_t i = 0; i < self->count; i++) {
        const struct session *session = &self->session[i];
        if (session->up && session->heard + self->timeout_us < deadline) {
            deadline = session->heard + self->timeout_us;
        }
    }
    return deadline;
}

bool raft_node_is_up(const struct raft_node *self, uint32_t node)
{
    const struct session *session = session_find(self, node);
    return session != NULL && session->up;
}

raft_time raft_node_contact(const struct raft_node *self, uint32_t node)
{
    const struct session *session = session_find(self, node);
    return session != NULL && session->up ? session->contact : 0;
}
