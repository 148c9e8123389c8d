/* handle_hello: the first frame of a connection, and Auth, which nothing asks for yet. */
#include "frontd/handle.h"

#include <string.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/base/name.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/scan.h"

enum { PROTOCOL_VERSION = 1, HEARTBEAT_MS_MIN = 100 };

static int hello_check(struct session *self, const Railgun__Hello *hello)
{
    uint32_t min = hello->has_version_min ? hello->version_min : PROTOCOL_VERSION;
    uint32_t max = hello->has_version_max ? hello->version_max : PROTOCOL_VERSION;
    if (min > PROTOCOL_VERSION || max < PROTOCOL_VERSION) {
        conn_fail(self->conn, ERR_VERSION, "this server speaks version 1");
        return ERR_VERSION;
    }
    if (hello->namespace_ != NULL && hello->namespace_[0] != 0 &&
        name_check(span_of(hello->namespace_)) != NULL) {
        conn_fail(self->conn, ERR_BAD_REQUEST, "namespace: no valid name");
        return ERR_BAD_REQUEST;
    }
    return 0;
}

static void hello_take_namespace(struct session *self, const char *name)
{
    if (name != NULL && name[0] != 0 && strcmp(name, SESSION_NAMESPACE) != 0) {
        self->namespace_text = mem_strdup(name);
        self->namespace_ = span_of(self->namespace_text);
    }
}

/* The client may ask for a shorter interval than ours. */
static uint32_t hello_heartbeat_ms(const struct settings *settings, const Railgun__Hello *hello)
{
    uint64_t wanted = hello->has_heartbeat_ms ? hello->heartbeat_ms : 0;
    if (wanted == 0 || wanted > settings->heartbeat_ms) {
        wanted = settings->heartbeat_ms;
    }
    return (uint32_t) (wanted < HEARTBEAT_MS_MIN ? HEARTBEAT_MS_MIN : wanted);
}

static void hello_answer(struct session *self, const struct frame_view *view, uint32_t heartbeat_ms)
{
    const struct frontd *frontd = self->frontd;
    const struct settings *settings = frontd->settings;
    char server[] = "railgun " RAILGUN_VERSION;
    struct uuid session = uuid_random();
    struct uuid cluster = frontd->cluster;
    Railgun__HelloOk ok = RAILGUN__HELLO_OK__INIT;
    ok.has_version = true;
    ok.version = PROTOCOL_VERSION;
    ok.server = server;
    ok.has_heartbeat_ms = true;
    ok.heartbeat_ms = heartbeat_ms;
    ok.has_session = true;
    ok.session = (ProtobufCBinaryData){sizeof(session.bytes), session.bytes};
    ok.has_publish_window = true;
    ok.publish_window = settings->publish_window_bytes;
    ok.has_frame_max = true;
    ok.frame_max = settings->frame_bytes_max;
    ok.has_record_max = true;
    ok.record_max = settings->record_bytes_max;
    ok.has_batch_max = true;
    ok.batch_max = settings->batch_bytes_max;
    ok.has_batch_records_max = true;
    ok.batch_records_max = (uint32_t) settings->batch_records_max;
    ok.has_channels_max = true;
    ok.channels_max = (uint32_t) settings->channels_max;
    if (!uuid_is_nil(&cluster)) {
        ok.has_cluster = true;
        ok.cluster = (ProtobufCBinaryData){sizeof(cluster.bytes), cluster.bytes};
        ok.has_node = true;
        ok.node = frontd->node;
    }
    struct buf body = {0};
    scan_pack(&body, &ok.base);
    session_send(self, view->channel, view->corr, RAILGUN__FRAME__BODY_HELLO_OK, buf_span(&body));
    buf_release(&body);
}

int handle_hello(struct session *self, const struct frame_view *view, struct payload *owner)
{
    Railgun__Hello *hello = NULL;
    (void) owner;
    if (conn_state(self->conn) != CONN_CONNECTED) {
        return session_refuse(self, view, ERR_BAD_REQUEST, "Hello was sent before");
    }
    int result = SCAN_UNPACK(view->body, railgun__hello, &hello);
    if (result != 0) {
        return result;
    }
    result = hello_check(self, hello);
    uint32_t heartbeat_ms = hello_heartbeat_ms(self->frontd->settings, hello);
    if (result == 0) {
        hello_take_namespace(self, hello->namespace_);
    }
    SCAN_FREE(&hello);
    if (result != 0) {
        return 0; /* hello_check has failed the connection */
    }
    conn_greeted(self->conn, heartbeat_ms);
    hello_answer(self, view, heartbeat_ms);
    if (self->frontd->is_draining) {
        session_drain(self, self->frontd->settings->drain_grace_ms);
    }
    return 0;
}

int handle_auth(struct session *self, const struct frame_view *view, struct payload *owner)
{
    (void) owner;
    return session_refuse(self, view, ERR_UNSUPPORTED, "authentication is not built in");
}
