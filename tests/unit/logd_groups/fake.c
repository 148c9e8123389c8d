/* fake: see the header. These definitions come before those of the archives when the program is linked. */
#include "tests/unit/logd_groups/fake.h"

#include <string.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/run/loop.h"
#include "common/run/metrics.h"
#include "common/wire/pb.h"
#include "logd/kinds.h"
#include "tests/lib/test.h"

struct fake fake;

/* --- the daemon --- */

struct bus *logd_bus(struct logd *self)
{
    (void) self;
    return NULL;
}

struct loop *logd_loop(struct logd *self)
{
    (void) self;
    return NULL;
}

uint64_t loop_now_ms(const struct loop *self)
{
    (void) self;
    return fake.now_ms;
}

uint64_t logd_real_ms(struct logd *self)
{
    (void) self;
    return FAKE_REAL_MS + fake.now_ms;
}

void logd_expire_group(struct logd *self, struct stream *stream, uint64_t group_id,
                       const char *name)
{
    (void) self;
    (void) stream;
    ck_assert_str_ne(name, "");
    fake.expired_group = group_id;
}

struct events *logd_events(struct logd *self)
{
    (void) self;
    return NULL;
}

void events_note(struct events *self, const struct stream *stream, const struct event *event)
{
    (void) self;
    (void) stream;
    fake.events[event->type]++;
    fake.event = *event;
}

struct members *logd_members(struct logd *self)
{
    (void) self;
    return fake.members;
}

struct metrics *logd_metrics(struct logd *self)
{
    (void) self;
    return fake.metrics;
}

void logd_mark_dirty(struct logd *self, struct stream *stream)
{
    (void) self;
    ck_assert_ptr_eq(stream, &fake.stream);
    fake.is_dirty = true;
}

/* --- the stream --- */

uint64_t stream_log_group(const struct stream *self)
{
    (void) self;
    return 1024;
}

const struct uuid *stream_id(const struct stream *self)
{
    static const struct uuid id = {{1, 2, 3}};
    (void) self;
    return &id;
}

struct logd *stream_logd(const struct stream *self)
{
    (void) self;
    return NULL;
}

uint64_t stream_first_offset(const struct stream *self)
{
    return self->first;
}

uint64_t stream_next_offset(const struct stream *self)
{
    return self->next;
}

int stream_find_time(struct stream *self, uint64_t ts_us, uint64_t *ret_offset)
{
    uint64_t offset = self->first; /* record n has the time 1000 n */
    while (offset < self->next && offset * 1000 < ts_us) {
        offset++;
    }
    *ret_offset = offset;
    return 0;
}

static uint64_t record_size(const struct stream *self, uint64_t offset)
{
    return offset == self->large ? 10000 : FAKE_RECORD;
}

int stream_read(struct stream *self, uint64_t offset, uint32_t records_max, uint64_t bytes_max,
                struct stream_page *ret_page, uint64_t *ret_corrupt_last)
{
    self->reads++;
    ck_assert_uint_ge(offset, self->first);
    ck_assert_uint_lt(offset, self->next);
    if (self->corrupt_first != 0 && offset >= self->corrupt_first && offset <= self->corrupt_last) {
        *ret_corrupt_last = self->corrupt_last;
        return ERR_CORRUPT;
    }
    uint32_t count = 0;
    uint64_t bytes = 0;
    while (count < records_max && offset + count < self->next &&
           offset + count != self->corrupt_first &&
           (count == 0 || bytes + record_size(self, offset + count) <= bytes_max)) {
        bytes += record_size(self, offset + count);
        count++;
    }
    struct payload *payload = payload_new(bytes);
    *ret_page = (struct stream_page){.base_offset = offset, .count = count, .time_count = 1};
    ret_page->times[0] = (struct stream_time){0, offset * 1000};
    ret_page->batch = slice_make(payload, payload_span(payload));
    payload_unref(&payload);
    return 0;
}

void stream_page_release(struct stream_page *page)
{
    slice_release(&page->batch);
}

int stream_propose_control(struct stream *self, uint8_t kind, struct span payload,
                           uint64_t *ret_index)
{
    (void) self;
    if (fake.propose_error != 0) {
        return fake.propose_error;
    }
    ck_assert_uint_lt(fake.log_count, FAKE_LOG_MAX);
    struct fake_entry *entry = &fake.log[fake.log_count++];
    *entry = (struct fake_entry){.kind = kind};
    buf_append(&entry->payload, payload);
    *ret_index = fake.log_count;
    return 0;
}

static bool says_more(const struct fake_entry *entry)
{
    struct span rest = buf_span(&entry->payload);
    struct pb_field group;
    struct pb_field field;
    bool more = entry->kind != LOG_KIND_ACKS;
    while (pb_next(&rest, &group) > 0) {
        while (!more && pb_next(&group.bytes, &field) > 0) {
            more = field.number != 1 && field.number != 3 && field.number != 4;
        }
    }
    return more;
}

size_t fake_entries(void)
{
    size_t count = 0;
    for (size_t i = 0; i < fake.log_count; i++) {
        count += says_more(&fake.log[i]);
    }
    return count;
}

/* --- the bus --- */

uint64_t bus_link_id(const struct bus_link *link)
{
    return link->id;
}

