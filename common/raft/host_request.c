/* host_request: what was asked of a replica and is not answered yet. Owns the requests and the payloads of writes. Each is answered exactly once. */
#include "common/raft/host_private.h"

#include <string.h>

#include "common/base/err.h"
#include "common/base/mem.h"

static struct request *request_of(struct list *node)
{
    return LIST_ENTRY(node, struct request, node);
}

static struct request *request_new(struct raft_host *self, struct list *list,
                                   enum request_kind kind, raft_host_done *done, void *ud)
{
    struct request *request = MEM_NEW(struct request);
    request->kind = kind;
    request->done = done;
    request->ud = ud;
    list_init(&request->node);
    list_push_back(list, &request->node);
    self->request_count++;
    return request;
}

static void request_end(struct raft_host *self, struct request *request, int error,
                        raft_index index, const struct slice *response)
{
    struct raft_host_outcome outcome;
    memset(&outcome, 0, sizeof(outcome));
    outcome.error = error;
    outcome.index = index;
    outcome.leader = raft_leader(self->raft);
    if (response != NULL) {
        outcome.response = *response;
    }
    if (error == ERR_NOT_LEADER) {
        outcome.payload = request->payload;
    }
    list_remove(&request->node);
    self->request_count--;
    request->done(request->ud, &outcome);
    slice_release(&request->payload);
    mem_free(request);
}

void raft_host_requests_fail(struct raft_host *self, int error)
{
    while (!list_is_empty(&self->writes)) {
        request_end(self, request_of(self->writes.next), error, 0, NULL);
    }
    while (!list_is_empty(&self->others)) {
        request_end(self, request_of(self->others.next), error, 0, NULL);
    }
}

/* The core counts on it from now on: without memory for it this replica stops. */
static int request_put(struct raft_host *self, raft_index index, const struct raft_entry *entry,
                       const struct slice *payload)
{
    int error = raft_storage_put(self->storage, index, entry, 1, payload);
    if (error != 0) {
        raft_host_fail(self, error);
    }
    return error;
}

/* --- first members --- */

int raft_host_initialize(struct raft_host *self, const struct raft_members *members)
{
    struct raft_members all = *members;
    struct raft_status status;
    raft_status_read(self->raft, &status);
    if (raft_members_find(&all, status.id) == NULL &&
        raft_members_put(&all, status.id, RAFT_VOTER, 1) != 0) {
        return ERR_BAD_CONFIG;
    }
    int error = raft_bootstrap(self->raft, &all);
    if (error != 0) {
        return error;
    }
    struct raft_entry entry = {.term = 1, .type = RAFT_ENTRY_CONFIG, .members = &all};
    return request_put(self, 1, &entry, NULL);
}

/* --- writes --- */

int raft_host_write(struct raft_host *self, const struct slice *payload, raft_host_done *done,
                    void *ud)
{
    struct raft_entry entry = {.bytes = (uint32_t) payload->bytes.size};
    raft_index index = 0;
    if (self->request_count >= self->options.requests_max) {
        return ERR_OVERLOADED;
    }
    int error = raft_propose(self->raft, &entry, 1, &index);
    if (error != 0) {
        return error;
    }
    error = request_put(self, index, &entry, payload);
    if (error != 0) {
        return error;
    }
    struct request *request = request_new(self, &self->writes, REQUEST_WRITE, done, ud);
    request->index = index;
    request->term = entry.term;
    request->payload = slice_ref(payload);
    return 0;
}

void raft_host_requests_applied(struct raft_host *self, raft_index index, raft_term term,
                                int result, const struct slice *response)
{
    while (!list_is_empty(&self->writes)) {
        struct request *request = request_of(self->writes.next);
        if (request->index > index) {
            return;
        }
        /* Another leader's entry has taken its place: it never will be. */
        bool is_ours = request->index == index && request->term == term;
        request_end(self, request, is_ours ? result : ERR_NOT_LEADER, index,
                    is_ours ? response : NULL);
    }
}

