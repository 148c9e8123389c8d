/* handle_info: what the tables know of an exchange, for people. */
#include <stdlib.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/wire/pb.h"

#include "routerd/router_own.h"

enum { EXCHANGE_NAMESPACE = 1, EXCHANGE_NAME = 2 };
enum { INFO_NAME = 1, INFO_SUBSCRIPTIONS = 4, INFO_MATCHERS = 5, INFO_GROUPS = 6 };
enum { GROUP_NAME = 1, GROUP_MEMBERS = 2, GROUP_STICKY = 3 };
enum { INFO_GROUPS_MAX = 1000, NAME_BYTES_MAX = 255 };

int handle_read_exchange(struct span bytes, struct span *ret_namespace, struct span *ret_name)
{
    struct span namespace_ = {0};
    struct span name = {0};
    struct pb_field field;
    int result;
    while ((result = pb_next(&bytes, &field)) > 0) {
        if (field.number == EXCHANGE_NAMESPACE && field.type == PB_BYTES) {
            namespace_ = field.bytes;
        } else if (field.number == EXCHANGE_NAME && field.type == PB_BYTES) {
            name = field.bytes;
        }
    }
    if (result < 0 || namespace_.size > NAME_BYTES_MAX || name.size > NAME_BYTES_MAX ||
        !pb_is_text(namespace_) || !pb_is_text(name)) {
        return ERR_PROTOCOL;
    }
    *ret_namespace = namespace_;
    *ret_name = name;
    return 0;
}

static int info_compare(const void *a, const void *b)
{
    const struct group *left = *(const struct group *const *) a;
    const struct group *right = *(const struct group *const *) b;
    size_t size = left->size < right->size ? left->size : right->size;
    int order = memcmp(left->name, right->name, size);
    return order != 0 ? order : (int) left->size - (int) right->size;
}

static void info_put_groups(const struct exchange *exchange, struct buf *out)
{
    size_t count = exchange->groups == NULL ? 0 : hash_count(exchange->groups);
    const struct group **groups =
        count == 0 ? NULL : (const struct group **) mem_try_new_array(count, sizeof(*groups));
    if (groups == NULL) {
        return; /* none; or no memory for the list: the numbers are told all the same */
    }
    size_t cursor = 0;
    for (size_t i = 0; i < count; i++) {
        groups[i] = (const struct group *) hash_next(exchange->groups, &cursor);
    }
    qsort(groups, count, sizeof(*groups), info_compare);
    struct buf group = {0};
    for (size_t i = 0; i < count && i < INFO_GROUPS_MAX; i++) {
        buf_reset(&group);
        pb_append_bytes(&group, GROUP_NAME, span_make(groups[i]->name, groups[i]->size));
        pb_append_varint(&group, GROUP_MEMBERS, groups[i]->members);
        pb_append_varint(&group, GROUP_STICKY, groups[i]->is_sticky);
        pb_append_bytes(out, INFO_GROUPS, buf_span(&group));
    }
    buf_release(&group);
    mem_free(groups);
}

int handle_info(struct router *self, const struct router_message *message)
{
    struct span namespace_;
    struct span name;
    int result = handle_read_exchange(message->meta, &namespace_, &name);
    if (result < 0) {
        return result;
    }
    const struct exchange *exchange = exchanges_find(self->exchanges, namespace_, name);
    struct buf meta = {0};
    pb_append_bytes(&meta, INFO_NAME, name);
    pb_append_varint(&meta, INFO_SUBSCRIPTIONS, exchange != NULL ? exchange->subscriptions : 0);
    pb_append_varint(&meta, INFO_MATCHERS, exchange != NULL ? exchange->matchers : 0);
    if (exchange != NULL) {
        info_put_groups(exchange, &meta);
    }
    self->out.reply(self->out.ud, message->ticket, 0, buf_span(&meta));
    buf_release(&meta);
    return 0;
}
