/* listener: the port for clients. Several frontds may share one port (SO_REUSEPORT). */
#ifndef FRONTD_LISTENER_H
#define FRONTD_LISTENER_H

#include <stdbool.h>
#include <stdint.h>

#include "frontd/frontd.h"

struct listener;

/* May the address be listened on? 0, or ERR_BAD_CONFIG and why: it is none, or not loopback without insecure_listen. */
int listener_check(const struct settings *settings, struct buf *problem);
/* Listen as the settings say, which listener_check found good, and write the port to RUN_DIR/<name>.port. 0; after having logged why: ERR_BAD_CONFIG (the
 * port is taken), ERR_IO. */
int listener_open(struct frontd *frontd, struct listener **ret_listener);
/* Accept no more; the port file goes. */
void listener_close(struct listener **self);

/* Clients elsewhere may connect although nothing is encrypted or authenticated. */
bool listener_is_insecure(const struct listener *self);

#endif