/* --- reads: one in the core stands for all that were asked before it --- */

/* Was one begun? */
static bool reads_start(struct raft_host *self, raft_time now)
{
    struct list *next;
    bool begun = false;
    int error = ERR_NOT_FOUND;
    for (struct list *node = self->others.next; node != &self->others; node = next) {
        struct request *request = request_of(node);
        next = node->next;
        if (request->kind != REQUEST_READ || request->token != 0) {
            continue;
        }
        if (error == ERR_NOT_FOUND) {
            error = raft_read(self->raft, now, ++self->token);
            begun = true;
        }
        if (error == 0) {
            request->token = self->token;
        } else if (error != ERR_AGAIN) {
            request_end(self, request, error, 0, NULL);
        }
    }
    return begun && error == 0;
}

int raft_host_read(struct raft_host *self, raft_time now, bool any, raft_host_done *done, void *ud)
{
    self->now = now > self->now ? now : self->now;
    if (self->failed != 0) {
        return ERR_POISONED;
    }
    if (self->request_count >= self->options.requests_max) {
        return ERR_OVERLOADED;
    }
    if (raft_state_of(self->raft) != RAFT_LEADER &&
        (!any || raft_id_is_none(raft_leader(self->raft)))) {
        return ERR_NOT_LEADER;
    }
    (void) request_new(self, &self->others, REQUEST_READ, done, ud); /* begins with the turn */
    return 0;
}

void raft_host_requests_read(struct raft_host *self, uint64_t token, raft_index index, int error)
{
    struct list *next;
    for (struct list *node = self->others.next; node != &self->others; node = next) {
        next = node->next;
        if (request_of(node)->token == token) {
            request_end(self, request_of(node), error, index, NULL);
        }
    }
}

/* --- members --- */

static bool change_is_under_way(const struct raft_host *self)
{
    for (struct list *node = self->others.next; node != &self->others; node = node->next) {
        if (request_of(node)->kind == REQUEST_CHANGE || request_of(node)->kind == REQUEST_LEARNER) {
            return true;
        }
    }
    return false;
}

static int propose_members(struct raft_host *self, const struct raft_members *target,
                           raft_index *ret_index)
{
    struct raft_members next;
    int error = raft_propose_config(self->raft, target, ret_index, &next);
    if (error == 0) {
        struct raft_entry entry = {
            .term = raft_term_of(self->raft), .type = RAFT_ENTRY_CONFIG, .members = &next};
        error = request_put(self, *ret_index, &entry, NULL);
    }
    return error;
}

int raft_host_add_learner(struct raft_host *self, struct raft_id id, raft_host_done *done, void *ud)
{
    struct raft_members members;
    raft_index index = 0;
    if (change_is_under_way(self)) {
        return ERR_AGAIN;
    }
    raft_members_read(self->raft, &members);
    int error = raft_state_of(self->raft) != RAFT_LEADER               ? ERR_NOT_LEADER
                : raft_members_find(&members, id) != NULL              ? ERR_ALREADY
                : raft_members_put(&members, id, RAFT_LEARNER, 1) != 0 ? ERR_BAD_CONFIG
                                                                       : 0;
    if (error == 0) {
        error = propose_members(self, &members, &index);
    }
    if (error == 0) {
        struct request *request = request_new(self, &self->others, REQUEST_LEARNER, done, ud);
        request->learner = id;
        request->index = index;
    }
    return error;
}

int raft_host_change(struct raft_host *self, const struct raft_members *target,
                     raft_host_done *done, void *ud)
{
    struct raft_members members;
    if (raft_state_of(self->raft) != RAFT_LEADER) {
        return self->failed != 0 ? ERR_POISONED : ERR_NOT_LEADER;
    }
    if (change_is_under_way(self)) {
        return ERR_AGAIN;
    }
    if (raft_members_check(target) != 0 || target->count > self->options.config.members_max) {
        return ERR_BAD_CONFIG;
    }
    raft_members_read(self->raft, &members);
    struct raft_members wanted = *target;
    raft_members_keep_addresses(&wanted, &members);
    if (raft_members_equal(&members, &wanted)) {
        return ERR_ALREADY;
    }
    struct request *request = request_new(self, &self->others, REQUEST_CHANGE, done, ud);
    request->target = wanted;
    return 0;
}

