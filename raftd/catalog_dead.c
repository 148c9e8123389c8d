/* catalog_dead: the stream that a group's dead letters go to. It is made along with the group when there is none; a chain of them is refused. As all of the
 * catalogue it must decide the same in every replay: so it is asked only for commands that bring the id for such a stream. */
#include "raftd/catalog_private.h"

#include "common/base/err.h"

#define DEAD_WINDOW_MS UINT64_C(2592000000) /* 30 days: a move is repeated without a second copy */

static struct span dlq_name(const struct spec *spec)
{
    unsigned count;
    const char *name = spec->texts[spec_fields(SPEC_GROUP, &count)[SPEC_GROUP_DLQ_STREAM].slot];
    return name != NULL ? span_of(name) : (struct span){0};
}

/* Does a living group elsewhere send its dead letters to a stream of that name? */
static bool is_dead_letter_stream(const struct catalog *self, struct span name)
{
    const struct catalog_group *group;
    for (size_t cursor = 0; (group = catalog_next_group(self, &cursor)) != NULL;) {
        if (group->stream->deleted_us == 0 && span_equal(dlq_name(&group->spec), name)) {
            return true;
        }
    }
    return false;
}

/* Does a group of this stream have dead letters itself? */
static bool has_dead_letters(const struct catalog_stream *stream)
{
    LIST_FOREACH (&stream->groups, node) {
        const struct catalog_group *group = LIST_ENTRY(node, struct catalog_group, link);
        if (dlq_name(&group->spec).size > 0) {
            return true;
        }
    }
    return false;
}

/* NULL, or why dead letters of this stream cannot go there. */
static const char *dead_problem(const struct catalog *self, const struct ensure_request *request,
                                const struct catalog_stream *target, struct span name)
{
    if (span_equal(name, request->name)) {
        return "dlq.stream: the dead letters of a stream cannot go into itself";
    }
    if (is_dead_letter_stream(self, request->name)) {
        return "dlq.stream: this stream holds dead letters: its own groups have none";
    }
    if (target != NULL && has_dead_letters(target)) {
        return "dlq.stream: that stream's own groups have dead letters: it cannot hold any";
    }
    if (target != NULL && target->spec.numbers[SPEC_STREAM_DEDUP_MODE] == 0) {
        return "dlq.stream: that stream has no deduplication: name another one, or one that does "
               "not exist yet";
    }
    return NULL;
}

void catalog_dead_decide(const struct catalog *self, const struct ensure_request *request,
                         struct ensure_decision *decision)
{
    /* A CHECK says that the group is not there; it is to say, too, that it cannot be made. */
    bool would_create = request->mode == ENSURE_MODE_CHECK && decision->error == ERR_NOT_FOUND;
    if (request->kind != SPEC_GROUP || (decision->error != 0 && !would_create)) {
        return;
    }
    bool acts = decision->action != ENSURE_DO_NOTHING;
    struct span name = dlq_name(acts ? &decision->effective : &request->wanted);
    bool is_asked = acts || would_create || decision->result == ENSURE_CREATED ||
                    decision->result == ENSURE_UPDATED;
    if (!is_asked || name.size == 0) {
        return;
    }
    const struct catalog_stream *target = catalog_stream_of(self, request->namespace_, name);
    const char *problem = dead_problem(self, request, target, name);
    int error = problem != NULL ? ERR_BAD_CONFIG : 0;
    if (error == 0 && target == NULL &&
        hash64_count(self->streams_by_group) >= CATALOG_STREAMS_MAX) {
        error = ERR_QUOTA;
        problem = "100,000 streams exist, with the deleted ones: none for the dead letters";
    }
    if (error != 0) {
        ensure_decision_release(decision);
        ensure_decide_error(error, problem, decision);
    }
}

void catalog_dead_create(struct catalog *self, const struct ensure_request *request,
                         uint64_t now_us, const struct uuid *fresh_id,
                         const struct ensure_decision *decision)
{
    if (request->kind != SPEC_GROUP || decision->action == ENSURE_DO_NOTHING) {
        return;
    }
    struct span name = dlq_name(&decision->effective);
    if (name.size == 0 || catalog_stream_of(self, request->namespace_, name) != NULL) {
        return;
    }
    struct catalog_stream *stream = catalog_stream_new(request->namespace_, name);
    stream->id = *fresh_id;
    stream->log_group = self->next_log_group++;
    stream->version = 1;
    stream->created_us = now_us;
    spec_init(&stream->spec, SPEC_STREAM);
    spec_set(&stream->spec, SPEC_STREAM_DEDUP_MODE, RAILGUN__DEDUP_SPEC__MODE__DEDUP_OPTIONAL);
    spec_set(&stream->spec, SPEC_STREAM_DEDUP_WINDOW, DEAD_WINDOW_MS);
    spec_set(&stream->spec, SPEC_STREAM_DEDUP_SHRINK, 1);
    spec_fill(&stream->spec);
    catalog_add_stream(self, stream);
    catalog_tell(self, &(struct catalog_change){.kind = CATALOG_STREAM_PUT, .stream = stream});
}
