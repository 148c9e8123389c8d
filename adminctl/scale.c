/* scale: two small files in libconfig's format. Owns nothing, starts nobody. */
#include "adminctl/scale.h"

#include <libconfig.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/store/fs.h"

#include "adminctl/node.h"

enum { SCALE_FILE_MAX = 64 << 10 };

static const char scale_file[] = "scale.conf"; /* in DIR/etc */
static const char state_file[] = "state";

static int open_folder(const char *dir, const char *part)
{
    char path[NODE_PATH_MAX];
    int result = node_path(dir, part, path);
    return result < 0 ? result : fs_open_dir(path);
}

/* The file as a configuration; on 0 config_destroy it. */
static int file_read(const char *dir, const char *part, const char *name, config_t *ret_config,
                     struct buf *problem)
{
    struct buf text = {0};
    int fd = open_folder(dir, part);
    int result = fd < 0 ? fd : fs_read_file(fd, name, SCALE_FILE_MAX, &text);
    if (fd >= 0) {
        (void) close(fd); /* only looked up */
    }
    if (result == 0) {
        config_init(ret_config);
        if (config_read_string(ret_config, buf_text(&text)) != CONFIG_TRUE) {
            buf_printf(problem, "line %d: %s", config_error_line(ret_config),
                       config_error_text(ret_config));
            config_destroy(ret_config);
            result = ERR_BAD_FORMAT;
        }
    }
    buf_release(&text);
    return result;
}

static int file_write(const char *dir, const char *part, const char *name, const struct buf *text)
{
    int fd = open_folder(dir, part);
    if (fd < 0) {
        return fd;
    }
    int result = fs_write_file(NULL, fd, name, buf_span(text));
    (void) close(fd); /* only looked up */
    return result;
}

/* A number that is missing is 1. */
static int count_read(const config_t *config, const char *name, unsigned *ret_count,
                      struct buf *problem)
{
    int number = 1;
    if (config_lookup(config, name) != NULL &&
        (config_lookup_int(config, name, &number) != CONFIG_TRUE || number < 1 ||
         number > SCALE_MAX)) {
        buf_printf(problem, "%s: must be a number from 1 to %d", name, SCALE_MAX);
        return ERR_BAD_FORMAT;
    }
    *ret_count = (unsigned) number;
    return 0;
}

static int counts_read(const config_t *config, struct scale *ret_scale, struct buf *problem)
{
    struct scale scale = {0};
    int result = count_read(config, "frontd", &scale.frontd, problem);
    if (result == 0) {
        result = count_read(config, "routerd", &scale.routerd, problem);
    }
    if (result == 0) {
        *ret_scale = scale;
    }
    return result;
}

int scale_read(const char *dir, struct scale *ret_scale, struct buf *problem)
{
    config_t config;
    int result = file_read(dir, "etc/.", scale_file, &config, problem);
    if (result == ERR_NOT_FOUND) {
        *ret_scale = (struct scale){1, 1};
        return 0;
    }
    if (result == 0) {
        result = counts_read(&config, ret_scale, problem);
        config_destroy(&config);
    }
    return result;
}

int scale_write(const char *dir, const struct scale *scale)
{
    struct buf text = {0};
    buf_printf(&text,
               "# How many of each this node runs, 1 to %d. Written by adminctl up --frontd N "
               "--routerd N.\nfrontd = %u;\nrouterd = %u;\n",
               SCALE_MAX, scale->frontd, scale->routerd);
    int result = file_write(dir, "etc/.", scale_file, &text);
    buf_release(&text);
    return result;
}

int scale_state_write(const char *dir, const struct scale_state *state, const char *daemons)
{
    struct buf text = {0};
    buf_printf(&text,
               "# What adminctl up runs here; nobody else writes this.\npid = %d;\nfrontd = "
               "%u;\nrouterd = %u;\nsettled = %s;\nfailing = \"",
               (int) state->pid, state->wish.frontd, state->wish.routerd,
               state->is_settled ? "true" : "false");
    for (const char *at = state->failing; *at != 0; at++) {
        bool is_plain = *at >= ' ' && *at != '"' && *at != '\\' && *at != 0x7f;
        buf_append_byte(&text, is_plain ? (uint8_t) *at : *at == '"' ? '\'' : ' ');
    }
    buf_printf(&text, "\";\n%s", daemons);
    int result = file_write(dir, ".", state_file, &text);
    buf_release(&text);
    return result;
}

int scale_state_read(const char *dir, struct scale_state *ret_state)
{
    struct scale_state state = {0};
    struct buf problem = {0};
    const char *failing = "";
    config_t config;
    int pid = 0;
    int is_settled = 0;
    int result = file_read(dir, ".", state_file, &config, &problem);
    if (result == 0) {
        result = counts_read(&config, &state.wish, &problem);
        if (config_lookup_int(&config, "pid", &pid) != CONFIG_TRUE || pid <= 1 ||
            config_lookup_bool(&config, "settled", &is_settled) != CONFIG_TRUE ||
            config_lookup_string(&config, "failing", &failing) != CONFIG_TRUE) {
            result = ERR_BAD_FORMAT;
        }
        state.pid = pid;
        state.is_settled = is_settled != 0;
        (void) snprintf(state.failing, sizeof(state.failing), "%s", failing);
        config_destroy(&config);
    }
    buf_release(&problem);
    if (result == 0) {
        *ret_state = state;
    }
    return result;
}

void scale_state_remove(const char *dir)
{
    char path[NODE_PATH_MAX];
    if (node_path(dir, state_file, path) == 0) {
        (void) unlink(path); /* absent is what we want */
    }
}
