/* handle_attach: a consumer comes to a group. A group without a position in this stream is opened by an entry of the log
 * first, and so is one whose configuration is newer in the catalogue; the consumer is a member when that is applied. An operator who pauses a
 * group before anybody came, or says where it begins, opens it likewise. */
#include "logd/groups.h"

#include <stdio.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/attach.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/log.pb-c.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"
#include "logd/groups_own.h"
#include "logd/kinds.h"
#include "logd/logd.h"
#include "logd/start.h"
#include "logd/stream.h"

/* Numbers of log.proto and client.proto. */
enum {
    ENTRY_GROUP_ID = 1,
    ENTRY_NAME = 2,
    ENTRY_FLOOR = 3,
    ENTRY_SPEC = 4,
    OK_MEMBER = 1,
    OK_EPOCH = 2,
    OK_CREATED = 3,
    OK_START_IGNORED = 4,
    OK_FLOOR = 5,
    OK_END = 6,
    OK_SPEC = 7,
    OK_STREAM_ID = 9,
    OK_ACTIVE = 10,
    OK_GROUP = 11,
    OK_PAUSED = 12,
    ERROR_CODE = 1,
    ERROR_TEXT = 2,
    ERROR_DETAIL = 3,
    ERROR_NEXT = 5,
    ERROR_FIRST = 6,
};

/* A LogAttach as it came; the spans point into the message. */
struct wish {
    uint64_t consumer;
    uint64_t group_id;
    struct span group;
    struct span spec;
    bool has_spec;
    struct start start;
    enum start_gap on_gap;
    struct span name;
    struct span address;
    uint64_t credit_messages;
    uint64_t credit_bytes;
    uint64_t revision;
    uint32_t priority;
    bool is_ephemeral;
};

static int wish_read_field(struct wish *wish, const struct pb_field *field)
{
    switch (field->number) {
    case ATTACH_CONSUMER:
        wish->consumer = field->value;
        return 0;
    case ATTACH_GROUP_ID:
        wish->group_id = field->value;
        return 0;
    case ATTACH_GROUP:
        wish->group = field->bytes;
        return 0;
    case ATTACH_SPEC:
        wish->spec = field->bytes;
        wish->has_spec = true;
        return 0;
    case ATTACH_START:
        return start_read(field->bytes, &wish->start);
    case ATTACH_ON_GAP:
        wish->on_gap = (enum start_gap) field->value;
        return field->value <= START_GAP_LATEST ? 0 : ERR_BAD_REQUEST;
    case ATTACH_NAME:
        wish->name = field->bytes;
        return 0;
    case ATTACH_ADDRESS:
        wish->address = field->bytes;
        return 0;
    case ATTACH_CREDIT_MESSAGES:
        wish->credit_messages = field->value;
        return 0;
    case ATTACH_CREDIT_BYTES:
        wish->credit_bytes = field->value;
        return 0;
    case ATTACH_REVISION:
        wish->revision = field->value;
        return 0;
    case ATTACH_PRIORITY:
        wish->priority = (uint32_t) field->value;
        return 0;
    case ATTACH_EPHEMERAL:
        wish->is_ephemeral = field->value != 0;
        return 0;
    default:
        return 0;
    }
}

static int wish_read(struct span meta, struct wish *ret_wish)
{
    struct wish wish = {0};
    struct pb_field field;
    /* With this the types of all known fields are as declared. */
    if (scan_check(meta, &railgun__log_attach__descriptor, NULL) < 0) {
        return ERR_BAD_REQUEST;
    }
    int more;
    while ((more = pb_next(&meta, &field)) > 0) {
        if (wish_read_field(&wish, &field) < 0) {
            return ERR_BAD_REQUEST;
        }
    }
    bool is_named =
        wish.is_ephemeral ? wish.group_id == 0 : wish.group_id != 0 && wish.group.size > 0;
    if (more < 0 || !is_named) {
        return ERR_BAD_REQUEST;
    }
    *ret_wish = wish;
    return 0;
}

static char *text_copy(struct span text)
{
    char *copy = mem_new(text.size + 1);
    if (text.size > 0) {
        memcpy(copy, text.data, text.size);
    }
    return copy;
}

