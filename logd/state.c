/* state: what logd keeps in Berkeley DB. Owns the environment and three lists of streams that changed since they were saved. A stream and
 * its groups are always saved in one transaction with the index they reflect. It must never hold the only copy of anything: whatever is in
 * it can be replayed from the journal. */
#include "logd/state.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/store/bdb.h"
#include "common/wire/pb.h"
#include "logd/group_index.h"
#include "logd/ids.h"
#include "logd/release.h"

enum {
    STATE_STREAMS_PER_TXN = 128,
    STATE_STREAMS_PER_SAVE = 1024,
    STATE_CONTROL_BYTES_MAX = 8 << 20,
    STATE_KEY_SIZE = 16,
    STATE_HEAVY_BYTES =
        1
        << 20, /* a stream whose groups are larger is saved once in so many seconds as there are such */
};

struct state {
    struct logd *logd;
    struct bdb *bdb;
    struct bdb_table *streams;
    struct bdb_table *groups;
    struct bdb_table *applied;
    struct list control; /* streams whose control entries are not saved */
    struct list offsets; /* streams with batches only */
    struct list sweep;   /* all that was unsaved when the sweep began */
    uint64_t sweep_position;
    uint64_t next_sweep_ms;
    uint64_t saved_position;
    uint64_t revision;
    uint64_t revision_saved;
    uint64_t control_bytes;
    bool is_sweeping;
    bool is_hurried; /* a sweep is wanted, whatever is left to save */
    uint64_t sweeps_begun;
    uint64_t sweeps_done;
    int load_error; /* of a visit: the walk itself only stops */
    struct buf value;
};

static void key_put(uint8_t *at, uint64_t number)
{
    for (unsigned i = 0; i < 8; i++) { /* big-endian: the tables are in order of number */
        at[i] = (uint8_t) (number >> (8 * (7 - i)));
    }
}

static uint64_t key_get(const uint8_t *at)
{
    uint64_t number = 0;
    for (unsigned i = 0; i < 8; i++) {
        number = number << 8 | at[i];
    }
    return number;
}

static int state_get_number(struct state *self, const char *name, uint64_t *ret_number)
{
    int error = bdb_get(self->applied, NULL, span_of(name), &self->value);
    if (error == ERR_NOT_FOUND || (error == 0 && self->value.size != 8)) {
        *ret_number = 0;
        return 0;
    }
    if (error == 0) {
        *ret_number = bytes_get_u64(self->value.data);
    }
    return error;
}

static int state_put_number(struct state *self, struct bdb_txn *txn, const char *name,
                            uint64_t number)
{
    uint8_t bytes[8];
    bytes_put_u64(bytes, number);
    return bdb_put(self->applied, txn, span_of(name), span_make(bytes, sizeof(bytes)));
}

int state_open(struct logd *logd, const char *dir, uint64_t cache_bytes, bool *ret_rebuilt,
               struct state **ret_state)
{
    struct state *self = MEM_NEW(struct state);
    self->logd = logd;
    list_init(&self->control);
    list_init(&self->offsets);
    list_init(&self->sweep);
    char path[4100];
    (void) snprintf(path, sizeof(path), "%s/db", dir); /* data_dir is at most 4,000 */
    int error = bdb_open(path, cache_bytes, ret_rebuilt, &self->bdb);
    if (error == 0) {
        error = bdb_table_open(self->bdb, "streams", &self->streams);
    }
    if (error == 0) {
        error = bdb_table_open(self->bdb, "groups", &self->groups);
    }
    if (error == 0) {
        error = bdb_table_open(self->bdb, "applied", &self->applied);
    }
    if (error == 0) {
        error = state_get_number(self, "position", &self->saved_position);
    }
    if (error == 0) {
        error = state_get_number(self, "revision", &self->revision);
        self->revision_saved = self->revision;
    }
    if (error != 0) {
        log_error("the database cannot be opened",
                  "dir=%s error=%s action=\"not started; it may be moved away: it is rebuilt from "
                  "the journal\"",
                  path, err_name(error));
        state_close(&self);
        return error;
    }
    *ret_state = self;
    return 0;
}

