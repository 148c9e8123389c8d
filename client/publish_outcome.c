/* publish_outcome: batches from the queue to their completion: sent as far as the server's window allows, answered, given up, or unknown
 * because the connection was lost. Must never send beyond the window, nor report a record twice or not at all. */
#include <string.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/hot.h"
#include "common/wire/pb.h"

#include "client/publish.h"

enum {
    SEND_BYTES_MAX = 1 << 20, /* handed to one write */
    PUBLISH_OK_EXCEPTIONS = 4,
};

static struct pack *pack_of(struct list *node)
{
    return LIST_ENTRY(node, struct pack, of_queue);
}

static struct lane *lane_of(struct list *node)
{
    return LIST_ENTRY(node, struct lane, of_state);
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

void pack_finish(struct rg_client *client, struct pack *pack, int result)
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

/* Would repeating it store something twice? */
static bool pack_may_repeat(const struct rg_client *client, const struct pack *pack)
{
    return client->options.repeat_with_ids && pack->with_id == pack->count && !client->is_closing;
}

/* Its outcome is unknown: into the queue once more, before all that was given later. */
static void pack_repeat(struct rg_client *client, struct pack *pack)
{
    struct list *queue = &client->pub.queue;
    struct list *at = queue->next;
    while (at != queue && pack_of(at)->serial < pack->serial) {
        at = at->next;
    }
    list_remove(&pack->of_queue);
    list_push_back(at, &pack->of_queue);
    pack->state = PACK_QUEUED;
    pack->is_unsure = true;
}

static void pack_take_error(struct pack *pack, const struct error_answer *answer)
{
    struct rg_published *published = &pack->published;
    published->next_offset = answer->next_offset;
    published->original_offset = answer->offset;
    published->original_ts_us = answer->ts_us;
    published->record = answer->record;
    published->retry_after_ms = answer->retry_after_ms;
    if (answer->last_id.size != 0 && answer->last_id.size <= sizeof(published->last_id)) {
        memcpy(published->last_id, answer->last_id.data, answer->last_id.size);
        published->last_id_size = answer->last_id.size;
    }
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
    client->pub.unanswered_bytes -= pack->frame_bytes;
    if (answer.code == ERR_TIMEOUT && pack_may_repeat(client, pack)) {
        pack_repeat(client, pack);
        return 0;
    }
    pack->answer = session_keep(client, body);
    pack_take_error(pack, &answer);
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
        /* Certainly not stored unless it was sent once before: no byte of it was sent. */
        bool is_up = client->state == CLIENT_UP;
        bool is_unsure = pack_of(self->queue.next)->is_unsure;
        int error = is_up ? ERR_OVERLOADED : ERR_CLOSED;
        pack_finish(client, pack_of(self->queue.next), is_unsure ? ERR_TIMEOUT : error);
    }
    return 0;
}

void publish_lost(struct rg_client *client)
{
    struct publishing *self = &client->pub;
    struct list *sending = &client->conn.sending;
    /* Of these the server has a part at most, and it acts on whole frames only. */
    while (!list_is_empty(sending)) {
        struct pack *pack = pack_of(sending->previous);
        list_remove(&pack->of_queue);
        list_push_front(&self->queue, &pack->of_queue);
        pack->state = PACK_QUEUED;
    }
    while (!list_is_empty(&self->sent)) {
        struct pack *pack = pack_of(self->sent.next);
        if (pack_may_repeat(client, pack)) {
            pack_repeat(client, pack);
        } else {
            pack_finish(client, pack, ERR_TIMEOUT);
        }
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
        struct pack *pack = pack_of(self->queue.next);
        pack_finish(client, pack, pack->is_unsure ? ERR_TIMEOUT : ERR_CLOSED);
    }
    (void) pthread_cond_broadcast(&self->room);
}

bool publish_is_idle(const struct rg_client *client)
{
    return list_is_empty(&client->pub.live);
}

/* --- completions --- */

static void exceptions_read(const struct pack *pack, struct rg_record_result *results)
{
    struct span rest = pack->answer.bytes;
    struct pb_field field;
    while (pb_next(&rest, &field) == 1) {
        struct hot_result one;
        if (field.number == PUBLISH_OK_EXCEPTIONS && hot_result_read(field.bytes, &one) == 0 &&
            one.record < pack->count) {
            int code = one.code != 0 && one.code < 1000 ? -(int) one.code : ERR_INTERNAL;
            results[one.record] = (struct rg_record_result){code, one.offset, one.ts_us};
        }
    }
}

void pack_results(const struct pack *pack, struct rg_record_result *results)
{
    for (uint32_t i = 0; i < pack->count; i++) {
        results[i] = (struct rg_record_result){.code = 1};
    }
    if (pack->answer.owner != NULL) {
        exceptions_read(pack, results);
    }
    uint64_t offset = pack->published.base_offset;
    for (uint32_t i = 0; i < pack->count; i++) {
        if (results[i].code == 1) {
            results[i] = (struct rg_record_result){0, offset++, pack->published.ts_us};
        }
    }
}

void pack_note_refusal(const struct pack *pack)
{
    struct span rest = pack->answer.owner != NULL ? pack->answer.bytes : (struct span){0};
    struct pb_field field;
    struct hot_result one;
    while (pb_next(&rest, &field) == 1) {
        if (field.number != PUBLISH_OK_EXCEPTIONS || hot_result_read(field.bytes, &one) != 0 ||
            one.code == (uint32_t) -ERR_DUPLICATE) {
            continue;
        }
        int code = one.code < 1000 ? -(int) one.code : ERR_INTERNAL;
        struct span why = one.detail.size > 0 ? one.detail : span_of(rg_error_text(code));
        (void) error_note(code, "message %u of the batch: %.*s", one.record, (int) why.size,
                          (const char *) why.data);
        return;
    }
}

/* A duplicate is stored, which was wanted. */
static int result_code(const struct rg_record_result *result)
{
    return result->code == ERR_DUPLICATE ? 0 : result->code;
}

static void pack_complete_mixed(struct pack *pack, int *first_error)
{
    struct rg_record_result *results = mem_new_array(pack->count, sizeof(*results));
    pack_results(pack, results);
    for (uint32_t i = 0; i < pack->count; i++) {
        int code = result_code(&results[i]);
        if (*first_error == 0) {
            *first_error = code;
        }
        if (pack->completions[i].done != NULL) {
            pack->completions[i].done(pack->completions[i].ud, code, results[i].offset);
        }
    }
    mem_free(results);
}

int pack_mixed_result(const struct pack *pack, uint64_t *ret_offset)
{
    struct rg_record_result *results = mem_new_array(pack->count, sizeof(*results));
    int code = 0;
    pack_results(pack, results);
    for (uint32_t i = 0; i < pack->count && code == 0; i++) {
        code = result_code(&results[i]);
    }
    *ret_offset = results[0].offset;
    mem_free(results);
    return code;
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

/* Some room is not worth a change of threads: a quarter is. */
static bool publish_has_much_room(const struct rg_client *client)
{
    return client->pub.window_bytes <= client->options.window_bytes / 4 * 3 &&
           client->pub.window_records <= (uint64_t) client->options.window_records / 4 * 3;
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
