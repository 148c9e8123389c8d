/* planfile: a file that describes streams, their groups, and exchanges (libconfig's language, as the daemons' files). Each becomes an Ensure.
 *
 *     streams = (
 *       { name = "orders"; version = 2; max_age = "7d"; dedup = { mode = "required"; window = "10m"; };
 *         groups = ( { name = "billing"; ack_wait = "30s"; backoff = [ "1s", "10s" ]; } ); }
 *     );
 *     exchanges = ( { name = "ticks"; max_topics = 100000; } );
 *
 * Beside `name` and `version` (default 1) every field of a specification may stand there, by its path or as a group; see setting.h for values. */
#ifndef ADMINCTL_PLANFILE_H
#define ADMINCTL_PLANFILE_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/wire/client.pb-c.h"

struct planfile_object {
    Railgun__Kind kind;
    char *name;  /* owned */
    char *group; /* owned; NULL: no group */
    uint64_t version;
    ProtobufCMessage *spec; /* owned */
};

struct planfile {
    struct planfile_object *objects; /* in the order of the file: a stream before its groups */
    size_t count;
};

/* "-" is standard input. 0 (release it), or an error with its reason, which names file and line, in `problem`. */
int planfile_load(const char *path, struct planfile *ret_file, struct buf *problem);
/* The same from a text. */
int planfile_parse(const char *text, struct planfile *ret_file, struct buf *problem);
void planfile_release(struct planfile *self);

#endif
