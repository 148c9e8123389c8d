/* publish: from rg_publish_async to its completion. Records of a stream are encoded straight into its open batch; the I/O thread seals and
 * sends it. A batch goes out at once while little is on its way; otherwise it grows until an earlier one of its stream is answered or it is
 * full, so that batches are as large as the load makes them. Owns all packs and lanes. Must never send beyond the server's window, nor report
 * a record twice. */
#include "client/publish.h"

#include <string.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/base/name.h"
#include "common/wire/batch.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/hot.h"
#include "common/wire/pb.h"

enum {
    LANES_MAX = 65536,         /* beyond it, idle ones are forgotten */
    SPARE_PACKS_MAX = 128,     /* kept with their memory */
    SPARE_BYTES_MAX = 1 << 20, /* of one that is kept */
    SEND_BYTES_MAX = 1 << 20,  /* handed to one write */
    PUBLISH_STREAM = 1,
    PUBLISH_BATCH = 2,
    PUBLISH_ATOMIC = 5,
    PUBLISH_OK_EXCEPTIONS = 4,
    HEAD_BYTES_MAX = 512, /* of a Publish frame besides its records */
    ID_BYTES_MAX = 128,
    HEADERS_MAX = 32,
    HEADER_BYTES_MAX = 16 << 10,
};

static struct pack *pack_of(struct list *node)
{
    return LIST_ENTRY(node, struct pack, of_queue);
}

static struct lane *lane_of(struct list *node)
{
    return LIST_ENTRY(node, struct lane, of_state);
}

/* --- life --- */

void publish_init(struct rg_client *client)
{
    struct publishing *self = &client->pub;
    self->lanes = hash_new();
    list_init(&self->idle);
    list_init(&self->ready);
    list_init(&self->held);
    list_init(&self->linger);
    list_init(&self->live);
    list_init(&self->queue);
    list_init(&self->sent);
    list_init(&self->done);
    list_init(&self->lost);
    list_init(&self->spare);
    cond_init(&self->room);
    cond_init(&self->flushed);
}

static void pack_free(struct pack *pack)
{
    buf_release(&pack->head);
    buf_release(&pack->records);
    slice_release(&pack->answer);
    mem_free(pack->completions);
    mem_free(pack);
}

static void lane_free(struct publishing *self, struct lane *lane)
{
    INVARIANT(lane->state == LANE_IDLE);
    if (self->recent == lane) {
        self->recent = NULL;
    }
    list_remove(&lane->of_state);
    (void) hash_remove(self->lanes, lane->name); /* it was there */
    mem_free(lane->name_text);
    mem_free(lane);
}

void publish_release(struct rg_client *client)
{
    struct publishing *self = &client->pub;
    struct list *node = NULL;
    INVARIANT(list_is_empty(&self->live));
    while ((node = list_pop_front(&self->spare)) != NULL) {
        pack_free(pack_of(node));
    }
    while (!list_is_empty(&self->idle)) {
        lane_free(self, lane_of(self->idle.next));
    }
    hash_destroy(&self->lanes);
    buf_release(&self->scratch);
    (void) pthread_cond_destroy(&self->room);    /* nobody waits any more */
    (void) pthread_cond_destroy(&self->flushed); /* as above */
}

struct pack *pack_take(struct rg_client *client, enum pack_kind kind)
{
    struct publishing *self = &client->pub;
    struct list *node = list_pop_front(&self->spare);
    struct pack *pack = NULL;
    if (node != NULL) {
        self->spare_count--;
        pack = pack_of(node);
    } else {
        pack = MEM_NEW(struct pack);
        list_init(&pack->of_queue);
        list_init(&pack->of_live);
        list_init(&pack->of_flight);
    }
    pack->pending = (struct pending){.kind = PENDING_PACK};
    pack->state = PACK_OPEN;
    pack->kind = kind;
    pack->lane = NULL;
    pack->serial = self->next_serial++;
    pack->count = 0;
    pack->is_started = false;
    pack->deadline_us = client_request_deadline(client, client_now_us());
    pack->batch_done = NULL;
    pack->waiter = NULL;
    pack->result = 0;
    pack->published = (struct rg_published){0};
    list_push_back(&self->live, &pack->of_live);
    return pack;
}

