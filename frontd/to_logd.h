/* to_logd: what frontd asks of logd. Subjects are log groups, or consumers for what concerns one. */
#ifndef FRONTD_TO_LOGD_H
#define FRONTD_TO_LOGD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/payload.h"
#include "common/base/span.h"
#include "common/wire/hot.h"

#include "frontd/catalog.h"
#include "frontd/frontd.h"

struct to_logd;
struct to_logd *to_logd_new(struct frontd *frontd);
void to_logd_destroy(struct to_logd **self);

struct upstream *to_logd_upstream(const struct to_logd *self);
/* false: stop taking requests for it from clients until frontd_retry. */
bool to_logd_has_room(struct to_logd *self);

/* Takes the request. The batch is referred to, not copied. */
void to_logd_publish(struct to_logd *self, struct request *request,
                     const struct catalog_stream *stream, const struct hot_publish *publish,
                     const struct slice *batch);
/* Takes the request. `wait_ms` is added to the usual timeout. */
void to_logd_ask(struct to_logd *self, struct request *request, uint16_t type, uint64_t subject,
                 struct span meta, uint64_t wait_ms);
/* One-way, about a consumer. */
void to_logd_tell(struct to_logd *self, uint16_t type, uint64_t consumer, struct span meta);

/* The bus's calls about logd's link. */
void to_logd_on_up(struct to_logd *self);
void to_logd_on_down(struct to_logd *self);
void to_logd_on_credit(struct to_logd *self);

#endif
