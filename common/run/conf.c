/* conf: values of a daemon from defaults, file, environment and command line, all through one table. Owns the strings in
 * the values; finds every problem of a source before it gives up, and names line and remedy of each. Foreign text can
 * neither name another file (@include is refused) nor a key that is not in the table. */
#include "common/run/conf.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libconfig.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/base/str.h"

enum { CONF_FILE_MAX = 1024 * 1024, CONF_PATH_MAX = 256, CONF_DEPTH_MAX = 8, CONF_SHOWN = 80 };

extern char **environ;

/* One source being read. */
struct conf_reader {
    const struct conf_table *table;
    void *values;
    struct buf *problem;
    const char *origin; /* "/etc/railgun/logd.conf", "environment" */
    unsigned problems;
};

static void *conf_at(void *values, const struct conf_key *key)
{
    return (char *) values + key->offset;
}

static const void *conf_at_const(const void *values, const struct conf_key *key)
{
    return (const char *) values + key->offset;
}

static const struct conf_key *conf_find(const struct conf_table *table, struct span name)
{
    for (size_t i = 0; i < table->count; i++) {
        if (span_is(name, table->keys[i].name)) {
            return &table->keys[i];
        }
    }
    return NULL;
}

/* --- problems --- */

/* Begin a line: the origin, and where in it. The caller appends the rest without a line end. */
static void conf_problem(struct conf_reader *reader, unsigned line, const char *name)
{
    char shown[CONF_SHOWN];
    if (reader->problem->size != 0) {
        buf_append_byte(reader->problem, '\n');
    }
    reader->problems++;
    buf_append_text(reader->problem, reader->origin);
    if (line != 0) {
        buf_printf(reader->problem, ":%u", line);
    }
    if (name != NULL) {
        buf_printf(reader->problem, ": %s", str_escape(span_of(name), shown, sizeof(shown)));
    }
    buf_append_text(reader->problem, ": ");
}

static const char *conf_type_text(enum conf_type type)
{
    switch (type) {
    case CONF_STRING:
        return "a text in quotes";
    case CONF_NUMBER:
        return "a number";
    case CONF_SIZE:
        return "a size: bytes, or \"64k\", \"8M\", \"2G\"";
    case CONF_DURATION:
        return "a duration: milliseconds, or \"250ms\", \"5s\", \"10m\", \"1h\"";
    case CONF_BOOL:
        return "true or false";
    }
    return "";
}

static void conf_problem_type(struct conf_reader *reader, unsigned line, const struct conf_key *key)
{
    conf_problem(reader, line, key->name);
    buf_printf(reader->problem, "must be %s", conf_type_text(key->type));
}

/* How many letters differ, counted to 3: enough to tell a typo from another word. */
static unsigned conf_distance(const char *a, const char *b)
{
    unsigned row[CONF_PATH_MAX];
    size_t width = strlen(b);
    if (width + 1 >= CONF_PATH_MAX) {
        return 3;
    }
    for (size_t j = 0; j <= width; j++) {
        row[j] = (unsigned) j;
    }
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned) i;
        for (size_t j = 1; j <= width; j++) {
            unsigned change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            unsigned shift = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = change < shift ? change : shift;
        }
    }
    return row[width];
}

static void conf_problem_unknown(struct conf_reader *reader, unsigned line, const char *name)
{
    const struct conf_key *nearest = NULL;
    unsigned best = 3;
    for (size_t i = 0; i < reader->table->count; i++) {
        unsigned distance = conf_distance(name, reader->table->keys[i].name);
        if (distance < best) {
            best = distance;
            nearest = &reader->table->keys[i];
        }
    }
    conf_problem(reader, line, name);
    buf_append_text(reader->problem, "unknown key");
    if (nearest != NULL) {
        buf_printf(reader->problem, "; did you mean %s?", nearest->name);
    } else {
        buf_printf(reader->problem, "; `%s --print-config` lists all keys", reader->table->daemon);
    }
}

/* --- taking values --- */

static void conf_take_number(struct conf_reader *reader, unsigned line, const struct conf_key *key,
                             uint64_t value)
{
    if (value < key->min || value > key->max) {
        conf_problem(reader, line, key->name);
        buf_printf(reader->problem, "%" PRIu64 " is out of limits: %" PRIu64 " to %" PRIu64, value,
                   key->min, key->max);
        if (key->type == CONF_SIZE) {
            buf_append_text(reader->problem, " bytes");
        } else if (key->type == CONF_DURATION) {
            buf_append_text(reader->problem, " milliseconds");
        }
        return;
    }
    *(uint64_t *) conf_at(reader->values, key) = value;
}

