/* bus_link: one session: its credit in both directions, our open requests, their open messages. Each request gets exactly
 * one outcome; each byte of credit taken is given back once, whatever the handlers do. */
#include "common/run/bus_private.h"

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/base/str.h"
#include "common/wire/pb.h"

struct bus_link *bus_link_new(struct bus *bus, const struct bus_path *path,
                              const struct bus_hello *hello, uint64_t session)
{
    struct bus_link *link = MEM_NEW(struct bus_link);
    link->bus = bus;
    link->path = *path;
    (void) str_copy(link->name, sizeof(link->name), span_of(hello->name)); /* same size */
    link->cluster = hello->cluster;
    link->id = ++bus->last_link_id;
    link->epoch = hello->epoch;
    link->session = session;
    link->window_bytes = hello->window_bytes;
    link->window_messages = hello->window_messages < BUS_WINDOW_MESSAGES_MAX
                                ? hello->window_messages
                                : BUS_WINDOW_MESSAGES_MAX;
    link->message_bytes_max = hello->message_bytes_max < bus->message_bytes_max
                                  ? hello->message_bytes_max
                                  : bus->message_bytes_max;
    list_init(&link->ending);
    list_init(&link->calls);
    list_init(&link->tickets);
    (void) hash64_put(bus->links, link->id, link);
    bus->stats.sessions++;
    return link;
}

void bus_link_report(struct bus_link *link)
{
    link->reported = true;
    link->bus->handlers.on_up(link->bus->handlers.ud, link);
}

void bus_link_fail(struct bus_link *link)
{
    if (!link->dying) {
        link->dying = true;
        list_push_back(&link->bus->ending, &link->ending);
        bus_sweep_later(link->bus);
    }
}

static void ticket_free(struct bus_ticket *ticket)
{
    bus_slots_remove(&ticket->link->bus->tickets, ticket->id);
    list_remove(&ticket->node);
    mem_free(ticket);
}

/* Take a request out of the tables; what `done` needs is the caller's then. */
static void call_free(struct bus_call *call)
{
    struct bus *bus = call->link->bus;
    wheel_cancel(loop_wheel(bus->loop), &call->timer);
    bus_slots_remove(&bus->calls, call->id);
    list_remove(&call->node);
    mem_free(call);
}

static void call_finish(struct bus_call *call, enum bus_outcome outcome,
                        const struct bus_message *reply)
{
    struct bus *bus = call->link->bus;
    bus_done_fn *done = call->done;
    void *ud = call->ud;
    call_free(call);
    if (outcome == BUS_UNKNOWN) {
        bus->stats.unknown++;
    }
    done(ud, outcome, reply);
}

void bus_link_end(struct bus_link *link)
{
    struct bus *bus = link->bus;
    struct bus_head bye = {.kind = BUS_KIND_BYE, .session = link->session};

    /* A ROUTER cannot close a connection: the other side does, once it knows. */
    (void) bus_send(bus, &link->path, &bye, span_make(NULL, 0), NULL); /* mostly it is gone */
    link->dying = true;
    list_remove(&link->ending);
    (void) hash64_remove(bus->links, link->id);
    if (link->path.has_route) {
        (void) hash64_remove(bus->routes, link->path.route);
    }
    while (!list_is_empty(&link->tickets)) {
        ticket_free(LIST_ENTRY(link->tickets.next, struct bus_ticket, node));
    }
    /* One by one from the front: `done` may cancel others. */
    while (!list_is_empty(&link->calls)) {
        call_finish(LIST_ENTRY(link->calls.next, struct bus_call, node), BUS_UNKNOWN, NULL);
    }
    if (link->reported) {
        bus->handlers.on_down(bus->handlers.ud, link);
    }
    if (link->peer != NULL) {
        link->peer->link = NULL;
        bus_peer_restart(link->peer, 0);
    }
    mem_free(link);
}

/* --- sending --- */

