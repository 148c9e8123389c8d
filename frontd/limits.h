/* limits: how many connections there may be, in all and from one address. */
#ifndef FRONTD_LIMITS_H
#define FRONTD_LIMITS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct limits;

/* An address without its port: IPv4 as IPv6-mapped. */
struct limits_address {
    uint8_t bytes[16];
};
struct limits_address limits_address_of(const struct sockaddr *address);
bool limits_address_is_loopback(const struct limits_address *address);

struct limits *limits_new(uint64_t total_max, uint64_t address_max, uint64_t loopback_max);
void limits_destroy(struct limits **self);
/* New bounds from now on; connections that are there stay. */
void limits_change(struct limits *self, uint64_t total_max, uint64_t address_max,
                   uint64_t loopback_max);

/* May one more connection from there be accepted? 0: it is counted; ERR_OVERLOADED: too many in all; ERR_QUOTA: too many from there. */
int limits_enter(struct limits *self, const struct limits_address *address);
void limits_leave(struct limits *self, const struct limits_address *address);
uint64_t limits_count(const struct limits *self);

#endif
