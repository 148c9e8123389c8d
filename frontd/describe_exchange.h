/* describe_exchange: what all frontds and a routerd know of an exchange, in one answer. */
#ifndef FRONTD_DESCRIBE_EXCHANGE_H
#define FRONTD_DESCRIBE_EXCHANGE_H

#include "frontd/session.h"

/* Answers Describe of kind exchange, when all have answered or half a second is over. Returns as handlers do. */
int describe_exchange(struct session *self, const struct frame_view *view, struct span name);

/* BUS_ES_INFO of another frontd: our part. */
void describe_exchange_on_info(struct frontd *frontd, const struct bus_message *message);

#endif
