/* handle_ping: signs of life. */
#include "frontd/handle.h"

#include "common/base/err.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"

enum { PING_BYTES_MAX = 64 };

int handle_ping(struct session *self, const struct frame_view *view, struct payload *owner)
{
    struct span rest = view->body;
    struct span data = {0};
    struct pb_field field;
    int result = 0;
    (void) owner;
    while ((result = pb_next(&rest, &field)) == 1) {
        if (field.number == 1) {
            if (field.type != PB_BYTES || field.bytes.size > PING_BYTES_MAX) {
                return ERR_PROTOCOL;
            }
            data = field.bytes;
        }
    }
    if (result != 0) {
        return result;
    }
    uint8_t body[PING_BYTES_MAX + PB_TAG_SIZE_MAX + PB_LENGTH_SIZE_MAX];
    size_t size = 0;
    if (data.size != 0) {
        uint8_t *at = pb_put_varint(pb_put_tag(body, 1, PB_BYTES), data.size);
        memcpy(at, data.data, data.size);
        size = (size_t) (at - body) + data.size;
    }
    session_send(self, view->channel, view->corr, RAILGUN__FRAME__BODY_PONG, span_make(body, size));
    return 0;
}

int handle_pong(struct session *self, const struct frame_view *view, struct payload *owner)
{
    (void) self;
    (void) view;
    (void) owner;
    return 0; /* that something came is what counts; the connection has noted it */
}