void pack_give(struct rg_client *client, struct pack *pack)
{
    struct publishing *self = &client->pub;
    list_remove(&pack->of_queue);
    list_remove(&pack->of_live);
    list_remove(&pack->of_flight);
    slice_release(&pack->answer);
    buf_reset(&pack->head);
    buf_reset(&pack->records);
    bool is_large = pack->records.capacity > SPARE_BYTES_MAX;
    if (self->spare_count == SPARE_PACKS_MAX || is_large) {
        pack_free(pack);
    } else {
        list_push_front(&self->spare, &pack->of_queue);
        self->spare_count++;
    }
    if (self->flushers != 0) {
        (void) pthread_cond_broadcast(&self->flushed);
    }
}

/* --- lanes --- */

static void lane_move(struct publishing *self, struct lane *lane, int state)
{
    if (lane->state == LANE_READY) {
        self->ready_count--;
    }
    list_remove(&lane->of_state);
    switch (state) {
    case LANE_IDLE:
        list_push_back(&self->idle, &lane->of_state);
        break;
    case LANE_READY:
        self->ready_count++;
        list_push_back(&self->ready, &lane->of_state);
        break;
    case LANE_HELD:
        list_push_back(&self->held, &lane->of_state);
        break;
    case LANE_LINGERS:
        list_push_back(&self->linger, &lane->of_state);
        break;
    default:
        break;
    }
    lane->state = state;
}

static struct lane *lane_new(struct publishing *self, struct span name)
{
    if (hash_count(self->lanes) >= LANES_MAX && !list_is_empty(&self->idle)) {
        lane_free(self, lane_of(self->idle.next));
    }
    struct lane *lane = MEM_NEW(struct lane);
    lane->name_text = mem_new(name.size + 1);
    memcpy(lane->name_text, name.data, name.size);
    lane->name = span_make(lane->name_text, name.size);
    list_init(&lane->flight);
    list_init(&lane->of_state);
    (void) hash_put(self->lanes, lane->name, lane); /* was absent */
    list_push_back(&self->idle, &lane->of_state);
    return lane;
}

int lane_find(struct rg_client *client, struct span name, struct lane **ret_lane)
{
    struct publishing *self = &client->pub;
    if (self->recent != NULL && span_equal(self->recent->name, name)) {
        *ret_lane = self->recent;
        return 0;
    }
    struct lane *lane = hash_get(self->lanes, name);
    if (lane == NULL) {
        const char *problem = name_check(name);
        if (problem != NULL) {
            return error_note(ERR_BAD_REQUEST, "stream name: %s", problem);
        }
        lane = lane_new(self, name);
    }
    self->recent = lane;
    *ret_lane = lane;
    return 0;
}

/* Its open batch may go out, if enough is not on its way already. */
static void lane_ripen(struct rg_client *client, struct lane *lane)
{
    struct publishing *self = &client->pub;
    if (list_is_empty(&lane->flight) ||
        self->in_flight + self->ready_count < CLIENT_IN_FLIGHT_MIN) {
        lane_move(self, lane, LANE_READY);
        client_wake(client);
    } else {
        lane_move(self, lane, LANE_HELD);
    }
}

static struct pack *lane_open(struct rg_client *client, struct lane *lane)
{
    if (lane->open != NULL) {
        return lane->open;
    }
    struct pack *pack = pack_take(client, PACK_RECORDS);
    pack->lane = lane;
    lane->open = pack;
    if (client->options.linger_us != 0) {
        lane->due_us = client_now_us() + client->options.linger_us;
        lane_move(&client->pub, lane, LANE_LINGERS);
        client_wake_by(client, lane->due_us);
    } else {
        lane_ripen(client, lane);
    }
    return pack;
}

/* --- sealing --- */

/* A larger Publish frame could never be sent. */
static uint64_t publish_frame_limit(const struct rg_client *client)
{
    uint64_t frame = client->limits.frame_bytes_max;
    uint64_t window = client->limits.publish_window_first;
    return window != 0 && window < frame ? window : frame;
}

