/* replication: taking, acknowledging and committing entries (paper 5.3, 5.4.2), and the bugs that others had in it (raft.md S2 to S8, A1, B, C, G6). */
#include <string.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "tests/lib/test.h"
#include "tests/unit/common/raft/cluster.h"

/* Disks with these log terms (the configuration is entry 1 of term 1 for all), nobody up. */
static struct cluster *with_logs(unsigned count, const char *const *terms,
                                 void (*configure)(struct raft_config *config))
{
    struct cluster *cluster = cluster_new(count, configure);
    struct raft_members members = cluster_members(cluster, &"vvvvvvv"[7 - count]);
    for (unsigned node = 1; node <= count; node++) {
        node_disk_put(cluster, node, 1, &members);
        for (const char *term = terms[node - 1] + 1; *term != 0; term++) {
            node_disk_put(cluster, node, (raft_term) (*term - '0'), NULL);
        }
        node_crash(cluster, node);
    }
    return cluster;
}

static void elect(struct cluster *cluster, unsigned node)
{
    cluster->now += 200000;
    ck_assert_int_eq(raft_campaign(cluster->node[node].raft), 0);
    cluster_settle(cluster);
    ck_assert_uint_eq(cluster_leader(cluster), node);
}

TEST(the_logs_of_figure_7_become_equal_in_few_messages)
{
    static const char *const terms[] = {"1114455666",   "111445566", "1114",       "11144556666",
                                        "111445566677", "1114444",   "11122233333"};
    struct cluster *cluster = with_logs(7, terms, NULL);
    for (unsigned node = 1; node <= 7; node++) {
        cluster->node[node].disk->term = 7;
        node_start(cluster, node);
    }
    elect(cluster, 1);
    for (unsigned node = 1; node <= 7; node++) {
        const struct image *memory = cluster->node[node].memory;
        ck_assert_uint_eq(memory->last, 11);
        for (raft_index index = 1; index <= 10; index++) {
            ck_assert_uint_eq(memory->entry[index].term, (uint64_t) (terms[0][index - 1] - '0'));
        }
    }
    cluster_run(cluster, 200000);
    ck_assert(cluster_agrees(cluster));
    ck_assert_uint_le(cluster_status(cluster, 1).retries,
                      7); /* one step back each, a whole term at once */
    cluster_destroy(&cluster);
}

TEST(many_conflicting_entries_are_skipped_a_term_at_once)
{
    static char old[302];
    static const char *const terms[] = {"13", old};
    memset(old, '2', 300);
    old[0] = '1';
    struct cluster *cluster = with_logs(2, terms, NULL);
    node_start(cluster, 1);
    node_start(cluster, 2);
    elect(cluster, 1);
    ck_assert_uint_eq(cluster->node[2].memory->last, 3);
    ck_assert_uint_le(cluster_status(cluster, 1).retries, 2);
    cluster_destroy(&cluster);
}

TEST(entries_of_an_earlier_term_are_not_committed_by_counting)
{
    /* Figure 8: the leader of term 4 brings an entry of term 2 to a majority, but commits it only with one of its own. */
    static const char *const terms[] = {"12", "12", "1", "1", "13"};
    struct cluster *cluster = with_logs(5, terms, NULL);
    for (unsigned node = 1; node <= 4; node++) {
        node_start(cluster, node);
    }
    cluster->now += 200000;
    ck_assert_int_eq(raft_campaign(cluster->node[1].raft), 0);
    for (unsigned i = 0; i < 6 && raft_state_of(cluster->node[1].raft) != RAFT_LEADER; i++) {
        cluster_drain(cluster);
        for (unsigned node = 1; node <= 4; node++) {
            node_write(cluster, node, CLUSTER_WRITES);
        }
        cluster_drain(cluster);
        cluster_deliver_all(cluster);
    }
    ck_assert_int_eq(raft_state_of(cluster->node[1].raft), RAFT_LEADER);
    cluster_drain(cluster);
    cluster_drop_all(cluster);
    raft_term term = raft_term_of(cluster->node[1].raft);
    for (unsigned node = 2; node <= 3; node++) {
        struct envelope *reply = cluster_post(cluster, RAFT_MESSAGE_APPEND_REPLY, node, 1, term);
        reply->message.index = 2; /* of term 2, on three of five now */
        reply->message.appended = 2;
        reply->message.seq = 1;
        cluster_deliver(cluster, 0);
    }
    node_write(cluster, 1, CLUSTER_WRITES);
    ck_assert_uint_eq(cluster_status(cluster, 1).commit, 0);
    cluster_settle(cluster);
    cluster_run(cluster, 200000);
    ck_assert_uint_eq(cluster_status(cluster, 1).commit, 3);
    cluster_destroy(&cluster);
}

