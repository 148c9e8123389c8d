/* planted: bugs that the checker of the fault tests must catch. Built with -DLOGD_PLANTED=n logd has bug n; a test of tests/system must then fail
 * with the rule that the table names (make planted). In every other build PLANTED() is the constant 0 and the compiler leaves nothing of it. */
#ifndef LOGD_PLANTED_H
#define LOGD_PLANTED_H

/* X(number, NAME, the rule, what is wrong) */
#define LOGD_PLANTED_TABLE(X)                                                                      \
    X(1, IDS_NOT_FOUND, "duplicate", "message IDs are never found again")                          \
    X(2, IDS_FOUND, "false-duplicate", "some batches are taken for duplicates")                    \
    X(3, DELAY_NONE, "too-early", "a delay is not kept")                                           \
    X(4, DELAY_FORGOTTEN, "too-early", "a restart forgets delays")                                 \
    X(5, DELAY_LONG, "too-late", "what is due waits two seconds more")                             \
    X(6, NO_FENCE, "stale-ack", "who was replaced is told that its acks are fine")                 \
    X(7, EPOCH_STANDS, "two-owners", "a new owner has the epoch of the one before")                \
    X(8, NO_REWIND, "order-in-group", "a nack in strict order brings back that message alone")     \
    X(9, ACKS_LOST, "acked-redelivery", "some acknowledgements are not in the log")                \
    X(10, HOLES_CLOSED, "cursor-skip", "a restart takes all that was delivered for acknowledged")  \
    X(11, ATTEMPT_STANDS, "wrong-attempt", "deliveries are not counted")                           \
    X(12, ACK_TOO_MUCH, "settled-unasked", "an ack takes the next message, too")                   \
    X(13, DEAD_WITHOUT_ID, "dead-twice", "dead letters have no IDs, and each move is made twice")  \
    X(14, DEAD_SOON, "dead-too-soon", "a message dies one failure too early")                      \
    X(15, DEAD_NEIGHBOUR, "dead-payload", "a dead letter names another offset")                    \
    X(16, DEAD_ANYWAY, "dead-and-acked", "some that are acknowledged die, too")                    \
    X(17, GAP_TOO_LONG, "false-gap", "a gap is told that reaches over what is there")              \
    X(18, GIVEN_TWICE, "unprovoked-redelivery", "some are given to two members")                   \
    X(19, ANSWER_OFF, "wrong-offset", "some publishes are told the next offset")                   \
    X(20, NOT_STORED, "lost-write", "some publishes are answered and not stored")

#ifndef LOGD_PLANTED
#define LOGD_PLANTED 0
#endif

#define LOGD_PLANTED_ENUM(number, name, rule, text) LOGD_PLANTED_##name = (number),
enum logd_planted { LOGD_PLANTED_TABLE(LOGD_PLANTED_ENUM) LOGD_PLANTED_COUNT };
#undef LOGD_PLANTED_ENUM

#define PLANTED(name) (LOGD_PLANTED == LOGD_PLANTED_##name)

#endif
