/* handle_watch: opens a channel on which the events of streams and groups come. */
#include "frontd/handle.h"

#include "common/base/err.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/scan.h"

#include "frontd/watchers.h"

static int watch_open(struct session *self, const struct frame_view *view,
                      const Railgun__Watch *watch)
{
    const struct frontd *frontd = self->frontd;
    const struct catalog_stream *stream = NULL;
    if (view->corr == 0) {
        return session_refuse(self, view, ERR_BAD_REQUEST, "this request needs a corr");
    }
    if (view->channel == 0 || view->channel > frontd->settings->channels_max) {
        return session_refuse(self, view, ERR_CHANNEL,
                              "a channel number from 1 to channels_max is needed");
    }
    if (session_channel_is_used(self, view->channel)) {
        return session_refuse(self, view, ERR_CHANNEL, "the channel is in use");
    }
    if (watch->stream != NULL && watch->stream[0] != '\0') {
        int result = session_find_stream(self, view, span_of(watch->stream), (struct span){0},
                                         ERR_NOT_FOUND, &stream);
        if (result != 0) {
            return result == ERR_AGAIN ? ERR_AGAIN : 0;
        }
    } else if (watch->group != NULL && watch->group[0] != '\0') {
        return session_refuse(self, view, ERR_BAD_REQUEST, "group: name its stream too");
    }
    return watchers_open(frontd->watchers, self, view);
}

int handle_watch(struct session *self, const struct frame_view *view, struct payload *owner)
{
    Railgun__Watch *watch = NULL;
    (void) owner;
    int result = SCAN_UNPACK(view->body, railgun__watch, &watch);
    if (result == 0) {
        result = watch_open(self, view, watch);
    }
    SCAN_FREE(&watch);
    return result;
}
