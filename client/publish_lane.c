/* publish_lane: batches while they are made: a stream's open batch, when it is sealed, and the frame that comes of it. A batch goes out at once while
 * little is on its way; otherwise it grows until an earlier one of its stream is answered or it is full, so that batches are as large as the
 * load makes them. Owns all packs and lanes. Nothing here looks at all streams: lanes lie in lists by what they wait for. */
#include <string.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/base/name.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"

#include "client/publish.h"

enum {
    LANES_MAX = 65536,         /* beyond it, idle ones are forgotten */
    SPARE_PACKS_MAX = 128,     /* kept with their memory */
    SPARE_BYTES_MAX = 1 << 20, /* of one that is kept */
    PUBLISH_STREAM = 1,
    PUBLISH_BATCH = 2,
    PUBLISH_ATOMIC = 5,
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
    pack->with_id = 0;
    pack->is_unsure = false;
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

void lane_move(struct publishing *self, struct lane *lane, enum lane_state state)
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
    case LANE_BUSY:
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

struct pack *lane_open(struct rg_client *client, struct lane *lane)
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

uint64_t publish_frame_limit(const struct rg_client *client)
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
