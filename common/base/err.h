/* err: the one list of errors. The same number travels on the wire, is returned (negated) by every
 * function that can fail, is printed by `adminctl explain` and stands in the logs.
 *
 * To add one: append a row to ERR_TABLE with an unused number. A number is never changed or re-used. */
#ifndef COMMON_BASE_ERR_H
#define COMMON_BASE_ERR_H

#include <stddef.h>

/* What the caller may do about it. */
enum err_class {
    ERR_CLASS_INFO,   /* not a failure: a per-record or per-range remark */
    ERR_CLASS_REJECT, /* asking again unchanged gives the same answer */
    ERR_CLASS_RETRY,  /* certainly not done; try again after a back-off */
    ERR_CLASS_UNSURE, /* the outcome is unknown; repeat only with message IDs or an expected offset */
    ERR_CLASS_LOCAL, /* inside one process: never sent to a client */
};

/* X(number, SYMBOL, class, meaning, remedy) */
#define ERR_TABLE(X)                                                                               \
    X(100, PROTOCOL, REJECT, "malformed frame; the connection is closed",                          \
      "update the client library; if it is your own, check framing and field types")               \
    X(101, HELLO_REQUIRED, REJECT, "a frame came before Hello",                                    \
      "send Hello (and Auth where asked) first")                                                   \
    X(102, UNKNOWN_FRAME, REJECT, "this frame type or feature is not spoken here",                 \
      "check the server's version in HelloOk; upgrade the older side")                             \
    X(103, VERSION, REJECT, "no protocol version in common", "upgrade the older side")             \
    X(104, CHANNEL, REJECT, "bad channel number, or one already in use",                           \
      "open each channel once; channel 0 is the connection itself")                                \
    X(105, CREDIT_VIOLATION, REJECT, "sent beyond the granted credit; the connection is closed",   \
      "stop publishing while credit is used up; wait for replies or Credit")                       \
    X(106, HEARTBEAT_LOST, RETRY, "the peer was silent for three heartbeats",                      \
      "check the network and the load of both sides; reconnect")                                   \
    X(107, GOING_AWAY, RETRY, "this node drains", "reconnect to another node, or in a moment")     \
    X(200, DUPLICATE, INFO, "the record was stored before; the original's offset is given",        \
      "nothing to do: it is stored once")                                                          \
    X(201, ALREADY, INFO, "this acknowledgement was applied before", "nothing to do")              \
    X(400, BAD_REQUEST, REJECT, "a field is invalid", "see the detail for which field and why")    \
    X(401, AUTH_FAILED, REJECT, "bad credentials", "check user and token")                         \
    X(402, AUTH_EXPIRED, RETRY, "the token ran out", "authenticate again with a fresh token")      \
    X(403, DENIED, REJECT, "no permission; the rule is in the detail",                             \
      "ask an administrator for the permission")                                                   \
    X(404, NOT_FOUND, REJECT, "no such stream, group, exchange or user",                           \
      "check the name: `adminctl stream ls`, `group ls STREAM`, `es ls`")                          \
    X(405, NOT_DELIVERED, REJECT, "acknowledged something that was never delivered to you",        \
      "acknowledge only offsets delivered on the same channel")                                    \
    X(406, EPHEMERAL_LOST, RETRY, "an in-memory group is gone", "create the group again")          \
    X(408, TIMEOUT, UNSURE, "no answer in time: the outcome is unknown",                           \
      "repeat with the same message IDs, or read the stream to find out")                          \
    X(409, DUPLICATE_ID, REJECT, "the message ID was used before and the stream rejects that",     \
      "use a fresh ID, or set on_duplicate to ack")                                                \
    X(412, WRONG_OFFSET, REJECT, "the expected offset does not match; the current one is given",   \
      "read on from your last offset, then decide and publish again")                              \
    X(413, TOO_LARGE, REJECT, "a message, batch or frame is over its limit",                       \
      "split it, or raise the limit in the server's configuration")                                \
    X(416, OUT_OF_RANGE, REJECT, "the offset is below the first or above the next",                \
      "`adminctl stream info` shows the range; start at first or latest")                          \
    X(417, DUPLICATE_MISMATCH, REJECT, "the message ID was used before with another payload",      \
      "this is a bug of the producer: an ID must name one payload")                                \
    X(420, DELAY_FULL, RETRY, "too many delayed messages; it stays pending",                       \
      "let some come due, or raise max_delayed")                                                   \
    X(421, GROUP_FULL, RETRY, "too many holes between acknowledged offsets",                       \
      "acknowledge the oldest pending messages: `adminctl group pending`")                         \
    X(422, BAD_CONFIG, REJECT, "the specification is invalid; the path is in the detail",          \
      "correct the named field")                                                                   \
    X(423, BREAKER_OPEN, RETRY, "the group is paused by its dead-letter breaker",                  \
      "repair the consumer, then `adminctl group resume`")                                         \
    X(424, PAUSED, RETRY, "the group or stream is paused", "resume it, or wait")                   \
    X(428, ENSURE_FIRST, REJECT, "unknown stream: streams are not created by publishing",          \
      "create it once: `adminctl stream ensure NAME`")                                             \
    X(429, THROTTLED, RETRY, "rate quota used up", "wait for retry_after_ms")                      \
    X(430, DEDUP_FULL, RETRY, "the table of message IDs is full",                                  \
      "wait until the window moved on, or raise max_ids")                                          \
    X(440, STALE_DELIVERY, REJECT, "the message was given to another attempt meanwhile",           \
      "drop your result: another consumer has the message")                                        \
    X(441, FENCED, REJECT, "epoch or fence token too old",                                         \
      "another owner took over: stop, then attach again")                                          \
    X(442, VERSION_CONFLICT, REJECT, "this version is in use with another specification",          \
      "raise the version, or take over the stored specification")                                  \
    X(443, IMMUTABLE, REJECT, "this field cannot change after creation",                           \
      "create a new stream with the wanted value")                                                 \
    X(444, DIFFERS, REJECT, "the stored configuration differs; see the diff",                      \
      "ensure with a higher version to change it, or correct the specification")                   \
    X(445, RS_IN_USE, REJECT, "the response name is taken", "choose another, or let it be made")   \
    X(446, STREAM_CHANGED, REJECT, "same name, but another stream id: it was created anew",        \
      "forget positions of the old stream; describe it again")                                     \
    X(447, STREAM_DELETED, REJECT, "the stream is being deleted",                                  \
      "undelete it within its grace period, or use another")                                       \
    X(448, RS_CLOSED, REJECT, "the reply came too late or was given already", "drop it")           \
    X(449, QUOTA, REJECT, "a count or size quota is used up",                                      \
      "remove something, or ask an administrator to raise the quota")                              \
    X(499, RS_CANCELLED, REJECT, "the requester cancelled or left", "drop the reply")              \
    X(500, INTERNAL, RETRY, "a bug in the server; an id is in the detail",                         \
      "report it with the id and the daemon's log")                                                \
    X(501, UNSUPPORTED, REJECT, "not built in, or disabled", "see the detail for what is missing") \
    X(502, RESPONDER_LOST, UNSURE, "the responder died before it answered",                        \
      "repeat if the request is safe to repeat")                                                   \
    X(503, NO_RESPONDERS, RETRY, "nobody listens to this topic", "start a responder")              \
    X(504, RS_TIMEOUT, UNSURE, "no reply in time", "repeat if the request is safe to repeat")      \
    X(510, NOT_LEADER, RETRY, "internal: another node leads; frontd follows it", "try again")      \
    X(511, NO_QUORUM, RETRY, "cannot commit now: not enough of the cluster answers",               \
      "check `adminctl status`; it goes on by itself when they are back")                          \
    X(512, OVERLOADED, RETRY, "a queue is full; the request was shed", "back off and try again")   \
    X(513, STORAGE_FULL, RETRY, "disk or remote limit reached; nothing was stored",                \
      "free space on the data directory's disk; publishing goes on by itself")                     \
    X(514, CORRUPT, RETRY, "stored data is damaged; the exact range is in the detail",             \
      "nothing was returned or cut; read on behind the range; see docs/operations.md")             \
    X(515, TIER_UNAVAILABLE, RETRY, "the object store cannot be read now", "try again later")      \
    X(516, READ_ONLY, RETRY, "sealed or under maintenance", "wait for the maintenance to end")     \
    X(600, IO, LOCAL, "an input/output error", "see the log for the system's own message")         \
    X(601, AGAIN, LOCAL, "not now: no credit, no room or nothing there", "wait for the event")     \
    X(602, CLOSED, LOCAL, "the other side is closed or was never there", "reconnect")              \
    X(603, NO_MEMORY, LOCAL, "not enough memory", "lower the limits or add memory")                \
    X(604, POISONED, LOCAL, "a write or sync failed before: nothing more is written",              \
      "repair the disk, then restart the daemon")                                                  \
    X(605, LOCKED, LOCAL, "another process owns this directory", "stop the other process first")   \
    X(606, INCOMPLETE, LOCAL, "more bytes are needed", "read on")                                  \
    X(607, USAGE, LOCAL, "wrong arguments", "see --help")                                          \
    X(608, BAD_FORMAT, LOCAL, "not in the expected format or of an unknown version",               \
      "see docs/disk-format.md; a newer version may be needed")                                    \
    X(609, WRONG_CLUSTER, LOCAL, "this belongs to another cluster",                                \
      "check the data and run directories of the configuration")

#define ERR_ENUM(number, symbol, class, meaning, remedy) ERR_##symbol = -(number),
enum err { ERR_TABLE(ERR_ENUM) };
#undef ERR_ENUM

struct err_info {
    int number;            /* positive, as on the wire */
    const char *name;      /* "NOT_FOUND" */
    enum err_class class_; /* what the caller may do */
    const char *meaning;
    const char *remedy;
};

/* The entry of a code, given as returned (negative) or as on the wire (positive); NULL if there is none. */
const struct err_info *err_find(int code);

/* The entry with this name ("NOT_FOUND", any case); NULL if there is none. */
const struct err_info *err_find_name(const char *name);

/* The name, or "UNKNOWN"; never NULL. 0 is "OK". */
const char *err_name(int code);

/* The meaning, or "unknown error"; never NULL. */
const char *err_text(int code);

/* The whole list in order of number. */
const struct err_info *err_list(size_t *ret_count);

/* Translate an errno value at the line of the system call: ENOSPC and EDQUOT become STORAGE_FULL, ENOMEM
 * NO_MEMORY, EAGAIN AGAIN, ENOENT NOT_FOUND, closed-connection errors CLOSED, all else IO. Never 0. */
int err_from_errno(int system_errno);

#endif
