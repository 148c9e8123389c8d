/* groups: the consumer groups of one stream: what they have acknowledged (replicated state, changed only by groups_apply), who has what right now (the
 * leader's memory), and the delivery to members by credit.
 *
 * The stream calls in: groups_apply for each committed GROUP and ACKS entry, groups_wake when new records are committed, and the daemon's handlers
 * for what consumers send. Deliveries go out through the bus link each member came in by. */
#ifndef LOGD_GROUPS_H
#define LOGD_GROUPS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/span.h"
#include "common/run/bus.h"

struct groups;
struct stream;

struct groups *groups_new(struct stream *stream);
void groups_destroy(struct groups **self);

/* --- replicated state --- */

/* A committed entry of kind GROUP or ACKS, also during replay after a restart. Must decide the same on every replica and in every life. 0, or ERR_BAD_FORMAT
 * (an entry that cannot be parsed: the caller reports corruption). */
int groups_apply(struct groups *self, uint8_t kind, uint64_t index, struct span payload);

/* Saving: visit the encoded GroupState (log.proto) of every group changed since the last call, and ids of dropped ones; after it they count as saved. */
typedef int groups_save_fn(void *ud, uint64_t group_id, bool dropped, struct span state);
int groups_save(struct groups *self, groups_save_fn *save, void *ud);
/* How large what was saved last was. */
size_t groups_saved_bytes(const struct groups *self);
bool groups_is_dirty(const struct groups *self);
/* Load one saved state, before any groups_apply. 0 or ERR_BAD_FORMAT. */
int groups_load(struct groups *self, struct span state);

size_t groups_count(const struct groups *self);

/* The catalogue does not delete the unused group it was asked to: it is another one, or not there. */
void groups_expiry_refused(struct groups *self, uint64_t group_id);
/* Visit the encoded state of every group, changed or not; nothing counts as saved by it. */
int groups_visit(struct groups *self, groups_save_fn *visit, void *ud);
/* All of them are to be saved again. */
void groups_mark_unsaved(struct groups *self);

/* Applied: the stream's records below `first_offset` are gone. What was pending there is passed over. */
void groups_trim(struct groups *self, uint64_t first_offset);
/* How many durable groups there are; up to *ret_offset (by what is applied) each of them has settled everything. */
size_t groups_settled_upto(const struct groups *self, uint64_t *ret_offset);

/* What the catalogue, at this revision, says of a group. If it is new to a group that has a position here it is proposed, now or as soon as the
 * log takes it. */
void groups_configure(struct groups *self, uint64_t group_id, struct span name, struct span spec,
                      uint64_t revision);
/* The group was deleted in the catalogue: propose its end. When that is applied its members get BUS_LOG_CANCEL (NOT_FOUND). An id that is not
 * known here does no harm; attaching to it later is refused. */
void groups_drop(struct groups *self, uint64_t group_id);
/* Every member is out and is told so with BUS_LOG_CANCEL (the stream is deleted, say); requests that wait end with this error. Comes before
 * groups_destroy, which tells nobody anything. */
void groups_cancel(struct groups *self, int error);

/* --- the leader's work --- */

/* New records are committed: deliver to whoever has credit. Called at most once a turn for a stream. */
void groups_wake(struct groups *self);
/* There is bus credit again on this link, or room again: go on delivering. */
void groups_link_ready(struct groups *self, struct bus_link *link);
/* The frontd is gone: all its members are gone; what they had is redelivered at once (not counted as failed: a server failed). */
void groups_link_down(struct groups *self, struct bus_link *link);
/* Propose what was acknowledged since the last time. `now_ms` decides: acknowledgements are batched for at most 10 ms; sync ones go
 * at once. Called at the end of a turn and by a timer; returns when to call again (UINT64_MAX: nothing waits). `now_ms` of UINT64_MAX: everything
 * is proposed now (before a shutdown). */
uint64_t groups_flush(struct groups *self, uint64_t now_ms);

/* Requests, as they came over the bus (bus.proto). Each answers by itself with bus_reply / bus_reply_error, now or when committed. */
void groups_handle_attach(struct groups *self, struct bus_link *link, struct bus_message *message);
void groups_handle_info(struct groups *self, struct bus_message *message);
void groups_handle_pending(struct groups *self, struct bus_message *message);
void groups_handle_dead(struct groups *self, struct bus_message *message);
void groups_handle_control(struct groups *self, struct bus_message *message);

/* --- a consumer: one member, found by (link, consumer id) in the daemon's table --- */
struct member;
void member_handle_detach(struct member *member,
                          struct bus_message *message); /* the member is gone afterwards */
void member_handle_ack(struct member *member, struct bus_message *message); /* request or one-way */
void member_handle_extend(struct member *member, struct bus_message *message);
void member_handle_credit(struct member *member, struct bus_message *message);

/* The daemon's table of members, keyed by link and consumer id. groups_handle_attach puts in, detach and link_down take out. */
struct members;
struct members *members_new(void);
void members_destroy(struct members **self);
struct member *members_find(const struct members *self, const struct bus_link *link,
                            uint64_t consumer);

#endif