void attach_destroy(struct groups *self, struct attach **attach)
{
    list_remove(&(*attach)->node);
    self->attach_count--;
    buf_release(&(*attach)->spec);
    buf_release(&(*attach)->control);
    MEM_FREE((*attach)->name);
    MEM_FREE((*attach)->address);
    MEM_FREE(*attach);
}

/* --- joining --- */

static void attach_join(struct groups *self, struct attach *attach, struct hosted *hosted)
{
    struct logd *logd = stream_logd(self->stream);
    if (hosted->is_expiring) {
        (void) bus_reply_error(groups_bus(self), attach->ticket, ERR_OVERLOADED,
                               "the group was not used for long and is being deleted");
        return;
    }
    if (self->member_count >= GROUPS_MEMBERS_MAX) {
        (void) bus_reply_error(groups_bus(self), attach->ticket, ERR_QUOTA,
                               "too many consumers of this stream");
        return;
    }
    if (members_find(logd_members(logd), attach->link, attach->consumer) != NULL) {
        (void) bus_reply_error(groups_bus(self), attach->ticket, ERR_BAD_REQUEST,
                               "this consumer id is in use");
        return;
    }
    struct member *member =
        member_new(self, hosted, attach->link, attach->consumer, &attach->name, &attach->address);
    group_member_set_standing(hosted->group, &member->share, attach->priority,
                              span_of(member->name[0] != 0 ? member->name : member->address));
    group_grant(hosted->group, &member->share, attach->credit_messages, attach->credit_bytes);
    if (attach->revision > hosted->spec_revision) {
        hosted->spec_revision = attach->revision;
    }
    struct group_numbers numbers;
    group_numbers(hosted->group, &numbers);
    struct buf *meta = &self->meta;
    buf_reset(meta);
    pb_append_varint(meta, OK_MEMBER, member->share.number);
    if (group_replicated(hosted->group)->limits.is_exclusive) {
        pb_append_varint(meta, OK_EPOCH, group_replicated(hosted->group)->epoch.epoch);
        pb_append_varint(meta, OK_ACTIVE, 0); /* it is told when it is */
    }
    if (hosted->is_ephemeral) {
        pb_append_bytes(meta, OK_GROUP, span_of(group_replicated(hosted->group)->name));
    }
    pb_append_varint(meta, OK_CREATED, attach->created);
    pb_append_varint(meta, OK_START_IGNORED, attach->start_given && !attach->created);
    pb_append_varint(meta, OK_FLOOR, numbers.floor);
    pb_append_varint(meta, OK_END, stream_next_offset(self->stream));
    pb_append_bytes(meta, OK_SPEC, buf_span(&group_replicated(hosted->group)->spec));
    pb_append_bytes(
        meta, OK_STREAM_ID,
        span_make(stream_id(self->stream)->bytes, sizeof stream_id(self->stream)->bytes));
    pb_append_varint(meta, OK_PAUSED, group_is_paused(hosted->group));
    struct bus_outgoing out = {.type = attach->type, .meta = buf_span(meta)};
    (void) bus_reply(groups_bus(self), attach->ticket, &out); /* a dead link is told by link_down */
    groups_tell_paused(self, member);
    groups_touched(self, hosted);
}

void groups_attach_applied(struct groups *self, uint64_t group_id, struct hosted *hosted,
                           uint64_t index)
{
    LIST_FOREACH (&self->attaches, node) {
        struct attach *attach = LIST_ENTRY(node, struct attach, node);
        if (attach->group_id != group_id || attach->index > index) {
            continue;
        }
        if (hosted != NULL && attach->control.size > 0) {
            groups_control_opened(self, hosted, attach->ticket, attach->type,
                                  buf_span(&attach->control));
        } else if (hosted != NULL) {
            attach_join(self, attach, hosted);
        } else {
            (void) bus_reply_error(groups_bus(self), attach->ticket, ERR_NOT_FOUND,
                                   "the group was deleted");
        }
        attach_destroy(self, &attach);
    }
}

/* --- opening --- */

/* One that waits for the same group with the same configuration: its entry serves us too. *ret_is_opening: one waits for the
 * group at all. */