/* Frame head, Publish fields and the batch's own tag: what stands before the records. */
static void pack_build_head(struct pack *pack, struct span stream, struct span head_extra)
{
    uint8_t tags[2 * (PB_TAG_SIZE_MAX + PB_LENGTH_SIZE_MAX)];
    uint8_t *at = pb_put_varint(pb_put_tag(tags, PUBLISH_STREAM, PB_BYTES), stream.size);
    size_t stream_tag = (size_t) (at - tags);
    uint8_t *batch_tag = at;
    at = pb_put_varint(pb_put_tag(at, PUBLISH_BATCH, PB_BYTES), pack->records.size);
    size_t batch_tag_size = (size_t) (at - batch_tag);
    size_t body = stream_tag + stream.size + head_extra.size + batch_tag_size + pack->records.size;

    buf_reset(&pack->head);
    uint8_t *head = buf_reserve(&pack->head, HEAD_BYTES_MAX + stream.size + head_extra.size);
    buf_advance(&pack->head,
                frame_put_head(head, 0, pack->pending.corr, RAILGUN__FRAME__BODY_PUBLISH, body));
    buf_append(&pack->head, span_make(tags, stream_tag));
    buf_append(&pack->head, stream);
    buf_append(&pack->head, head_extra);
    buf_append(&pack->head, span_make(batch_tag, batch_tag_size));
    pack->frame_bytes = pack->head.size + pack->records.size;
}

/* Does the frame go through what the server allows now? */
static bool pack_is_too_large(const struct rg_client *client, const struct pack *pack, size_t more)
{
    uint64_t limit = publish_frame_limit(client);
    return pack->records.size + more + HEAD_BYTES_MAX > limit;
}

static void pack_enter_lane(struct rg_client *client, struct pack *pack)
{
    struct lane *lane = pack->lane;
    list_push_back(&lane->flight, &pack->of_flight);
    client->pub.in_flight++;
    if (lane->state == LANE_IDLE) {
        lane_move(&client->pub, lane, LANE_BUSY);
    }
}

static void pack_queue(struct rg_client *client, struct pack *pack, struct span stream,
                       struct span head_extra)
{
    pack->pending.corr = client->next_corr++;
    pack_build_head(pack, stream, head_extra);
    (void) hash64_put(client->pending, pack->pending.corr, &pack->pending); /* a new number */
    pack->state = PACK_QUEUED;
    list_push_back(&client->pub.queue, &pack->of_queue);
    client_wake_by(client, pack->deadline_us);
}

int pack_submit(struct rg_client *client, struct pack *pack, struct span stream,
                struct span head_extra)
{
    if (pack_is_too_large(client, pack, stream.size + head_extra.size)) {
        pack_give(client, pack);
        return error_note(ERR_TOO_LARGE, "the batch is larger than the server's frames or window");
    }
    if (pack->lane != NULL) {
        pack_enter_lane(client, pack);
    }
    pack_queue(client, pack, stream, head_extra);
    return 0;
}

static void pack_finish(struct rg_client *client, struct pack *pack, int result);

void lane_seal(struct rg_client *client, struct lane *lane)
{
    struct pack *pack = lane->open;
    if (pack == NULL) {
        return;
    }
    /* Each record stands for itself: one that the server refuses must not take the others with it. */
    uint8_t extra[PB_TAG_SIZE_MAX + 1];
    uint8_t *end = pb_put_varint(pb_put_tag(extra, PUBLISH_ATOMIC, PB_VARINT), 0);
    lane->open = NULL;
    lane_move(&client->pub, lane, LANE_BUSY);
    pack_enter_lane(client, pack);
    if (pack_is_too_large(client, pack, lane->name.size)) {
        pack_finish(client, pack, ERR_TOO_LARGE); /* a reconnect brought smaller limits */
    } else {
        pack_queue(client, pack, lane->name, span_make(extra, (size_t) (end - extra)));
    }
}

static void lanes_seal(struct rg_client *client, struct list *lanes)
{
    while (!list_is_empty(lanes)) {
        lane_seal(client, lane_of(lanes->next));
    }
}