void state_close(struct state **self)
{
    if (*self == NULL) {
        return;
    }
    bdb_close(&(*self)->bdb);
    buf_release(&(*self)->value);
    MEM_FREE(*self);
}

struct bdb *state_bdb(const struct state *self)
{
    return self->bdb;
}

uint64_t state_saved_position(const struct state *self)
{
    return self->saved_position;
}

uint64_t state_revision(const struct state *self)
{
    return self->revision;
}

void state_set_revision(struct state *self, uint64_t revision)
{
    self->revision = revision;
}

/* --- loading --- */

int state_decode_stream(struct stream *stream, struct span value)
{
    struct span config = {0};
    uint64_t ids_from = 0;
    uint64_t ids_forgotten = 0;
    struct pb_field field;
    int more;
    while ((more = pb_next(&value, &field)) == 1) {
        switch (field.number) {
        case 1:
            config = field.bytes;
            break;
        case 2:
            stream->applied_saved = field.value;
            break;
        case 3:
            stream->next_offset = field.value;
            break;
        case 4:
            stream->last_ts_us = field.value;
            break;
        case 5:
            stream->first_offset = field.value;
            break;
        case 6:
            buf_reset(&stream->last_id);
            buf_append(&stream->last_id, field.bytes);
            break;
        case 7:
            ids_from = field.value;
            break;
        case 8:
            stream->state_index = field.value;
            break;
        case 9:
            ids_forgotten = field.value;
            break;
        default:
            break;
        }
    }
    if (more != 0 || stream->first_offset == 0 || stream->next_offset < stream->first_offset) {
        return ERR_BAD_FORMAT;
    }
    stream->applied_index = stream->applied_saved;
    stream->ts_us = stream->last_ts_us;
    int error = config.size != 0 ? stream_take_config(stream, config) : 0;
    if (error == 0 && stream->ids != NULL) {
        ids_load(stream->ids, ids_from, ids_forgotten);
    }
    return error;
}

static int state_visit_stream(void *ud, struct span key, struct span value)
{
    struct state *self = ud;
    if (key.size != 8) {
        self->load_error = ERR_BAD_FORMAT;
    } else {
        struct stream *stream = streams_get_or_make(self->logd, key_get(key.data));
        self->load_error = state_decode_stream(stream, value);
    }
    return self->load_error;
}

static int state_read_group(struct state *self, struct span key, struct span value)
{
    if (key.size != STATE_KEY_SIZE) {
        return ERR_BAD_FORMAT;
    }
    struct stream *stream = streams_find(self->logd, key_get(key.data));
    if (stream == NULL || stream->groups == NULL) {
        return 0; /* remains of a stream that was deleted */
    }
    int error = groups_load(stream->groups, value);
    if (error == 0) {
        group_index_put(self->logd->groups, key_get(key.data + 8), stream);
    }
    return error;
}

static int state_visit_group(void *ud, struct span key, struct span value)
{
    struct state *self = ud;
    self->load_error = state_read_group(self, key, value);
    return self->load_error;
}

int state_load(struct state *self)
{
    int error = bdb_walk(self->streams, (struct span){0}, state_visit_stream, self);
    if (error == 0) {
        error = self->load_error;
    }
    if (error == 0) {
        error = bdb_walk(self->groups, (struct span){0}, state_visit_group, self);
    }
    if (error == 0) {
        error = self->load_error;
    }
    if (error != 0) {
        log_error("the database cannot be read",
                  "error=%s action=\"not started; move DATA_DIR/db away: it is rebuilt from the "
                  "journal\"",
                  err_name(error));
    }
    return error;
}

/* --- what is due --- */

void state_mark_unsaved(struct state *self, struct stream *stream, enum stream_unsaved how)
{
    stream->unsaved = how;
    if (!stream->in_sweep) {
        list_remove(&stream->unsaved_link);
        list_push_back(how == STREAM_UNSAVED_CONTROL ? &self->control : &self->offsets,
                       &stream->unsaved_link);
    }
    logd_start_saving(self->logd);
}

void state_note_control(struct state *self, uint64_t bytes)
{
    self->control_bytes += bytes;
}