static void conf_take_string(struct conf_reader *reader, unsigned line, const struct conf_key *key,
                             const char *text)
{
    size_t size = strlen(text);
    if (size < key->min || size > key->max) {
        conf_problem(reader, line, key->name);
        buf_printf(reader->problem, "%zu characters are out of limits: %" PRIu64 " to %" PRIu64,
                   size, key->min, key->max);
        return;
    }
    char **string = conf_at(reader->values, key);
    mem_free(*string);
    *string = mem_strdup(text);
}

/* A value given as text, whatever its type: defaults, environment, --set, and quoted sizes in files. */
static void conf_take_text(struct conf_reader *reader, unsigned line, const struct conf_key *key,
                           const char *text)
{
    uint64_t value = 0;
    int rc = 0;
    switch (key->type) {
    case CONF_STRING:
        conf_take_string(reader, line, key, text);
        return;
    case CONF_BOOL:
        if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) {
            *(bool *) conf_at(reader->values, key) = text[0] == 't';
            return;
        }
        rc = ERR_BAD_FORMAT;
        break;
    case CONF_NUMBER:
        rc = str_to_u64(span_of(text), &value);
        break;
    case CONF_SIZE:
        rc = str_to_size(span_of(text), &value);
        break;
    case CONF_DURATION:
        rc = str_to_duration_ms(span_of(text), &value);
        break;
    }
    if (rc < 0) {
        conf_problem_type(reader, line, key);
        return;
    }
    conf_take_number(reader, line, key, value);
}

void conf_defaults(const struct conf_table *table, void *values)
{
    struct buf problem = {0};
    struct conf_reader reader = {table, values, &problem, "default", 0};

    memset(values, 0, table->size);
    for (size_t i = 0; i < table->count; i++) {
        conf_take_text(&reader, 0, &table->keys[i], table->keys[i].text);
    }
    INVARIANT(reader.problems == 0); /* the table is ours */
    buf_release(&problem);
}

void conf_release(const struct conf_table *table, void *values)
{
    for (size_t i = 0; i < table->count; i++) {
        if (table->keys[i].type == CONF_STRING) {
            char **string = conf_at(values, &table->keys[i]);
            MEM_FREE(*string);
        }
    }
}

/* --- libconfig --- */

static void conf_take_setting(struct conf_reader *reader, const config_setting_t *setting,
                              const struct conf_key *key)
{
    unsigned line = config_setting_source_line(setting);
    int type = config_setting_type(setting);

    if (type == CONFIG_TYPE_STRING && key->type != CONF_NUMBER && key->type != CONF_BOOL) {
        conf_take_text(reader, line, key, config_setting_get_string(setting));
    } else if (type == CONFIG_TYPE_BOOL && key->type == CONF_BOOL) {
        *(bool *) conf_at(reader->values, key) = config_setting_get_bool(setting) != 0;
    } else if ((type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64) && key->type != CONF_STRING &&
               key->type != CONF_BOOL) {
        long long value = type == CONFIG_TYPE_INT ? config_setting_get_int(setting)
                                                  : config_setting_get_int64(setting);
        if (value < 0) {
            conf_problem(reader, line, key->name);
            buf_append_text(reader->problem, "must not be negative");
        } else {
            conf_take_number(reader, line, key, (uint64_t) value);
        }
    } else {
        conf_problem_type(reader, line, key);
    }
}

/* Does any key lie in the group with this path? */
static bool conf_is_group(const struct conf_table *table, const char *path)
{
    size_t size = strlen(path);
    for (size_t i = 0; i < table->count; i++) {
        if (strncmp(table->keys[i].name, path, size) == 0 && table->keys[i].name[size] == '.') {
            return true;
        }
    }
    return false;
}

static void conf_take_group(struct conf_reader *reader, const config_setting_t *group,
                            const char *path, unsigned depth)
{
    for (int i = 0; i < config_setting_length(group); i++) {
        const config_setting_t *setting = config_setting_get_elem(group, (unsigned) i);
        unsigned line = config_setting_source_line(setting);
        char name[CONF_PATH_MAX];
        int size = snprintf(name, sizeof(name), "%s%s%s", path, path[0] != '\0' ? "." : "",
                            config_setting_name(setting));
        bool cut = size < 0 || (size_t) size >= sizeof(name);
        const struct conf_key *key = cut ? NULL : conf_find(reader->table, span_of(name));
        if (key != NULL) {
            conf_take_setting(reader, setting, key);
        } else if (config_setting_is_group(setting) && depth < CONF_DEPTH_MAX && !cut &&
                   conf_is_group(reader->table, name)) {
            conf_take_group(reader, setting, name, depth + 1);
        } else {
            conf_problem_unknown(reader, line, name);
        }
    }
}

