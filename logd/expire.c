/* expire: asks the catalogue to delete a consumer group that nobody uses. Owns the requests under way; their answers are looked at only when they are a
 * refusal: what is deleted is told by the watch. */
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"
#include "logd/catalog_client.h"
#include "logd/group_index.h"
#include "logd/stream_body.h"

/* Numbers of log.proto (EntryConfig). */
enum { CONFIG_NAME = 2 };

void logd_expire_group(struct logd *self, struct stream *stream, uint64_t group_id,
                       const char *name)
{
    struct span stream_name = {0};
    struct span rest = buf_span(&stream->config);
    struct pb_field field;
    while (pb_next(&rest, &field) == 1) {
        if (field.number == CONFIG_NAME && field.type == PB_BYTES) {
            stream_name = field.bytes;
        }
    }
    catalog_client_expire_group(self->catalog, stream_name, span_of(name), group_id);
}
