/* deliver: pages from the stream to the members of its groups, as far as credit, limits and links allow. A page goes out with the
 * bytes the publisher sent; nothing is copied here. */
#include "logd/groups.h"

#include <inttypes.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/run/log.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"
#include "logd/deadletter.h"
#include "logd/groups_own.h"
#include "logd/logd.h"
#include "logd/stream.h"

/* Numbers of client.proto. */
enum {
    DELIVER_EPOCH = 1,
    DELIVER_BASE = 2,
    DELIVER_COUNT = 3,
    DELIVER_TIMES = 4,
    DELIVER_REDELIVERED = 5,
    TIME_AFTER = 1,
    TIME_TS = 2,
};

/* What is known of a page before it is read. */
struct again_list {
    struct group_again items[GROUP_PAGE_TRIES_MAX];
    size_t count;
};

static void times_append(struct buf *out, const struct stream_page *page)
{
    for (uint32_t i = 0; i < page->time_count; i++) {
        uint8_t bytes[2 * (PB_TAG_SIZE_MAX + PB_VARINT_SIZE_MAX)];
        uint8_t *end =
            pb_put_varint(pb_put_tag(bytes, TIME_AFTER, PB_VARINT), page->times[i].after);
        end = pb_put_tag(end, TIME_TS, PB_FIXED64);
        for (unsigned byte = 0; byte < 8; byte++) {
            *end++ = (uint8_t) (page->times[i].ts_us >> (8 * byte));
        }
        pb_append_bytes(out, DELIVER_TIMES, span_make(bytes, (size_t) (end - bytes)));
    }
}

static void deliver_encode(struct buf *out, uint64_t epoch, const struct stream_page *page,
                           const struct again_list *again)
{
    uint64_t last = page->base_offset + page->count - 1;
    buf_reset(out);
    if (epoch != 0) {
        pb_append_varint(out, DELIVER_EPOCH, epoch);
    }
    pb_append_varint(out, DELIVER_BASE, page->base_offset);
    pb_append_varint(out, DELIVER_COUNT, page->count);
    times_append(out, page);
    for (size_t i = 0; i < again->count && again->items[i].first <= last; i++) {
        const struct group_again *item = &again->items[i];
        struct group_tries tries = item->tries;
        tries.attempt += tries.attempt < UINT32_MAX ? 1 : 0; /* this delivery is the next */
        group_attempt_append(out, DELIVER_REDELIVERED, item->first,
                             item->last < last ? item->last : last, tries);
    }
}

/* The link took nothing: its members wait for groups_link_ready (or for its end). */
static void link_block(struct groups *self, const struct bus_link *link)
{
    LIST_FOREACH (&self->active, node) {
        struct group *group = LIST_ENTRY(node, struct hosted, active)->group;
        for (struct group_member *share = group_member_next(group, NULL); share != NULL;
             share = group_member_next(group, share)) {
            if (member_of(share)->link == link) {
                group_block(group, share, true);
                member_of(share)->is_revived = false;
            }
        }
    }
}

/* Stored data is damaged: whose turn it was is told, and the group goes on behind it. */
static void page_skip(struct groups *self, struct hosted *hosted, const struct group_page *page,
                      uint64_t corrupt_last)
{
    struct member *member = member_of(page->member);
    uint64_t next = stream_next_offset(self->stream);
    uint64_t last = corrupt_last < page->first ? page->first : corrupt_last;
    last = group_skip_end(hosted->group, page, last < next ? last : next - 1);
    group_skip(hosted->group, page, last);
    groups_tell_member(self, member,
                       &(struct told){.type = RAILGUN__GROUP_EVENT__TYPE__EVENT_CORRUPT,
                                      .first = page->first,
                                      .last = last});
    groups_propose_soon(self, hosted);
    *self->count.skipped += last - page->first + 1;
    log_warn("damaged records are skipped",
             "log_group=%" PRIu64 " group=%" PRIu64 " first=%" PRIu64 " last=%" PRIu64
             " action=\"told to the consumer; they stay unacknowledged\"",
             stream_log_group(self->stream), group_replicated(hosted->group)->id, page->first,
             last);
}

static void page_send(struct groups *self, struct hosted *hosted, const struct group_page *page,
                      const struct stream_page *read, const struct again_list *again)
{
    struct member *member = member_of(page->member);
    uint64_t bytes = read->batch.bytes.size;
    if (!group_page_fits(hosted->group, page, read->count, bytes)) {
        return;
    }
    deliver_encode(&self->meta, group_replicated(hosted->group)->epoch.epoch, read, again);
    struct bus_outgoing out = {.type = RAILGUN__BUS_TYPE__BUS_LOG_DELIVER,
                               .subject = member->key.consumer,
                               .meta = buf_span(&self->meta),
                               .body = read->batch};
    if (bus_event(member->link, &out) != 0) {
        link_block(self, member->link);
        return;
    }
    group_delivered(hosted->group, page, read->count, bytes);
    groups_propose_soon(self, hosted);
    if (member->is_revived) {
        groups_watch_helped(self, hosted, member);
    }
    *self->count.delivered += read->count;
    *self->count.redelivered += page->is_again ? read->count : 0;
}

/* How many records at the front of the page are older than the group wants. */
static uint32_t page_count_old(struct groups *self, uint64_t max_age_us,
                               const struct stream_page *read)
{
    uint64_t now_us = logd_real_ms(stream_logd(self->stream)) * 1000;
    uint32_t old = 0;
    for (uint32_t i = 0;
         i < read->time_count && max_age_us < now_us && read->times[i].ts_us < now_us - max_age_us;
         i++) {
        old = i + 1 < read->time_count ? read->times[i + 1].after : read->count;
    }
    return old;
}

