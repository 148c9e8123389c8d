/* response_asked: keeps the requests of clients here and ends each with exactly one final Result, whoever is first: the last reply, the timer, the loss
 * of the last receiver, the requester's cancel. Owns the requests, their timers and names. Must never send a Result for a request twice,
 * nor after its connection has closed. */
#include "frontd/response_asked.h"

#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/base/rand.h"
#include "common/run/presence.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"

#include "frontd/inlet.h"
#include "frontd/response_given.h"
#include "frontd/routers.h"
#include "frontd/switch.h"

enum {
    SPARE_MAX = 4096,
    SECRETS = 256, /* drawn from the system at once */
    RESULT_CODE = 1,
    RESULT_MORE = 2,
    RESULT_REPLIES = 3,
    RESULT_DETAIL = 4,
    RESULT_MESSAGE = 15,
};

static const struct sm_state asked_states[ASKED_STATE_COUNT] = {
    [ASKED_UNSENT] = {"unsent", SM_TO(ASKED_SENT) | SM_TO(ASKED_ENDED)},
    [ASKED_SENT] = {"sent", SM_TO(ASKED_ENDED)},
    [ASKED_ENDED] = {"ended", 0},
};

struct asked_set {
    struct frontd *frontd;
    struct hash64 *by_number; /* those that have not ended */
    struct hash *by_name;     /* of them: those with a name, from when it is being claimed */
    struct list spare;
    size_t spare_count;
    uint64_t last_number;
    struct responses_counts counts;
    struct buf scratch; /* ours: the frontd's may be in use by who drops what was queued */
    uint64_t secrets[SECRETS];
    unsigned secret_count; /* unused ones left */
};

struct asked_set *asked_set_new(struct frontd *frontd)
{
    struct asked_set *self = MEM_NEW(struct asked_set);
    self->frontd = frontd;
    self->by_number = hash64_new();
    self->by_name = hash_new();
    list_init(&self->spare);
    /* A process that comes after this one begins behind all that this one can use up in its time. */
    self->last_number = (timesource_real_us(timesource_system()) / 1000000) << 32;
    return self;
}

static void asked_free(struct asked *self)
{
    mem_free(self->remote_counts);
    buf_release(&self->name);
    mem_free(self);
}

void asked_set_destroy(struct asked_set **self)
{
    struct asked_set *set = *self;
    struct list *node = NULL;
    *self = NULL;
    if (set == NULL) {
        return;
    }
    INVARIANT(hash64_count(set->by_number) == 0);
    while ((node = list_pop_front(&set->spare)) != NULL) {
        asked_free(LIST_ENTRY(node, struct asked, of_session));
    }
    buf_release(&set->scratch);
    hash64_destroy(&set->by_number);
    hash_destroy(&set->by_name);
    mem_free(set);
}

void asked_set_count(const struct asked_set *self, struct responses_counts *ret_counts)
{
    *ret_counts = self->counts;
    ret_counts->open = hash64_count(self->by_number);
}

/* --- results --- */

static void result_send(struct session *session, uint32_t channel, uint64_t corr,
                        const struct buf *head, const struct slice *message)
{
    static const struct slice nothing = {0};
    session_send_batch(session, channel, corr, RAILGUN__FRAME__BODY_RESULT, buf_span(head),
                       message != NULL ? message : &nothing);
}

static void result_head(struct buf *out, int error, bool is_more, uint32_t replies,
                        const char *detail)
{
    if (error != 0) {
        const struct err_info *info = err_find(error);
        if (info == NULL || info->class_ == ERR_CLASS_LOCAL) {
            info = err_find(ERR_INTERNAL);
        }
        pb_append_varint(out, RESULT_CODE, (uint64_t) info->number);
    }
    if (is_more) {
        pb_append_varint(out, RESULT_MORE, 1);
    }
    if (replies != 0) {
        pb_append_varint(out, RESULT_REPLIES, replies);
    }
    if (detail != NULL) {
        pb_append_bytes(out, RESULT_DETAIL, span_of(detail));
    }
}

void asked_refuse(struct session *session, const struct frame_view *view, int error,
                  const char *detail)
{
    struct buf head = {0}; /* rare */
    result_head(&head, error, false, 0, detail);
    result_send(session, view->channel, view->corr, &head, NULL);
    buf_release(&head);
    ++*session->frontd->counters.errors;
}