void publish_seal_all(struct rg_client *client)
{
    lanes_seal(client, &client->pub.linger);
    lanes_seal(client, &client->pub.held);
    lanes_seal(client, &client->pub.ready);
}

uint64_t publish_turn(struct rg_client *client, uint64_t now_us)
{
    struct publishing *self = &client->pub;
    uint64_t next_us = UINT64_MAX;
    while (!list_is_empty(&self->linger)) {
        struct lane *lane = lane_of(self->linger.next);
        if (lane->due_us > now_us) {
            next_us = lane->due_us;
            break;
        }
        lane_ripen(client, lane);
    }
    lanes_seal(client, &self->ready);
    struct list *fronts[] = {&self->queue, &self->sent, &client->conn.sending};
    for (size_t i = 0; i < sizeof(fronts) / sizeof(fronts[0]); i++) {
        if (!list_is_empty(fronts[i])) {
            uint64_t deadline_us = pack_of(fronts[i]->next)->deadline_us;
            next_us = deadline_us < next_us ? deadline_us : next_us;
        }
    }
    if (!list_is_empty(&self->held)) {
        uint64_t deadline_us = lane_of(self->held.next)->open->deadline_us;
        next_us = deadline_us < next_us ? deadline_us : next_us;
    }
    return next_us;
}

/* --- sending --- */

static bool pack_fits(const struct rg_client *client, const struct pack *pack)
{
    uint64_t window = client->limits.publish_window;
    uint64_t used = client->pub.unanswered_bytes;
    return used <= window && pack->frame_bytes <= window - used;
}

bool publish_may_send(const struct rg_client *client)
{
    const struct list *queue = &client->pub.queue;
    return !list_is_empty(queue) && pack_fits(client, pack_of(queue->next));
}

void publish_take(struct rg_client *client, struct list *sending)
{
    struct publishing *self = &client->pub;
    uint64_t taken = 0;
    while (taken < SEND_BYTES_MAX && publish_may_send(client)) {
        struct pack *pack = pack_of(list_pop_front(&self->queue));
        pack->state = PACK_SENDING;
        self->unanswered_bytes += pack->frame_bytes;
        taken += pack->frame_bytes;
        list_push_back(sending, &pack->of_queue);
    }
}

void publish_sent(struct rg_client *client, struct pack *pack)
{
    list_remove(&pack->of_queue);
    list_push_back(&client->pub.sent, &pack->of_queue);
    pack->state = PACK_SENT;
}

void publish_window(struct rg_client *client, uint64_t bytes)
{
    client->limits.publish_window = bytes;
}

/* --- outcomes --- */

/* A Publish that was reported as unknown, but whose bytes the server still counts. */
struct ghost {
    struct pending pending;
    struct list of_lost;
    uint64_t frame_bytes;
};

static void ghost_new(struct rg_client *client, const struct pack *pack)
{
    struct ghost *ghost = MEM_NEW(struct ghost);
    ghost->pending = (struct pending){PENDING_GHOST, pack->pending.corr};
    ghost->frame_bytes = pack->frame_bytes;
    list_push_back(&client->pub.lost, &ghost->of_lost);
    (void) hash64_put(client->pending, ghost->pending.corr, &ghost->pending); /* replaces pack */
}

static void ghost_free(struct rg_client *client, struct ghost *ghost)
{
    list_remove(&ghost->of_lost);
    (void) hash64_remove(client->pending, ghost->pending.corr); /* it was there */
    mem_free(ghost);
}

void publish_ghost_answered(struct rg_client *client, struct pending *pending)
{
    struct ghost *ghost = LIST_ENTRY(pending, struct ghost, pending);
    client->pub.unanswered_bytes -= ghost->frame_bytes;
    ghost_free(client, ghost);
}

/* One batch less is on its way: others may go. */
static void publish_release_held(struct rg_client *client, struct lane *lane)
{
    struct publishing *self = &client->pub;
    if (list_is_empty(&lane->flight)) {
        if (lane->state == LANE_HELD) {
            lane_move(self, lane, LANE_READY);
        } else if (lane->state == LANE_BUSY) {
            lane_move(self, lane, LANE_IDLE);
        }
    }
    while (!list_is_empty(&self->held) &&
           self->in_flight + self->ready_count < CLIENT_IN_FLIGHT_MIN) {
        lane_move(self, lane_of(self->held.next), LANE_READY);
    }
}