/* A follower (node 1) of leader 2 in term 5, log 1 5 5 5 5 (entries 2 to 5 of this term), commit 1. */
static struct cluster *follower(void)
{
    static const char *const terms[] = {"1", "1", "1"};
    struct cluster *cluster = with_logs(3, terms, NULL);
    node_start(cluster, 1);
    struct envelope *append = cluster_post(cluster, RAFT_MESSAGE_APPEND, 2, 1, 5);
    append->message.index = 1;
    append->message.index_term = 1;
    append->message.count = 4;
    append->message.commit = 1;
    append->message.seq = 1;
    for (unsigned i = 0; i < 4; i++) {
        append->entry[i] = (struct entry){.term = 5, .value = 100 + i, .bytes = 10};
    }
    cluster_deliver(cluster, 0);
    node_drain(cluster, 1);
    node_write(cluster, 1, CLUSTER_WRITES);
    node_drain(cluster, 1);
    return cluster;
}

TEST(a_late_append_does_not_cut_what_matches)
{
    struct cluster *cluster = follower();
    cluster_drop_all(cluster);
    struct envelope *append = cluster_post(cluster, RAFT_MESSAGE_APPEND, 2, 1, 5);
    append->message.index = 1;
    append->message.index_term = 1;
    append->message.count = 2;
    append->message.seq = 2;
    for (unsigned i = 0; i < 2; i++) {
        append->entry[i] = (struct entry){.term = 5, .value = 100 + i, .bytes = 10};
    }
    cluster_deliver(cluster, 0);
    ck_assert_uint_eq(cluster_status(cluster, 1).last, 5);
    append = cluster_post(cluster, RAFT_MESSAGE_APPEND, 2, 1, 5); /* a beat */
    append->message.index = 2;
    append->message.index_term = 5;
    cluster_deliver(cluster, 0);
    ck_assert_uint_eq(cluster_status(cluster, 1).last, 5);
    cluster_destroy(&cluster);
}

TEST(what_is_compacted_is_equal_and_no_conflict)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    cluster_put(cluster, 20); /* entries 3 to 22 */
    cluster_run(cluster, 200000);
    node_compact(cluster, 2, 4);
    ck_assert_uint_eq(cluster_status(cluster, 2).compacted, 18);
    struct envelope *late = cluster_post(cluster, RAFT_MESSAGE_APPEND, 1, 2, 2);
    late->message.index = 2;
    late->message.index_term = 2;
    late->message.count = 18; /* to 20, within what is there */
    late->message.seq = 3;
    for (unsigned i = 0; i < 18; i++) {
        const struct entry *entry = &cluster->node[1].memory->entry[3 + i];
        late->entry[i] = *entry;
    }
    cluster_deliver(cluster, 0);
    ck_assert_uint_eq(cluster_status(cluster, 2).last, 22);
    ck_assert_uint_eq(cluster_status(cluster, 2).durable, 22);
    node_drain(cluster, 2);
    struct envelope *reply = cluster_find(cluster, RAFT_MESSAGE_APPEND_REPLY, 1);
    ck_assert_ptr_nonnull(reply);
    ck_assert_uint_eq(reply->message.flags & RAFT_FLAG_REJECT, 0);
    cluster_put(cluster, 1);
    ck_assert(cluster_agrees(cluster));
    cluster_destroy(&cluster);
}

