/* checker: each invariant fails when what it looks at is tampered with. Those that cannot be shown so (two leases, a second change at once, entries of an old term committed
 * by counting, too much uncommitted, no progress) are shown by the mutants of common/raft/mutants.h: make mutants. */
#include <string.h>

#include "tests/lib/test.h"
#include "tests/sim/sim.h"

struct stage {
    struct sim *sim;
    struct script *script;
};

static struct stage stage_new(const char *commands)
{
    struct stage stage = {.sim = sim_new()};
    stage.script = script_new(stage.sim);
    ck_assert_msg(script_text(stage.script, commands), "%s", stage.sim->violation);
    return stage;
}

static struct stage stage_led(void)
{
    return stage_new("nodes 3 prevote=0;bootstrap vvv;settle;campaign 1;settle");
}

static struct replica *replica(struct stage *stage, unsigned node)
{
    return &stage->sim->node[node].replica[0];
}

/* Play on: it must be found out, for this reason. */
static void stage_fails(struct stage *stage, const char *commands, const char *reason)
{
    ck_assert_msg(!script_text(stage->script, commands), "nothing was found");
    ck_assert_msg(strstr(stage->sim->violation, reason) != NULL, "found: %s",
                  stage->sim->violation);
    script_destroy(&stage->script);
    sim_destroy(&stage->sim);
}

TEST(two_leaders_in_a_term_are_found)
{
    struct stage stage = stage_new("nodes 3 prevote=0;bootstrap vvv;settle");
    stage.sim->truth[0].leader_of[2] = (struct raft_id){3, 1};
    stage_fails(&stage, "campaign 1;settle", "Election Safety");
}

TEST(a_leader_that_lacks_what_is_committed_is_found)
{
    struct stage stage = stage_new("nodes 3 prevote=0;bootstrap vvv;settle");
    struct truth *truth = &stage.sim->truth[0];
    truth->last = 2;
    truth->committed[2] = (struct committed){.term = 1, .in = 1, .hash = 1};
    stage_fails(&stage, "campaign 1;settle", "Leader Completeness");
}

TEST(logs_that_do_not_match_are_found)
{
    struct stage stage = stage_led();
    ck_assert(script_text(stage.script, "propose 1;drain 1"));
    stage.sim->manual_queue[0]->entry[0].value++;
    stage_fails(&stage, "deliver 1>2", "Log Matching");
}

TEST(a_commit_of_something_else_is_found)
{
    struct stage stage = stage_led();
    ck_assert(script_text(stage.script, "cut 1 3;propose 1;settle"));
    stage.sim->truth[0].committed[3].hash++;
    stage_fails(&stage, "heal;run 200000", "State Machine Safety");
}

TEST(a_commit_that_only_the_leader_has_durable_is_found)
{
    struct stage stage = stage_led();
    ck_assert(script_text(stage.script,
                          "propose 1;drain 1;deliver;drain 2;drain 3;store;drain 2;drain 3"));
    replica(&stage, 2)->disk.entry[3].hash++;
    replica(&stage, 3)->disk.entry[3].hash++;
    stage_fails(&stage, "deliver", "have durable");
}

TEST(a_leader_that_counts_what_a_peer_does_not_have_is_found)
{
    struct stage stage = stage_led();
    replica(&stage, 2)->disk.entry[2].hash++;
    stage_fails(&stage, "drain 1", "thinks that node 2 has 2");
}

static bool send_is_found(struct sim *sim, struct replica *replica,
                          const struct raft_message *message)
{
    if (setjmp(sim->escape) != 0) {
        return true;
    }
    checker_send(sim, replica, message);
    return false;
}

TEST(a_message_or_a_window_that_is_too_large_is_found)
{
    struct stage stage = stage_new("nodes 3 prevote=0 entries=2 window=100;bootstrap vvv;settle;"
                                   "campaign 1;settle;propose 1 2 60;drain 1");
    struct raft_message message = stage.sim->manual_queue[0]->message;
    ck_assert_uint_eq(message.count, 2);
    ck_assert(!send_is_found(stage.sim, replica(&stage, 1), &message));
    message.count = 3;
    ck_assert(send_is_found(stage.sim, replica(&stage, 1), &message));
    message.count = 1;
    message.bytes = 20; /* 120 are under way: 100 or more were before this one */
    ck_assert(send_is_found(stage.sim, replica(&stage, 1), &message));
    script_destroy(&stage.script);
    sim_destroy(&stage.sim);
}

TEST(a_commit_by_somebody_who_does_not_lead_is_found)
{
    struct stage stage = stage_led();
    stage.sim->truth[0].last = 1;
    stage_fails(&stage, "drain 2", "which no leader committed");
}

