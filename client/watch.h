/* watch: following what happens in streams and groups. The channel lives as long as a connection; the watch comes back on the next. */
#ifndef CLIENT_WATCH_H
#define CLIENT_WATCH_H

#include "client/client_private.h"

/* --- for the I/O thread; lock held --- */

void watches_init(struct rg_client *client);
void watches_release(struct rg_client *client);
/* Events on this channel. 0 or ERR_PROTOCOL. */
int watches_events(struct rg_client *client, uint32_t channel, struct span body);
/* The server ended this channel. false: it is no watch's. */
bool watches_cancelled(struct rg_client *client, uint32_t channel, int code, struct span detail);
void watches_up(struct rg_client *client);
void watches_lost(struct rg_client *client);
void watches_stop(struct rg_client *client);
/* Try again those that could not be opened for now. */
void watches_check(struct rg_client *client, uint64_t now_us);
uint64_t watches_next_us(const struct rg_client *client);

#endif