/* It has its outcome. Completions keep the lane's order, so it may have to wait for earlier ones. */
static void pack_finish(struct rg_client *client, struct pack *pack, int result)
{
    struct publishing *self = &client->pub;
    struct lane *lane = pack->lane;

    pack->result = result;
    pack->state = PACK_DONE;
    list_remove(&pack->of_queue);
    if (hash64_get(client->pending, pack->pending.corr) == &pack->pending) {
        (void) hash64_remove(client->pending, pack->pending.corr); /* seen a moment ago */
    }
    if (pack->kind == PACK_WAITED) {
        pack->waiter->is_done = true;
        (void) pthread_cond_signal(&pack->waiter->cond);
        return;
    }
    self->in_flight--;
    while (!list_is_empty(&lane->flight)) {
        struct pack *front = LIST_ENTRY(lane->flight.next, struct pack, of_flight);
        if (front->state != PACK_DONE) {
            break;
        }
        list_remove(&front->of_flight);
        front->lane = NULL;
        list_push_back(&self->done, &front->of_queue);
    }
    publish_release_held(client, lane);
}

static int publish_ok(struct rg_client *client, struct pack *pack, struct span body)
{
    struct hot_publish_ok ok;
    int result = hot_publish_ok_read(body, &ok);
    if (result < 0) {
        return result;
    }
    if ((uint64_t) ok.count + ok.exceptions != pack->count) {
        return ERR_PROTOCOL;
    }
    if (ok.has_window) {
        publish_window(client, ok.publish_window);
    }
    if (ok.exceptions != 0) {
        pack->answer = session_keep(client, body);
    }
    pack->published =
        (struct rg_published){.base_offset = ok.base_offset, .count = ok.count, .ts_us = ok.ts_us};
    client->pub.unanswered_bytes -= pack->frame_bytes;
    pack_finish(client, pack, 0);
    return 0;
}

int publish_answered(struct rg_client *client, struct pack *pack, uint32_t field, struct span body)
{
    struct error_answer answer;
    if (pack->state != PACK_SENT) {
        return ERR_PROTOCOL; /* an answer to what was not asked yet */
    }
    if (field == RAILGUN__FRAME__BODY_PUBLISH_OK) {
        return publish_ok(client, pack, body);
    }
    if (field != RAILGUN__FRAME__BODY_ERROR || error_read(body, &answer) < 0) {
        return ERR_PROTOCOL;
    }
    pack->answer = session_keep(client, body);
    pack->published.next_offset = answer.next_offset;
    client->pub.unanswered_bytes -= pack->frame_bytes;
    pack_finish(client, pack, answer.code);
    return 0;
}

int publish_check(struct rg_client *client, uint64_t now_us)
{
    struct publishing *self = &client->pub;
    const struct list *sending = &client->conn.sending;
    if (!list_is_empty(sending) && now_us >= pack_of(sending->next)->deadline_us) {
        return ERR_TIMEOUT;
    }
    while (!list_is_empty(&self->sent) && now_us >= pack_of(self->sent.next)->deadline_us) {
        struct pack *pack = pack_of(self->sent.next);
        ghost_new(client, pack);
        pack_finish(client, pack, ERR_TIMEOUT);
    }
    while (!list_is_empty(&self->held) && now_us >= lane_of(self->held.next)->open->deadline_us) {
        lane_seal(client, lane_of(self->held.next));
    }
    while (!list_is_empty(&self->queue) && now_us >= pack_of(self->queue.next)->deadline_us) {
        /* Certainly not stored: no byte of it was sent. */
        bool is_up = client->state == CLIENT_UP;
        pack_finish(client, pack_of(self->queue.next), is_up ? ERR_OVERLOADED : ERR_CLOSED);
    }
    return 0;
}

