/* recovery: from a data directory to running streams. The journal names every extent of every group; Berkeley DB holds what was applied; the
 * control entries behind that are read and applied again. No record is read, so the time does not grow with what is stored.
 *
 * What is damaged stays a hole: offsets missing between two extents, or between the last one and what the database or a damaged frame's own
 * header knows of, are ranges that answer CORRUPT. Offsets and indexes go on behind the highest that can ever have been given out. Never
 * cuts a stream, never drops one. */
#include <inttypes.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "logd/cold.h"
#include "logd/ids.h"
#include "logd/kinds.h"
#include "logd/snapshot.h"
#include "logd/state.h"
#include "logd/stream_body.h"
#include "logd/trim.h"

enum {
    FRAME_BYTES_MIN = 80, /* so many entries at most can have lain in a damaged range */
    RECORD_BYTES_MIN = 2, /* and so many records: a tag and a length each */
};

/* The highest index and offset that a damaged frame of a group bears witness of. */
struct witness {
    uint64_t group;
    uint64_t last_index;
    uint64_t next_offset;
};

struct damaged_bytes {
    uint64_t position;
    uint64_t bytes;
};

struct recovery {
    struct logd *logd;
    struct hash64 *witnesses;      /* by group */
    struct damaged_bytes *unknown; /* whose frames these were, nobody can tell */
    size_t unknown_count;
    int error;
};

/* --- what the journal tells --- */

static void recovery_on_extent(void *ud, const struct extent *extent)
{
    struct recovery *self = ud;
    struct stream *stream = streams_get_or_make(self->logd, extent->group);
    int error = extents_push(&stream->extents, extent);
    if (error != 0 && self->error == 0) {
        log_error("the journal's entries are out of order",
                  "log_group=%" PRIu64 " position=%" PRIx64 " first_index=%" PRIu64
                  " after=%" PRIu64 " action=\"not started\"",
                  extent->group, extent->position, extent->first_index,
                  extents_last_index(&stream->extents));
        self->error = error;
    }
}

static void recovery_on_control(void *ud, const struct journal_entry *entry)
{
    struct recovery *self = ud;
    if (entry->type == JOURNAL_TRUNCATE && self->error == 0) {
        log_error("the journal holds a truncation, but streams have one replica",
                  "log_group=%" PRIu64 " index=%" PRIu64
                  " action=\"not started; a newer version wrote this\"",
                  entry->group, entry->index);
        self->error = ERR_BAD_FORMAT;
    }
}

static void recovery_on_corrupt(void *ud, uint64_t position, uint64_t bytes,
                                const struct journal_entry *known)
{
    struct recovery *self = ud;
    log_error("the journal is damaged",
              "position=%" PRIx64 " bytes=%" PRIu64 " log_group=%" PRIu64
              " action=\"left as it is; what lay there answers CORRUPT\"",
              position, bytes, known != NULL ? known->group : 0);
    if (known == NULL) {
        self->unknown = mem_resize(self->unknown, self->unknown_count + 1, sizeof(*self->unknown));
        self->unknown[self->unknown_count++] = (struct damaged_bytes){position, bytes};
        return;
    }
    if (known->type != JOURNAL_ENTRY) {
        return;
    }
    (void) streams_get_or_make(self->logd, known->group); /* even if nothing else is left of it */
    struct witness *witness = hash64_get(self->witnesses, known->group);
    if (witness == NULL) {
        witness = MEM_NEW(struct witness);
        witness->group = known->group;
        (void) hash64_put(self->witnesses, known->group, witness); /* there was none */
    }
    if (known->index > witness->last_index) {
        witness->last_index = known->index;
    }
    if (known->base + known->count > witness->next_offset) {
        witness->next_offset = known->base + known->count;
    }
}

/* --- a stream's ends and holes --- */

/* Bytes of unknown damage that may have held entries of a stream behind all that is known of it. */
static uint64_t recovery_suspect_bytes(const struct recovery *self, const struct stream *stream)
{
    uint64_t saved = state_saved_position(self->logd->state);
    uint64_t end = 0;
    if (stream->extents.count != 0) {
        const struct extent *last = &stream->extents.items[stream->extents.count - 1];
        end = last->position + last->bytes;
    }
    uint64_t bytes = 0;
    for (size_t i = 0; i < self->unknown_count; i++) {
        const struct damaged_bytes *range = &self->unknown[i];
        if (range->position + range->bytes > saved && range->position >= end) {
            bytes += range->bytes;
        }
    }
    return bytes;
}