/* libconfig would open the named file while it scans: such a line never reaches it. Elsewhere «@» is a syntax error. */
static unsigned conf_find_include(const char *text)
{
    unsigned line = 1;
    bool blank_so_far = true;
    for (const char *at = text; *at != '\0'; at++) {
        if (*at == '\n') {
            line++;
            blank_so_far = true;
        } else if (blank_so_far && *at == '@') {
            return line;
        } else if (*at != ' ' && *at != '\t' && *at != '\r') {
            blank_so_far = false;
        }
    }
    return 0;
}

/* libconfig descends by recursion: far more brackets than any real file has are refused before it sees them. */
static bool conf_is_too_deep(const char *text)
{
    unsigned open = 0;
    for (const char *at = text; *at != '\0'; at++) {
        if (*at == '{' || *at == '(' || *at == '[') {
            open++;
        }
    }
    return open > 4096;
}

static int conf_read(struct conf_reader *reader, const char *text)
{
    config_t config;
    unsigned line = conf_find_include(text);

    if (line != 0) {
        conf_problem(reader, line, NULL);
        buf_append_text(reader->problem,
                        "@include is not supported; write the keys into this file");
        return ERR_BAD_CONFIG;
    }
    if (conf_is_too_deep(text)) {
        conf_problem(reader, 0, NULL);
        buf_append_text(reader->problem, "too many groups");
        return ERR_BAD_CONFIG;
    }
    config_init(&config);
    if (config_read_string(&config, text) != CONFIG_TRUE) {
        conf_problem(reader, (unsigned) config_error_line(&config), NULL);
        buf_append_text(reader->problem, config_error_text(&config));
    } else {
        conf_take_group(reader, config_root_setting(&config), "", 0);
    }
    config_destroy(&config);
    return reader->problems == 0 ? 0 : ERR_BAD_CONFIG;
}

int conf_read_text(const struct conf_table *table, const char *text, void *values,
                   struct buf *problem)
{
    struct conf_reader reader = {table, values, problem, "configuration", 0};
    return conf_read(&reader, text);
}

/* The whole file with a NUL behind it, or NULL and errno. */
static char *conf_load(const char *path, size_t *ret_size)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return NULL;
    }
    char *text = NULL;
    if (fstat(fd, &info) != 0) {
        goto out;
    }
    if (!S_ISREG(info.st_mode) || info.st_size > CONF_FILE_MAX) {
        errno = S_ISREG(info.st_mode) ? EFBIG : EISDIR;
        goto out;
    }
    text = mem_new((size_t) info.st_size + 1);
    size_t used = 0;
    ssize_t got = 1;
    while (used < (size_t) info.st_size && got > 0) {
        got = read(fd, text + used, (size_t) info.st_size - used);
        used += got > 0 ? (size_t) got : 0;
    }
    if (got < 0) {
        MEM_FREE(text);
        goto out;
    }
    *ret_size = used;
out:;
    int saved = errno;
    (void) close(fd);
    errno = saved;
    return text;
}

int conf_read_file(const struct conf_table *table, const char *path, void *values,
                   struct buf *problem)
{
    struct conf_reader reader = {table, values, problem, path, 0};
    size_t size = 0;

    char *text = conf_load(path, &size);
    if (text == NULL) {
        int error = errno;
        conf_problem(&reader, 0, NULL);
        buf_append_text(problem, strerror(error));
        return error == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    }
    int rc;
    if (strlen(text) != size) {
        conf_problem(&reader, 0, NULL);
        buf_append_text(problem, "holds a NUL byte: not a text file");
        rc = ERR_BAD_CONFIG;
    } else {
        rc = conf_read(&reader, text);
    }
    mem_free(text);
    return rc;
}

/* --- environment and command line --- */

/* RAILGUN_FRONTD_LISTEN_PORT. */
static void conf_variable_name(const struct conf_table *table, const char *key, char *out,
                               size_t capacity)
{
    (void) snprintf(out, capacity, "RAILGUN_%s%s%s", table->daemon, key[0] != '\0' ? "_" : "", key);
    for (char *at = out; *at != '\0'; at++) {
        *at = *at == '.' ? '_' : (char) toupper((unsigned char) *at);
    }
}

