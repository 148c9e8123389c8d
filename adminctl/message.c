/* message: from words to messages and back. The flag for signals is the process's, as signals are. */
#include "adminctl/message.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/err.h"

enum { READ_BYTES = 64 << 10, PAYLOAD_BYTES_MAX = 64 << 20 };

static volatile sig_atomic_t stop_asked;

static void on_stop(int signal_number)
{
    (void) signal_number;
    stop_asked = 1;
}

void message_catch_stop(void)
{
    struct sigaction action = {.sa_handler = on_stop};
    (void) sigaction(SIGINT, &action, NULL);
    (void) sigaction(SIGTERM, &action, NULL);
}

bool message_is_stopped(void)
{
    return stop_asked != 0;
}

const char *message_headers(const struct option_texts *texts, struct rg_header *headers)
{
    for (size_t i = 0; i < texts->count; i++) {
        const char *text = texts->values[i];
        const char *equals = strchr(text, '=');
        if (equals == NULL || equals == text) {
            return text;
        }
        headers[i].name = (struct rg_bytes){text, (size_t) (equals - text)};
        headers[i].value = (struct rg_bytes){equals + 1, strlen(equals + 1)};
    }
    return NULL;
}

int message_payload(const char *argument, struct buf *keep, struct rg_bytes *ret_payload)
{
    if (argument != NULL && strcmp(argument, "-") != 0) {
        *ret_payload = (struct rg_bytes){argument, strlen(argument)};
        return 0;
    }
    for (;;) {
        uint8_t *room = buf_reserve(keep, READ_BYTES);
        ssize_t size = read(STDIN_FILENO, room, READ_BYTES);
        if (size < 0 && errno == EINTR && !message_is_stopped()) {
            continue;
        }
        if (size < 0) {
            return ERR_IO;
        }
        if (size == 0) {
            break;
        }
        buf_advance(keep, (size_t) size);
        if (keep->size > PAYLOAD_BYTES_MAX) {
            return ERR_TOO_LARGE;
        }
    }
    *ret_payload = (struct rg_bytes){keep->data, keep->size};
    return 0;
}

int message_flush(struct buf *out)
{
    if (out->size == 0) {
        return 0;
    }
    bool is_written = fwrite(out->data, 1, out->size, stdout) == out->size && fflush(stdout) == 0;
    bool is_pipe_closed = !is_written && errno == EPIPE;
    buf_reset(out);
    return is_written ? 0 : is_pipe_closed ? RG_ERR_CLOSED : RG_ERR_IO;
}

bool message_output_is_closed(void)
{
    struct pollfd output = {.fd = STDOUT_FILENO};
    return poll(&output, 1, 0) == 1 && (output.revents & (POLLERR | POLLHUP)) != 0;
}

void message_on_event(void *ud, struct rg_subscription *subscription,
                      const struct rg_es_event *event)
{
    (void) ud;
    (void) subscription;
    switch (event->type) {
    case RG_ES_UP:
        (void) fprintf(stderr, "adminctl: subscribed again\n");
        break;
    case RG_ES_DOWN:
        (void) fprintf(stderr, "adminctl: connection lost (%s); reconnecting\n",
                       rg_error_name(event->code));
        break;
    case RG_ES_DROPPED:
        (void) fprintf(
            stderr, "adminctl: too slow: %llu messages were dropped, from '%s' to '%s'\n",
            (unsigned long long) event->count, event->first_topic != NULL ? event->first_topic : "",
            event->last_topic != NULL ? event->last_topic : "");
        break;
    case RG_ES_CLOSED: /* said at the end, once */
    default:
        break;
    }
}