TEST(a_second_vote_is_found)
{
    struct stage stage = stage_new("nodes 3 prevote=0;bootstrap vvv;settle");
    map_put(&stage.sim->votes, checker_id_key(0, (struct raft_id){2, 1}) | 2, 99);
    stage_fails(&stage, "campaign 1;settle", "votes twice");
}

TEST(a_candidate_that_did_not_ask_first_is_found)
{
    struct stage stage = stage_new("nodes 3;bootstrap vvv;settle;campaign 1;drain 1;deliver;drain "
                                   "2;deliver;drain 1;store 1");
    map_clear(&stage.sim->grants);
    stage_fails(&stage, "drain 1", "with 1 of 3 pre-votes");
}

TEST(a_vote_that_is_not_on_disk_is_found)
{
    struct stage stage = stage_new("nodes 3 prevote=0;bootstrap vvv;settle;campaign 1;drain "
                                   "1;store 1;drain 1;deliver;drain 2;store 2");
    replica(&stage, 2)->disk.vote.node = 3;
    stage_fails(&stage, "drain 2", "before that is on its disk");
}

TEST(a_message_whose_term_is_not_on_disk_is_found)
{
    struct stage stage =
        stage_new("nodes 3 prevote=0;bootstrap vvv;settle;campaign 1;drain 1;store 1");
    replica(&stage, 1)->disk.term = 1;
    stage_fails(&stage, "drain 1", "its disk has 1");
}

TEST(an_acknowledgement_of_what_is_not_durable_is_found)
{
    struct stage stage = stage_led();
    ck_assert(script_text(stage.script, "propose 1;drain 1;deliver 1>2;drain 2;store 2"));
    replica(&stage, 2)->disk.last--;
    stage_fails(&stage, "drain 2", "which its disk does not have");
}

TEST(an_applied_entry_that_is_not_durable_is_found)
{
    struct stage stage = stage_led();
    ck_assert(script_text(stage.script,
                          "propose 1;drain 1;store 1;deliver;drain 2;store 2;drain 2;deliver"));
    replica(&stage, 1)->disk.last--;
    stage_fails(&stage, "drain 1", "applies entry 3");
}

TEST(what_goes_back_is_found)
{
    struct stage term = stage_led();
    replica(&term, 2)->seen.term++;
    stage_fails(&term, "drain 2", "its term goes back");
    struct stage commit = stage_led();
    replica(&commit, 2)->seen.commit++;
    stage_fails(&commit, "drain 2", "its commit goes back");
    struct stage applied = stage_led();
    replica(&applied, 2)->seen.applied++;
    stage_fails(&applied, "drain 2", "its applied goes back");
}

TEST(a_log_that_is_not_what_the_core_thinks_is_found)
{
    struct stage stage = stage_led();
    replica(&stage, 2)->memory.last--;
    stage_fails(&stage, "drain 2", "the core's log is");
}

TEST(a_leader_that_overwrites_its_own_log_is_found)
{
    struct stage stage = stage_led();
    ck_assert(script_text(stage.script, "propose 1"));
    replica(&stage, 1)->seen.led_last = 9;
    stage_fails(&stage, "propose 1", "Leader Append-Only");
}

TEST(a_damaged_replica_that_takes_part_too_early_is_found)
{
    struct stage stage = stage_led();
    replica(&stage, 2)->seen.suspect = true;
    replica(&stage, 2)->seen.suspect_to = 2;
    replica(&stage, 2)->disk.last = 1;
    stage_fails(&stage, "drain 2", "takes part again");
}

TEST(another_state_of_the_machine_is_found)
{
    struct stage stage = stage_led();
    ck_assert(script_text(stage.script, "cut 1 3;propose 1;settle"));
    stage.sim->truth[0].committed[3].machine++;
    stage_fails(&stage, "heal;run 200000", "has another state");
}

TEST(a_leader_without_payloads_is_found)
{
    struct stage stage = stage_led();
    replica(&stage, 2)->memory.entry[2].hollow = true;
    stage_fails(&stage, "advance 200000;campaign 2;settle", "without the payload");
}

TEST(mixed_chunks_of_snapshots_are_found)
{
    struct stage stage = stage_new("nodes 3 chunk=1;bootstrap vvv;settle;campaign 1;settle;cut 1 3;"
                                   "propose 1 3;settle;compact 1 0");
    stage.sim->node[1].replica[0].memory.snapshot.bytes = 3;
    ck_assert(
        script_text(stage.script,
                    "heal;advance 100000;drain 1;deliver;drain 3;deliver;drain 1;deliver;drain 3"));
    replica(&stage, 3)->chunk_content++;
    stage_fails(&stage, "settle;run 100000", "does not continue");
}

TEST(an_order_to_campaign_that_nobody_gave_is_found)
{
    struct stage stage = stage_led();
    ck_assert(script_text(stage.script, "transfer 1 2;drain 1"));
    map_clear(&stage.sim->orders);
    stage_fails(&stage, "settle", "an order to campaign that is over");
}

