/* credit: arithmetic on what consumers may be sent. Owns nothing. Must never tell logd of more than the client has granted. */
#include "frontd/credit.h"

enum { CREDIT_SHARE_MIN = 4096 };

/* More than anybody delivers in the life of a connection, and small enough that sums never wrap. */
#define CREDIT_MAX (UINT64_C(1) << 61)

static uint64_t add_limited(uint64_t a, uint64_t b)
{
    uint64_t sum = (a < CREDIT_MAX ? a : CREDIT_MAX) + (b < CREDIT_MAX ? b : CREDIT_MAX);
    return sum < CREDIT_MAX ? sum : CREDIT_MAX;
}

static uint64_t subtract_floor(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

void credit_grant(struct credit *self, uint64_t messages, uint64_t bytes)
{
    self->granted_messages = add_limited(self->granted_messages, messages);
    self->granted_bytes = add_limited(self->granted_bytes, bytes);
}

void credit_delivered(struct credit *self, uint64_t messages, uint64_t bytes)
{
    self->delivered_messages = add_limited(self->delivered_messages, messages);
    self->delivered_bytes = add_limited(self->delivered_bytes, bytes);
}

void credit_forget_told(struct credit *self)
{
    self->told_messages = self->delivered_messages;
    self->told_bytes = self->delivered_bytes;
}

bool credit_is_held_back(const struct credit *self)
{
    return self->granted_bytes > self->told_bytes;
}

bool credit_tell(struct credit *self, uint64_t share, uint64_t *ret_messages, uint64_t *ret_bytes)
{
    uint64_t messages = subtract_floor(self->granted_messages, self->told_messages);
    uint64_t wanted = subtract_floor(self->granted_bytes, self->told_bytes);
    /* Below zero after a record larger than the credit: logd counts the debt too, so that much more may be told. */
    int64_t on_the_way = (int64_t) (self->told_bytes - self->delivered_bytes);
    int64_t room = (int64_t) (share < CREDIT_MAX ? share : CREDIT_MAX) - on_the_way;
    uint64_t bytes = room > 0 ? (uint64_t) room : 0;

    if (bytes >= wanted) {
        bytes = wanted;
    } else if (bytes < share / 4) {
        bytes = 0;
    }
    if (messages == 0 && bytes == 0) {
        return false;
    }
    self->told_messages += messages;
    self->told_bytes += bytes;
    *ret_messages = messages;
    *ret_bytes = bytes;
    return true;
}

uint64_t credit_share(uint64_t outbound_max, uint64_t channels, uint64_t outbound_total_max,
                      uint64_t channels_total)
{
    /* Half: while the other half is still queued, the next is on its way. */
    uint64_t of_connection = outbound_max / 2 / (channels != 0 ? channels : 1);
    uint64_t of_all = outbound_total_max / 2 / (channels_total != 0 ? channels_total : 1);
    uint64_t share = of_connection < of_all ? of_connection : of_all;
    return share > CREDIT_SHARE_MIN ? share : (uint64_t) CREDIT_SHARE_MIN;
}
