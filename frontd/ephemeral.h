/* ephemeral: the parts that make up ephemeral messages and requests, put together: made, told of the bus, counted and given back in the right order. */
#ifndef FRONTD_EPHEMERAL_H
#define FRONTD_EPHEMERAL_H

#include <stdbool.h>

#include "common/run/bus.h"

#include "frontd/frontd.h"
#include "frontd/session.h"

/* After the connections were made. */
void ephemeral_build(struct frontd *frontd);
/* The bus is closed. */
void ephemeral_bus_closed(struct frontd *frontd);
/* The sessions are closed. */
void ephemeral_destroy(struct frontd *frontd);

void ephemeral_add_metrics(struct frontd *frontd);

/* A session's connection is closed, or it is to end by draining. */
void ephemeral_session_closed(struct session *session);
void ephemeral_session_drained(struct session *session);

/* The bus's calls: true: it was about one of ours. */
bool ephemeral_on_up(struct frontd *frontd, struct bus_link *link);
bool ephemeral_on_down(struct frontd *frontd, struct bus_link *link);
bool ephemeral_on_credit(struct frontd *frontd, struct bus_link *link);
bool ephemeral_on_message(struct frontd *frontd, struct bus_link *link,
                          struct bus_message *message);

#endif
