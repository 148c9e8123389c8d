/* subscription: the way of messages through one subscription: put into the connection's output while that is short, else into the queue, and out of it
 * when there is room and credit. Owns the queue. Must never send beyond the client's credit, nor a message before an older one. */
#include "frontd/subscription.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"

#include "frontd/exchange.h"
#include "frontd/messages.h"
#include "frontd/responses.h"
#include "frontd/subscription_private.h"
#include "frontd/switch.h"

enum {
    REFER_BYTES_MIN = 32 << 10,  /* a smaller run is copied rather than keep its chunk alive */
    REFER_TOTAL_MAX = 16 << 20,  /* with more output than this, half a chunk is too small */
    SHARE_BYTES_MIN = 1 << 10,   /* one copy for the output of several */
    OUTPUT_PART = 4,             /* of the output of all that ephemeral messages may take */
    OUTPUT_SHARES = 8,           /* of what of it is free, one connection may take such a part */
    OUTPUT_BYTES_MIN = 64 << 10, /* but at least this, while there is any room for all */
    FRAME_OVERHEAD = 64,
    QUANTUM_BYTES = 64 << 10,    /* out of one queue before the next one of the connection */
    GATHER_BYTES_MAX = 32 << 10, /* small pieces of a queue become one frame */
    GATHER_PIECE_MAX = 2 << 10,
    EVENT_TYPE = 1,
    EVENT_COUNT = 3,
    EVENT_FIRST_TOPIC = 6,
    EVENT_LAST_TOPIC = 7,
};

void run_release(struct run *run)
{
    payload_unref(&run->copy);
}

/* --- room and credit --- */