void publish_lost(struct rg_client *client)
{
    struct publishing *self = &client->pub;
    struct list *sending = &client->conn.sending;
    while (!list_is_empty(&self->sent)) {
        pack_finish(client, pack_of(self->sent.next), ERR_TIMEOUT);
    }
    while (!list_is_empty(sending) && pack_of(sending->next)->is_started) {
        pack_finish(client, pack_of(sending->next), ERR_TIMEOUT);
    }
    while (!list_is_empty(sending)) {
        struct pack *pack = pack_of(sending->previous);
        list_remove(&pack->of_queue);
        list_push_front(&self->queue, &pack->of_queue);
        pack->state = PACK_QUEUED;
    }
    while (!list_is_empty(&self->lost)) {
        ghost_free(client, LIST_ENTRY(self->lost.next, struct ghost, of_lost));
    }
    self->unanswered_bytes = 0;
}

void publish_stop(struct rg_client *client)
{
    struct publishing *self = &client->pub;
    publish_seal_all(client);
    publish_lost(client);
    publish_seal_all(client);
    while (!list_is_empty(&self->queue)) {
        pack_finish(client, pack_of(self->queue.next), ERR_CLOSED);
    }
    (void) pthread_cond_broadcast(&self->room);
}

bool publish_is_idle(const struct rg_client *client)
{
    return list_is_empty(&client->pub.live);
}

/* --- completions --- */

/* The outcome of each record of a batch in which some were not stored as they are. */
struct record_outcome {
    int result;
    uint64_t offset;
};

static void outcomes_read(struct pack *pack, struct record_outcome *outcomes)
{
    struct span rest = pack->answer.bytes;
    struct pb_field field;
    for (uint32_t i = 0; i < pack->count; i++) {
        outcomes[i] = (struct record_outcome){1, 0};
    }
    while (pb_next(&rest, &field) == 1) {
        struct hot_result one;
        if (field.number == PUBLISH_OK_EXCEPTIONS && hot_result_read(field.bytes, &one) == 0 &&
            one.record < pack->count) {
            bool is_stored = (int) one.code == -ERR_DUPLICATE;
            int code = one.code != 0 && one.code < 1000 ? -(int) one.code : ERR_INTERNAL;
            outcomes[one.record] = (struct record_outcome){is_stored ? 0 : code, one.offset};
        }
    }
    uint64_t offset = pack->published.base_offset;
    for (uint32_t i = 0; i < pack->count; i++) {
        if (outcomes[i].result == 1) {
            outcomes[i] = (struct record_outcome){0, offset++};
        }
    }
}

static void pack_complete_mixed(struct pack *pack, int *first_error)
{
    struct record_outcome *outcomes = mem_new_array(pack->count, sizeof(*outcomes));
    outcomes_read(pack, outcomes);
    for (uint32_t i = 0; i < pack->count; i++) {
        if (*first_error == 0) {
            *first_error = outcomes[i].result;
        }
        if (pack->completions[i].done != NULL) {
            pack->completions[i].done(pack->completions[i].ud, outcomes[i].result,
                                      outcomes[i].offset);
        }
    }
    mem_free(outcomes);
}

int pack_mixed_result(struct pack *pack, uint64_t *ret_offset)
{
    struct record_outcome *outcomes = mem_new_array(pack->count, sizeof(*outcomes));
    int result = 0;
    outcomes_read(pack, outcomes);
    for (uint32_t i = 0; i < pack->count && result == 0; i++) {
        result = outcomes[i].result;
    }
    *ret_offset = outcomes[0].offset;
    mem_free(outcomes);
    return result;
}

/* Called without the lock. Returns the first error in it. */
static int pack_complete(struct pack *pack)
{
    int first_error = pack->result;
    bool is_mixed = pack->result == 0 && pack->answer.owner != NULL;
    if (pack->kind == PACK_BATCH) {
        if (is_mixed) {
            first_error = pack_mixed_result(pack, &pack->published.base_offset);
        }
        if (pack->batch_done != NULL) {
            pack->batch_done(pack->ud, first_error, &pack->published);
        }
    } else if (is_mixed) {
        pack_complete_mixed(pack, &first_error);
    } else {
        for (uint32_t i = 0; i < pack->count; i++) {
            const struct completion *completion = &pack->completions[i];
            if (completion->done != NULL) {
                completion->done(completion->ud, pack->result,
                                 pack->result == 0 ? pack->published.base_offset + i : 0);
            }
        }
    }
    return first_error;
}