int bus_link_send(struct bus_link *link, struct bus_head *head, struct span meta,
                  const struct slice *body)
{
    head->session = link->session;
    head->credit_bytes = link->released.bytes;
    head->credit_messages = link->released.messages;
    int rc = bus_send(link->bus, &link->path, head, meta, body);
    if (rc < 0) {
        bus_link_fail(link);
        return rc;
    }
    link->told = link->released;
    return 0;
}

int bus_link_control(struct bus_link *link, enum bus_kind kind, uint64_t subject)
{
    struct bus_head head = {.kind = kind, .subject = subject};
    return bus_link_send(link, &head, span_make(NULL, 0), NULL);
}

bool bus_link_has_credit(const struct bus_link *link, uint64_t body_bytes)
{
    uint64_t bytes = link->sent.bytes - link->returned.bytes;
    uint64_t messages = link->sent.messages - link->returned.messages;
    if (messages >= link->window_messages) {
        return false;
    }
    return bytes == 0 || (bytes <= link->window_bytes && body_bytes <= link->window_bytes - bytes);
}

static int link_check_size(const struct bus_link *link, const struct bus_outgoing *out)
{
    uint64_t limit = link->message_bytes_max;
    if (limit <= BUS_HEAD_SIZE || out->meta.size > limit - BUS_HEAD_SIZE ||
        out->body.bytes.size > limit - BUS_HEAD_SIZE - out->meta.size ||
        out->meta.size > UINT32_MAX) {
        return ERR_TOO_LARGE;
    }
    return 0;
}

/* May it go out now? If not for want of credit, on_credit is owed from now on. */
static int link_admit(struct bus_link *link, const struct bus_outgoing *out)
{
    if (link == NULL || link->dying) {
        return ERR_CLOSED;
    }
    if (link_check_size(link, out) < 0) {
        return ERR_TOO_LARGE;
    }
    uint64_t bytes = out->meta.size + out->body.bytes.size;
    if (bus_link_has_credit(link, bytes)) {
        return 0;
    }
    link->bus->stats.again++;
    if (!link->starved || bytes < link->wanted_bytes) {
        link->starved = true;
        link->wanted_bytes = bytes;
        (void) bus_link_control(link, BUS_KIND_STARVED, bytes); /* failing ends the session */
    }
    return ERR_AGAIN;
}

static int link_send_charged(struct bus_link *link, struct bus_head *head,
                             const struct bus_outgoing *out)
{
    head->type = out->type;
    head->subject = out->subject;
    if (bus_link_send(link, head, out->meta, &out->body) < 0) {
        return ERR_CLOSED;
    }
    link->sent.bytes += out->meta.size + out->body.bytes.size;
    link->sent.messages++;
    return 0;
}

static void call_on_deadline(struct wheel_timer *timer, void *ud)
{
    (void) timer;
    call_finish(ud, BUS_UNKNOWN, NULL);
}

int bus_request(struct bus_link *link, const struct bus_outgoing *out, uint64_t timeout_ms,
                bus_done_fn *done, void *ud, uint64_t *ret_id)
{
    INVARIANT(timeout_ms > 0);
    int rc = link_admit(link, out);
    if (rc < 0) {
        return rc;
    }
    struct bus *bus = link->bus;
    struct bus_call *call = MEM_NEW(struct bus_call);
    call->link = link;
    call->done = done;
    call->ud = ud;
    call->id = bus_slots_put(&bus->calls, call);
    wheel_timer_init(&call->timer, call_on_deadline, call);
    list_push_back(&link->calls, &call->node);
    struct bus_head head = {.kind = BUS_KIND_REQUEST, .correlation = call->id};
    rc = link_send_charged(link, &head, out);
    if (rc < 0) {
        call_free(call);
        return rc;
    }
    loop_timer_start(bus->loop, &call->timer, timeout_ms);
    bus->stats.requests++;
    if (ret_id != NULL) {
        *ret_id = call->id;
    }
    return 0;
}

