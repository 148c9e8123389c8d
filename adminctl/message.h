/* message: what the commands for ephemeral messages share: a message from the command line. */
#ifndef ADMINCTL_MESSAGE_H
#define ADMINCTL_MESSAGE_H

#include "adminctl/ctl.h"
#include "adminctl/options.h"
#include "common/base/buf.h"

/* "name=value" of each --header, into `headers` (at least OPTION_TEXTS_MAX). NULL, or the one that is not of that form. */
const char *message_headers(const struct option_texts *texts, struct rg_header *headers);

/* The payload of the command: the argument, or all of standard input when it is NULL or "-". `keep` owns what was read. 0 or ERR_IO, ERR_TOO_LARGE. */
int message_payload(const char *argument, struct buf *keep, struct rg_bytes *ret_payload);

/* SIGINT and SIGTERM set the flag that message_is_stopped reads, instead of ending the process. */
void message_catch_stop(void);
bool message_is_stopped(void);

/* Write what is gathered to standard output. 0; RG_ERR_CLOSED: who reads it has enough; RG_ERR_IO. */
int message_flush(struct buf *out);
/* Has who reads our standard output gone away? Without writing to it. */
bool message_output_is_closed(void);

/* Say on standard error what befell a subscription. For rg_subscribe_options.on_event. */
void message_on_event(void *ud, struct rg_subscription *subscription,
                      const struct rg_es_event *event);

#endif
