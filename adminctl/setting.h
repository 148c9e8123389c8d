/* setting: a field of a specification (StreamSpec, GroupSpec, ExchangeSpec) by its path, from a text and as one. The paths are the names in client.proto:
 * "max_age_ms", "dedup.window_ms"; the unit at the end may be left out ("max_age=24h"), '-' may stand for '_'. Values: durations
 * (250ms, 5s, 10m, 24h, 7d), sizes (64k, 1GiB), numbers, true/false, names (required, exclusive), lists with commas (1s,5s,30s). */
#ifndef ADMINCTL_SETTING_H
#define ADMINCTL_SETTING_H

#include <stdbool.h>

#include <protobuf-c/protobuf-c.h>

#include "common/base/buf.h"
#include "common/base/span.h"

#include "adminctl/output.h"

/* Set the field in `message`, which was made with setting_new or unpacked with scan_unpack, and is released with scan_free. 0, or ERR_USAGE
 * with the reason for people in `problem`. */
int setting_put(ProtobufCMessage *message, const char *path, const char *value,
                struct buf *problem);
/* The same for "path=value". */
int setting_assign(ProtobufCMessage *message, const char *assignment, struct buf *problem);

/* An empty message of that type. Returns owned (scan_free). */
ProtobufCMessage *setting_new(const ProtobufCMessageDescriptor *type);

/* The fields that are set, into the object that is open, by their paths. */
void setting_show(struct output *out, const ProtobufCMessage *message);

#endif
