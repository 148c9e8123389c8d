/* bus_head: what stands before each message on the bus. Version 1, little-endian, BUS_HEAD_SIZE bytes:
 *   0 version u8 · 1 kind u8 · 2 type u16 · 4 status i32 · 8 meta bytes u32 · 12 flags u32 (0) · 16 session u64 · 24 correlation u64 ·
 *   32 subject u64 · 40 credit bytes u64 · 48 credit messages u64 · 56 body bytes u64
 * To change it: raise BUS_VERSION, keep reading the older version for one release; HELLO names both sides' range. */
#ifndef COMMON_RUN_BUS_HEAD_H
#define COMMON_RUN_BUS_HEAD_H

#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/span.h"
#include "common/base/uuid.h"

enum { BUS_VERSION = 1, BUS_HEAD_SIZE = 64, BUS_NAME_MAX = 63 };

enum bus_kind {
    BUS_KIND_HELLO = 1, /* meta: hello; from the connecting side, opens a session */
    BUS_KIND_HELLO_OK,  /* meta: hello; the session stands */
    BUS_KIND_REFUSE,    /* status: why there will be none */
    BUS_KIND_BYE,       /* the session is over, or was never there */
    BUS_KIND_REQUEST,
    BUS_KIND_REPLY,
    BUS_KIND_EVENT,
    BUS_KIND_CREDIT, /* nothing but the credit in the head */
    BUS_KIND_STARVED, /* subject: this many bytes could not be sent; tell credit as soon as they can */
    BUS_KIND_PROBE, /* nothing: is the connection there? */
    BUS_KIND_COUNT,
};

struct bus_head {
    enum bus_kind kind;
    uint16_t type;
    int32_t status;
    uint32_t meta_size;
    uint64_t session; /* chosen by the connecting side for each HELLO */
    uint64_t correlation;
    uint64_t subject;
    uint64_t credit_bytes; /* given back since the session began */
    uint64_t credit_messages;
    uint64_t body_size;
};

void bus_head_write(const struct bus_head *head, uint8_t out[BUS_HEAD_SIZE]);
/* 0; ERR_VERSION; ERR_PROTOCOL: too short, unknown kind, or status out of range. */
int bus_head_read(struct span frame, struct bus_head *ret_head);

/* Who speaks, and what it grants. Protobuf on the wire, so that it can grow. */
struct bus_hello {
    uint64_t epoch;
    uint64_t window_bytes;
    uint64_t window_messages;
    uint64_t message_bytes_max;
    struct uuid cluster; /* nil: not known */
    char name[BUS_NAME_MAX + 1];
};

void bus_hello_write(const struct bus_hello *hello, struct buf *out);
/* 0 or ERR_PROTOCOL. */
int bus_hello_read(struct span meta, struct bus_hello *ret_hello);

/* 1 to BUS_NAME_MAX of [A-Za-z0-9_-]: also a file name. */
int bus_name_check(struct span name);

#endif