static struct attach *attach_alike(const struct groups *self, const struct wish *wish,
                                   bool *ret_is_opening)
{
    *ret_is_opening = false;
    LIST_FOREACH (&self->attaches, node) {
        struct attach *attach = LIST_ENTRY(node, struct attach, node);
        if (attach->group_id == wish->group_id) {
            *ret_is_opening = true;
            if (span_equal(buf_span(&attach->spec), wish->spec)) {
                return attach;
            }
        }
    }
    return NULL;
}

static int group_propose(struct groups *self, const struct wish *wish, uint64_t floor,
                         uint64_t *ret_index)
{
    struct buf *meta = &self->meta;
    buf_reset(meta);
    pb_append_varint(meta, ENTRY_GROUP_ID, wish->group_id);
    pb_append_bytes(meta, ENTRY_NAME, wish->group);
    pb_append_varint(meta, ENTRY_FLOOR, floor);
    pb_append_bytes(meta, ENTRY_SPEC, wish->spec);
    return stream_propose_control(self->stream, LOG_KIND_GROUP, buf_span(meta), ret_index);
}

int groups_propose_config(struct groups *self, uint64_t group_id, struct span name,
                          struct span spec)
{
    const struct wish wish = {.group_id = group_id, .group = name, .spec = spec};
    uint64_t index;
    return group_propose(self, &wish, 0, &index);
}

int groups_start_floor(struct groups *self, const struct start *start, enum start_gap on_gap,
                       uint64_t *ret_floor)
{
    if (start->at != START_TIMESTAMP) {
        return start_resolve(start, on_gap, stream_first_offset(self->stream),
                             stream_next_offset(self->stream), ret_floor);
    }
    uint64_t offset;
    int error = stream_find_time(self->stream, start->ts_us, &offset);
    if (error == 0) {
        *ret_floor = offset - 1;
    }
    return error;
}

static int start_of(const struct wish *wish, struct start *ret_start)
{
    if (wish->start.at != START_DEFAULT) {
        *ret_start = wish->start;
        return 0;
    }
    return start_of_spec(wish->spec, ret_start);
}

/* Make the entry, or find the one under way. */
static int attach_prepare(struct groups *self, const struct wish *wish, struct hosted *hosted,
                          uint64_t *ret_index, bool *ret_created)
{
    bool is_opening;
    const struct attach *alike = attach_alike(self, wish, &is_opening);
    if (alike != NULL) {
        *ret_index = alike->index;
        *ret_created = false;
        return 0;
    }
    uint64_t floor = 0;
    struct start start;
    if (hosted == NULL && !is_opening) {
        if (groups_count(self) + self->attach_count >= GROUPS_MAX) {
            return ERR_QUOTA;
        }
        int error = start_of(wish, &start);
        if (error == 0) {
            error = groups_start_floor(self, &start, wish->on_gap, &floor);
        }
        if (error != 0) {
            return error;
        }
    }
    *ret_created = hosted == NULL && !is_opening;
    int error = group_propose(self, wish, floor, ret_index);
    if (error == 0 && hosted != NULL) {
        hosted->configs++;
    }
    return error;
}

void groups_answer_range(struct groups *self, uint64_t ticket, uint16_t type)
{
    char detail[96];
    uint64_t first = stream_first_offset(self->stream);
    uint64_t next = stream_next_offset(self->stream);
    snprintf(detail, sizeof detail, "the stream holds offsets %llu to %llu",
             (unsigned long long) first, (unsigned long long) (next - 1));
    buf_reset(&self->meta);
    pb_append_varint(&self->meta, ERROR_CODE, (uint64_t) -ERR_OUT_OF_RANGE);
    pb_append_bytes(&self->meta, ERROR_TEXT, span_of(err_text(ERR_OUT_OF_RANGE)));
    pb_append_bytes(&self->meta, ERROR_DETAIL, span_of(detail));
    pb_append_varint(&self->meta, ERROR_NEXT, next);
    pb_append_varint(&self->meta, ERROR_FIRST, first);
    struct bus_outgoing out = {
        .type = type, .status = ERR_OUT_OF_RANGE, .meta = buf_span(&self->meta)};
    (void) bus_reply(groups_bus(self), ticket, &out);
}