TEST(answers_to_an_earlier_term_count_for_nothing)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    elect(cluster, 2);
    elect(cluster, 1); /* again: term 4 */
    raft_index commit = cluster_status(cluster, 1).commit;
    cluster->drop_types = 1U << RAFT_MESSAGE_APPEND;
    cluster_put(cluster, 5);
    ck_assert_uint_eq(cluster_status(cluster, 1).commit, commit);
    for (unsigned node = 2; node <= 3; node++) { /* so much of the leader of term 2 they once had */
        struct envelope *reply = cluster_post(cluster, RAFT_MESSAGE_APPEND_REPLY, node, 1, 2);
        reply->message.index = reply->message.appended = commit + 5;
        reply->message.seq = 1;
        reply->message.sent = cluster->now;
        raft_time contact = cluster_progress(cluster, 1, node).contact;
        cluster->now += 1000;
        cluster_deliver(cluster, 0);
        ck_assert_uint_eq(cluster_progress(cluster, 1, node).match, commit);
        ck_assert_uint_eq(cluster_progress(cluster, 1, node).contact, contact);
    }
    ck_assert_uint_eq(cluster_status(cluster, 1).commit, commit);
    cluster->drop_types = 0;
    cluster_run(cluster, 200000);
    ck_assert_uint_eq(cluster_status(cluster, 1).commit, commit + 5);
    cluster_destroy(&cluster);
}

TEST(a_wrong_previous_entry_is_refused_with_a_hint)
{
    struct cluster *cluster = follower();
    cluster_drop_all(cluster);
    static const raft_index prevs[] = {3, 5, 9};
    for (unsigned i = 0; i < 3; i++) {
        struct envelope *append = cluster_post(cluster, RAFT_MESSAGE_APPEND, 3, 1, 6);
        append->message.index = prevs[i];
        append->message.index_term = prevs[i] == 9 ? 6 : 4;
        append->message.count = 1;
        append->message.commit = 9;
        append->entry[0] = (struct entry){.term = 6, .value = 7, .bytes = 10};
        cluster_deliver(cluster, 0);
        node_drain(cluster, 1);
        node_write(cluster, 1, CLUSTER_WRITES);
        node_drain(cluster, 1);
        struct envelope *reply = cluster_find(cluster, RAFT_MESSAGE_APPEND_REPLY, 3);
        ck_assert_ptr_nonnull(reply);
        ck_assert_uint_eq(reply->message.flags, RAFT_FLAG_REJECT);
        ck_assert_uint_eq(reply->message.hint, prevs[i] == 9 ? 5 : 1);
        ck_assert_uint_eq(reply->message.hint_term, prevs[i] == 9 ? 5 : 1);
        cluster_drop_all(cluster);
    }
    ck_assert_uint_eq(cluster_status(cluster, 1).commit, 1);
    ck_assert_uint_eq(cluster_status(cluster, 1).last, 5);
    cluster_destroy(&cluster);
}

TEST(only_what_was_compared_with_this_leader_is_committed)
{
    struct cluster *cluster = follower();
    struct envelope *append = cluster_post(cluster, RAFT_MESSAGE_APPEND, 3, 1, 6);
    append->message.index = 1; /* a beat of a new leader, whose entries 2 to 5 may be others */
    append->message.index_term = 1;
    append->message.commit = 5;
    cluster_deliver(cluster, cluster->queue_count - 1);
    ck_assert_uint_eq(cluster_status(cluster, 1).commit, 1);
    append = cluster_post(cluster, RAFT_MESSAGE_APPEND, 3, 1, 6);
    append->message.index = 3;
    append->message.index_term = 5;
    append->message.commit = 5;
    cluster_deliver(cluster, cluster->queue_count - 1);
    ck_assert_uint_eq(cluster_status(cluster, 1).commit, 3);
    cluster_destroy(&cluster);
}

