/* attach: the field numbers of LogAttach (log.proto), which frontd writes and logd reads in place. */
#ifndef COMMON_WIRE_ATTACH_H
#define COMMON_WIRE_ATTACH_H

enum {
    ATTACH_CONSUMER = 1,
    ATTACH_GROUP_ID = 2,
    ATTACH_GROUP = 3,
    ATTACH_SPEC = 4,
    ATTACH_START = 5,
    ATTACH_ON_GAP = 6,
    ATTACH_NAME = 7,
    ATTACH_ADDRESS = 8,
    ATTACH_CREDIT_MESSAGES = 9,
    ATTACH_CREDIT_BYTES = 10,
    ATTACH_REVISION = 11,
    ATTACH_PRIORITY = 12,
    ATTACH_EPHEMERAL = 13,
};

#endif