static void asked_count_end(struct asked_set *self, int error)
{
    if (error == 0) {
        self->counts.ok++;
    } else if (error == ERR_RS_TIMEOUT) {
        self->counts.timeouts++;
    } else if (error == ERR_NO_RESPONDERS) {
        self->counts.no_responders++;
    } else if (error == ERR_RESPONDER_LOST) {
        self->counts.lost++;
    }
}

/* --- life and death --- */

static uint64_t asked_secret(struct asked_set *self)
{
    if (self->secret_count == 0) {
        entropy_fill(self->secrets, sizeof(self->secrets));
        self->secret_count = SECRETS;
    }
    return self->secrets[--self->secret_count];
}

static void asked_give(struct asked *self)
{
    struct asked_set *set = self->set;
    list_remove(&self->of_session);
    if (set->spare_count == SPARE_MAX) {
        asked_free(self);
        return;
    }
    list_push_front(&set->spare, &self->of_session);
    set->spare_count++;
}

/* It has ended: nothing finds it any more, and its correlation is free. */
static void asked_unlink(struct asked *self)
{
    struct asked_set *set = self->set;
    struct frontd *frontd = set->frontd;
    sm_move(&self->sm, ASKED_ENDED);
    (void) hash64_remove(set->by_number, self->number); /* returns self */
    given_forget_all(&self->given);
    wheel_cancel(loop_wheel(frontd->loop), &self->timer);
    if (self->claim != NULL) {
        routers_release(frontd->routers, &self->claim);
    }
    if (self->name.size != 0) {
        (void) hash_remove(set->by_name, buf_span(&self->name)); /* returns self */
        buf_release(&self->name);
    }
    session_corr_close(self->session, self->corr);
    self->session->request_count--;
}

static void asked_ended(struct asked *self, int error)
{
    struct frontd *frontd = self->set->frontd;
    bool was_sent = self->sm.state == ASKED_SENT;
    asked_count_end(self->set, error);
    asked_unlink(self);
    conn_retry(self->session->conn);
    if (was_sent) {
        asked_give(self);
    } else {
        inlets_progress(frontd->inlets); /* its frame is in the way of others */
    }
}

void asked_end(struct asked *self, int error, const char *detail)
{
    struct buf *head = &self->set->scratch;
    result_head(head, error, false, self->replies, detail);
    result_send(self->session, self->channel, self->corr, head, NULL);
    buf_reset(head);
    asked_ended(self, error);
}

static void asked_late(struct wheel_timer *timer, void *ud)
{
    (void) timer;
    asked_end((struct asked *) ud, ERR_RS_TIMEOUT, NULL);
}

static struct asked *asked_take(struct asked_set *self)
{
    struct list *node = list_pop_front(&self->spare);
    struct asked *asked = NULL;
    if (node != NULL) {
        uint32_t *remote_counts = NULL;
        self->spare_count--;
        asked = LIST_ENTRY(node, struct asked, of_session);
        remote_counts = asked->remote_counts;
        *asked = (struct asked){.remote_counts = remote_counts};
    } else {
        asked = MEM_NEW(struct asked);
    }
    asked->set = self;
    list_init(&asked->of_session);
    list_init(&asked->given);
    sm_init(&asked->sm, "request", asked_states, ASKED_UNSENT);
    wheel_timer_init(&asked->timer, asked_late, asked);
    return asked;
}

struct asked *asked_open(struct asked_set *self, struct session *session,
                         const struct frame_view *view, const struct es_request *request)
{
    struct frontd *frontd = self->frontd;
    uint64_t timeout_ms =
        request->timeout_ms != 0 ? request->timeout_ms : (uint64_t) ASKED_TIMEOUT_DEFAULT_MS;
    if (hash64_count(self->by_number) >= frontd->settings->open_requests_max) {
        return NULL;
    }
    struct asked *asked = asked_take(self);
    asked->session = session;
    asked->number = ++self->last_number;
    asked->secret = asked_secret(self);
    asked->corr = view->corr;
    asked->channel = view->channel;
    asked->max_replies = request->max_replies != 0 ? request->max_replies : 1;
    asked->due_ms = loop_now_ms(frontd->loop) + timeout_ms;
    loop_timer_start(frontd->loop, &asked->timer, timeout_ms);
    (void) hash64_put(self->by_number, asked->number, asked); /* was absent */
    session_corr_open(session, asked->corr);
    /* for asked_cancel; to others only its presence counts */
    (void) hash64_put(session->by_corr, asked->corr, asked);
    list_push_back(&session->unsent, &asked->of_session);
    session->request_count++;
    self->counts.total++;
    return asked;
}