/* Lost control entries: the consumer groups may stand further back than they did. Those up to `known` are contained in what was loaded. */
static void recovery_check_indexes(const struct stream *stream, uint64_t known, uint64_t last_index)
{
    uint64_t next = 1;
    for (size_t i = 0; i <= stream->extents.count; i++) {
        bool at_end = i == stream->extents.count;
        uint64_t first = at_end ? last_index + 1 : stream->extents.items[i].first_index;
        if (first > next && first - 1 > known) {
            log_error("entries of a stream's log are lost",
                      "log_group=%" PRIu64 " first_index=%" PRIu64 " last_index=%" PRIu64
                      " action=\"served without them; consumer groups may be redelivered "
                      "something\"",
                      stream->log_group, next, first - 1);
        }
        next = at_end ? next : stream->extents.items[i].last_index + 1;
    }
}

static void recovery_note_holes(struct stream *stream, uint64_t next_offset)
{
    uint64_t next = stream->first_offset;
    for (size_t i = 0; i < stream->extents.count; i++) {
        const struct extent *extent = &stream->extents.items[i];
        if (extent->records == 0) {
            continue;
        }
        if (extent->base > next) {
            stream_note_corrupt(stream, next, extent->base - 1, "missing in the journal");
        }
        if (extent->base + extent->records > next) {
            next = extent->base + extent->records;
        }
    }
    if (next < next_offset) {
        stream_note_corrupt(stream, next, next_offset - 1, "missing at the end of the journal");
    }
}

static uint64_t max_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* The last index that was ever given out, as far as it is known whose the entries were; also the offset behind the last record. */
static uint64_t recovery_find_end(struct recovery *self, struct stream *stream)
{
    uint64_t last_index = max_of(extents_last_index(&stream->extents), stream->applied_saved);
    uint64_t next_offset = max_of(extents_end_offset(&stream->extents), stream->next_offset);
    const struct witness *witness = hash64_get(self->witnesses, stream->log_group);
    if (witness != NULL) {
        last_index = max_of(last_index, witness->last_index);
        next_offset = max_of(next_offset, witness->next_offset);
    }
    if (stream->extents.count != 0) {
        const struct extent *last = &stream->extents.items[stream->extents.count - 1];
        stream->ts_us = max_of(stream->ts_us, last->last_ts_us);
        stream->last_ts_us = stream->ts_us;
    }
    stream->next_offset = next_offset;
    stream->next_proposed = next_offset;
    return last_index;
}

/* When all is replayed that can be: what is missing, and what may have been there. Returns the last index that can ever have been given out. */
static uint64_t recovery_settle(const struct recovery *self, struct stream *stream, uint64_t known,
                                uint64_t last_index)
{
    last_index = max_of(last_index, stream->applied_index);
    if (!stream->deleted) {
        uint64_t suspect = recovery_suspect_bytes(self, stream);
        if (suspect != 0) {
            last_index += suspect / FRAME_BYTES_MIN + 1;
            stream->next_offset += suspect / RECORD_BYTES_MIN;
        }
        recovery_check_indexes(stream, known, last_index);
        recovery_note_holes(stream, stream->next_offset);
        trim_extents(stream);
    }
    stream->next_proposed = stream->next_offset;
    return last_index;
}

/* --- replay --- */

struct replay {
    struct stream *stream;
    uint64_t applied;
    int error;
};

static int replay_visit(void *ud, const struct journal_entry *entry, uint64_t position,
                        uint32_t frame_bytes)
{
    (void) frame_bytes;
    struct replay *self = ud;
    struct stream *stream = self->stream;
    if (entry->type != JOURNAL_ENTRY || entry->count != 0 ||
        entry->index <= stream->applied_index) {
        return 0;
    }
    stream->applied_index = entry->index;
    self->applied++;
    int error = stream_apply_control(stream, entry);
    if (error != 0) {
        log_error("an entry of a stream's log cannot be understood",
                  "log_group=%" PRIu64 " index=%" PRIu64 " kind=%u position=%" PRIx64
                  " action=\"not started; a newer version may have written it\"",
                  stream->log_group, entry->index, entry->kind, position);
        self->error = error;
        return 1;
    }
    return 0;
}

/* Are entries missing behind those that the database holds: released with their files, or damaged? */
static bool recovery_has_gap(const struct stream *stream)
{
    uint64_t next = stream->applied_saved + 1;
    size_t i = extents_find_index(&stream->extents, next);
    for (; i < stream->extents.count; i++) {
        const struct extent *extent = &stream->extents.items[i];
        if (extent->first_index > next) {
            return true;
        }
        next = extent->last_index + 1;
    }
    return false;
}

