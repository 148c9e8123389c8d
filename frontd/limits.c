/* limits: counts connections. Owns one small entry for each address that has a connection now. */
#include "frontd/limits.h"

#include <netinet/in.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

struct entry {
    struct limits_address address; /* the key */
    uint64_t count;
};

struct limits {
    uint64_t total_max;
    uint64_t address_max;
    uint64_t loopback_max;
    uint64_t count;
    struct hash *by_address; /* of struct entry, owned */
};

struct limits_address limits_address_of(const struct sockaddr *address)
{
    struct limits_address self = {{0}};
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof(in));
        memcpy(self.bytes, mapped_prefix, sizeof(mapped_prefix));
        memcpy(self.bytes + sizeof(mapped_prefix), &in.sin_addr, 4);
    } else if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, address, sizeof(in6));
        memcpy(self.bytes, &in6.sin6_addr, 16);
    }
    return self;
}

bool limits_address_is_loopback(const struct limits_address *address)
{
    static const uint8_t loopback6[16] = {[15] = 1};
    bool is_loopback4 = memcmp(address->bytes, mapped_prefix, sizeof(mapped_prefix)) == 0 &&
                        address->bytes[12] == 127;
    return is_loopback4 || memcmp(address->bytes, loopback6, sizeof(loopback6)) == 0;
}

static struct span address_key(const struct limits_address *address)
{
    return span_make(address->bytes, sizeof(address->bytes));
}

struct limits *limits_new(uint64_t total_max, uint64_t address_max, uint64_t loopback_max)
{
    struct limits *self = MEM_NEW(struct limits);
    self->by_address = hash_new();
    limits_change(self, total_max, address_max, loopback_max);
    return self;
}

void limits_destroy(struct limits **self)
{
    struct limits *limits = *self;
    *self = NULL;
    if (limits == NULL) {
        return;
    }
    size_t cursor = 0;
    struct entry *entry = NULL;
    while ((entry = (struct entry *) hash_next(limits->by_address, &cursor)) != NULL) {
        (void) hash_remove(limits->by_address, address_key(&entry->address)); /* is entry */
        mem_free(entry);
    }
    hash_destroy(&limits->by_address);
    mem_free(limits);
}

void limits_change(struct limits *self, uint64_t total_max, uint64_t address_max,
                   uint64_t loopback_max)
{
    self->total_max = total_max;
    self->address_max = address_max;
    self->loopback_max = loopback_max;
}

int limits_enter(struct limits *self, const struct limits_address *address)
{
    uint64_t max = limits_address_is_loopback(address) ? self->loopback_max : self->address_max;
    struct entry *entry = (struct entry *) hash_get(self->by_address, address_key(address));

    if (self->count >= self->total_max) {
        return ERR_OVERLOADED;
    }
    if (entry != NULL && entry->count >= max) {
        return ERR_QUOTA;
    }
    if (entry == NULL) {
        entry = MEM_NEW(struct entry);
        entry->address = *address;
        (void) hash_put(self->by_address, address_key(&entry->address), entry); /* was absent */
    }
    entry->count++;
    self->count++;
    return 0;
}

void limits_leave(struct limits *self, const struct limits_address *address)
{
    struct entry *entry = (struct entry *) hash_get(self->by_address, address_key(address));
    INVARIANT(entry != NULL);
    INVARIANT(entry->count > 0);

    self->count--;
    if (--entry->count == 0) {
        (void) hash_remove(self->by_address, address_key(&entry->address)); /* is entry */
        mem_free(entry);
    }
}

uint64_t limits_count(const struct limits *self)
{
    return self->count;
}
