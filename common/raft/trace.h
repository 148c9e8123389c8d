/* trace: what goes in and out of a replica as a line of text, for logs and for people. The core itself traces nothing, because all of it passes the driver as a value: who wants to see
 * it appends the line here, who does not pays nothing. Machines keep the values: recorded inputs, given again, lead to the same state (raft_hash). */
#ifndef COMMON_RAFT_TRACE_H
#define COMMON_RAFT_TRACE_H

#include "common/base/buf.h"
#include "common/raft/raft.h"

/* "APPEND 1.1>2.1 term=2 index=5 index_term=2 commit=5 count=3 bytes=48 END": what is zero is left out. */
void raft_message_text(const struct raft_message *message, struct buf *out);
/* "WRITE wseq=3 HARD term=2 vote=1.1 APPEND 6..8", "STATE LEADER term=2 leader=1.1", "COMMIT 8", "SEND APPEND ...". */
void raft_output_text(const struct raft_output *output, struct buf *out);
/* "1.1=VOTER 2.1=VOTER+OLD 3.1=LEARNER"; witnesses have +WITNESS. */
void raft_members_text(const struct raft_members *members, struct buf *out);

#endif