static bool subscription_is_receiving(const struct subscription *self)
{
    enum conn_state state = conn_state(self->session->conn);
    return state == CONN_READY || state == CONN_DRAINING;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* How much its connection may have in its output: a share of what is free, so that many that do not read leave room for those that do. */
static uint64_t session_output_max(const struct session *session)
{
    const struct settings *settings = session->frontd->settings;
    uint64_t total = conn_set_outbound_bytes(session->frontd->conns);
    uint64_t total_max = settings->outbound_total_bytes_max;
    uint64_t part = total_max / OUTPUT_PART;
    uint64_t max = total < part ? (part - total) / OUTPUT_SHARES : 0;
    if (max < OUTPUT_BYTES_MIN && total < total_max - part) {
        max = OUTPUT_BYTES_MIN;
    }
    max = smaller(max, settings->es_outbound_bytes);
    max = smaller(max, settings->frame_bytes_max - FRAME_OVERHEAD);
    return smaller(max, settings->outbound_bytes_max / 2);
}

/* Bytes that may go out now; 0: none. */
static uint64_t subscription_room(const struct subscription *self)
{
    uint64_t max = session_output_max(self->session);
    uint64_t bytes = conn_outbound_bytes(self->session->conn);
    if (self->state != SUBSCRIPTION_OPEN || bytes >= max || !subscription_is_receiving(self)) {
        return 0;
    }
    return max - bytes;
}

/* The same for the next message alone: into an empty output goes one of any size. */
static uint64_t subscription_room_for_one(const struct subscription *self, uint64_t room)
{
    bool is_clear = self->state == SUBSCRIPTION_OPEN &&
                    conn_outbound_bytes(self->session->conn) == 0 &&
                    subscription_is_receiving(self);
    return is_clear ? UINT64_MAX : room;
}

static uint32_t credit_messages(const struct subscription *self)
{
    if (self->credit == NULL || self->credit->messages > UINT32_MAX) {
        return UINT32_MAX;
    }
    return (uint32_t) self->credit->messages;
}

static uint64_t credit_bytes(const struct subscription *self)
{
    return self->credit != NULL ? self->credit->bytes : UINT64_MAX;
}

/* The longest prefix that may go out now. */
static size_t subscription_fits(const struct subscription *self, struct span messages,
                                uint32_t count, uint32_t *ret_count)
{
    uint64_t room = subscription_room(self);
    uint32_t count_max = credit_messages(self) < count ? credit_messages(self) : count;
    size_t size =
        messages_prefix(messages, count_max, smaller(room, credit_bytes(self)), ret_count);
    if (*ret_count == 0 && count_max != 0) {
        uint64_t alone = subscription_room_for_one(self, room);
        size = messages_prefix(messages, 1, smaller(alone, credit_bytes(self)), ret_count);
    }
    return size;
}

/* --- output --- */

/* Count what goes out. */
static void subscription_account_out(struct subscription *self, size_t size, uint32_t count)
{
    self->registration.exchange->counts.delivered += count;
    if (self->credit != NULL) {
        self->credit->messages -= count;
        self->credit->bytes -= size;
    }
}

/* One EsDeliver; the bytes are referred to when `owner` is given. */
static void subscription_send(struct subscription *self, struct span messages,
                              struct payload *owner)
{
    uint8_t head[FRAME_HEAD_SIZE_MAX];
    size_t head_size =
        frame_put_head(head, self->number, 0, RAILGUN__FRAME__BODY_ES_DELIVER, messages.size);
    struct span parts[2] = {span_make(head, head_size), messages};
    if (owner != NULL) {
        struct slice tail = {owner, messages};
        conn_send(self->session->conn, parts, 1, &tail);
    } else {
        conn_send(self->session->conn, parts, 2, NULL);
    }
}

static void subscription_tell_request(const struct subscription *self, unsigned origin,
                                      uint64_t request, uint32_t timeout_ms)
{
    if (request != 0) {
        responses_delivered(self->session->frontd->responses, self->session, origin, request,
                            timeout_ms);
    }
}

/* May the output refer to the bytes where they were read? Then their whole chunk stays in memory. */
static bool run_is_to_refer(const struct subscription *self, const struct run *run, size_t size)
{
    if (size < REFER_BYTES_MIN || run->owner == NULL) {
        return false;
    }
    return size >= payload_size(run->owner) / 2 ||
           conn_set_outbound_bytes(self->session->frontd->conns) < REFER_TOTAL_MAX;
}

/* The first messages of a run go out. */
static void subscription_put(struct subscription *self, struct run *run, size_t size,
                             uint32_t count)
{
    struct span messages = messages_first(run->messages, size);
    struct payload *owner = NULL;
    if (run_is_to_refer(self, run, size)) {
        owner = run->owner;
    } else if (size >= SHARE_BYTES_MIN && (run->copy != NULL || run->is_shared)) {
        if (run->copy == NULL) {
            run->copy = subscription_queue_pool_copy(self->session->frontd->subscriptions->pool,
                                                     run->messages);
        }
        if (run->copy != NULL) {
            owner = run->copy;
            messages = messages_first(payload_span(owner), size);
        }
    }
    subscription_send(self, messages, owner);
    subscription_account_out(self, size, count);
    subscription_tell_request(self, run->origin, run->request, run->timeout_ms);
}

/* --- the queue --- */

static struct subscriptions *subscription_table(const struct subscription *self)
{
    return self->session->frontd->subscriptions;
}

/* Count that the queue has changed from what it was. */
static void subscription_account_queue(struct subscription *self, uint64_t bytes_before,
                                       uint32_t messages_before)
{
    struct subscriptions *table = subscription_table(self);
    uint64_t bytes = self->queue != NULL ? subscription_queue_bytes(self->queue) : 0;
    uint32_t messages = self->queue != NULL ? subscription_queue_messages(self->queue) : 0;
    table->counts.queued_bytes += bytes - bytes_before;
    table->counts.queued_messages += messages - (uint64_t) messages_before;
    self->registration.exchange->queued += messages - (uint64_t) messages_before;
}

static void subscription_account_dropped(struct subscription *self, uint64_t count)
{
    self->registration.exchange->counts.dropped += count;
    subscription_table(self)->counts.dropped += count;
}

static void subscription_move(struct subscription *self, bool has_queue)
{
    list_remove(&self->of_session);
    if (has_queue) {
        list_push_front(&self->session->subscriptions, &self->of_session);
    } else {
        list_push_back(&self->session->subscriptions, &self->of_session);
    }
}

static void subscription_free_queue(struct subscription *self)
{
    if (self->queue != NULL && subscription_queue_is_empty(self->queue)) {
        subscription_queue_destroy(&self->queue);
        subscription_move(self, false);
    }
}

void subscription_drop_queue(struct subscription *self)
{
    if (self->queue == NULL) {
        return;
    }
    uint64_t bytes = subscription_queue_bytes(self->queue);
    uint32_t messages = subscription_queue_messages(self->queue);
    subscription_queue_destroy(&self->queue);
    subscription_account_queue(self, bytes, messages);
    subscription_account_dropped(self, messages);
}

/* Ask to be called when the output is half of what it may be, and the first that waits fits. */
static void subscription_want_room(struct subscription *self)
{
    if (self->queue == NULL || self->state != SUBSCRIPTION_OPEN ||
        !subscription_is_receiving(self)) {
        return;
    }
    struct subscription_queue_part part;
    uint64_t max = session_output_max(self->session);
    uint64_t below = max / 2;
    if (subscription_queue_next(self->queue, 1, UINT64_MAX, &part)) {
        below = smaller(below, max > part.messages.size ? max - part.messages.size : 1);
    }
    conn_want_room_below(self->session->conn, below != 0 ? below : 1);
}

static void subscription_disconnect(struct subscription *self)
{
    char detail[96];
    (void) snprintf(detail, sizeof(detail),
                    "channel %" PRIu32 ": the queue of subscription %" PRIu64 " is full",
                    self->number, self->registration.id);
    conn_fail(self->session->conn, ERR_OVERLOADED, detail);
}

/* The last messages of a run are to wait. Returns how many do. */
static uint32_t subscription_enqueue(struct subscription *self, struct run *run,
                                     struct span messages, uint32_t count,
                                     enum subscription_policy policy)
{
    uint64_t bytes_before = 0;
    uint32_t messages_before = 0;
    uint32_t dropped_old = 0;
    bool is_new = self->queue == NULL;
    if (is_new) {
        self->queue = subscription_queue_new(subscription_table(self)->pool);
        subscription_move(self, true);
    } else {
        bytes_before = subscription_queue_bytes(self->queue);
        messages_before = subscription_queue_messages(self->queue);
    }
    struct subscription_queue_limits limits = {
        .messages_max = self->messages_max,
        .bytes_max = self->bytes_max,
        .policy = policy,
    };
    uint32_t taken =
        subscription_queue_offer(self->queue, &limits, run, messages, count, &dropped_old);
    subscription_account_queue(self, bytes_before, messages_before);
    subscription_account_dropped(self, count - taken + dropped_old);
    if (is_new) {
        subscription_want_room(self);
    }
    return taken;
}

/* --- in --- */

static __attribute__((noinline)) uint32_t subscription_offer_slowly(struct subscription *self,
                                                                    struct run *run)
{
    uint32_t put = 0;
    size_t size = 0;
    if (!subscription_is_receiving(self)) {
        subscription_account_dropped(self, run->count);
        return 0;
    }
    if (self->queue == NULL) {
        size = subscription_fits(self, run->messages, run->count, &put);
        if (put != 0) {
            subscription_put(self, run, size, put);
        }
    }
    uint32_t queued = 0;
    if (put != run->count) {
        queued = subscription_enqueue(self, run, messages_behind(run->messages, size),
                                      run->count - put, (enum subscription_policy) self->policy);
        if (put + queued != run->count && self->policy == SUBSCRIPTION_DISCONNECT) {
            subscription_disconnect(self);
        }
    }
    subscription_check_load(self);
    return put + queued;
}

uint32_t subscription_offer(struct subscription *self, struct run *run)
{
    self->registration.exchange->counts.matched += run->count;
    if (self->queue == NULL && self->credit == NULL &&
        run->messages.size <= subscription_room(self)) {
        subscription_put(self, run, run->messages.size, run->count);
        return run->count;
    }
    return subscription_offer_slowly(self, run);
}

/* The part of the credit that nothing in the queue waits for. */
static uint32_t spare_messages(const struct subscription *self)
{
    uint32_t queued = self->queue != NULL ? subscription_queue_messages(self->queue) : 0;
    uint32_t room = self->messages_max > queued ? self->messages_max - queued : 0;
    if (self->credit == NULL) {
        return room; /* what goes straight into the output counts as if it waited: it is not much */
    }
    uint64_t left = self->credit->messages > queued ? self->credit->messages - queued : 0;
    return left < room ? (uint32_t) left : room;
}

static uint64_t spare_bytes(const struct subscription *self)
{
    uint64_t queued = self->queue != NULL ? subscription_queue_bytes(self->queue) : 0;
    uint64_t max =
        smaller(self->bytes_max, subscription_queue_pool_share(subscription_table(self)->pool));
    uint64_t room = max > queued ? max - queued : 0;
    uint64_t left = credit_bytes(self) > queued ? credit_bytes(self) - queued : 0;
    return smaller(left, room);
}

bool subscription_is_willing(const struct subscription *self)
{
    return spare_messages(self) != 0 && spare_bytes(self) != 0 && subscription_is_receiving(self);
}

bool subscription_has_credit(const struct subscription *self)
{
    return self->state == SUBSCRIPTION_OPEN && subscription_is_willing(self);
}

uint32_t subscription_take(struct subscription *self, struct run *run)
{
    uint32_t put = 0;
    size_t size = 0;
    if (!subscription_is_receiving(self)) {
        return 0;
    }
    if (self->queue == NULL) {
        size = subscription_fits(self, run->messages, run->count, &put);
        if (put != 0) {
            self->registration.exchange->counts.matched += put;
            subscription_put(self, run, size, put);
        }
    }
    uint32_t queued = 0;
    if (put != run->count) {
        struct span rest = messages_behind(run->messages, size);
        uint32_t count = 0;
        uint32_t count_max = spare_messages(self);
        uint32_t left = run->count - put;
        size_t rest_size =
            messages_prefix(rest, count_max < left ? count_max : left, spare_bytes(self), &count);
        if (count != 0) {
            bool is_conflating = self->policy == SUBSCRIPTION_CONFLATE;
            self->registration.exchange->counts.matched += count;
            queued =
                subscription_enqueue(self, run, messages_first(rest, rest_size), count,
                                     is_conflating ? SUBSCRIPTION_CONFLATE : SUBSCRIPTION_DROP_NEW);
        }
    }
    subscription_check_load(self);
    return put + queued;
}

uint64_t subscription_queued_bytes(const struct subscription *self)
{
    uint64_t queued = self->queue != NULL ? subscription_queue_bytes(self->queue) : 0;
    return queued + conn_outbound_bytes(self->session->conn);
}

/* --- out of the queue --- */

/* What was dropped, before what was published later. */
static void subscription_tell_gap(struct subscription *self, const struct subscription_gap *gap)
{
    struct buf *body = &self->session->frontd->scratch;
    pb_append_varint(body, EVENT_TYPE, RAILGUN__GROUP_EVENT__TYPE__EVENT_DROPPED);
    pb_append_varint(body, EVENT_COUNT, gap->count);
    pb_append_bytes(body, EVENT_FIRST_TOPIC, span_make(gap->first_topic, gap->first_size));
    pb_append_bytes(body, EVENT_LAST_TOPIC, span_make(gap->last_topic, gap->last_size));
    session_send(self->session, self->number, 0, RAILGUN__FRAME__BODY_GROUP_EVENT, buf_span(body));
    buf_reset(body);
    subscription_queue_gap_told(self->queue);
}

static bool subscription_next(const struct subscription *self,
                              struct subscription_queue_part *ret_part)
{
    uint64_t room = subscription_room(self);
    uint32_t count_max = credit_messages(self);
    if (count_max == 0) {
        return false;
    }
    if (subscription_queue_next(self->queue, count_max, smaller(room, credit_bytes(self)),
                                ret_part)) {
        return true;
    }
    uint64_t alone = subscription_room_for_one(self, room);
    return subscription_queue_next(self->queue, 1, smaller(alone, credit_bytes(self)), ret_part);
}

/* A piece leaves the queue. */
static void subscription_part_out(struct subscription *self,
                                  const struct subscription_queue_part *part)
{
    unsigned origin = part->origin;
    uint64_t request = part->request;
    uint32_t timeout_ms = part->timeout_ms;
    subscription_account_out(self, part->messages.size, part->count);
    subscription_queue_taken(self->queue, part);
    subscription_tell_request(self, origin, request, timeout_ms);
}

/* Small pieces, one behind the other, as one frame. */
static size_t subscription_send_gathered(struct subscription *self,
                                         struct subscription_queue_part *part)
{
    struct buf *gathered = &self->session->frontd->scratch;
    uint64_t room = subscription_room(self);
    uint64_t limit = room < GATHER_BYTES_MAX ? room : (uint64_t) GATHER_BYTES_MAX;
    bool is_more = true;
    while (is_more) {
        buf_append(gathered, part->messages);
        subscription_part_out(self, part);
        uint64_t left = limit > gathered->size ? limit - gathered->size : 0;
        is_more = credit_messages(self) != 0 &&
                  subscription_queue_next(self->queue, credit_messages(self),
                                          smaller(left, credit_bytes(self)), part) &&
                  part->messages.size <= GATHER_PIECE_MAX && part->request == 0;
    }
    size_t size = gathered->size;
    subscription_send(self, buf_span(gathered), NULL);
    buf_reset(gathered);
    return size;
}

enum flush_result { FLUSH_DONE, FLUSH_MORE, FLUSH_STUCK, FLUSH_NO_ROOM };

/* Send what waits: about `quantum` bytes. */
static enum flush_result subscription_flush(struct subscription *self, uint64_t quantum)
{
    uint64_t sent = 0;
    enum flush_result result = FLUSH_MORE;
    uint64_t bytes_before = subscription_queue_bytes(self->queue);
    uint32_t messages_before = subscription_queue_messages(self->queue);
    while (sent < quantum) {
        struct subscription_queue_part part;
        const struct subscription_gap *gap = subscription_queue_gap_due(self->queue);
        bool is_clear = subscription_room_for_one(self, subscription_room(self)) != 0;
        bool may_send = credit_messages(self) != 0 && credit_bytes(self) != 0;
        if (!is_clear) {
            result = FLUSH_NO_ROOM;
            break;
        }
        if (gap != NULL && (may_send || subscription_queue_messages(self->queue) == 0)) {
            subscription_tell_gap(self, gap);
        }
        if (subscription_queue_is_empty(self->queue)) {
            result = FLUSH_DONE;
            break;
        }
        if (!may_send || !subscription_next(self, &part)) {
            bool has_credit =
                may_send && subscription_queue_next(self->queue, 1, credit_bytes(self), &part);
            result = has_credit ? FLUSH_NO_ROOM : FLUSH_STUCK;
            break;
        }
        if (part.messages.size <= GATHER_PIECE_MAX && part.request == 0) {
            sent += subscription_send_gathered(self, &part);
        } else {
            sent += part.messages.size;
            subscription_send(self, part.messages, part.owner);
            subscription_part_out(self, &part);
        }
    }
    subscription_account_queue(self, bytes_before, messages_before);
    return result;
}

void subscription_flush_all(struct subscription *self)
{
    if (self->queue == NULL) {
        return;
    }
    (void) subscription_flush(self, UINT64_MAX); /* what is left is asked for below */
    subscription_free_queue(self);
    subscription_want_room(self);
    subscription_check_load(self);
}

/* Those with a queue stand at the front of the session's list: take turns, a quantum each. */
void subscriptions_session_room(struct session *session)
{
    struct list due;
    struct list stuck;
    struct subscription *last = NULL;
    list_init(&due);
    list_init(&stuck);
    while (!list_is_empty(&session->subscriptions)) {
        struct list *node = session->subscriptions.next;
        if (LIST_ENTRY(node, struct subscription, of_session)->queue == NULL) {
            break;
        }
        list_remove(node);
        list_push_back(&due, node);
    }
    struct list *node = NULL;
    while ((node = list_pop_front(&due)) != NULL) {
        struct subscription *self = LIST_ENTRY(node, struct subscription, of_session);
        enum flush_result result = subscription_flush(self, QUANTUM_BYTES);
        if (result == FLUSH_DONE) {
            list_push_back(&session->subscriptions, node);
            subscription_queue_destroy(&self->queue);
        } else if (result == FLUSH_MORE) {
            list_push_back(&due, node);
        } else if (result == FLUSH_STUCK) {
            list_push_back(&stuck, node);
        } else {
            list_push_front(&due, node); /* its turn comes first the next time */
            last = self;
        }
        subscription_check_load(self);
        if (result == FLUSH_NO_ROOM) {
            break;
        }
    }
    while (!list_is_empty(&due)) {
        node = due.previous;
        list_remove(node);
        list_push_front(&stuck, node);
    }
    while (!list_is_empty(&stuck)) {
        node = stuck.previous;
        list_remove(node);
        list_push_front(&session->subscriptions, node);
    }
    if (last != NULL) {
        subscription_want_room(last);
    }
}

void subscription_grant(struct subscription *self, uint64_t messages, uint64_t bytes)
{
    if (self->credit == NULL) {
        return; /* it needs none */
    }
    uint64_t most = UINT64_MAX / 2;
    self->credit->messages = smaller(self->credit->messages, most) + smaller(messages, most);
    self->credit->bytes = smaller(self->credit->bytes, most) + smaller(bytes, most);
    subscription_flush_all(self);
    subscription_check_load(self);
}

/* --- load --- */

bool subscription_is_idle(const struct subscription *self)
{
    return self->queue == NULL && subscription_is_willing(self);
}

void subscription_check_load(struct subscription *self)
{
    if (self->member != NULL && subscription_is_idle(self) != self->member->is_idle) {
        self->member->is_idle = !self->member->is_idle;
        switch_load_changed(self->session->frontd, self);
    }
}
