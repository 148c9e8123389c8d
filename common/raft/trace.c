/* trace: messages, outputs and members in words. Owns nothing and keeps nothing. */
#include "common/raft/trace.h"

#include <inttypes.h>

static void put_number(struct buf *out, const char *name, uint64_t value)
{
    if (value != 0) {
        buf_printf(out, " %s=%" PRIu64, name, value);
    }
}

static void put_id(struct buf *out, const char *name, struct raft_id id)
{
    if (!raft_id_is_none(id)) {
        buf_printf(out, " %s=%" PRIu32 ".%" PRIu32, name, id.node, id.incarnation);
    }
}

static void put_bits(struct buf *out, const char *const *names, unsigned count, unsigned bits,
                     const char *before)
{
    for (unsigned i = 0; i < count; i++) {
        if ((bits >> i & 1) != 0) {
            buf_printf(out, "%s%s", before, names[i]);
        }
    }
}

void raft_message_text(const struct raft_message *message, struct buf *out)
{
    static const char *const flags[] = {"REJECT", "TRANSFER", "END", "SILENT", "WITNESS", "LAST"};
    const struct {
        const char *name;
        uint64_t value;
    } fields[] = {
        {"term", message->term},
        {"index", message->index},
        {"index_term", message->index_term},
        {"commit", message->commit},
        {"appended", message->appended},
        {"hint", message->hint},
        {"hint_term", message->hint_term},
        {"token", message->token},
        {"round", message->round},
        {"offset", message->offset},
        {"total", message->total},
        {"count", message->count},
        {"bytes", message->bytes},
        {"seq", message->seq},
        {"pos", message->pos},
        {"sent", message->sent},
    };
    buf_printf(out, "%s %" PRIu32 ".%" PRIu32 ">%" PRIu32 ".%" PRIu32,
               raft_message_name(message->type), message->from.node, message->from.incarnation,
               message->to.node, message->to.incarnation);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        put_number(out, fields[i].name, fields[i].value);
    }
    put_bits(out, flags, 6, message->flags, " ");
}

void raft_members_text(const struct raft_members *members, struct buf *out)
{
    static const char *const sets[] = {"VOTER", "OLD", "LEARNER", "WITNESS"};
    for (uint32_t i = 0; i < members->count; i++) {
        const struct raft_member *member = &members->member[i];
        buf_printf(out, "%s%" PRIu32 ".%" PRIu32, i == 0 ? "" : " ", member->id.node,
                   member->id.incarnation);
        bool is_first = true;
        for (unsigned bit = 0; bit < 4; bit++) {
            if ((member->set >> bit & 1) != 0) {
                buf_printf(out, "%s%s", is_first ? "=" : "+", sets[bit]);
                is_first = false;
            }
        }
    }
}

static void put_entry(struct buf *out, const struct raft_output *output)
{
    const struct raft_entry *entry = &output->entry.entry;
    buf_printf(out, "ENTRY %" PRIu64 " term=%" PRIu64, output->entry.index, entry->term);
    if (entry->type == RAFT_ENTRY_CONFIG) {
        buf_printf(out, " CONFIG ");
        raft_members_text(&output->entry.members, out);
    } else {
        buf_printf(out, " BLANK");
    }
}

static void put_write(struct buf *out, const struct raft_write *write)
{
    buf_printf(out, "WRITE wseq=%" PRIu64, write->wseq);
    if ((write->flags & RAFT_WRITE_HARD) != 0) {
        buf_printf(out, " HARD term=%" PRIu64, write->term);
        put_id(out, "vote", write->vote);
        put_number(out, "commit", write->commit);
        put_number(out, "suspect_last", write->suspect_last);
    }
    if ((write->flags & RAFT_WRITE_SNAPSHOT) != 0) {
        buf_printf(out, " SNAPSHOT %" PRIu64 " of term %" PRIu64, write->snapshot_index,
                   write->snapshot_term);
    }
    if ((write->flags & RAFT_WRITE_TRUNCATE) != 0) {
        buf_printf(out, " TRUNCATE %" PRIu64, write->truncate_from);
    }
    if ((write->flags & RAFT_WRITE_APPEND) != 0) {
        buf_printf(out, " APPEND %" PRIu64 "..%" PRIu64, write->first, write->last);
    }
}

static void put_members(struct buf *out, const struct raft_output *output)
{
    static const char *const names[] = {"committed", "joint", "member", "voter"};
    buf_printf(out, "MEMBERS index=%" PRIu64, output->members.index);
    unsigned bits = (output->members.committed ? 1U : 0) | (output->members.joint ? 2U : 0) |
                    (output->members.member ? 4U : 0) | (output->members.voter ? 8U : 0);
    put_bits(out, names, 4, bits, " ");
}

void raft_output_text(const struct raft_output *output, struct buf *out)
{
    switch (output->type) {
    case RAFT_OUTPUT_ENTRY:
        put_entry(out, output);
        break;
    case RAFT_OUTPUT_WRITE:
        put_write(out, &output->write);
        break;
    case RAFT_OUTPUT_STATE:
        buf_printf(out, "STATE %s term=%" PRIu64, raft_state_name(output->state.state),
                   output->state.term);
        put_id(out, "leader", output->state.leader);
        buf_printf(out, "%s", output->state.quiesced ? " asleep" : "");
        break;
    case RAFT_OUTPUT_MEMBERS:
        put_members(out, output);
        break;
    case RAFT_OUTPUT_COMMIT:
        buf_printf(out, "COMMIT %" PRIu64, output->commit);
        break;
    case RAFT_OUTPUT_READ:
        buf_printf(out, "READ token=%" PRIu64 " index=%" PRIu64 "%s", output->read.token,
                   output->read.index, output->read.error == 0 ? "" : " failed");
        break;
    case RAFT_OUTPUT_SEND:
        buf_printf(out, "SEND ");
        raft_message_text(&output->message, out);
        break;
    default:
        break;
    }
}
