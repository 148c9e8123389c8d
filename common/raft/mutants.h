/* mutants: bugs that Raft implementations have had, one a number. Built with -DRAFT_MUTANT=n the core has bug n; the simulator must find every one. In every
 * other build MUTANT() is the constant 0 and the compiler leaves nothing of it. The tests of this folder say which bug they catch by its name. */
#ifndef COMMON_RAFT_MUTANTS_H
#define COMMON_RAFT_MUTANTS_H

/* X(number, NAME, what is wrong, and who had it) */
#define RAFT_MUTANT_TABLE(X)                                                                       \
    X(1, COMMIT_OLD_TERM, "entries of earlier terms are committed by counting (logcabin#44)")      \
    X(2, SEND_BEFORE_TERM, "messages leave before term and vote are durable (tarantool#8497)")     \
    X(3, ACK_BEFORE_DURABLE, "entries are acknowledged before they are durable (nats#7564)")       \
    X(4, COMMIT_UNVERIFIED,                                                                        \
      "the leader's commit index is taken for an unverified tail (async-raft S2)")                 \
    X(5, TRUNCATE_ALWAYS, "entries behind prev are cut even when they match (async-raft S3)")      \
    X(6, PREV_BLIND, "appends without looking at the term of prev (willemt#118)")                  \
    X(7, VOTE_TERM_AND_INDEX, "log comparison wants term AND index higher (async-raft S5)")        \
    X(8, VOTE_TWICE, "a second candidate gets a vote in the same term")                            \
    X(9, VOTE_NOT_WRITTEN, "a vote is not written to disk")                                        \
    X(10, VOTE_ANY_LOG, "votes without looking at the candidate's log")                            \
    X(11, HINT_IS_MATCH, "the hint of a refusal is taken for a match (async-raft S4)")             \
    X(12, MATCH_FROM_LAST, "a new leader thinks that all have its log (async-raft S4)")            \
    X(13, LEARNER_COUNTS, "learners count for commit")                                             \
    X(14, JOINT_NEW_ONLY, "while joint only the new half counts for commit")                       \
    X(15, JOINT_VOTE_NEW_ONLY, "while joint only the new half counts for votes")                   \
    X(16, CHANGE_BEFORE_COMMIT, "a change before this term has committed (raft-dev t4xj6dJTP6E)")  \
    X(17, CHANGE_TWICE, "a second change while the first is not committed")                        \
    X(18, MEMBERS_NOT_CUT, "a cut configuration entry stays active (scylla#30936)")                \
    X(19, LEAVE_EARLY,                                                                             \
      "a recovered joint phase is left before this term committed (camunda#61854)")                \
    X(20, REMOVED_COUNTS, "a removed leader counts itself")                                        \
    X(21, READ_ALONE, "a read needs no quorum (async-raft S1)")                                    \
    X(22, READ_BEFORE_COMMIT, "a read before the first commit of the term (etcd#7331)")            \
    X(23, READ_OLD_ROUND, "an old answer confirms a new read (etcd#20418)")                        \
    X(24, LEASE_AFTER_TRANSFER, "the lease survives a transfer (tikv#1593)")                       \
    X(25, LEASE_TOO_LONG, "the lease is longer than the followers' promise (sofa-jraft#34)")       \
    X(26, LEASE_FROM_ANSWER, "the lease starts when the answer comes, not when the question left") \
    X(27, RESTART_VOTES, "a restarted replica forgets that it promised not to vote")               \
    X(28, TIMEOUT_NOW_BLIND, "a late TimeoutNow is obeyed (raft-rs#234)")                          \
    X(29, PRE_VOTE_KEEPS_TERM, "the term in a refused pre-vote is not adopted (etcd#8243)")        \
    X(30, NO_STICKINESS, "a voter that hears its leader still votes (dissertation 4.2.3)")         \
    X(31, DURABLE_ABA,                                                                             \
      "completion of an overwritten entry counts for its successor (etcd/raft#8)")                 \
    X(32, LEADER_COUNTS_UNWRITTEN, "the leader counts entries its own disk does not have")         \
    X(33, APPLY_BEFORE_DURABLE, "entries are applied that the own disk does not have")             \
    X(34, SUSPECT_VOTES, "a replica with damaged entries votes (C-Raft, testing.md 0.2)")          \
    X(35, SUSPECT_FORGETS, "a restart ends the repair of a damaged log")                           \
    X(36, SNAPSHOT_KEEPS_MEMBERS, "members stay as they were before a snapshot (openraft#1808)")   \
    X(37, SNAPSHOT_ALWAYS, "an older snapshot replaces what is committed")                         \
    X(38, INCARNATION_IGNORED, "a wiped disk votes and counts as the replica it was")              \
    X(39, WITNESS_LEADS, "a witness campaigns")                                                    \
    X(40, UNCOMMITTED_UNBOUNDED, "a leader without quorum takes proposals for ever (etcd)")        \
    X(41, PROBE_STUCK, "a follower that has everything stays in Probe (etcd)")                     \
    X(42, COMMIT_TOLD_ONCE, "a lost commit index is not told again (etcd lagging_commit)")         \
    X(43, QUIESCE_BEHIND, "a follower sleeps though it lacks entries (cockroach#9372)")            \
    X(44, NO_BACKUP, "a refused append is tried again at the same place (async-raft S8)")          \
    X(45, VOTE_PER_MESSAGE, "a vote that comes twice counts twice (akka-raft#47)")                 \
    X(46, SILENCE_IS_YES, "who does not answer a pre-vote agrees (openraft)")                      \
    X(47, JOINT_FORGOTTEN, "a new leader does not end the joint phase it finds (etcd#12136)")      \
    X(48, LEARNER_REFUSES, "who does not know yet that it is a voter refuses (etcd#10998)")        \
    X(49, REMOVED_IS_MUTE,                                                                         \
      "who is to be removed does not campaign, and only it can win (cowsql#150)")                  \
    X(50, WITNESS_IS_COPY, "a witness counts as a copy of the data (dragonboat#106)")              \
    X(51, TRANSFER_FOREVER, "a transfer waits for its target without end (redpanda#24404)")        \
    X(52, NO_BEAT_IN_FLIGHT, "no beats while an append is unanswered (redpanda#2072)")             \
    X(53, TRIMMED_IS_LOST, "who lacks what is compacted gets no snapshot (etcd)")                  \
    X(54, FAILED_GOES_ON, "a failed write is tried again (rostam#94)")                             \
    X(55, PURGED_IS_CONFLICT, "what was compacted is taken for a conflict (openraft#511)")         \
    X(56, MEMBERS_AT_APPLY, "followers take new members when they are applied (etcd#7625)")        \
    X(57, OLD_TERM_ANSWERS, "answers to an earlier term count (async-raft S1)")                    \
    X(58, JOINT_WITHOUT_LEADER, "while joint the leader's own log does not count (async-raft S9)") \
    X(59, ROT_IS_TORN, "damage is cut off like a torn tail (braft#436)")                           \
    X(60, MANY_IN_ONE_STEP, "several voters change without a joint phase (dissertation 4.1)")      \
    X(61, WINDOW_IGNORED, "a follower that does not answer is sent more and more (etcd)")

#ifndef RAFT_MUTANT
#define RAFT_MUTANT 0
#endif

#define RAFT_MUTANT_ENUM(number, name, text) RAFT_MUTANT_##name = (number),
enum raft_mutant { RAFT_MUTANT_TABLE(RAFT_MUTANT_ENUM) RAFT_MUTANT_COUNT };
#undef RAFT_MUTANT_ENUM

#define MUTANT(name) (RAFT_MUTANT == RAFT_MUTANT_##name)

#endif
