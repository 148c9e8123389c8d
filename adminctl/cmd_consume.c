/* consume: a member of a group: prints what it gets, or gives it to a command; acknowledges what was done. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/str.h"

#include "adminctl/ctl.h"
#include "adminctl/exec.h"
#include "adminctl/format.h"
#include "adminctl/options.h"
#include "adminctl/pace.h"

enum { PAUSE_STEP_MS = 50, PAUSE_MAX_MS = 1000 };

static volatile sig_atomic_t stop_asked;

static void on_stop(int signal_number)
{
    (void) signal_number;
    stop_asked = 1;
}

struct consuming {
    struct ctl *ctl;
    struct rg_consumer *consumer;
    const char *format;
    const char *command; /* NULL: print */
    uint64_t nack_every;
    bool rejects_all;
    struct rg_nack nack;
    uint64_t received;
    uint64_t acked;
    uint64_t nacked;
    uint64_t redelivered;
    struct buf out;
    /* printed, not yet flushed to standard output: [first, last]; 0: none */
    uint64_t unacked_first;
    uint64_t unacked_last;
    uint64_t failures;       /* of the command, one after the other */
    bool is_pipe_closed;     /* who reads our output has enough */
    _Atomic int closed_code; /* why the server ended it; set by the library's thread */
};

static void on_event(void *ud, struct rg_consumer *consumer, const struct rg_event *event)
{
    static const char *const names[] = {
        [RG_EVENT_UP] = "attached again",
        [RG_EVENT_DOWN] = "connection lost; reconnecting",
        [RG_EVENT_GAP] = "GAP: offsets are gone",
        [RG_EVENT_CORRUPT] = "CORRUPT: offsets are damaged and skipped",
        [RG_EVENT_FULL] = "FULL: delivery stopped, too many unacknowledged holes",
        [RG_EVENT_ACTIVE] = "ACTIVE: this consumer gets the messages",
        [RG_EVENT_STANDBY] = "STANDBY: another consumer is active",
        [RG_EVENT_LOST] = "LOST: the ephemeral group was lost and is made again",
        [RG_EVENT_DEADLINE] = "DEADLINE: not acknowledged in time, taken back",
        [RG_EVENT_PAUSED] = "PAUSED: nothing is delivered until the group is resumed",
        [RG_EVENT_RESUMED] = "RESUMED",
        [RG_EVENT_SEEK] = "SEEK: the position of the group was set anew",
    };
    struct consuming *self = ud;
    (void) consumer;
    if (event->type == RG_EVENT_CLOSED) {
        atomic_store(&self->closed_code, event->code); /* said at the end, once */
    }
    if (event->type == RG_EVENT_UP || (size_t) event->type >= sizeof(names) / sizeof(names[0]) ||
        names[event->type] == NULL) {
        return;
    }
    (void) fprintf(stderr, "adminctl: %s", names[event->type]);
    if (event->first != 0) {
        (void) fprintf(stderr, " [%llu, %llu]", (unsigned long long) event->first,
                       (unsigned long long) event->last);
    }
    if (event->epoch != 0) {
        (void) fprintf(stderr, " (epoch %llu)", (unsigned long long) event->epoch);
    }
    if (event->code != 0) {
        (void) fprintf(stderr, ": %s", rg_error_name(event->code));
    }
    (void) fprintf(stderr, "%s%s\n", event->detail != NULL && event->detail[0] != 0 ? ": " : "",
                   event->detail != NULL ? event->detail : "");
}

/* Only what has left this process is acknowledged. */
static int flush(struct consuming *self)
{
    if (self->out.size > 0 &&
        (fwrite(self->out.data, 1, self->out.size, stdout) != self->out.size ||
         fflush(stdout) != 0)) {
        self->is_pipe_closed = errno == EPIPE;
        return RG_ERR_IO;
    }
    buf_reset(&self->out);
    if (self->unacked_first != 0) {
        int result = rg_ack(self->consumer, self->unacked_first, self->unacked_last);
        self->unacked_first = 0;
        return result;
    }
    return 0;
}

static int mark_done(struct consuming *self, uint64_t offset)
{
    int result = 0;
    if (self->unacked_first != 0 && offset != self->unacked_last + 1) {
        result = flush(self);
    }
    self->unacked_first = self->unacked_first == 0 ? offset : self->unacked_first;
    self->unacked_last = offset;
    self->acked++;
    return result;
}