TEST(an_acknowledgement_waits_for_the_disk_and_an_overwritten_write_says_nothing)
{
    static const char *const terms[] = {"1", "1", "1"};
    struct cluster *cluster = with_logs(3, terms, NULL);
    node_start(cluster, 1);
    struct envelope *append = cluster_post(cluster, RAFT_MESSAGE_APPEND, 2, 1, 5);
    append->message.index = 1; /* a beat: the term is durable before */
    append->message.index_term = 1;
    cluster_deliver(cluster, 0);
    node_drain(cluster, 1);
    node_write(cluster, 1, CLUSTER_WRITES);
    node_drain(cluster, 1);
    cluster_drop_all(cluster);
    append = cluster_post(cluster, RAFT_MESSAGE_APPEND, 2, 1, 5);
    append->message.index = 1;
    append->message.index_term = 1;
    append->message.count = 2;
    append->message.seq = 1;
    append->entry[0] = append->entry[1] = (struct entry){.term = 5, .value = 1, .bytes = 10};
    cluster_deliver(cluster, 0);
    node_drain(cluster, 1);
    ck_assert_uint_eq(cluster->queue_count, 0);
    append = cluster_post(cluster, RAFT_MESSAGE_APPEND, 3, 1, 6); /* another leader replaces both */
    append->message.index = 1;
    append->message.index_term = 1;
    append->message.count = 2;
    append->message.seq = 1;
    append->entry[0] = append->entry[1] = (struct entry){.term = 6, .value = 2, .bytes = 10};
    cluster_deliver(cluster, 0);
    node_drain(cluster, 1);
    ck_assert_uint_eq(cluster->node[1].pending_count, 2);
    node_write(cluster, 1, 1); /* the entries of term 5 are on the disk now */
    node_drain(cluster, 1);
    ck_assert_uint_eq(cluster_status(cluster, 1).durable, 1);
    struct envelope *reply = cluster_find(cluster, RAFT_MESSAGE_APPEND_REPLY, 3);
    ck_assert(reply == NULL || reply->message.index <= 1);
    node_write(cluster, 1, 1);
    node_drain(cluster, 1);
    reply = cluster_find(cluster, RAFT_MESSAGE_APPEND_REPLY, 3);
    ck_assert_ptr_nonnull(reply);
    ck_assert_uint_eq(reply->message.index, 3);
    cluster_destroy(&cluster);
}

TEST(a_leader_commits_without_its_own_disk_but_applies_with_it)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    raft_index commit = cluster_status(cluster, 1).commit;
    cluster->node[1].disk_holds = true;
    cluster_put(cluster, 5);
    ck_assert_uint_eq(cluster_status(cluster, 1).commit, commit + 5);
    ck_assert_uint_eq(cluster_status(cluster, 1).applied, commit);
    ck_assert_uint_eq(cluster->committed_last, commit + 5); /* the followers have applied */
    cluster->node[1].disk_holds = false;
    cluster_settle(cluster);
    ck_assert_uint_eq(cluster_status(cluster, 1).applied, commit + 5);
    node_crash(cluster, 3);
    cluster->node[1].disk_holds = true;
    cluster_put(cluster, 5); /* on one disk only */
    ck_assert_uint_eq(cluster_status(cluster, 1).commit, commit + 5);
    cluster_destroy(&cluster);
}

TEST(what_was_lost_on_the_way_comes_again)
{
    for (unsigned type = RAFT_MESSAGE_APPEND; type <= RAFT_MESSAGE_APPEND_REPLY; type++) {
        struct cluster *cluster = cluster_led(3, 1, NULL);
        cluster->drop_types = 1U << type;
        cluster_put(cluster, 20);
        cluster_run(cluster, 90000);
        cluster->drop_types = 0;
        cluster_run(cluster, 200000);
        ck_assert_uint_eq(cluster->committed_last, 22);
        ck_assert(cluster_agrees(cluster));
        cluster_destroy(&cluster);
    }
}

TEST(a_lost_commit_index_is_told_again)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    uint64_t value = 0;
    ck_assert_int_eq(cluster_propose(cluster, 1, &value), 0);
    for (unsigned i = 0; i < 3; i++) { /* entries out, acknowledgements back */
        cluster_drain(cluster);
        if (cluster_status(cluster, 1).commit == 3) {
            break;
        }
        for (unsigned node = 1; node <= 3; node++) {
            node_write(cluster, node, CLUSTER_WRITES);
        }
        cluster_drain(cluster);
        cluster_deliver_all(cluster);
    }
    cluster_drain(cluster);
    cluster_drop_all(cluster);
    ck_assert_uint_eq(cluster_status(cluster, 1).commit, 3);
    ck_assert_uint_eq(cluster_status(cluster, 2).commit, 2);
    cluster_run(cluster, 110000);
    ck_assert_uint_eq(cluster_status(cluster, 2).commit, 3);
    cluster_destroy(&cluster);
}

