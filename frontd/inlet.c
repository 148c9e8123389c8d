/* inlet: see the header. Owns the frames that wait. Must never let a later frame of a session overtake an earlier one, nor call a step inside another. */
#include "frontd/inlet.h"

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"

enum {
    STEPS_PER_TURN = 64,   /* of one session, of those that waited */
    COPY_BELOW = 64 << 10, /* a smaller frame would keep a read buffer several times its size */
    ENTRY_OVERHEAD = 128,
    LATE_LOOK_MS = 100,
};

struct inlet_entry {
    struct list of_inlet;
    const struct inlet_kind *kind;
    struct frame_view view; /* its body lies in `bytes` */
    struct slice bytes;
    struct inlet_memo memo;
    uint64_t since_ms;
};

struct inlet {
    struct session *session;
    struct list entries;
    struct list of_waiting; /* has entries */
    struct list of_blocked; /* the connection was told ERR_AGAIN */
    uint64_t bytes;
    uint64_t charged; /* bytes of output caused in turn `turn` */
    uint64_t turn;
};

struct inlets {
    struct frontd *frontd;
    struct list waiting;
    struct list blocked;
    uint64_t bytes;
    uint64_t turn;
    struct inlet_memo *memo; /* of the frame whose step is running */
    bool is_stepping;
    struct wheel_timer run_timer;
    struct wheel_timer late_timer;
};

static void inlets_run_fire(struct wheel_timer *timer, void *ud);
static void inlets_late_fire(struct wheel_timer *timer, void *ud);

static void inlets_turn_end(void *ud)
{
    struct inlets *self = ud;
    self->turn++;
}

struct inlets *inlets_new(struct frontd *frontd)
{
    struct inlets *self = MEM_NEW(struct inlets);
    self->frontd = frontd;
    self->turn = 1;
    list_init(&self->waiting);
    list_init(&self->blocked);
    wheel_timer_init(&self->run_timer, inlets_run_fire, self);
    wheel_timer_init(&self->late_timer, inlets_late_fire, self);
    loop_on_turn_end(frontd->loop, inlets_turn_end, self);
    return self;
}

void inlets_destroy(struct inlets **self)
{
    struct inlets *inlets = *self;
    *self = NULL;
    if (inlets == NULL) {
        return;
    }
    INVARIANT(list_is_empty(&inlets->waiting)); /* they went with their sessions */
    wheel_cancel(loop_wheel(inlets->frontd->loop), &inlets->run_timer);
    wheel_cancel(loop_wheel(inlets->frontd->loop), &inlets->late_timer);
    mem_free(inlets);
}

uint64_t inlets_waiting_bytes(const struct inlets *self)
{
    return self->bytes;
}

struct inlet_memo *inlet_memo(struct frontd *frontd)
{
    return frontd->inlets->memo;
}

/* --- when --- */

void inlets_progress(void *inlets)
{
    struct inlets *self = inlets;
    if (!wheel_timer_is_running(&self->run_timer) &&
        (!list_is_empty(&self->waiting) || !list_is_empty(&self->blocked))) {
        loop_timer_start(self->frontd->loop, &self->run_timer, 0);
    }
}

static struct inlet *session_inlet(struct session *session)
{
    struct inlet *self = session->inlet;
    if (self == NULL) {
        self = MEM_NEW(struct inlet);
        self->session = session;
        list_init(&self->entries);
        list_init(&self->of_waiting);
        list_init(&self->of_blocked);
        session->inlet = self;
    }
    return self;
}

void inlet_charge(struct session *session, uint64_t bytes)
{
    struct inlet *self = session_inlet(session);
    uint64_t turn = session->frontd->inlets->turn;
    self->charged = self->turn == turn ? self->charged + bytes : bytes;
    self->turn = turn;
}

static bool inlet_is_spent(const struct inlet *self, const struct inlets *inlets)
{
    return self->turn == inlets->turn && self->charged >= inlets->frontd->settings->es_turn_bytes;
}