/* true: the command exited with 0. */
static bool run_command(const struct consuming *self, const struct rg_record *record)
{
    char offset[32];
    char attempt[32];
    char epoch[32];
    (void) snprintf(offset, sizeof(offset), "%llu", (unsigned long long) record->offset);
    (void) snprintf(attempt, sizeof(attempt), "%u", record->attempt);
    (void) snprintf(epoch, sizeof(epoch), "%llu", (unsigned long long) record->epoch);
    const struct exec_variable variables[] = {
        {"RAILGUN_OFFSET", offset}, {"RAILGUN_ATTEMPT", attempt}, {"RAILGUN_EPOCH", epoch}};
    return exec_run(self->command, record->payload, variables, 3, NULL, 0);
}

static int take(struct consuming *self, const struct rg_record *record)
{
    self->received++;
    self->redelivered += record->attempt > 1;
    bool nack = self->rejects_all || (self->nack_every > 0 && record->attempt <= 1 &&
                                      record->offset % self->nack_every == 0);
    if (!nack && self->command != NULL) {
        nack = !run_command(self, record);
        self->failures = nack ? self->failures + 1 : 0;
    }
    if (nack) {
        self->nacked++;
        if (self->failures > 0 && self->nack.delay_ms == 0) {
            /* it comes again at once: a command that always fails must not spin */
            uint64_t pause_ms = self->failures * PAUSE_STEP_MS;
            (void) poll(NULL, 0, (int) (pause_ms < PAUSE_MAX_MS ? pause_ms : PAUSE_MAX_MS));
        }
        return rg_nack_with(self->consumer, record->offset, record->offset, &self->nack);
    }
    if (self->command == NULL && self->ctl->format == OUTPUT_JSON) {
        format_json(&self->out, record);
    } else if (self->command == NULL) {
        format_record(&self->out, self->format, record);
    }
    return mark_done(self, record->offset);
}

static int consume_all(struct consuming *self, uint64_t count, uint64_t idle_ms, uint64_t rate)
{
    struct pace pace;
    uint64_t last_ms = timesource_monotonic_ms(timesource_system());
    int result = 0;
    pace_start(&pace, "consumed", 0, rate);
    while (result == 0 && !stop_asked &&
           self->acked + (self->rejects_all ? self->nacked : 0) < count) {
        struct rg_record record;
        result = rg_consumer_next(self->consumer, 0, &record);
        if (result == RG_ERR_AGAIN) {
            /* nothing waits: what was done so far is shown and acknowledged now */
            result = flush(self);
            if (result == 0) {
                result = rg_consumer_next(self->consumer, 100, &record);
            }
        }
        if (result == RG_ERR_AGAIN) {
            result = 0;
            if (idle_ms > 0 && timesource_monotonic_ms(timesource_system()) - last_ms >= idle_ms) {
                break;
            }
            continue;
        }
        if (result == 0) {
            last_ms = timesource_monotonic_ms(timesource_system());
            result = take(self, &record);
            if (result == 0 &&
                (self->out.size >= 64 << 10 || (rate > 0 && self->acked % 64 == 0))) {
                result = flush(self);
            }
            pace_step(&pace, 1);
        }
    }
    int flushed = flush(self);
    (void) pace_stop(&pace);
    return result < 0 ? result : flushed;
}

/* What was not printed goes back at once; what was is acknowledged, and the server says that it has it. */
static void drain(struct consuming *self)
{
    struct rg_record record;
    int result = rg_consumer_drain(self->consumer, 0);
    while (result == 0 || result == RG_ERR_AGAIN) {
        result = rg_consumer_next(self->consumer, 100, &record);
    }
}

static int mode_parse(const char *mode, const char *order, enum rg_group_mode *ret_mode)
{
    bool is_relaxed = order != NULL && strcmp(order, "relaxed") == 0;
    if (order != NULL && !is_relaxed && strcmp(order, "strict") != 0) {
        return ctl_usage("consume: --order is strict or relaxed, not '%s'", order);
    }
    if (mode == NULL && order == NULL) {
        *ret_mode = RG_MODE_DEFAULT;
    } else if (mode != NULL && strcmp(mode, "exclusive") == 0) {
        *ret_mode = is_relaxed ? RG_MODE_EXCLUSIVE_RELAXED : RG_MODE_EXCLUSIVE;
    } else if (mode != NULL && strcmp(mode, "shared") == 0 && order == NULL) {
        *ret_mode = RG_MODE_SHARED;
    } else {
        return ctl_usage("consume: --mode is shared or exclusive; --order is for exclusive groups");
    }
    return 0;
}