/* The old ones go to the dead letters instead. */
static bool page_is_too_old(struct groups *self, struct hosted *hosted,
                            const struct group_page *page, const struct stream_page *read)
{
    const struct group_dlq_limits *limits = &group_replicated(hosted->group)->limits.dlq;
    if (!limits->is_on || limits->max_age_ms == 0) {
        return false;
    }
    uint32_t old = page_count_old(self, limits->max_age_ms * 1000, read);
    if (old == 0 || !logd_trusts_clock(stream_logd(self->stream)) ||
        group_die_of_age(hosted->group, page->first, old, page->is_again) == 0) {
        return false;
    }
    groups_propose_soon(self, hosted);
    return true;
}

/* A replayed message whose record is trimmed, and its copy cannot be read either. */
static void copy_missing(struct groups *self, struct hosted *hosted, uint64_t offset)
{
    group_die_unread(hosted->group, offset);
    groups_propose_soon(self, hosted);
    groups_tell_all(self, hosted,
                    &(struct told){.type = RAILGUN__GROUP_EVENT__TYPE__EVENT_GAP,
                                   .first = offset,
                                   .last = offset,
                                   .count = 1});
    groups_note(
        self, hosted,
        &(struct event){
            .type = RAILGUN__EVENT__TYPE__GAP, .first = offset, .last = offset, .count = 1});
}

/* One step for one page. False: the stream cannot be read now. */
static bool page_deliver(struct groups *self, struct hosted *hosted, struct group_page *page)
{
    struct again_list again;
    struct stream_page read = {0};
    uint64_t last;
    uint64_t corrupt_last;
    again.count = group_tries_of(hosted->group, page->first, page->first + page->records_max - 1,
                                 again.items, GROUP_PAGE_TRIES_MAX, &last);
    page->records_max = (uint32_t) (last - page->first + 1);
    bool is_copy = page->first < stream_first_offset(self->stream);
    int error = is_copy ? deadletter_read_copy(self, hosted, page->first, &read)
                        : stream_read(self->stream, page->first, page->records_max, page->bytes_max,
                                      &read, &corrupt_last);
    if (is_copy && error != 0) {
        copy_missing(self, hosted, page->first);
        return true;
    }
    if (error == ERR_CORRUPT) {
        page_skip(self, hosted, page, corrupt_last);
        return true;
    }
    uint64_t suppressed;
    if (error != 0 &&
        log_limit_pass(&self->read_errors, loop_now_ms(logd_loop(stream_logd(self->stream))), 1,
                       &suppressed)) {
        log_warn("records cannot be read for a group",
                 "log_group=%" PRIu64 " group=%" PRIu64 " offset=%" PRIu64
                 " error=%s action=\"tried again with the next event\"",
                 stream_log_group(self->stream), group_replicated(hosted->group)->id, page->first,
                 err_name(error));
    }
    if (error != 0) {
        return false;
    }
    INVARIANT(read.base_offset == page->first && read.count > 0);
    if (!is_copy && page_is_too_old(self, hosted, page, &read)) {
        stream_page_release(&read);
        return true;
    }
    page_send(self, hosted, page, &read, &again);
    stream_page_release(&read);
    return true;
}

/* All members hear once that no new messages come. */
static void full_tell(struct groups *self, struct hosted *hosted)
{
    if (!group_became_full(hosted->group)) {
        return;
    }
    groups_tell_all(self, hosted, &(struct told){.type = RAILGUN__GROUP_EVENT__TYPE__EVENT_FULL});
    groups_note(self, hosted, &(struct event){.type = RAILGUN__EVENT__TYPE__GROUP_FULL});
}

/* What was not acknowledged in time was taken back. */
static void expired_tell(struct groups *self, struct hosted *hosted)
{
    struct group_expired expired;
    while (group_expire(hosted->group, &expired)) {
        struct member *member = member_of(expired.member);
        *self->count.deadlines += expired.last - expired.first + 1;
        groups_tell_member(self, member,
                           &(struct told){.type = RAILGUN__GROUP_EVENT__TYPE__EVENT_DEADLINE,
                                          .first = expired.first,
                                          .last = expired.last});
        groups_note(self, hosted,
                    &(struct event){.type = RAILGUN__EVENT__TYPE__DEADLINE,
                                    .first = expired.first,
                                    .last = expired.last,
                                    .consumer = span_of(member->name)});
        groups_propose_soon(self, hosted);
    }
}

void groups_wake(struct groups *self)
{
    uint64_t end = stream_next_offset(self->stream);
    unsigned pages = 0;
    self->deliver_more = false;
    self->timer_at_ms = UINT64_MAX;
    LIST_FOREACH (&self->active, node) {
        struct hosted *hosted = LIST_ENTRY(node, struct hosted, active);
        struct group_page page;
        bool is_readable = true;
        groups_tick(self, hosted);
        expired_tell(self, hosted);
        groups_exclusive_turn(self, hosted);
        groups_dead_check(self, hosted);
        uint64_t delivered = *self->count.delivered;
        do {
            while (is_readable && pages < GROUPS_WAKE_PAGES &&
                   group_next(hosted->group, end, &page)) {
                is_readable = page_deliver(self, hosted, &page);
                pages++;
            }
        } while (groups_watch_turn(self, hosted, *self->count.delivered != delivered, end));
        full_tell(self, hosted);
        groups_check_one(self, hosted);
        uint64_t at_ms = group_next_ms(hosted->group);
        self->timer_at_ms = at_ms < self->timer_at_ms ? at_ms : self->timer_at_ms;
    }
    if (pages >= GROUPS_WAKE_PAGES) {
        self->deliver_more = true;
        list_push_back(&self->active, list_pop_front(&self->active)); /* another begins next time */
    }
}
