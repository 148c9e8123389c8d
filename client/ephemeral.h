/* ephemeral: what publishing and requests have in common: one message as the caller gives it, checked and encoded. */
#ifndef CLIENT_EPHEMERAL_H
#define CLIENT_EPHEMERAL_H

#include "client/client_private.h"

/* NULL is the empty text. */
struct span ephemeral_text(const char *text);
/* 0, or ERR_BAD_REQUEST: noted. */
int ephemeral_check_exchange(const char *exchange);
int ephemeral_check_topic(struct span topic);
/* Everything but the topic, which may be anything here; `scratch` holds the encoded headers afterwards. *ret_size: in a frame. */
int ephemeral_check(const struct server_limits *limits, const struct rg_es_message *message,
                    struct span topic, struct buf *scratch, size_t *ret_size);
/* The message appended as a `messages` field, with headers that were encoded. */
void ephemeral_append(struct buf *out, const struct rg_es_message *message, struct span topic,
                      const struct buf *headers);
struct server_limits ephemeral_limits(struct rg_client *client);

#endif
