/* handle_name: RouteClaim, RouteRelease and RouteResolve: who has the name of a response stream. */
#include "common/base/err.h"
#include "common/wire/pb.h"

#include "routerd/router_own.h"

enum { NAME_NAMESPACE = 1, NAME_NAME = 2, NAME_REQUEST = 3 }; /* alike in all three */
enum { RESOLVED_FRONTD = 1, RESOLVED_REQUEST = 2 };
enum { NAME_BYTES_MAX = 255 };

struct naming {
    struct span namespace_;
    struct span name;
    uint64_t request;
};

static int naming_read(struct span rest, struct naming *ret_naming)
{
    struct naming naming = {0};
    struct pb_field field;
    int result;
    while ((result = pb_next(&rest, &field)) > 0) {
        if (field.number == NAME_NAMESPACE && field.type == PB_BYTES) {
            naming.namespace_ = field.bytes;
        } else if (field.number == NAME_NAME && field.type == PB_BYTES) {
            naming.name = field.bytes;
        } else if (field.number == NAME_REQUEST && field.type == PB_FIXED64) {
            naming.request = field.value;
        }
    }
    if (result < 0 || naming.namespace_.size > NAME_BYTES_MAX || naming.name.size == 0 ||
        naming.name.size > NAME_BYTES_MAX) {
        return ERR_PROTOCOL;
    }
    *ret_naming = naming;
    return 0;
}

static bool name_make_room(struct router *self)
{
    unsigned i = 0;
    while (i < TABLE_FRONTDS_MAX && !names_reap(self->names, i)) {
        i++;
    }
    return i < TABLE_FRONTDS_MAX;
}

int handle_claim(struct router *self, struct frontd *frontd, const struct router_message *message)
{
    struct naming naming = {0};
    int result = naming_read(message->meta, &naming);
    if (result < 0) {
        return result;
    }
    struct name_owner owner = {frontd->instance, naming.request};
    result = names_claim(self->names, naming.namespace_, naming.name, &owner, frontd->generation);
    if (result == ERR_QUOTA && name_make_room(self)) {
        result =
            names_claim(self->names, naming.namespace_, naming.name, &owner, frontd->generation);
    }
    self->out.reply(self->out.ud, message->ticket, result, (struct span){0});
    return 0;
}

int handle_release(struct router *self, struct frontd *frontd, struct span meta)
{
    struct naming naming = {0};
    int result = naming_read(meta, &naming);
    if (result < 0) {
        return result;
    }
    struct name_owner owner = {frontd->instance, naming.request};
    names_release(self->names, naming.namespace_, naming.name, &owner);
    return 0;
}

int handle_resolve(struct router *self, const struct router_message *message)
{
    struct naming naming = {0};
    struct name_owner owner;
    int result = naming_read(message->meta, &naming);
    if (result < 0) {
        return result;
    }
    struct buf meta = {0};
    result = names_resolve(self->names, naming.namespace_, naming.name, &owner);
    if (result == 0) {
        pb_append_varint(&meta, RESOLVED_FRONTD, owner.frontd);
        pb_append_fixed64(&meta, RESOLVED_REQUEST, owner.request);
    }
    self->out.reply(self->out.ud, message->ticket, result, buf_span(&meta));
    buf_release(&meta);
    return 0;
}