static bool response_is_found(struct sim *sim, uint32_t op)
{
    if (setjmp(sim->escape) != 0) {
        return true;
    }
    client_response(sim, op);
    return false;
}

TEST(a_stale_read_is_found_when_it_is_answered)
{
    struct stage stage = stage_led();
    struct sim *sim = stage.sim;
    uint32_t write = client_ask(sim, SIM_CLIENTS, 0, 1, true);
    uint32_t read = client_ask(sim, SIM_CLIENTS, 0, 1, false);
    sim->op[write].key = 0;
    sim->op[read].key = 0;
    sim->op[read].answer_ok = true;
    sim->op[read].answer = write;
    ck_assert(response_is_found(sim, read)); /* that write is not committed */
    sim->op[write].committed = 5;
    sim->op[read].floor = 6;
    ck_assert(response_is_found(sim, read)); /* a later one was known */
    sim->op[read].floor = 5;
    ck_assert(!response_is_found(sim, read));
    script_destroy(&stage.script);
    sim_destroy(&stage.sim);
}

static struct raft_members members_of(const char *roles)
{
    struct raft_members members;
    memset(&members, 0, sizeof(members));
    for (unsigned i = 0; roles[i] != 0; i++) {
        unsigned set = roles[i] == 'v'   ? RAFT_VOTER
                       : roles[i] == 'b' ? RAFT_VOTER | RAFT_OLD
                       : roles[i] == 'o' ? RAFT_OLD
                       : roles[i] == 'l' ? RAFT_LEARNER
                                         : 0;
        if (set != 0) {
            (void) raft_members_put(&members, (struct raft_id){i + 1, 1}, set, 1);
        }
    }
    return members;
}

TEST(changes_whose_majorities_need_not_meet_are_illegal)
{
    static const struct {
        const char *from;
        const char *to;
        bool legal;
    } rows[] = {
        {"vvv", "vvvv", true},   {"vvv", "vv", true},    {"vvv", "vvvll", true},
        {"vvv", "vvvvv", false}, {"vvv", "v", false},    {"vvv", ".vvv", false},
        {"vvv", "bbbvv", true},  {"vvv", "bbvv", false}, {"bbbvv", "vvvvv", true},
        {"bbbvv", "vvv", false}, {"bov", "bvv", false},  {"boo", "v", true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct raft_members from = members_of(rows[i].from);
        struct raft_members to = members_of(rows[i].to);
        ck_assert_msg(checker_change_is_legal(&from, &to) == rows[i].legal, "%s to %s",
                      rows[i].from, rows[i].to);
    }
}

TEST(the_same_seed_runs_the_same_and_another_does_not)
{
    struct sim *sim = sim_new();
    ck_assert_msg(sim_run(sim, 7, NULL), "%s", sim->violation);
    uint64_t digest = sim->digest;
    ck_assert(sim_run(sim, 8, NULL));
    ck_assert_uint_ne(sim->digest, digest);
    ck_assert(sim_run(sim, 7, NULL));
    ck_assert_uint_eq(sim->digest, digest);
    sim_destroy(&sim);
}

TEST(clocks_that_run_apart_more_than_was_promised_are_found)
{
    struct sim *sim = sim_new();
    bool found = false;
    for (uint64_t seed = 1; seed <= 500 && !found; seed++) {
        sim_reset(sim, seed);
        swarm_draw(sim, &sim->options);
        struct options options = sim->options;
        options.nodes = 3;
        options.founders = 3;
        options.witness = false;
        options.config.members_max = 16;
        options.config.check_quorum = 1;
        options.config.lease_reads = 1;
        options.config.clock_drift_ppm = 1000;
        options.drift_ppm = 400000;
        options.every[CHURN_USURP] = 300000;
        options.every[CHURN_HEAL] = 300000;
        found = !sim_run(sim, seed, &options);
    }
    ck_assert(found);
    ck_assert_msg(strstr(sim->violation, "both hold a lease") != NULL ||
                      strstr(sim->violation, "was known") != NULL,
                  "found: %s", sim->violation);
    sim_destroy(&sim);
}

TEST(a_group_that_cannot_elect_is_found_in_the_liveness_phase)
{
    struct sim *sim = sim_new();
    struct options options;
    ck_assert(sim_run(sim, 7, NULL));
    options = sim->options;
    options.config.election_timeout_us_min = 2000000000; /* nobody ever campaigns */
    options.config.election_timeout_us_max = 2000000001;
    memset(options.every, 0, sizeof(options.every));
    options.nodes = 3;
    options.founders = 3;
    ck_assert(!sim_run(sim, 7, &options));
    ck_assert_msg(strstr(sim->violation, "liveness") != NULL, "found: %s", sim->violation);
    sim_destroy(&sim);
}
