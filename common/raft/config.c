/* config: the defaults of a replica and the check of what the caller made of them. Owns nothing. */
#include "common/raft/config.h"

#include <string.h>

#include "common/base/err.h"

void raft_config_init(struct raft_config *self)
{
    memset(self, 0, sizeof(*self));
    self->election_timeout_us_min = 150 * 1000;
    self->election_timeout_us_max = 300 * 1000;
    self->heartbeat_us = 50 * 1000;
    self->clock_drift_ppm = 1000;
    self->message_bytes_max = 1 << 20;
    self->message_entries_max = 1024;
    self->inflight_bytes_max = 4 << 20;
    self->inflight_messages_max = 64;
    self->uncommitted_bytes_max = 64 << 20;
    self->snapshot_chunk_bytes = 1 << 20;
    self->catchup_entries_max = 1000;
    self->members_max = 5;
    self->reads_max = 2;
    self->data_copies_min = 1;
    self->pre_vote = true;
    self->check_quorum = true;
}

int raft_config_check(const struct raft_config *self, const char **ret_field)
{
    const struct {
        bool bad;
        const char *field;
    } rules[] = {
        {self->id.node == 0, "id"},
        {self->election_timeout_us_min < 2, "election_timeout_us_min"},
        {self->election_timeout_us_max <= self->election_timeout_us_min, "election_timeout_us_max"},
        {self->heartbeat_us == 0 || self->heartbeat_us > self->election_timeout_us_min / 2,
         "heartbeat_us"},
        {self->clock_drift_ppm > 500000, "clock_drift_ppm"},
        {self->message_bytes_max == 0 || self->message_bytes_max > INT32_MAX / 2,
         "message_bytes_max"},
        {self->message_entries_max == 0 || self->message_entries_max > UINT16_MAX,
         "message_entries_max"},
        {self->inflight_bytes_max == 0 || self->inflight_bytes_max > INT32_MAX / 2,
         "inflight_bytes_max"},
        {self->inflight_messages_max == 0 || self->inflight_messages_max > INT32_MAX,
         "inflight_messages_max"},
        {self->uncommitted_bytes_max == 0, "uncommitted_bytes_max"},
        {self->members_max == 0 || self->members_max > RAFT_MEMBERS_MAX, "members_max"},
        {self->reads_max == 0, "reads_max"},
        {self->data_copies_min == 0 || self->data_copies_min > RAFT_MEMBERS_MAX, "data_copies_min"},
        {self->lease_reads && !self->check_quorum, "lease_reads"},
    };
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        if (rules[i].bad) {
            *ret_field = rules[i].field;
            return ERR_BAD_CONFIG;
        }
    }
    return 0;
}