/* Say what was done, and why it ended. A ctl_exit. */
static int end(struct consuming *self, int result)
{
    (void) fprintf(stderr,
                   "adminctl: received %llu, acknowledged %llu, nacked %llu, redelivered %llu\n",
                   (unsigned long long) self->received, (unsigned long long) self->acked,
                   (unsigned long long) self->nacked, (unsigned long long) self->redelivered);
    if (result == RG_ERR_IO && self->is_pipe_closed) {
        return CTL_OK;
    }
    int closed_code = atomic_load(&self->closed_code);
    if (result == RG_ERR_CLOSED && closed_code < 0) {
        return ctl_fail(self->ctl, closed_code,
                        "the server ended it: was the group or stream deleted?", "consuming ended");
    }
    return result < 0
               ? ctl_fail(self->ctl, result, rg_last_error(self->ctl->client), "consuming ended")
               : CTL_OK;
}

struct until {
    uint64_t count;
    uint64_t idle_ms;
    uint64_t rate;
};

/* Join, consume, leave. A ctl_exit. */
static int run(struct consuming *self, const char *stream, const char *group,
               const struct rg_consume_options *options, const struct until *until)
{
    struct ctl *ctl = self->ctl;
    int result = ctl_connect(ctl);
    if (result != 0) {
        return result;
    }
    result = rg_consume(ctl->client, stream, group, options, &self->consumer);
    if (result < 0) {
        return ctl_fail(ctl, result, rg_last_error(ctl->client),
                        "cannot join group '%s' of stream '%s'", group != NULL ? group : "",
                        stream);
    }
    struct sigaction action = {.sa_handler = on_stop};
    (void) sigaction(SIGINT, &action, NULL);
    (void) sigaction(SIGTERM, &action, NULL);
    result = consume_all(self, until->count, until->idle_ms, until->rate);
    if (result == 0) {
        drain(self);
    }
    rg_consumer_close(&self->consumer);
    buf_release(&self->out);
    return end(self, result);
}

/* Options that are words with a meaning. */
struct words {
    const char *from;
    const char *format;
    const char *command;
    const char *mode;
    const char *order;
    const char *nack_delay;
    const char *on_gap;
    uint64_t prefetch;
    uint64_t priority;
};

/* 0; others: explained. */
static int words_take(const struct words *words, struct rg_consume_options *options,
                      struct rg_nack *nack)
{
    if (mode_parse(words->mode, words->order, &options->mode) != 0) {
        return CTL_USAGE;
    }
    if (words->from != NULL && ctl_start_parse(words->from, &options->start) < 0) {
        return ctl_usage("consume: --from is " CTL_START_FORMS ", not '%s'", words->from);
    }
    if (ctl_gap_parse(words->on_gap, &options->on_gap) < 0) {
        return ctl_usage("consume: --on-gap is error, first or latest, not '%s'", words->on_gap);
    }
    if (words->prefetch > UINT32_MAX || words->priority > UINT32_MAX) {
        return ctl_usage("consume: --prefetch and --priority are at most 4294967295");
    }
    options->priority = (uint32_t) words->priority;
    if (format_check(words->format) != NULL) {
        return ctl_usage("consume: --format: %s", format_check(words->format));
    }
    if (strcmp(words->nack_delay, "backoff") == 0) {
        nack->delay_ms = RG_BACKOFF;
    } else if (str_to_duration_ms(span_of(words->nack_delay), &nack->delay_ms) < 0) {
        return ctl_usage("consume: --nack-delay is a time or backoff, not '%s'", words->nack_delay);
    }
    return 0;
}

static const struct command_help consume_help = {
    "adminctl consume STREAM -g GROUP [options]",
    "Join a group and print its messages (or run a command for "
    "each); acknowledges what was done. Until Ctrl-C."};