struct asked *asked_first_unsent(const struct session *session)
{
    return list_is_empty(&session->unsent)
               ? NULL
               : LIST_ENTRY(session->unsent.next, struct asked, of_session);
}

void asked_forget(struct asked *self)
{
    if (self->sm.state != ASKED_ENDED) {
        self->set->counts.total--; /* as if it had never come */
        asked_unlink(self);
    }
    asked_give(self);
}

void asked_cancel(struct session *session, uint64_t corr)
{
    void *open = corr != 0 && session->by_corr != NULL ? hash64_get(session->by_corr, corr) : NULL;
    if (open != NULL && open != session) { /* the session itself stands for all else that is open */
        asked_end((struct asked *) open, ERR_RS_CANCELLED, NULL);
    }
}

static void asked_drop_all(struct list *all)
{
    while (!list_is_empty(all)) {
        struct asked *asked = LIST_ENTRY(all->next, struct asked, of_session);
        if (asked->sm.state != ASKED_ENDED) {
            asked_unlink(asked);
        }
        asked_give(asked);
    }
}

void asked_session_closed(struct session *session)
{
    asked_drop_all(&session->unsent);
    asked_drop_all(&session->asked);
}

void asked_session_drained(struct session *session)
{
    static const char detail[] = "this node drains";
    LIST_FOREACH (&session->unsent, node) {
        struct asked *asked = LIST_ENTRY(node, struct asked, of_session);
        if (asked->sm.state != ASKED_ENDED) {
            asked_end(asked, ERR_RS_CANCELLED, detail); /* stays in the list */
        }
    }
    while (!list_is_empty(&session->asked)) {
        asked_end(LIST_ENTRY(session->asked.next, struct asked, of_session), ERR_RS_CANCELLED,
                  detail);
    }
}

/* --- names --- */

static void name_key(struct buf *out, struct span namespace_, struct span name)
{
    buf_append(out, namespace_);
    buf_append_byte(out, 0);
    buf_append(out, name);
}

static void claim_done(void *ud, int result)
{
    struct asked *self = ud;
    if (result != 0) {
        asked_end(self, result, result == ERR_NO_QUORUM ? "no routerd answers" : NULL);
        return;
    }
    self->is_claimed = true;
    inlets_progress(self->set->frontd->inlets);
}

static void claim_lost(void *ud)
{
    asked_end((struct asked *) ud, ERR_RS_IN_USE, "another request has the same name");
}

bool asked_claim(struct asked *self, struct span name)
{
    struct asked_set *set = self->set;
    struct span namespace_ = self->session->namespace_;
    struct buf key = {0};
    if (self->claim != NULL) {
        return self->is_claimed;
    }
    name_key(&key, namespace_, name);
    if (hash_get(set->by_name, buf_span(&key)) != NULL) {
        buf_release(&key);
        asked_end(self, ERR_RS_IN_USE, NULL);
        return false;
    }
    self->name = key;
    (void) hash_put(set->by_name, buf_span(&self->name), self); /* was absent */
    /* What is claimed lives as long as the claim. */
    struct span kept = span_make(self->name.data + namespace_.size + 1, name.size);
    self->claim = routers_claim(set->frontd->routers, span_make(self->name.data, namespace_.size),
                                kept, self->number, claim_done, claim_lost, self);
    return false;
}

struct asked *asked_find_named(const struct asked_set *self, struct span namespace_,
                               struct span name)
{
    struct buf key = {0};
    name_key(&key, namespace_, name);
    struct asked *asked = hash_get(self->by_name, buf_span(&key));
    buf_release(&key);
    return asked != NULL && asked->is_claimed && asked->sm.state == ASKED_SENT ? asked : NULL;
}

