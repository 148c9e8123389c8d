/* addresses: "host:port[,host:port...]" and what it resolves to. */
#ifndef CLIENT_ADDRESSES_H
#define CLIENT_ADDRESSES_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/base/span.h"

enum { ADDRESSES_MAX = 32, ADDRESS_TARGETS_MAX = 8, ADDRESS_PORT_DEFAULT = 7470 };

struct address {
    char *host; /* a name, an IPv4 or an IPv6 address without brackets */
    uint16_t port;
};

struct addresses {
    struct address items[ADDRESSES_MAX];
    size_t count;
};

/* 0; ERR_USAGE: empty, too many, or not of that form. */
int addresses_parse(struct addresses *self, const char *text);
void addresses_release(struct addresses *self);
/* Add one that a server named, unless it is known, wrong or too many. */
void addresses_add(struct addresses *self, struct span text);

struct address_targets {
    struct sockaddr_storage items[ADDRESS_TARGETS_MAX];
    socklen_t sizes[ADDRESS_TARGETS_MAX];
    size_t count;
};

/* What a name stands for now. May block for a name (not for a numeric address). 0, or ERR_CLOSED: it cannot be resolved. */
int address_resolve(const struct address *self, struct address_targets *ret_targets);

/* "127.0.0.1:7470", "[::1]:7470". */
void address_print(const struct sockaddr_storage *target, char *out, size_t capacity);

#endif
