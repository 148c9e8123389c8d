/* watchers: clients that follow the events of streams and groups (Watch, Events). Each is a watcher at logd too, under a number of ours; logd does the
 * choosing. One that reads too slowly misses events and is told how many. */
#ifndef FRONTD_WATCHERS_H
#define FRONTD_WATCHERS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/run/bus.h"

#include "frontd/session.h"

struct watchers;
struct watchers *watchers_new(struct frontd *frontd);
void watchers_destroy(struct watchers **self); /* their sessions are gone */

/* Is the channel in use by one? */
bool watchers_has(const struct watchers *self, const struct session *session, uint32_t channel);
/* Begin; the free channel and the Watch frame were checked. Answers when logd has. 0 or ERR_AGAIN. */
int watchers_open(struct watchers *self, struct session *session, const struct frame_view *view);
/* The client cancelled it. false: there is none on this channel. */
bool watchers_cancel(struct watchers *self, struct session *session, uint32_t channel);
void watchers_session_closed(struct watchers *self, struct session *session);

/* BUS_LOG_EVENTS. */
void watchers_on_events(struct watchers *self, const struct bus_message *message);
/* There is a new session to logd: all begin again, and are told that they may have missed something. */
void watchers_logd_up(struct watchers *self);

#endif