static void attach_refuse(struct groups *self, uint64_t ticket, uint16_t type, int error)
{
    if (error == ERR_OUT_OF_RANGE) {
        groups_answer_range(self, ticket, type);
        return;
    }
    (void) bus_reply_error(groups_bus(self), ticket, error == ERR_AGAIN ? ERR_OVERLOADED : error,
                           NULL);
}

/* What can be said without looking at the group: NULL, or why not. */
static int wish_check(const struct groups *self, const struct wish *wish, const char **ret_detail)
{
    struct group_state probe;
    group_state_init(&probe, wish->group_id);
    int error = group_state_configure(&probe, wish->group, wish->spec);
    group_state_release(&probe);
    *ret_detail = NULL;
    if (error != 0) {
        return ERR_BAD_REQUEST;
    }
    struct range range;
    if (self->dropped != NULL && ranges_find(self->dropped, wish->group_id, &range)) {
        *ret_detail = "the group was deleted";
        return ERR_NOT_FOUND;
    }
    if (self->attach_count >= GROUPS_ATTACHES_MAX) {
        return ERR_OVERLOADED;
    }
    return 0;
}

int groups_open(struct groups *self, const struct bus_message *message,
                const struct groups_opening *opening, const char **ret_detail)
{
    const struct wish wish = {
        .group_id = opening->group_id,
        .group = opening->group,
        .spec = opening->spec,
        .start = opening->start,
        .on_gap = opening->on_gap,
    };
    uint64_t index = 0;
    bool created = false;
    int error = wish_check(self, &wish, ret_detail);
    if (error == 0) {
        error = attach_prepare(self, &wish, NULL, &index, &created);
    }
    if (error != 0) {
        return error == ERR_AGAIN ? ERR_OVERLOADED : error;
    }
    struct attach *attach = MEM_NEW(struct attach);
    *attach = (struct attach){
        .ticket = message->ticket,
        .type = message->type,
        .index = index,
        .group_id = wish.group_id,
    };
    buf_append(&attach->spec, wish.spec);
    buf_append(&attach->control, opening->control);
    list_push_back(&self->attaches, &attach->node);
    self->attach_count++;
    return 0;
}

void groups_handle_attach(struct groups *self, struct bus_link *link, struct bus_message *message)
{
    struct wish wish = {0};
    const char *detail = "LogAttach";
    int error = wish_read(message->meta, &wish);
    if (error == 0) {
        error = wish_check(self, &wish, &detail);
    }
    if (error != 0) {
        (void) bus_reply_error(groups_bus(self), message->ticket, error, detail);
        return;
    }
    struct hosted *hosted = groups_find(self, wish.group_id);
    bool is_newer = hosted == NULL;
    if (hosted != NULL && wish.has_spec && wish.revision >= hosted->spec_revision) {
        is_newer = !span_equal(buf_span(&group_replicated(hosted->group)->spec), wish.spec);
    }
    uint64_t index = 0;
    bool created = false;
    if (wish.is_ephemeral) {
        struct ephemeral_wish open = {wish.group, wish.spec, wish.start, wish.on_gap};
        is_newer = false;
        error = ephemerals_open(self, &open, &hosted, &created);
    }
    if (is_newer) {
        error = attach_prepare(self, &wish, hosted, &index, &created);
    }
    if (error != 0) {
        attach_refuse(self, message->ticket, message->type, error);
        return;
    }
    struct attach *attach = MEM_NEW(struct attach);
    *attach = (struct attach){
        .link = link,
        .ticket = message->ticket,
        .type = message->type,
        .index = index,
        .group_id = wish.group_id,
        .consumer = wish.consumer,
        .credit_messages = wish.credit_messages,
        .credit_bytes = wish.credit_bytes,
        .revision = wish.revision,
        .priority = wish.priority,
        .name = text_copy(wish.name),
        .address = text_copy(wish.address),
        .created = created,
        .start_given = wish.start.at != START_DEFAULT,
    };
    buf_append(&attach->spec, wish.spec);
    list_push_back(&self->attaches, &attach->node);
    self->attach_count++;
    if (!is_newer) {
        attach_join(self, attach, hosted);
        attach_destroy(self, &attach);
    }
}