uint64_t state_hurry(struct state *self)
{
    self->is_hurried = true;
    self->next_sweep_ms = 0;
    logd_start_saving(self->logd);
    return self->sweeps_begun + 1;
}

bool state_has_saved(const struct state *self, uint64_t number)
{
    return self->sweeps_done >= number;
}

bool state_is_urgent(const struct state *self)
{
    return self->control_bytes >= STATE_CONTROL_BYTES_MAX;
}

bool state_is_dirty(const struct state *self)
{
    return !list_is_empty(&self->control) || !list_is_empty(&self->offsets) || self->is_sweeping ||
           self->is_hurried || self->revision != self->revision_saved;
}

/* --- saving --- */

struct state_group_save {
    struct state *state;
    struct bdb_txn *txn;
    uint64_t log_group;
};

static int state_save_group(void *ud, uint64_t group_id, bool dropped, struct span value)
{
    struct state_group_save *save = ud;
    uint8_t key[STATE_KEY_SIZE];
    key_put(key, save->log_group);
    key_put(key + 8, group_id);
    struct span key_span = span_make(key, sizeof(key));
    return dropped ? bdb_delete(save->state->groups, save->txn, key_span)
                   : bdb_put(save->state->groups, save->txn, key_span, value);
}

static int state_collect_key(void *ud, struct span key, struct span value)
{
    (void) value;
    buf_append(ud, key);
    return 0;
}

/* A deleted stream's groups go with it. */
static int state_drop_groups(struct state *self, struct bdb_txn *txn, struct span prefix)
{
    struct buf keys = {0};
    int error = bdb_walk(self->groups, prefix, state_collect_key, &keys);
    for (size_t at = 0; error == 0 && at + STATE_KEY_SIZE <= keys.size; at += STATE_KEY_SIZE) {
        error = bdb_delete(self->groups, txn, span_make(keys.data + at, STATE_KEY_SIZE));
    }
    buf_release(&keys);
    return error;
}

void state_encode_stream(const struct stream *stream, struct buf *out)
{
    if (stream->config.size != 0) {
        pb_append_bytes(out, 1, buf_span(&stream->config));
    }
    pb_append_varint(out, 2, stream->applied_index);
    pb_append_varint(out, 3, stream->next_offset);
    pb_append_fixed64(out, 4, stream->last_ts_us);
    pb_append_varint(out, 5, stream->first_offset);
    if (stream->last_id.size != 0) {
        pb_append_bytes(out, 6, buf_span(&stream->last_id));
    }
    if (stream->state_index != 0) {
        pb_append_varint(out, 8, stream->state_index);
    }
    if (stream->ids != NULL) {
        pb_append_varint(out, 9, ids_forgotten_below(stream->ids));
    }
}

static int state_save_stream(struct state *self, struct bdb_txn *txn, struct stream *stream)
{
    uint8_t key[8];
    key_put(key, stream->log_group);
    struct buf *value = &self->value;
    buf_reset(value);
    state_encode_stream(stream, value);
    if (stream->ids !=
        NULL) { /* not in a snapshot: only beside the runs does it say what they lack */
        pb_append_varint(value, 7, ids_from(stream->ids));
    }
    int error = bdb_put(self->streams, txn, span_make(key, sizeof(key)), buf_span(value));
    if (error == 0 && (stream->deleted || stream->groups_replaced)) {
        stream->groups_replaced = false;
        error = state_drop_groups(self, txn, span_make(key, sizeof(key)));
    }
    if (error == 0 && stream->groups != NULL) {
        struct state_group_save save = {self, txn, stream->log_group};
        error = groups_save(stream->groups, state_save_group, &save);
    }
    return error;
}

/* How long a stream is not saved again: many delayed messages make a large value, and the journal has it all. */
static uint64_t state_pause_ms(const struct stream *stream)
{
    return stream->groups == NULL ? 0
                                  : groups_saved_bytes(stream->groups) / STATE_HEAVY_BYTES * 1000;
}

/* Those whose time has not come, out of the list. */
static void state_set_aside(struct list *unsaved, uint64_t now_ms, struct list *aside)
{
    LIST_FOREACH (unsaved, node) {
        if (LIST_ENTRY(node, struct stream, unsaved_link)->save_at_ms > now_ms) {
            list_remove(node);
            list_push_back(aside, node);
        }
    }
}

