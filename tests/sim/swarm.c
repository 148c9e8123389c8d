/* swarm: each seed has a random subset of all that can happen, at random rates: what never meets in one run can meet in another, and what one fault hides shows
 * where it is missing (Groce et al., "Swarm Testing", 2012). One in ten has no faults at all, one in ten has all of them. */
#include "tests/sim/sim.h"

#include <stdio.h>
#include <string.h>

/* Between low and high, small numbers as likely as great ones. */
static uint64_t wide(struct sim *self, uint64_t low, uint64_t high)
{
    uint64_t value = sim_between(self, low, high);
    for (unsigned i = (unsigned) sim_below(self, 4); i > 0 && value / 2 >= low; i--) {
        value /= 2;
    }
    return value;
}

static unsigned wide32(struct sim *self, unsigned low, unsigned high)
{
    return (unsigned) wide(self, low, high);
}

static void draw_config(struct sim *self, struct options *options)
{
    struct raft_config *config = &options->config;
    raft_config_init(config);
    uint32_t min = (uint32_t) sim_between(self, 80, 200) * 1000;
    config->election_timeout_us_min = min;
    config->election_timeout_us_max = min + min * (uint32_t) sim_between(self, 3, 15) / 10;
    config->heartbeat_us = min / (uint32_t) sim_between(self, 2, 8);
    config->clock_drift_ppm = wide32(self, 1000, 150000);
    config->message_bytes_max = wide32(self, 200, 4000);
    config->message_entries_max = wide32(self, 1, SIM_BATCH);
    config->inflight_bytes_max = wide32(self, 500, 8000);
    config->inflight_messages_max = wide32(self, 1, 12);
    config->uncommitted_bytes_max = wide32(self, 500, 40000);
    config->snapshot_chunk_bytes = sim_chance(self, 250) ? 0 : wide32(self, 200, 2000);
    config->catchup_entries_max = wide32(self, 3, 60);
    config->members_max = (uint8_t) (sim_chance(self, 150) ? options->nodes : 16);
    config->reads_max = (uint8_t) sim_between(self, 1, 6);
    config->data_copies_min = sim_chance(self, 100) ? 2 : 1;
    config->pre_vote = sim_chance(self, 850);
    config->check_quorum = sim_chance(self, 850);
    config->lease_reads = config->check_quorum && sim_chance(self, 600);
    config->quiesce_after_us =
        sim_chance(self, 250) ? config->heartbeat_us * (uint32_t) sim_between(self, 1, 6) : 0;
    if (sim_chance(self, 400)) {
        config->quiesce_after_us /= 20; /* hardly idle, and already asleep */
    }
    options->drift_ppm = sim_chance(self, 500) ? config->clock_drift_ppm * 49 / 100 : 0;
}

static void draw_cluster(struct sim *self, struct options *options)
{
    static const uint8_t nodes[] = {1, 2, 3, 3, 3, 3, 3, 3, 3, 4, 4, 5, 5, 5, 5, 5, 6, 7};
    options->nodes = nodes[sim_below(self, sizeof(nodes))];
    options->groups = sim_chance(self, 700) ? 1 : 1 + (unsigned) sim_below(self, SIM_GROUPS);
    options->clients = 1 + (unsigned) sim_below(self, SIM_CLIENTS);
    options->founders = options->nodes;
    if (sim_chance(self, 300)) {
        options->founders = 1 + (unsigned) sim_below(self, options->nodes);
    }
    options->witness = options->founders >= 3 && sim_chance(self, 120);
    options->safety_us = wide(self, 3000000, sim_chance(self, 100) ? 25000000 : 9000000);
    options->think_us = wide32(self, 4000, 40000);
    options->reads = wide32(self, 100, 800);
    options->batch_us = sim_chance(self, 500) ? 0 : wide32(self, 10, 2000);
    options->apply_us = sim_chance(self, 600) ? 0 : wide32(self, 10, 20000);
}

