/* listener: the port for clients. Several frontds may share one port (SO_REUSEPORT). */
#ifndef FRONTD_LISTENER_H
#define FRONTD_LISTENER_H

#include <stdbool.h>
#include <stdint.h>

#include "frontd/frontd.h"

struct listener;

/* Listen as the settings say, and write the port to RUN_DIR/<name>.port. 0; after having logged why: ERR_BAD_CONFIG (no such address, or not loopback without
 * insecure_listen), ERR_IO (taken). */
int listener_open(struct frontd *frontd, struct listener **ret_listener);
/* Accept no more; the port file goes. */
void listener_close(struct listener **self);

/* Clients elsewhere may connect although nothing is encrypted or authenticated. */
bool listener_is_insecure(const struct listener *self);

#endif