/* --- receivers --- */

static void asked_end_if_alone(struct asked *self)
{
    if (!self->is_sending && self->local_left + self->remote_left == 0) {
        asked_end(self, self->is_any_lost ? ERR_RESPONDER_LOST : ERR_NO_RESPONDERS, NULL);
    }
}

void asked_sending(struct asked *self)
{
    sm_move(&self->sm, ASKED_SENT);
    list_remove(&self->of_session);
    list_push_back(&self->session->asked, &self->of_session);
    self->is_sending = true;
}

void asked_sent(struct asked *self, uint32_t receivers)
{
    uint64_t elsewhere_or_over = self->remote_left + self->early;
    self->is_sending = false;
    self->local_left = receivers > elsewhere_or_over ? receivers - elsewhere_or_over : 0;
    asked_end_if_alone(self);
}

void asked_forwarded(struct asked *self, unsigned neighbour, uint32_t receivers)
{
    if (neighbour >= PRESENCE_INSTANCES_MAX) {
        return;
    }
    uint64_t bit = UINT64_C(1) << neighbour;
    if (self->remote_counts == NULL) {
        self->remote_counts = MEM_NEW_ARRAY(PRESENCE_INSTANCES_MAX, uint32_t);
    }
    if ((self->remote_mask & bit) == 0) {
        self->remote_mask |= bit;
        self->remote_counts[neighbour] = 0;
    }
    self->remote_counts[neighbour] += receivers;
    self->remote_left += receivers;
}

/* Of this many of that frontd, those that are left to go. */
static uint32_t asked_take_remote(struct asked *self, unsigned neighbour, uint32_t count)
{
    if (neighbour >= PRESENCE_INSTANCES_MAX || (self->remote_mask >> neighbour & 1) == 0) {
        return 0;
    }
    uint32_t left = self->remote_counts[neighbour];
    uint32_t taken = count < left ? count : left;
    self->remote_counts[neighbour] -= taken;
    self->remote_left -= taken;
    return taken;
}

void asked_receivers_gone(struct asked *self, unsigned neighbour, uint32_t count,
                          bool is_undelivered)
{
    uint64_t taken = 0;
    if (neighbour != ROUTE_LOCAL) {
        taken = asked_take_remote(self, neighbour, count);
    } else if (self->is_sending) {
        self->early += count; /* how many there are is not known yet */
    } else {
        taken = count < self->local_left ? count : self->local_left;
        self->local_left -= taken;
    }
    if (taken != 0) {
        self->is_any_lost = self->is_any_lost || !is_undelivered;
        asked_end_if_alone(self);
    }
}

void asked_neighbour_lost(struct asked_set *self, unsigned neighbour)
{
    size_t cursor = 0;
    struct asked *asked = NULL;
    while ((asked = hash64_next(self->by_number, &cursor)) != NULL) {
        /* The current one may be removed. */
        asked_receivers_gone(asked, neighbour, UINT32_MAX, false);
    }
}

/* --- replies --- */

struct asked *asked_find(const struct asked_set *self, uint64_t number)
{
    struct asked *asked = hash64_get(self->by_number, number);
    return asked != NULL && asked->sm.state == ASKED_SENT ? asked : NULL;
}

int asked_reply(struct asked *self, const struct slice *message, bool *ret_is_more_wanted)
{
    struct frontd *frontd = self->set->frontd;
    struct session *session = self->session;
    struct buf *head = &self->set->scratch;
    if (conn_outbound_bytes(session->conn) + message->bytes.size >
        frontd->settings->outbound_bytes_max) {
        asked_end(self, ERR_OVERLOADED, "replies are not read fast enough");
        return ERR_RS_CLOSED;
    }
    bool is_last = ++self->replies == self->max_replies;
    result_head(head, 0, !is_last, self->replies, NULL);
    if (message->bytes.size == 0) {
        pb_append_bytes(head, RESULT_MESSAGE, message->bytes);
    }
    result_send(session, self->channel, self->corr, head, message);
    buf_reset(head);
    if (is_last) {
        asked_ended(self, 0);
    }
    *ret_is_more_wanted = !is_last;
    return 0;
}
