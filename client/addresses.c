/* addresses: the servers a client may talk to, as text and as sockets understand them. Owns the host names. */
#include "client/addresses.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/base/str.h"

static struct span span_trim(struct span text)
{
    while (text.size != 0 && text.data[0] == ' ') {
        text = span_make(text.data + 1, text.size - 1);
    }
    while (text.size != 0 && text.data[text.size - 1] == ' ') {
        text.size--;
    }
    return text;
}

static size_t span_find(struct span text, uint8_t byte)
{
    const uint8_t *found = text.size != 0 ? memchr(text.data, byte, text.size) : NULL;
    return found != NULL ? (size_t) (found - text.data) : text.size;
}

/* Split "host:port", "[v6]:port", "host", or a bare IPv6 address. */
static int address_split(struct span text, struct span *ret_host, struct span *ret_port)
{
    if (text.size != 0 && text.data[0] == '[') {
        size_t close = span_find(text, ']');
        if (close == text.size) {
            return ERR_USAGE;
        }
        struct span rest = span_make(text.data + close + 1, text.size - close - 1);
        if (rest.size != 0 && rest.data[0] != ':') {
            return ERR_USAGE;
        }
        *ret_host = span_make(text.data + 1, close - 1);
        *ret_port = rest.size != 0 ? span_make(rest.data + 1, rest.size - 1) : span_of("7470");
        return 0;
    }
    size_t colon = span_find(text, ':');
    struct span rest = span_make(text.data + colon, text.size - colon);
    bool is_bare_v6 = rest.size != 0 && memchr(rest.data + 1, ':', rest.size - 1) != NULL;
    if (rest.size == 0 || is_bare_v6) {
        *ret_host = text;
        *ret_port = span_of("7470");
    } else {
        *ret_host = span_make(text.data, colon);
        *ret_port = span_make(rest.data + 1, rest.size - 1);
    }
    return 0;
}

static int address_parse(struct span text, struct address *ret_address)
{
    struct span host;
    struct span port;
    uint64_t number = 0;
    char name[256];

    if (address_split(span_trim(text), &host, &port) < 0 || host.size == 0 ||
        str_copy(name, sizeof(name), host) < 0 || str_to_u64(port, &number) < 0 || number == 0 ||
        number > UINT16_MAX) {
        return ERR_USAGE;
    }
    ret_address->host = mem_strdup(name);
    ret_address->port = (uint16_t) number;
    return 0;
}

int addresses_parse(struct addresses *self, const char *text)
{
    struct span rest = span_of(text);
    *self = (struct addresses){0};
    for (;;) {
        size_t comma = span_find(rest, ',');
        if (self->count == ADDRESSES_MAX ||
            address_parse(span_make(rest.data, comma), &self->items[self->count]) < 0) {
            addresses_release(self);
            return ERR_USAGE;
        }
        self->count++;
        if (comma == rest.size) {
            return 0;
        }
        rest = span_make(rest.data + comma + 1, rest.size - comma - 1);
    }
}

void addresses_release(struct addresses *self)
{
    for (size_t i = 0; i < self->count; i++) {
        mem_free(self->items[i].host);
    }
    *self = (struct addresses){0};
}

void addresses_add(struct addresses *self, struct span text)
{
    struct address address;
    if (self->count == ADDRESSES_MAX || address_parse(text, &address) < 0) {
        return;
    }
    for (size_t i = 0; i < self->count; i++) {
        if (self->items[i].port == address.port && strcmp(self->items[i].host, address.host) == 0) {
            mem_free(address.host);
            return;
        }
    }
    self->items[self->count++] = address;
}

int address_resolve(const struct address *self, struct address_targets *ret_targets)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *found = NULL;
    char port[8];

    (void) snprintf(port, sizeof(port), "%u", self->port);
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
    if (getaddrinfo(self->host, port, &hints, &found) != 0) {
        hints.ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV;
        if (getaddrinfo(self->host, port, &hints, &found) != 0) {
            return ERR_CLOSED;
        }
    }
    struct address_targets targets = {0};
    for (const struct addrinfo *one = found; one != NULL; one = one->ai_next) {
        if (targets.count < ADDRESS_TARGETS_MAX && one->ai_addrlen <= sizeof(targets.items[0])) {
            memcpy(&targets.items[targets.count], one->ai_addr, one->ai_addrlen);
            targets.sizes[targets.count] = one->ai_addrlen;
            targets.count++;
        }
    }
    freeaddrinfo(found);
    *ret_targets = targets;
    return 0;
}

void address_print(const struct sockaddr_storage *target, char *out, size_t capacity)
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (target->ss_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, target, sizeof(v6));
        (void) inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof(host)); /* else "?" is kept */
        (void) snprintf(out, capacity, "[%s]:%u", host, ntohs(v6.sin6_port));
    } else {
        struct sockaddr_in v4;
        memcpy(&v4, target, sizeof(v4));
        (void) inet_ntop(AF_INET, &v4.sin_addr, host, sizeof(host)); /* as above */
        (void) snprintf(out, capacity, "%s:%u", host, ntohs(v4.sin_port));
    }
}