int cmd_consume(struct ctl *ctl, int argc, char **argv)
{
    const char *group = NULL;
    const char *name = NULL;
    struct words words = {.format = "%p\\n", .nack_delay = "0", .on_gap = "error"};
    uint64_t count = UINT64_MAX;
    uint64_t idle_ms = 0;
    uint64_t rate = 0;
    uint64_t nack_every = 0;
    bool ephemeral = false;
    bool reject = false;
    const char *reason = NULL;
    struct rg_consume_options options = {.on_event = on_event};
    const struct option_spec specs[] = {
        {"group", 'g', OPTION_TEXT, &group, "GROUP",
         "which group to join (made if it does not exist)"},
        {"name", 0, OPTION_TEXT, &name, "TEXT", "of this consumer, shown in group info"},
        {"from", 0, OPTION_TEXT, &words.from, "WHERE",
         "where a new group starts (default: first): " CTL_START_FORMS},
        {"on-gap", 0, OPTION_TEXT, &words.on_gap, "HOW",
         "when that offset is gone already: error (default), first or latest"},
        {"exec", 'e', OPTION_TEXT, &words.command, "CMD",
         "run CMD for each message (payload on its input): exit 0 acknowledges, else nack"},
        {"count", 'n', OPTION_NUMBER, &count, "N", "end after N messages that are done"},
        {"idle", 0, OPTION_DURATION, &idle_ms, "TIME", "end after TIME without a message"},
        {"rate", 'r', OPTION_NUMBER, &rate, "N", "at most N messages a second"},
        {"prefetch", 0, OPTION_NUMBER, &words.prefetch, "N",
         "messages held ahead (default 4096; 1 with --exec)"},
        {"mode", 0, OPTION_TEXT, &words.mode, "MODE",
         "of a new group: shared (default) or exclusive"},
        {"order", 0, OPTION_TEXT, &words.order, "ORDER",
         "of a new exclusive group: strict (default) or relaxed"},
        {"strict", 0, OPTION_FLAG, &options.strict, NULL,
         "with --mode: refuse (DIFFERS) a group that exists and is not so"},
        {"priority", 0, OPTION_NUMBER, &words.priority, "N",
         "exclusive groups: the highest of those that wait is next (default 0)"},
        {"ephemeral", 0, OPTION_FLAG, &ephemeral, NULL,
         "a group in memory, gone 5 s after its last consumer; -g may be left out"},
        {"nack-every", 0, OPTION_NUMBER, &nack_every, "N",
         "nack each Nth offset once, to try redelivery"},
        {"nack-delay", 0, OPTION_TEXT, &words.nack_delay, "TIME",
         "when what was nacked comes again: 0 (default: at once), 250ms, 5s, ... or backoff: as "
         "the "
         "group says"},
        {"reject", 0, OPTION_FLAG, &reject, NULL,
         "a nack sends it straight to the dead letters; without --exec and --nack-every: "
         "everything"},
        {"reason", 0, OPTION_TEXT, &reason, "TEXT", "of nacks, for people"},
        {"format", 'f', OPTION_TEXT, &words.format, "TEXT",
         "as in read, and %a: which attempt, %e: the epoch; default '%p\\n'"},
    };
    struct options_result args;
    int exit_code = 0;

    if (options_parse(&consume_help, specs, OPTIONS_COUNT(specs), argc, argv, 1, 1, &args,
                      &exit_code) < 0) {
        return exit_code;
    }
    if (group == NULL && !ephemeral) {
        return ctl_usage("consume: which group? -g GROUP (to look without one: adminctl read %s)",
                         args.arguments[0]);
    }
    struct rg_nack nack = {.reject = reject, .reason = reason};
    if (words_take(&words, &options, &nack) != 0) {
        return CTL_USAGE;
    }
    struct consuming self = {.ctl = ctl,
                             .format = words.format,
                             .command = words.command,
                             .nack_every = nack_every,
                             .rejects_all = reject && words.command == NULL && nack_every == 0,
                             .nack = nack};
    options.consumer = name;
    options.ud = &self;
    options.ephemeral = ephemeral;
    options.prefetch_messages = words.prefetch > 0        ? (uint32_t) words.prefetch
                                : words.command != NULL   ? 1
                                : rate > 0 && rate < 4096 ? (uint32_t) rate / 10 + 1
                                                          : 0;
    const struct until until = {count, idle_ms, rate};
    return run(&self, args.arguments[0], group, &options, &until);
}