void bus_request_cancel(struct bus *self, uint64_t id)
{
    struct bus_call *call = bus_slots_get(&self->calls, id);
    if (call != NULL) {
        call_free(call);
    }
}

int bus_event(struct bus_link *link, const struct bus_outgoing *out)
{
    int rc = link_admit(link, out);
    if (rc < 0) {
        return rc;
    }
    struct bus_head head = {.kind = BUS_KIND_EVENT};
    return link_send_charged(link, &head, out);
}

/* --- credit --- */

bool bus_link_take_credit(struct bus_link *link, const struct bus_head *head)
{
    if (head->credit_bytes < link->returned.bytes || head->credit_bytes > link->sent.bytes ||
        head->credit_messages < link->returned.messages ||
        head->credit_messages > link->sent.messages) {
        return false;
    }
    link->returned.bytes = head->credit_bytes;
    link->returned.messages = head->credit_messages;
    return true;
}

void bus_link_check_starved(struct bus_link *link, enum bus_kind kind)
{
    if (!link->starved || link->dying) {
        return;
    }
    if (bus_link_has_credit(link, link->wanted_bytes)) {
        link->starved = false;
        if (link->bus->handlers.on_credit != NULL && link->reported) {
            link->bus->handlers.on_credit(link->bus->handlers.ud, link);
        }
    } else if (kind == BUS_KIND_CREDIT) {
        /* Smaller messages took what was told: the peer thinks the matter settled. */
        (void) bus_link_control(link, BUS_KIND_STARVED, link->wanted_bytes);
    }
}

/* Would the peer, knowing all that is released, have room for what it wants? */
static bool link_can_feed(const struct bus_link *link)
{
    uint64_t bytes = link->received.bytes - link->released.bytes;
    uint64_t messages = link->received.messages - link->released.messages;
    uint64_t window = link->bus->window_bytes;
    if (messages >= link->bus->window_messages) {
        return false;
    }
    return bytes == 0 || (bytes <= window && link->peer_wanted_bytes <= window - bytes);
}

/* Credit travels in the head of whatever is sent; a message of its own is due when a quarter of the window has gathered, or
 * when the peer waits and can go on. */
void bus_link_check_due(struct bus_link *link)
{
    const struct bus *bus = link->bus;
    bool is_quarter = link->released.bytes - link->told.bytes >= bus->window_bytes / 4 ||
                      link->released.messages - link->told.messages >= bus->window_messages / 4;
    bool is_wanted = link->peer_starved && link_can_feed(link);
    if ((is_quarter || is_wanted) && !link->credit_due && !link->dying) {
        link->credit_due = true;
        bus_sweep_later(link->bus);
    }
}

/* --- their messages --- */

static void ticket_settle(struct bus_ticket *ticket)
{
    struct bus_link *link = ticket->link;
    if (!ticket->credit_open) {
        link->released.bytes += ticket->bytes;
        ticket->bytes = 0;
    }
    if (!ticket->credit_open && !ticket->answer_open) {
        link->released.messages++;
        ticket_free(ticket);
    }
    bus_link_check_due(link);
}

/* Within the window we granted? A single message may be larger than all of it. */
static bool link_accept(struct bus_link *link, uint64_t bytes)
{
    uint64_t open_bytes = link->received.bytes - link->released.bytes;
    uint64_t open_messages = link->received.messages - link->released.messages;
    if (open_messages >= link->bus->window_messages ||
        (open_bytes != 0 && open_bytes + bytes > link->bus->window_bytes)) {
        return false;
    }
    link->received.bytes += bytes;
    link->received.messages++;
    return true;
}

void bus_link_deliver(struct bus_link *link, const struct bus_head *head,
                      struct bus_message *message)
{
    struct bus *bus = link->bus;
    uint64_t bytes = head->meta_size + head->body_size;