static void sent_put(const struct bus_link *link, uint64_t ticket, const struct bus_outgoing *out)
{
    ck_assert_uint_lt(fake.sent_count, FAKE_SENT_MAX);
    struct fake_sent *sent = &fake.sent[fake.sent_count++];
    *sent = (struct fake_sent){.link = link,
                               .ticket = ticket,
                               .type = out->type,
                               .subject = out->subject,
                               .status = out->status,
                               .body_size = out->body.bytes.size};
    buf_append(&sent->meta, out->meta);
}

int bus_event(struct bus_link *link, const struct bus_outgoing *out)
{
    if (link->is_full) {
        return ERR_AGAIN;
    }
    sent_put(link, 0, out);
    return 0;
}

int bus_reply(struct bus *self, uint64_t ticket, const struct bus_outgoing *out)
{
    (void) self;
    sent_put(NULL, ticket, out);
    return 0;
}

int bus_reply_error(struct bus *self, uint64_t ticket, int error, const char *detail)
{
    (void) self;
    struct bus_outgoing out = {.status = error,
                               .meta = detail != NULL ? span_of(detail) : span_of("")};
    sent_put(NULL, ticket, &out);
    return 0;
}

/* --- driving --- */

void fake_start(void)
{
    fake.sent = mem_new_array(FAKE_SENT_MAX, sizeof *fake.sent);
    fake.log = mem_new_array(FAKE_LOG_MAX, sizeof *fake.log);
    fake.metrics = metrics_new();
    fake.members = members_new();
    fake.now_ms = 1000;
    fake.flush_at = UINT64_MAX;
    fake.stream.first = 1;
    fake.stream.next = 1;
    fake.stream.groups = groups_new(&fake.stream);
}

static void sent_forget(void)
{
    for (size_t i = 0; i < fake.sent_count; i++) {
        buf_release(&fake.sent[i].meta);
    }
    fake.sent_count = 0;
    fake.sent_seen = 0;
}

void fake_restart(size_t entries)
{
    groups_destroy(&fake.stream.groups);
    fake.stream.groups = groups_new(&fake.stream);
    sent_forget();
    for (size_t i = entries; i < fake.log_count; i++) {
        buf_release(&fake.log[i].payload);
    }
    fake.log_count = entries;
    fake.flush_at = UINT64_MAX;
    for (fake.applied = 0; fake.applied < entries; fake.applied++) {
        const struct fake_entry *entry = &fake.log[fake.applied];
        ck_assert_int_eq(groups_apply(fake.stream.groups, entry->kind, fake.applied + 1,
                                      buf_span(&entry->payload)),
                         0);
    }
}

void fake_stop(void)
{
    ck_assert_uint_eq(fake_counter("railgun_group_check_errors_total"), 0);
    groups_destroy(&fake.stream.groups);
    members_destroy(&fake.members);
    metrics_destroy(&fake.metrics);
    sent_forget();
    for (size_t i = 0; i < fake.log_count; i++) {
        buf_release(&fake.log[i].payload);
    }
    MEM_FREE(fake.sent);
    MEM_FREE(fake.log);
}

void fake_turn(void)
{
    if (fake.is_dirty || fake.now_ms >= fake.flush_at) {
        fake.is_dirty = false;
        groups_wake(fake.stream.groups);
        fake.flush_at = groups_flush(fake.stream.groups, fake.now_ms);
    }
}

void fake_settle(void)
{
    do {
        fake_turn();
        while (fake.applied < fake.log_count) {
            const struct fake_entry *entry = &fake.log[fake.applied++];
            ck_assert_int_eq(groups_apply(fake.stream.groups, entry->kind, fake.applied,
                                          buf_span(&entry->payload)),
                             0);
        }
        /* what is due soon; deadlines and such are the test's to await */
        if (fake.flush_at > fake.now_ms && fake.flush_at - fake.now_ms <= FAKE_SOON_MS) {
            fake.now_ms = fake.flush_at;
        }
    } while (fake.is_dirty || fake.applied < fake.log_count || fake.now_ms >= fake.flush_at);
}

const struct fake_sent *fake_next(void)
{
    return fake.sent_seen < fake.sent_count ? &fake.sent[fake.sent_seen++] : NULL;
}

struct bus_message fake_message(uint16_t type, uint64_t subject, struct span meta, bool is_request)
{
    return (struct bus_message){.type = type,
                                .subject = subject,
                                .meta = meta,
                                .ticket = ++fake.ticket_last,
                                .is_request = is_request};
}

uint64_t fake_number(struct span meta, uint32_t field)
{
    uint64_t value = 0;
    struct pb_field next;
    while (pb_next(&meta, &next) > 0) {
        value = next.number == field ? next.value : value;
    }
    return value;
}

struct span fake_bytes(struct span meta, uint32_t field)
{
    struct span bytes = {0};
    struct pb_field next;
    while (pb_next(&meta, &next) > 0) {
        bytes = next.number == field ? next.bytes : bytes;
    }
    return bytes;
}

static void counter_find(void *ud, const char *name, uint64_t value)
{
    struct {
        const char *name;
        uint64_t value;
    } *found = ud;
    if (strcmp(name, found->name) == 0) {
        found->value = value;
    }
}

uint64_t fake_counter(const char *name)
{
    struct {
        const char *name;
        uint64_t value;
    } found = {name, 0};
    metrics_list(fake.metrics, counter_find, &found);
    return found.value;
}