/* Has this member so much of the log that it could vote? */
static bool is_near(const struct raft_host *self, struct raft_id id, raft_index last)
{
    struct raft_progress progress;
    for (unsigned i = 0; raft_progress_read(self->raft, i, &progress); i++) {
        if (raft_id_equal(progress.member.id, id)) {
            return progress.match != 0 &&
                   progress.match + self->options.config.catchup_entries_max >= last;
        }
    }
    return false;
}

/* Those of the target who are no members yet become learners. Did this need a change? */
static int add_strangers(struct raft_host *self, const struct request *request,
                         const struct raft_members *members, bool *ret_needed)
{
    struct raft_members with = *members;
    raft_index index = 0;
    for (uint32_t i = 0; i < request->target.count; i++) {
        struct raft_id id = request->target.member[i].id;
        if (raft_members_find(members, id) == NULL &&
            raft_members_put(&with, id, RAFT_LEARNER, request->target.member[i].priority) != 0) {
            return ERR_BAD_CONFIG;
        }
    }
    raft_members_keep_addresses(&with, &request->target);
    *ret_needed = with.count != members->count;
    return *ret_needed ? propose_members(self, &with, &index) : 0;
}

/* One step of a change. True: something was done. */
static bool change_go_on(struct raft_host *self, struct request *request)
{
    struct raft_members members;
    struct raft_status status;
    bool needed = false;
    raft_members_read(self->raft, &members);
    raft_status_read(self->raft, &status);
    if (status.commit < status.members_index || status.joint) {
        return false;
    }
    if (raft_members_equal(&members, &request->target)) {
        request_end(self, request, 0, status.members_index, NULL);
        return true;
    }
    int error = request->index != 0 ? ERR_NOT_LEADER /* another one came between */
                                    : add_strangers(self, request, &members, &needed);
    for (uint32_t i = 0; error == 0 && !needed && i < request->target.count; i++) {
        bool votes = (request->target.member[i].set & RAFT_VOTER) != 0;
        if (votes && !is_near(self, request->target.member[i].id, status.last)) {
            return false;
        }
    }
    if (error == 0 && !needed) {
        error = propose_members(self, &request->target, &request->index);
    }
    if (error == ERR_AGAIN || error == ERR_THROTTLED) {
        return false;
    }
    if (error != 0) {
        request_end(self, request, error, 0, NULL);
    }
    return true;
}

bool raft_host_requests_turn(struct raft_host *self)
{
    bool leads = raft_state_of(self->raft) == RAFT_LEADER;
    bool moved = false;
    struct list *next;
    while (!list_is_empty(&self->writes) && request_of(self->writes.next)->index <= self->applied) {
        /* A snapshot has covered it: whether it was in there, nobody knows. */
        request_end(self, request_of(self->writes.next), ERR_TIMEOUT, 0, NULL);
    }
    moved |= reads_start(self, self->now);
    for (struct list *node = self->others.next; node != &self->others; node = next) {
        struct request *request = request_of(node);
        struct raft_status status;
        next = node->next;
        if (request->kind == REQUEST_READ) {
            continue;
        }
        if (!leads) {
            request_end(self, request, ERR_NOT_LEADER, 0, NULL);
        } else if (request->kind == REQUEST_CHANGE) {
            moved |= change_go_on(self, request);
        } else {
            raft_status_read(self->raft, &status);
            if (status.commit >= request->index && is_near(self, request->learner, status.last)) {
                request_end(self, request, 0, request->index, NULL);
            }
        }
    }
    return moved;
}