static bool publish_is_full(const struct rg_client *client)
{
    return client->pub.window_bytes >= client->options.window_bytes ||
           client->pub.window_records >= client->options.window_records;
}

/* Some room is not worth a change of threads: a quarter is. */
static bool publish_has_much_room(const struct rg_client *client)
{
    return client->pub.window_bytes <= client->options.window_bytes / 4 * 3 &&
           client->pub.window_records <= client->options.window_records / 4 * 3;
}

void publish_call_back(struct rg_client *client)
{
    struct publishing *self = &client->pub;
    struct list done;
    struct list *node = NULL;
    list_take_all(&done, &self->done);
    while ((node = list_pop_front(&done)) != NULL) {
        struct pack *pack = pack_of(node);
        client_unlock(client);
        int error = pack_complete(pack);
        client_lock(client);
        if (self->first_error == 0) {
            self->first_error = error;
        }
        self->window_bytes -= pack->records.size;
        self->window_records -= pack->count;
        pack_give(client, pack);
        if (self->blocked != 0 && publish_has_much_room(client)) {
            (void) pthread_cond_broadcast(&self->room);
        }
    }
}

/* --- what callers call --- */

int publish_wait_room(struct rg_client *client)
{
    struct publishing *self = &client->pub;
    while (publish_is_full(client)) {
        if (client->is_closing) {
            break;
        }
        if (client_is_io_thread(client)) {
            return error_note(ERR_AGAIN, "the publish window is full");
        }
        self->blocked++;
        (void) pthread_cond_wait(&self->room, &client->lock); /* the predicate decides */
        self->blocked--;
    }
    return client->is_closing ? error_note(ERR_CLOSED, "the client is closed") : 0;
}

/* Encode the headers to `scratch`. */
static int headers_encode(struct rg_client *client, const struct rg_message *message)
{
    struct buf *scratch = &client->pub.scratch;
    buf_reset(scratch);
    if (message->header_count > HEADERS_MAX) {
        return error_note(ERR_TOO_LARGE, "more than 32 headers");
    }
    for (size_t i = 0; i < message->header_count; i++) {
        const struct rg_header *header = &message->headers[i];
        struct span name = span_make(header->name.data, header->name.size);
        if (!pb_is_text(name)) {
            return error_note(ERR_BAD_REQUEST, "a header's name is not UTF-8 text");
        }
        if (name.size > HEADER_BYTES_MAX || header->value.size > HEADER_BYTES_MAX ||
            scratch->size > HEADER_BYTES_MAX) {
            return error_note(ERR_TOO_LARGE, "the headers are larger than 16 KiB");
        }
        batch_header_append(scratch, name, span_make(header->value.data, header->value.size));
    }
    if (scratch->size > HEADER_BYTES_MAX) {
        return error_note(ERR_TOO_LARGE, "the headers are larger than 16 KiB");
    }
    return 0;
}

struct record_parts {
    struct span payload;
    struct span id;
    struct span key;
    struct span headers;
    size_t size; /* in the batch */
};

static int record_prepare(struct rg_client *client, const struct rg_message *message,
                          struct record_parts *ret_parts)
{
    struct record_parts parts = {
        .payload = span_make(message->payload.data, message->payload.size),
        .id = span_make(message->id.data, message->id.size),
        .key = span_make(message->key.data, message->key.size),
    };
    if (parts.id.size > ID_BYTES_MAX) {
        return error_note(ERR_TOO_LARGE, "the message id is longer than 128 bytes");
    }
    if (message->header_count != 0) {
        int result = headers_encode(client, message);
        if (result < 0) {
            return result;
        }
        parts.headers = buf_span(&client->pub.scratch);
    }
    uint64_t limit = client->limits.record_bytes_max;
    if (parts.payload.size > limit || parts.key.size > limit) {
        return error_note(ERR_TOO_LARGE, "the record is larger than %llu bytes",
                          (unsigned long long) limit);
    }
    parts.size = batch_append_size(parts.payload, parts.id, parts.key, parts.headers);
    uint64_t overhead = 1 + pb_varint_size(parts.size);
    if (parts.size > limit + overhead ||
        parts.size + 2 * HEAD_BYTES_MAX > publish_frame_limit(client)) {
        return error_note(ERR_TOO_LARGE, "the record is larger than %llu bytes",
                          (unsigned long long) limit);
    }
    *ret_parts = parts;
    return 0;
}