int conf_read_environment(const struct conf_table *table, void *values, struct buf *problem)
{
    struct conf_reader reader = {table, values, problem, "environment", 0};
    char prefix[CONF_PATH_MAX];

    conf_variable_name(table, "", prefix, sizeof(prefix));
    size_t prefix_size = strlen(prefix);
    for (char **variable = environ; *variable != NULL; variable++) {
        const char *equals = strchr(*variable, '=');
        if (equals == NULL || strncmp(*variable, prefix, prefix_size) != 0 ||
            (*variable)[prefix_size] != '_') {
            continue;
        }
        char name[CONF_PATH_MAX];
        const struct conf_key *found = NULL;
        for (size_t i = 0; i < table->count && found == NULL; i++) {
            conf_variable_name(table, table->keys[i].name, name, sizeof(name));
            if (span_is(span_make(*variable, (size_t) (equals - *variable)), name)) {
                found = &table->keys[i];
            }
        }
        if (found != NULL) {
            conf_take_text(&reader, 0, found, equals + 1);
        } else {
            (void) snprintf(name, sizeof(name), "%.*s", (int) (equals - *variable), *variable);
            conf_problem_unknown(&reader, 0, name);
        }
    }
    return reader.problems == 0 ? 0 : ERR_BAD_CONFIG;
}

int conf_set(const struct conf_table *table, const char *assignment, void *values,
             struct buf *problem)
{
    struct conf_reader reader = {table, values, problem, "--set", 0};
    const char *equals = strchr(assignment, '=');

    if (equals == NULL) {
        conf_problem(&reader, 0, assignment);
        buf_append_text(problem, "must be key=value");
        return ERR_BAD_CONFIG;
    }
    char name[CONF_PATH_MAX];
    (void) snprintf(name, sizeof(name), "%.*s", (int) (equals - assignment), assignment);
    const struct conf_key *key = conf_find(table, span_of(name));
    if (key == NULL) {
        conf_problem_unknown(&reader, 0, name);
    } else {
        conf_take_text(&reader, 0, key, equals + 1);
    }
    return reader.problems == 0 ? 0 : ERR_BAD_CONFIG;
}

/* --- reload --- */

static bool conf_is_equal(const struct conf_key *key, const void *a, const void *b)
{
    switch (key->type) {
    case CONF_STRING:
        return strcmp(*(char *const *) conf_at_const(a, key),
                      *(char *const *) conf_at_const(b, key)) == 0;
    case CONF_BOOL:
        return *(const bool *) conf_at_const(a, key) == *(const bool *) conf_at_const(b, key);
    case CONF_NUMBER:
    case CONF_SIZE:
    case CONF_DURATION:
        break;
    }
    return *(const uint64_t *) conf_at_const(a, key) == *(const uint64_t *) conf_at_const(b, key);
}

static void conf_format(const struct conf_key *key, const void *values, struct buf *out)
{
    char shown[CONF_SHOWN];
    switch (key->type) {
    case CONF_STRING:
        buf_printf(
            out, "\"%s\"",
            str_escape(span_of(*(char *const *) conf_at_const(values, key)), shown, sizeof(shown)));
        return;
    case CONF_BOOL:
        buf_append_text(out, *(const bool *) conf_at_const(values, key) ? "true" : "false");
        return;
    case CONF_NUMBER:
    case CONF_SIZE:
    case CONF_DURATION:
        break;
    }
    buf_printf(out, "%" PRIu64, *(const uint64_t *) conf_at_const(values, key));
    if (key->type == CONF_DURATION) {
        buf_append_text(out, "ms");
    }
}

static void conf_take_over(const struct conf_key *key, void *values, const void *fresh)
{
    switch (key->type) {
    case CONF_STRING: {
        char **string = conf_at(values, key);
        mem_free(*string);
        *string = mem_strdup(*(char *const *) conf_at_const(fresh, key));
        return;
    }
    case CONF_BOOL:
        *(bool *) conf_at(values, key) = *(const bool *) conf_at_const(fresh, key);
        return;
    case CONF_NUMBER:
    case CONF_SIZE:
    case CONF_DURATION:
        break;
    }
    *(uint64_t *) conf_at(values, key) = *(const uint64_t *) conf_at_const(fresh, key);
}