/* The connection shows its frame again in a later turn. */
static int inlet_block(struct inlet *self, struct inlets *inlets)
{
    if (!list_is_linked(&self->of_blocked)) {
        list_push_back(&inlets->blocked, &self->of_blocked);
    }
    return ERR_AGAIN;
}

/* --- in --- */

static int inlet_step(struct inlets *self, struct session *session, const struct inlet_kind *kind,
                      const struct frame_view *view, struct payload *owner, struct inlet_memo *memo)
{
    INVARIANT(!self->is_stepping);
    self->is_stepping = true;
    self->memo = memo;
    int result = kind->step(session, view, owner);
    self->memo = NULL;
    self->is_stepping = false;
    return result;
}

static bool inlet_keep(struct inlet *self, struct inlets *inlets, const struct frame_view *view,
                       struct payload *owner, const struct inlet_kind *kind,
                       const struct inlet_memo *memo)
{
    struct inlet_entry *entry = (struct inlet_entry *) mem_try_new(sizeof(*entry));
    struct payload *copy = NULL;
    if (entry == NULL) {
        return false;
    }
    *entry = (struct inlet_entry){.kind = kind, .view = *view, .memo = *memo};
    if (view->body.size < COPY_BELOW && view->body.size < payload_size(owner) / 2) {
        copy = payload_copy(view->body);
        if (copy == NULL) {
            mem_free(entry);
            return false;
        }
        entry->bytes = (struct slice){copy, payload_span(copy)};
        entry->view.body = entry->bytes.bytes;
    } else {
        entry->bytes = slice_make(owner, view->body);
    }
    entry->since_ms = loop_now_ms(inlets->frontd->loop);
    list_init(&entry->of_inlet);
    list_push_back(&self->entries, &entry->of_inlet);
    self->bytes += view->body.size + ENTRY_OVERHEAD;
    inlets->bytes += view->body.size + ENTRY_OVERHEAD;
    if (!list_is_linked(&self->of_waiting)) {
        list_push_back(&inlets->waiting, &self->of_waiting);
        conn_hold_end(self->session->conn, true); /* who publishes and leaves is heard out */
    }
    if (!wheel_timer_is_running(&inlets->late_timer)) {
        loop_timer_start(inlets->frontd->loop, &inlets->late_timer, LATE_LOOK_MS);
    }
    return true;
}

int inlet_take(struct session *session, const struct frame_view *view, struct payload *owner,
               const struct inlet_kind *kind)
{
    struct inlets *inlets = session->frontd->inlets;
    const struct settings *settings = session->frontd->settings;
    struct inlet *self = session_inlet(session);
    struct inlet_memo memo = {0};
    uint64_t cost = view->body.size + ENTRY_OVERHEAD;
    if (inlet_is_spent(self, inlets)) {
        (void) inlet_block(self, inlets);
        inlets_progress(inlets);
        return ERR_AGAIN;
    }
    if (list_is_empty(&self->entries)) {
        int result = inlet_step(inlets, session, kind, view, owner, &memo);
        if (result != ERR_AGAIN) {
            return result;
        }
    } else if (self->bytes + cost > settings->es_waiting_bytes_max) {
        return inlet_block(self, inlets);
    }
    if (inlets->bytes + cost > settings->es_waiting_total_bytes_max ||
        !inlet_keep(self, inlets, view, owner, kind, &memo)) {
        return inlet_block(self, inlets);
    }
    return 0;
}

/* --- out --- */

static void inlet_pop(struct inlet *self, struct inlets *inlets)
{
    struct inlet_entry *entry = LIST_ENTRY(self->entries.next, struct inlet_entry, of_inlet);
    uint64_t cost = entry->view.body.size + ENTRY_OVERHEAD;
    self->bytes -= cost;
    inlets->bytes -= cost;
    list_remove(&entry->of_inlet);
    slice_release(&entry->bytes);
    mem_free(entry);
    if (list_is_empty(&self->entries)) {
        list_remove(&self->of_waiting);
        conn_hold_end(self->session->conn, false);
    }
}