static void draw_faults(struct sim *self, struct options *options, unsigned share)
{
    /* mean milliseconds between two, at least and at most */
    static const uint16_t every[CHURN_KINDS][2] = {
        [CHURN_CRASH] = {200, 2000},   [CHURN_POWER] = {1000, 6000},
        [CHURN_PAUSE] = {150, 2000},   [CHURN_CUT] = {200, 2000},
        [CHURN_HEAL] = {200, 1500},    [CHURN_WIPE] = {500, 4000},
        [CHURN_ROT] = {400, 3000},     [CHURN_EIO] = {400, 4000},
        [CHURN_FULL] = {300, 3000},    [CHURN_MEMBERS] = {20, 1000},
        [CHURN_TRANSFER] = {50, 2000}, [CHURN_COMPACT] = {30, 1000},
        [CHURN_CAMPAIGN] = {50, 2000}, [CHURN_UNREACHABLE] = {20, 1000},
        [CHURN_USURP] = {300, 2000},
    };
    for (unsigned kind = 0; kind < CHURN_KINDS; kind++) {
        if (every[kind][0] != 0 && sim_chance(self, share)) {
            options->every[kind] = 1000 * wide(self, every[kind][0], every[kind][1]);
        }
    }
    bool cuts = options->every[CHURN_CUT] != 0 || options->every[CHURN_USURP] != 0;
    if (cuts && options->every[CHURN_HEAL] == 0) {
        options->every[CHURN_HEAL] = 1000000;
    }
    options->slow_per_mille = sim_chance(self, share) ? wide32(self, 2, 100) : 0;
    options->loss = sim_chance(self, share) ? wide32(self, 2, 200) : 0;
    options->duplicate = sim_chance(self, share) ? wide32(self, 2, 200) : 0;
    options->corrupt = sim_chance(self, share) ? wide32(self, 2, 30) : 0;
    options->replay = sim_chance(self, share) ? wide32(self, 2, 60) : 0;
    options->disk_slow_per_mille = sim_chance(self, share) ? wide32(self, 2, 60) : 0;
    options->torn = sim_chance(self, 800);
    options->reorder = sim_chance(self, share);
}

void swarm_draw(struct sim *self, struct options *ret_options)
{
    struct options options;
    memset(&options, 0, sizeof(options));
    draw_cluster(self, &options);
    draw_config(self, &options);
    options.delay_us_min = wide32(self, 20, 500);
    options.delay_us_max = options.delay_us_min + wide32(self, 100, 20000);
    options.slow_us_max = options.delay_us_max + wide32(self, 20000, 600000);
    options.disk_us_max = wide32(self, 100, 8000);
    uint64_t kind = sim_below(self, 10);
    draw_faults(self, &options, kind == 0 ? 0 : kind == 1 ? 1000 : 450);
    *ret_options = options;
}

void swarm_print(const struct options *options)
{
    const struct raft_config *config = &options->config;
    (void) printf("nodes %u founders %u%s groups %u clients %u safety %.1f s\n", options->nodes,
                  options->founders, options->witness ? " (one a witness)" : "", options->groups,
                  options->clients, (double) options->safety_us / 1e6);
    (void) printf(
        "delay %u..%u us, slow %u per mille to %u us, loss %u double %u damage %u replay %u\n",
        options->delay_us_min, options->delay_us_max, options->slow_per_mille, options->slow_us_max,
        options->loss, options->duplicate, options->corrupt, options->replay);
    (void) printf("disk %u us, slow %u per mille%s%s, batch %u us, apply %u us, drift %u ppm\n",
                  options->disk_us_max, options->disk_slow_per_mille, options->torn ? ", torn" : "",
                  options->reorder ? ", reordered" : "", options->batch_us, options->apply_us,
                  options->drift_ppm);
    (void) printf(
        "election %u..%u beat %u us%s%s%s, sleep after %u us, windows %u messages %u bytes\n",
        config->election_timeout_us_min, config->election_timeout_us_max, config->heartbeat_us,
        config->pre_vote ? " pre-vote" : "", config->check_quorum ? " check-quorum" : "",
        config->lease_reads ? " leases" : "", config->quiesce_after_us,
        config->inflight_messages_max, config->inflight_bytes_max);
    for (unsigned kind = 0; kind < CHURN_KINDS; kind++) {
        if (options->every[kind] != 0) {
            (void) printf("%s every %.0f ms; ", churn_name((enum churn_kind) kind),
                          (double) options->every[kind] / 1e3);
        }
    }
    (void) printf("\n");
}