unsigned conf_reload(const struct conf_table *table, void *values, const void *fresh,
                     struct buf *report)
{
    unsigned changed = 0;
    for (size_t i = 0; i < table->count; i++) {
        const struct conf_key *key = &table->keys[i];
        if (conf_is_equal(key, values, fresh)) {
            continue;
        }
        buf_printf(report, "%s: ", key->name);
        conf_format(key, values, report);
        buf_append_text(report, " -> ");
        conf_format(key, fresh, report);
        if (key->reloadable) {
            conf_take_over(key, values, fresh);
            changed++;
        } else {
            buf_append_text(report, " (needs a restart)");
        }
        buf_append_byte(report, '\n');
    }
    return changed;
}

/* --- printing --- */

static void conf_print_limits(const struct conf_key *key, FILE *out)
{
    switch (key->type) {
    case CONF_STRING:
        (void) fprintf(out, "%" PRIu64 " to %" PRIu64 " characters", key->min, key->max);
        break;
    case CONF_NUMBER:
        (void) fprintf(out, "%" PRIu64 " to %" PRIu64, key->min, key->max);
        break;
    case CONF_SIZE:
        (void) fprintf(out, "%" PRIu64 " to %" PRIu64 " bytes", key->min, key->max);
        break;
    case CONF_DURATION:
        (void) fprintf(out, "%" PRIu64 " to %" PRIu64 " ms", key->min, key->max);
        break;
    case CONF_BOOL:
        (void) fputs("true or false", out);
        break;
    }
}

/* Integers beyond 32 bits carry an L in libconfig's language. */
static void conf_print_value(const struct conf_key *key, FILE *out)
{
    uint64_t value = 0;
    bool is_digits = str_to_u64(span_of(key->text), &value) == 0;
    if (key->type == CONF_BOOL) {
        (void) fputs(key->text, out);
    } else if (key->type != CONF_STRING && is_digits) {
        (void) fprintf(out, "%s%s", key->text, value > INT32_MAX ? "L" : "");
    } else {
        (void) fputc('"', out);
        for (const char *at = key->text; *at != '\0'; at++) {
            if (*at == '"' || *at == '\\') {
                (void) fputc('\\', out);
            }
            (void) fputc(*at, out);
        }
        (void) fputc('"', out);
    }
}

/* How much of the path before the last dot both names share, up to and with a dot. */
static size_t conf_shared_groups(const char *a, const char *b)
{
    size_t shared = 0;
    for (size_t i = 0; a[i] != '\0' && a[i] == b[i]; i++) {
        if (a[i] == '.') {
            shared = i + 1;
        }
    }
    return shared;
}

static unsigned conf_print_close(const char *from, size_t shared, unsigned depth, FILE *out)
{
    for (const char *at = from + shared; *at != '\0'; at++) {
        if (*at == '.') {
            depth--;
            (void) fprintf(out, "%*s};\n", (int) (4 * depth), "");
        }
    }
    return depth;
}

void conf_print(const struct conf_table *table, FILE *out)
{
    const char *before = "";
    unsigned depth = 0;

    char prefix[CONF_PATH_MAX];
    conf_variable_name(table, "", prefix, sizeof(prefix));
    (void) fprintf(
        out,
        "# Configuration of %s. Every key with its default; a key may be left out.\n"
        "# Each may also be given as %s_<KEY> in the environment or as --set key=value.\n",
        table->daemon, prefix);
    for (size_t i = 0; i < table->count; i++) {
        const struct conf_key *key = &table->keys[i];
        size_t shared = conf_shared_groups(before, key->name);
        depth = conf_print_close(before, shared, depth, out);
        (void) fputc('\n', out);
        const char *name = key->name + shared;
        for (const char *dot = strchr(name, '.'); dot != NULL; dot = strchr(name, '.')) {
            (void) fprintf(out, "%*s%.*s = {\n", (int) (4 * depth), "", (int) (dot - name), name);
            name = dot + 1;
            depth++;
        }
        (void) fprintf(out, "%*s# %s Limits: ", (int) (4 * depth), "", key->help);
        conf_print_limits(key, out);
        (void) fprintf(out, ".%s\n", key->reloadable ? " SIGHUP takes a new value." : "");
        (void) fprintf(out, "%*s%s = ", (int) (4 * depth), "", name);
        conf_print_value(key, out);
        (void) fputs(";\n", out);
        before = key->name;
    }
    (void) conf_print_close(before, 0, depth, out);
}