/* Try what waits. true: it stopped although more may go, in the next turn. */
static bool inlet_run(struct inlet *self, struct inlets *inlets)
{
    for (unsigned steps = 0; !list_is_empty(&self->entries); steps++) {
        struct inlet_entry *entry = LIST_ENTRY(self->entries.next, struct inlet_entry, of_inlet);
        if (conn_state(self->session->conn) >= CONN_CLOSING) {
            return false; /* what it sent and was not done is lost */
        }
        if (steps == STEPS_PER_TURN || inlet_is_spent(self, inlets)) {
            return true;
        }
        int result = inlet_step(inlets, self->session, entry->kind, &entry->view,
                                entry->bytes.owner, &entry->memo);
        if (result == ERR_AGAIN) {
            return false;
        }
        inlet_pop(self, inlets);
        if (result != 0) {
            conn_fail(self->session->conn, result, "malformed frame");
            return false;
        }
    }
    return false;
}

/* Connections whose frame may be taken now. */
static void inlets_unblock(struct inlets *self)
{
    const struct settings *settings = self->frontd->settings;
    bool has_room = self->bytes < settings->es_waiting_total_bytes_max / 2;
    LIST_FOREACH (&self->blocked, node) {
        struct inlet *inlet = LIST_ENTRY(node, struct inlet, of_blocked);
        bool is_behind = inlet->bytes >= settings->es_waiting_bytes_max / 2;
        if (!is_behind && (has_room || inlet->bytes == 0)) {
            list_remove(node);
            conn_retry(inlet->session->conn);
        }
    }
}

static void inlets_run_fire(struct wheel_timer *timer, void *ud)
{
    struct inlets *self = ud;
    struct list due;
    bool is_more = false;
    (void) timer;
    list_take_all(&due, &self->waiting);
    struct list *node = NULL;
    while ((node = list_pop_front(&due)) != NULL) {
        struct inlet *inlet = LIST_ENTRY(node, struct inlet, of_waiting);
        is_more = inlet_run(inlet, self) || is_more;
        if (!list_is_empty(&inlet->entries)) {
            list_push_back(&self->waiting, node);
        }
    }
    inlets_unblock(self);
    if (is_more) {
        inlets_progress(self);
    }
}

static void inlets_late_fire(struct wheel_timer *timer, void *ud)
{
    struct inlets *self = ud;
    uint64_t now_ms = loop_now_ms(self->frontd->loop);
    bool is_progress = false;
    LIST_FOREACH (&self->waiting, node) {
        struct inlet *inlet = LIST_ENTRY(node, struct inlet, of_waiting);
        while (!list_is_empty(&inlet->entries)) {
            struct inlet_entry *entry =
                LIST_ENTRY(inlet->entries.next, struct inlet_entry, of_inlet);
            if (now_ms < entry->since_ms + self->frontd->settings->request_timeout_ms) {
                break;
            }
            self->memo = &entry->memo;
            entry->kind->late(inlet->session, &entry->view);
            self->memo = NULL;
            inlet_pop(inlet, self);
            is_progress = true;
        }
    }
    if (is_progress) {
        inlets_progress(self);
    }
    if (!list_is_empty(&self->waiting)) {
        loop_timer_start(self->frontd->loop, timer, LATE_LOOK_MS);
    }
}

void inlet_close(struct session *session)
{
    struct inlets *inlets = session->frontd->inlets;
    struct inlet *self = session->inlet;
    if (self == NULL) {
        return;
    }
    while (!list_is_empty(&self->entries)) {
        struct inlet_entry *entry = LIST_ENTRY(self->entries.next, struct inlet_entry, of_inlet);
        inlets->memo = &entry->memo;
        entry->kind->late(session, &entry->view);
        inlets->memo = NULL;
        inlet_pop(self, inlets);
    }
    list_remove(&self->of_waiting);
    list_remove(&self->of_blocked);
    MEM_FREE(session->inlet);
    inlets_progress(inlets);
}