TEST(a_follower_that_has_all_is_not_probed_for_ever)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    cluster_put(cluster, 3);
    raft_unreachable(cluster->node[1].raft, 2);
    ck_assert_int_eq(cluster_progress(cluster, 1, 2).state, RAFT_PROBE);
    cluster_run(cluster, 110000);
    ck_assert_int_eq(cluster_progress(cluster, 1, 2).state, RAFT_REPLICATE);
    cluster_destroy(&cluster);
}

static void narrow(struct raft_config *config)
{
    config->message_bytes_max = 1000;
    config->inflight_bytes_max = 3000;
    config->inflight_messages_max = 64;
    config->uncommitted_bytes_max = 20000;
}

TEST(a_slow_follower_gets_no_more_than_the_window)
{
    struct cluster *cluster = cluster_led(3, 1, narrow);
    cluster->node[3].disk_holds = true;
    cluster_put(cluster, 100);
    ck_assert_uint_eq(cluster->committed_last, 102);
    struct raft_progress progress = cluster_progress(cluster, 1, 3);
    ck_assert_uint_le(progress.inflight_bytes, 3000 + 1000);
    ck_assert_uint_ge(progress.inflight_bytes, 3000);
    cluster->node[3].disk_holds = false;
    cluster_settle(cluster);
    ck_assert(cluster_agrees(cluster));
    ck_assert_uint_eq(cluster_progress(cluster, 1, 3).inflight_bytes, 0);
    cluster_destroy(&cluster);
}

static void few_messages(struct raft_config *config)
{
    config->inflight_messages_max = 4;
}

TEST(a_slow_follower_gets_no_more_messages_than_the_window)
{
    struct cluster *cluster = cluster_led(3, 1, few_messages);
    cluster->node[3].disk_holds = true;
    for (unsigned i = 0; i < 20; i++) {
        cluster_put(cluster, 1); /* a message each: several are under way before one is answered */
    }
    ck_assert_uint_eq(cluster->committed_last, 22);
    ck_assert_uint_eq(cluster_progress(cluster, 1, 3).inflight_messages, 4);
    cluster->node[3].disk_holds = false;
    cluster_settle(cluster);
    ck_assert(cluster_agrees(cluster));
    ck_assert_uint_eq(cluster_progress(cluster, 1, 3).inflight_messages, 0);
    cluster_destroy(&cluster);
}

TEST(a_leader_without_majority_takes_only_so_much)
{
    struct cluster *cluster = cluster_led(3, 1, narrow);
    cluster_isolate(cluster, 1, true);
    uint64_t value = 0;
    unsigned taken = 0;
    while (cluster_propose(cluster, 1, &value) == 0 && taken < 1000) {
        taken++;
    }
    ck_assert_uint_eq(taken, 200);
    ck_assert_int_eq(cluster_propose(cluster, 1, &value), ERR_OVERLOADED);
    cluster_isolate(cluster, 1, false);
    cluster_run(cluster, 150000);
    ck_assert_uint_eq(cluster->committed_last, 202);
    ck_assert_uint_eq(cluster_status(cluster, 1).uncommitted_bytes, 0);
    ck_assert_int_eq(cluster_propose(cluster, 1, &value), 0);
    cluster_destroy(&cluster);
}

TEST(many_proposals_are_one_write_and_one_message_a_follower)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    uint64_t before = cluster->sent_total;
    uint64_t writes = cluster_status(cluster, 1).wseq;
    cluster_put(cluster, 64);
    ck_assert_uint_eq(cluster_status(cluster, 1).wseq, writes + 1);
    ck_assert_uint_le(cluster->sent_total - before,
                      6); /* entries, acknowledgement, commit index: each twice */
    cluster_destroy(&cluster);
}