static int recovery_replay(struct stream *stream)
{
    struct replay replay = {.stream = stream};
    size_t i = extents_find_index(&stream->extents, stream->applied_index + 1);
    while (i < stream->extents.count && replay.error == 0) {
        struct extent extent = stream->extents.items[i++]; /* a deletion takes the extents away */
        if (!extent.has_control) {
            continue;
        }
        bool damaged = false;
        int error = cold_walk(stream->logd->journal, &extent, replay_visit, &replay, &damaged);
        if (error != 0) {
            log_error("the journal cannot be read",
                      "log_group=%" PRIu64 " position=%" PRIx64 " error=%s action=\"not started\"",
                      stream->log_group, extent.position, err_name(error));
            return error;
        }
        if (damaged) {
            log_error("entries of a stream's log are damaged",
                      "log_group=%" PRIu64 " first_index=%" PRIu64 " last_index=%" PRIu64
                      " action=\"served without them; consumer groups may be redelivered "
                      "something\"",
                      stream->log_group, extent.first_index, extent.last_index);
        }
    }
    if (replay.applied != 0) {
        stream_mark_unsaved(stream, STREAM_UNSAVED_CONTROL);
    }
    return replay.error;
}

static int recovery_finish_stream(struct recovery *self, struct stream *stream)
{
    uint64_t saved_next = stream->next_offset;
    uint64_t last_index = recovery_find_end(self, stream);
    bool found = false;
    int error = 0;
    if (recovery_has_gap(stream)) {
        error = snapshot_recover(stream, &found);
        if (error != 0) {
            log_error("a snapshot in a stream's log cannot be read",
                      "log_group=%" PRIu64 " error=%s action=\"not started\"", stream->log_group,
                      err_name(error));
            return error;
        }
    }
    uint64_t known = stream->applied_index;
    error = recovery_replay(stream);
    if (error == 0 && stream->ids != NULL) {
        error = ids_recover(stream);
    }
    if (error != 0) {
        return error;
    }
    last_index = recovery_settle(self, stream, known, last_index);
    if (stream->deleted) { /* as saved: its extents were found again */
        extents_release(&stream->extents);
        stream->first_offset = stream->next_offset;
    } else if (stream->config.size == 0) {
        log_error("a stream's configuration is lost",
                  "log_group=%" PRIu64
                  " action=\"served without a name until the catalogue gives it\"",
                  stream->log_group);
    }
    if (found || stream->applied_index != last_index || saved_next != stream->next_offset) {
        stream->applied_index = last_index;
        stream_mark_unsaved(stream, found ? STREAM_UNSAVED_CONTROL : STREAM_UNSAVED_OFFSETS);
    }
    uint64_t term = 1;
    stream->replica =
        replica_open(self->logd->replicas, stream->log_group, term, last_index, stream);
    return 0;
}

static void recovery_on_poisoned(void *set_ud)
{
    logd_fail(set_ud, "journal poisoned",
              "a write or sync failed; what was not acknowledged is unknown");
}

static void recovery_release(struct recovery *self)
{
    size_t cursor = 0;
    struct witness *witness;
    while ((witness = hash64_next(self->witnesses, &cursor)) != NULL) {
        (void) hash64_remove(self->witnesses, witness->group);
        mem_free(witness);
    }
    hash64_destroy(&self->witnesses);
    mem_free(self->unknown);
}

static int recovery_open_journal(struct recovery *self)
{
    struct logd *logd = self->logd;
    char dir[4100];
    (void) snprintf(dir, sizeof(dir), "%s/journal", logd->options.data_dir);
    struct journal_options options = logd->options.journal;
    options.dir = dir;
    struct journal_visitor visitor = {
        .on_extent = recovery_on_extent,
        .on_control = recovery_on_control,
        .on_corrupt = recovery_on_corrupt,
        .ud = self,
    };
    struct journal_recovery found = {0};
    int error = journal_open(&options, &visitor, &found, &logd->journal);
    if (error != 0) {
        log_error("the journal cannot be opened",
                  "dir=%s error=%s reason=\"%s\" action=\"not started\"", dir, err_name(error),
                  err_text(error));
        return error;
    }
    log_info("journal open",
             "files=%" PRIu64 " scanned=%" PRIu64 " frames_scanned=%" PRIu64 " torn_bytes=%" PRIu64
             " corrupt_ranges=%" PRIu64,
             found.files, found.files_scanned, found.frames_scanned, found.torn_bytes,
             found.corrupt_ranges);
    return self->error;
}

int recovery_run(struct logd *logd)
{
    struct recovery self = {.logd = logd, .witnesses = hash64_new()};
    int error = recovery_open_journal(&self);
    if (error == 0) {
        struct replica_handlers handlers = {
            .apply = stream_apply, .poisoned = recovery_on_poisoned, .set_ud = logd};
        logd->replicas = replica_set_new(logd->journal, &handlers);
        logd->cold = cold_new(logd->journal, logd->options.cold_bytes);
    }
    size_t cursor = 0;
    struct stream *stream;
    while (error == 0 && (stream = hash64_next(logd->streams, &cursor)) != NULL) {
        error = recovery_finish_stream(&self, stream);
    }
    if (error == 0) {
        logd->applied_position = journal_durable_upto(logd->journal);
    }
    recovery_release(&self);
    return error;
}