/* At most `most` streams from the front of the list. */
static int state_save_list(struct state *self, struct list *unsaved, unsigned most, uint64_t now_ms)
{
    while (most > 0 && !list_is_empty(unsaved)) {
        struct bdb_txn *txn = NULL;
        int error = bdb_begin(self->bdb, &txn);
        for (unsigned i = 0;
             error == 0 && i < STATE_STREAMS_PER_TXN && most > 0 && !list_is_empty(unsaved); i++) {
            struct stream *stream = LIST_ENTRY(unsaved->next, struct stream, unsaved_link);
            list_remove(&stream->unsaved_link);
            stream->unsaved = STREAM_SAVED;
            stream->in_sweep = false;
            error = state_save_stream(self, txn, stream);
            stream->save_at_ms = now_ms + state_pause_ms(stream);
            most--;
        }
        if (error == 0) {
            error = bdb_commit(&txn);
        }
        if (error != 0) {
            bdb_abort(&txn);
            return error;
        }
        (*self->logd->count.saves)++;
    }
    return 0;
}

static void state_begin_sweep(struct state *self)
{
    struct list *sources[] = {&self->control, &self->offsets};
    self->is_sweeping = true;
    self->is_hurried = false;
    self->sweeps_begun++;
    self->sweep_position = self->logd->applied_position;
    for (unsigned i = 0; i < 2; i++) {
        struct list *node;
        while ((node = list_pop_front(sources[i])) != NULL) {
            LIST_ENTRY(node, struct stream, unsaved_link)->in_sweep = true;
            list_push_back(&self->sweep, node);
        }
    }
}

/* Everything below sweep_position is saved now. */
static int state_end_sweep(struct state *self)
{
    struct bdb_txn *txn = NULL;
    uint64_t position =
        self->sweep_position > self->saved_position ? self->sweep_position : self->saved_position;
    int error = bdb_begin(self->bdb, &txn);
    if (error == 0) {
        error = state_put_number(self, txn, "position", position);
    }
    if (error == 0) {
        error = state_put_number(self, txn, "revision", self->revision);
    }
    if (error == 0) {
        error = bdb_commit(&txn);
    }
    if (error == 0) {
        error = bdb_checkpoint(self->bdb);
    }
    if (error != 0) {
        bdb_abort(&txn);
        return error;
    }
    self->is_sweeping = false;
    self->sweeps_done = self->sweeps_begun;
    self->saved_position = position;
    self->revision_saved = self->revision;
    (*self->logd->count.checkpoints)++;
    release_note(self->logd->release);
    return 0;
}

int state_save(struct state *self, uint64_t now_ms)
{
    struct list aside;
    struct list *node;
    list_init(&aside);
    state_set_aside(&self->control, now_ms, &aside);
    int error = state_save_list(self, &self->control, STATE_STREAMS_PER_SAVE, now_ms);
    if (error == 0 && list_is_empty(&self->control)) {
        self->control_bytes = 0;
    }
    while ((node = list_pop_front(&aside)) != NULL) {
        list_push_back(&self->control, node);
    }
    if (error == 0 && !self->is_sweeping && now_ms >= self->next_sweep_ms && state_is_dirty(self)) {
        state_begin_sweep(self);
        self->next_sweep_ms = now_ms + self->logd->options.checkpoint_ms;
    }
    if (error == 0 && self->is_sweeping) {
        error = state_save_list(self, &self->sweep, STATE_STREAMS_PER_SAVE, now_ms);
        if (error == 0 && list_is_empty(&self->sweep)) {
            error = state_end_sweep(self);
        }
    }
    return error;
}

int state_save_all(struct state *self)
{
    int error = self->is_sweeping ? state_save_list(self, &self->sweep, UINT32_MAX, 0) : 0;
    if (error == 0) {
        state_begin_sweep(self);
        error = state_save_list(self, &self->sweep, UINT32_MAX, 0);
    }
    return error == 0 ? state_end_sweep(self) : error;
}