TEST(nonsense_from_outside_is_refused_and_changes_nothing)
{
    struct cluster *cluster = follower();
    uint64_t before = raft_hash(cluster->node[1].raft);
    struct raft_taken taken;
    struct raft_entry entries[2] = {{.term = 5, .bytes = 1}, {.term = 4, .bytes = 1}};
    struct raft_message message;
    memset(&message, 0, sizeof(message));
    message.group = 7;
    message.from = cluster_id(cluster, 2);
    message.to = cluster_id(cluster, 1);
    message.term = 5;
    message.type = RAFT_MESSAGE_APPEND;
    message.index = 5;
    message.index_term = 5;
    message.count = 2; /* terms that fall */
    message.entries = entries;
    ck_assert_int_eq(raft_recv(cluster->node[1].raft, cluster->now, &message, &taken),
                     ERR_BAD_FORMAT);
    entries[1].term = 6; /* of the future */
    ck_assert_int_eq(raft_recv(cluster->node[1].raft, cluster->now, &message, &taken),
                     ERR_BAD_FORMAT);
    entries[1].term = 5;
    entries[1].type = RAFT_ENTRY_CONFIG; /* without members */
    ck_assert_int_eq(raft_recv(cluster->node[1].raft, cluster->now, &message, &taken),
                     ERR_BAD_FORMAT);
    message.group = 8;
    ck_assert_int_eq(raft_recv(cluster->node[1].raft, cluster->now, &message, &taken), 0);
    node_drain(cluster, 1);
    ck_assert_uint_eq(taken.count, 0);
    ck_assert_uint_eq(cluster_status(cluster, 1).last, 5);
    ck_assert_uint_eq(raft_hash(cluster->node[1].raft), before);
    cluster_destroy(&cluster);
}

TEST(the_same_history_gives_the_same_hash)
{
    uint64_t hash[2];
    for (unsigned i = 0; i < 2; i++) {
        struct cluster *cluster = cluster_led(3, 1, NULL);
        cluster_put(cluster, 10);
        cluster_run(cluster, 333333);
        hash[i] = raft_hash(cluster->node[1].raft) ^ raft_hash(cluster->node[2].raft);
        cluster_destroy(&cluster);
    }
    ck_assert_uint_eq(hash[0], hash[1]);
}

TEST(a_clone_goes_on_as_the_original_would)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    cluster_put(cluster, 3);
    struct node *own = &cluster->node[2];
    size_t size = raft_size(&own->config);
    struct raft *clone = mem_copy(own->raft, size);
    struct image *memory = mem_copy(own->memory, sizeof(*memory));
    const struct raft_log *log = *(const struct raft_log *const *) (const void *) own->raft;
    raft_rebind(clone, log, memory);
    ck_assert_uint_eq(raft_hash(clone),
                      raft_hash(own->raft)); /* where its log lies is no part of it */
    raft_advance(own->raft, cluster->now + 1000000);
    ck_assert_uint_ne(raft_hash(clone), raft_hash(own->raft));
    raft_advance(clone, cluster->now + 1000000);
    ck_assert_uint_eq(raft_hash(clone), raft_hash(own->raft));
    struct raft_output output;
    struct raft_output other;
    bool more = true;
    while (more) {
        more = raft_drain(clone, &other);
        ck_assert(raft_drain(own->raft, &output) == more);
        ck_assert(!more || output.type == other.type);
    }
    ck_assert_uint_eq(raft_hash(clone), raft_hash(own->raft));
    mem_free(clone);
    mem_free(memory);
    cluster_destroy(&cluster);
}

TEST(a_transport_that_lost_something_makes_the_leader_careful_and_no_more)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    cluster->drop_types = 1U << RAFT_MESSAGE_APPEND;
    cluster_put(cluster, 5);
    cluster->drop_types = 0;
    ck_assert_uint_eq(cluster->committed_last, 2);
    raft_unreachable(cluster->node[1].raft, 2);
    cluster_settle(cluster); /* no time passes */
    ck_assert_uint_eq(cluster_status(cluster, 1).commit, 7);
    ck_assert_int_eq(cluster_progress(cluster, 1, 2).state, RAFT_REPLICATE);
    cluster_destroy(&cluster);
}