    if (!link_accept(link, bytes)) {
        bus->stats.malformed++;
        bus_link_fail(link);
        return;
    }
    struct bus_ticket *ticket = MEM_NEW(struct bus_ticket);
    ticket->link = link;
    ticket->id = bus_slots_put(&bus->tickets, ticket);
    ticket->correlation = head->correlation;
    ticket->bytes = bytes;
    ticket->answer_open = head->kind == BUS_KIND_REQUEST;
    ticket->credit_open = true;
    ticket->message = message;
    list_push_back(&link->tickets, &ticket->node);
    message->ticket = ticket->id;
    message->is_request = ticket->answer_open;
    bus->handlers.on_message(bus->handlers.ud, link, message);
    ticket->message = NULL; /* it cannot be gone: its credit was open */
    ticket->credit_open = message->held;
    ticket_settle(ticket);
}

void bus_message_hold(struct bus_message *message)
{
    message->held = true;
}

void bus_release(struct bus *self, uint64_t id)
{
    struct bus_ticket *ticket = bus_slots_get(&self->tickets, id);
    if (ticket == NULL) {
        return; /* its session is over */
    }
    if (ticket->message != NULL) {
        ticket->message->held = false; /* still in its handler */
    } else if (ticket->credit_open) {
        ticket->credit_open = false;
        ticket_settle(ticket);
    }
}

int bus_reply(struct bus *self, uint64_t id, const struct bus_outgoing *out)
{
    struct bus_ticket *ticket = bus_slots_get(&self->tickets, id);
    if (ticket == NULL || !ticket->answer_open || ticket->link->dying) {
        return ERR_CLOSED;
    }
    struct bus_link *link = ticket->link;
    if (link_check_size(link, out) < 0) {
        return ERR_TOO_LARGE;
    }
    struct bus_head head = {.kind = BUS_KIND_REPLY,
                            .type = out->type,
                            .status = out->status,
                            .correlation = ticket->correlation,
                            .subject = out->subject};
    ticket->answer_open = false;
    ticket_settle(ticket); /* first, so that the reply itself tells the credit */
    return bus_link_send(link, &head, out->meta, &out->body) < 0 ? ERR_CLOSED : 0;
}

int bus_reply_error(struct bus *self, uint64_t ticket, int error, const char *detail)
{
    enum { ERROR_CODE = 1, ERROR_TEXT = 2, ERROR_DETAIL = 3 }; /* Error of client.proto */
    struct buf meta = {0};

    INVARIANT(error < 0);
    pb_append_varint(&meta, ERROR_CODE, (uint64_t) -error);
    pb_append_bytes(&meta, ERROR_TEXT, span_of(err_text(error)));
    if (detail != NULL) {
        pb_append_bytes(&meta, ERROR_DETAIL, span_of(detail));
    }
    struct bus_outgoing out = {.status = error, .meta = buf_span(&meta)};
    int rc = bus_reply(self, ticket, &out);
    buf_release(&meta);
    return rc;
}

void bus_link_deliver_reply(struct bus_link *link, const struct bus_head *head,
                            const struct bus_message *message)
{
    struct bus_call *call = bus_slots_get(&link->bus->calls, head->correlation);
    if (call == NULL || call->link != link) {
        link->bus->stats.late++;
        return;
    }
    call_finish(call, BUS_OK, message);
}

/* --- what others may ask --- */

const char *bus_link_name(const struct bus_link *link)
{
    return link->name;
}

uint64_t bus_link_epoch(const struct bus_link *link)
{
    return link->epoch;
}

uint64_t bus_link_id(const struct bus_link *link)
{
    return link->id;
}

void *bus_link_get_ud(const struct bus_link *link)
{
    return link->ud;
}

void bus_link_set_ud(struct bus_link *link, void *ud)
{
    link->ud = ud;
}

void bus_link_close(struct bus_link *link)
{
    bus_link_fail(link);
}

struct bus_link *bus_link_next(const struct bus *self, size_t *cursor)
{
    struct bus_link *link = NULL;
    do {
        link = hash64_next(self->links, cursor);
    } while (link != NULL && link->dying);
    return link;
}
