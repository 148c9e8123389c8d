/* raw: a TCP client that speaks frames by hand, right or wrong. Failures of the test's own side end the test; what the server does is returned. */
#ifndef TESTS_SYSTEM_RAW_H
#define TESTS_SYSTEM_RAW_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/span.h"
#include "common/wire/client.pb-c.h"

#include "tests/system/node.h"

/* Fields of Frame. */
enum raw_field {
    RAW_PUBLISH = 3,
    RAW_PUBLISH_OK = 4,
    RAW_DELIVER = 5,
    RAW_ACK = 6,
    RAW_CREDIT = 7,
    RAW_READ_OK = 8,
    RAW_HELLO = 16,
    RAW_HELLO_OK = 17,
    RAW_PING = 20,
    RAW_PONG = 21,
    RAW_GO_AWAY = 22,
    RAW_ERROR = 23,
    RAW_READ = 24,
    RAW_CONSUME = 25,
    RAW_CONSUME_OK = 26,
    RAW_ACK_OK = 27,
    RAW_GROUP_EVENT = 30,
    RAW_CANCEL = 31,
    RAW_CANCEL_OK = 32,
    RAW_ENSURE = 40,
    RAW_ENSURE_OK = 41,
    RAW_DESCRIBE = 42,
    RAW_DESCRIBE_OK = 43,
    RAW_GROUP_CONTROL = 50,
};

struct raw;

struct raw_frame {
    uint32_t channel;
    uint64_t corr;
    uint32_t field;
    struct span body; /* valid until the next receive */
};

enum raw_got { RAW_FRAME, RAW_CLOSED, RAW_NOTHING };

/* Connected, nothing sent. NULL: refused. */
struct raw *raw_connect(const struct node *node);
/* And greeted. */
struct raw *raw_open(const struct node *node);
/* Connected and greeted, to whatever listens on this port of loopback; NULL: it did not work out. */
struct raw *raw_open_port(uint16_t port);
uint16_t raw_local_port(const struct raw *self);
/* The same; NULL: it was turned away. */
struct raw *raw_try_open(const struct node *node);
void raw_close(struct raw **self);

/* All of it; false: the server has closed, or takes nothing for 10 s. */
bool raw_send_bytes(struct raw *self, struct span bytes);
bool raw_send(struct raw *self, uint32_t channel, uint64_t corr, uint32_t field,
              const ProtobufCMessage *body);
bool raw_hello(struct raw *self);

/* The next frame; Pings are answered and not shown. */
enum raw_got raw_receive(struct raw *self, double seconds, struct raw_frame *ret_frame);
/* The next frame must be this one; the test fails otherwise. */
void raw_expect(struct raw *self, uint32_t field, struct raw_frame *ret_frame);
/* The code of an Error frame, positive as on the wire; 0 for any other. */
int raw_code_of(const struct raw_frame *frame);
/* Wait for an Error, other frames are skipped: its code; 0: the connection was closed without one; -1: neither. */
int raw_error_code(struct raw *self, double seconds);
/* Closed by the server within this time; frames that come before are skipped. */
bool raw_is_closed(struct raw *self, double seconds);

/* Take what comes, and answer nothing, not even Pings; true: closed by the server within this time. */
bool raw_drain_until_closed(struct raw *self, double seconds, struct buf *ret_bytes);
/* Is there an Error frame with this code among these bytes? */
bool raw_has_error(struct span bytes, int error);
/* Something came, or the connection was closed. */
bool raw_has_input(struct raw *self);

/* --- common requests --- */

/* Make sure of a stream and a group (NULL: the stream alone) with these configurations; NULL: none asked for. */
void raw_ensure_specs(struct raw *self, const char *stream, Railgun__StreamSpec *stream_spec,
                      const char *group, Railgun__GroupSpec *group_spec);
/* The same with a group of at most `max_in_flight` (0: the default). */
void raw_ensure(struct raw *self, const char *stream, const char *group, uint32_t max_in_flight);
/* Publish one record and wait for the answer: its offset, or 0 and the error's code. */
uint64_t raw_publish(struct raw *self, const char *stream, const char *payload, int *ret_code);
/* Open a consumer on `channel` and wait for ConsumeOk. */
void raw_consume(struct raw *self, uint32_t channel, const char *stream, const char *group,
                 uint64_t credit_messages);
bool raw_credit(struct raw *self, uint32_t channel, uint64_t messages);

/* One page from an offset on. code: 0, or the Error's (with the damaged range, if that is why). */
struct raw_page {
    int code;
    uint64_t base;
    uint64_t count;
    uint64_t next;
    uint64_t first; /* of the stream */
    uint64_t end;
    uint64_t damaged_first;
    uint64_t damaged_last;
    struct buf batch; /* kept from page to page; release it */
};
void raw_read(struct raw *self, const char *stream, uint64_t from, struct raw_page *ret_page);

/* What the server says about a group; SCAN_FREE the answer. */
Railgun__DescribeOk *raw_describe(struct raw *self, const char *stream, const char *group);

/* A delivery taken apart: the first record's offset, how many, the attempt of the first. */
struct raw_delivery {
    uint64_t base;
    uint32_t count;
    uint32_t attempt;
    uint32_t failed;
    uint64_t epoch;
};
/* The next Deliver on the channel within `seconds`; false: none came. */
bool raw_deliver(struct raw *self, uint32_t channel, double seconds, struct raw_delivery *ret);

/* Acknowledge [first, last] with an answer. Its code: 0, or that of the first range in AckOk's results, or of the Error. */
int raw_ack(struct raw *self, uint32_t channel, uint64_t first, uint64_t last, bool sync);
/* The same for an epoch; 0: none is named. */
int raw_ack_epoch(struct raw *self, uint32_t channel, uint64_t first, uint64_t last,
                  uint64_t epoch);
/* The same without an answer. */
void raw_post_ack(struct raw *self, uint32_t channel, uint64_t first, uint64_t last);
/* Nack at once, no answer. */
void raw_nack(struct raw *self, uint32_t channel, uint64_t first, uint64_t last);

#endif