static void pack_append(struct rg_client *client, struct pack *pack,
                        const struct record_parts *parts)
{
    batch_append(&pack->records, parts->payload, parts->id, parts->key, parts->headers);
    pack->count++;
    if (pack->kind != PACK_WAITED) {
        client->pub.window_bytes += parts->size;
    }
    if (pack->kind != PACK_WAITED) {
        client->pub.window_records++;
    }
}

int pack_add(struct rg_client *client, struct pack *pack, const struct rg_message *message)
{
    struct record_parts parts;
    int result = record_prepare(client, message, &parts);
    if (result == 0) {
        pack_append(client, pack, &parts);
    }
    return result;
}

static void pack_set_completion(struct pack *pack, rg_published_fn *done, void *ud)
{
    if (pack->count > pack->completions_capacity) {
        uint32_t capacity = pack->completions_capacity * 2;
        capacity = capacity < 16 ? 16 : capacity;
        pack->completions = mem_resize(pack->completions, capacity, sizeof(*pack->completions));
        pack->completions_capacity = capacity;
    }
    pack->completions[pack->count - 1] = (struct completion){done, ud};
}

static size_t smaller(uint64_t a, uint64_t b)
{
    return (size_t) (a < b ? a : b);
}

/* Lock held. */
static int publish_record(struct rg_client *client, struct span stream,
                          const struct rg_message *message, rg_published_fn *done, void *ud)
{
    struct lane *lane = NULL;
    struct record_parts parts;
    int result = publish_wait_room(client);
    if (result == 0) {
        result = record_prepare(client, message, &parts);
    }
    if (result == 0) {
        result = lane_find(client, stream, &lane);
    }
    if (result < 0) {
        return result;
    }
    size_t bytes_max = smaller(client->options.batch_bytes, client->limits.batch_bytes_max);
    bytes_max = smaller(bytes_max, publish_frame_limit(client) / 2);
    if (lane->open != NULL && lane->open->records.size + parts.size > bytes_max) {
        lane_seal(client, lane);
        client_wake(client);
    }
    struct pack *pack = lane_open(client, lane);
    pack_append(client, pack, &parts);
    pack_set_completion(pack, done, ud);
    if (pack->count >= client->options.batch_records ||
        pack->count >= client->limits.batch_records_max || pack->records.size >= bytes_max) {
        lane_seal(client, lane);
        client_wake(client);
    }
    return 0;
}

int rg_publish_async(struct rg_client *client, const char *stream, const struct rg_message *message,
                     rg_published_fn *done, void *ud)
{
    if (client == NULL || stream == NULL || message == NULL) {
        return error_note(ERR_USAGE, "rg_publish_async: an argument is NULL");
    }
    client_lock(client);
    int result = publish_record(client, span_of(stream), message, done, ud);
    client_unlock(client);
    return result;
}

int rg_flush(struct rg_client *client, uint32_t timeout_ms)
{
    int result = client_check_blocking(client, "rg_flush");
    if (result < 0) {
        return result;
    }
    struct publishing *self = &client->pub;
    uint64_t until_us = client_now_us() + (uint64_t) timeout_ms * 1000;
    client_lock(client);
    uint64_t end = self->next_serial;
    publish_seal_all(client);
    client_wake(client);
    self->flushers++;
    while (!list_is_empty(&self->live) &&
           LIST_ENTRY(self->live.next, struct pack, of_live)->serial < end) {
        if (!cond_wait_until(&self->flushed, &client->lock, until_us)) {
            result = ERR_TIMEOUT;
            break;
        }
    }
    self->flushers--;
    if (result == 0) {
        result = self->first_error;
        self->first_error = 0;
    }
    client_unlock(client);
    return result < 0 ? error_note(result, "%s", rg_error_text(result)) : 0;
}
