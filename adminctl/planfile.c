/* planfile: see the header. Owns the objects; looks at the form alone. A key that nobody knows is an error: a slip of the pen must not be
 * taken for "don't care". */
#include "adminctl/planfile.h"

#include <inttypes.h>
#include <libconfig.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/scan.h"

#include "adminctl/setting.h"

enum { PLANFILE_BYTES_MAX = 4 << 20, PLANFILE_OBJECTS_MAX = 10000, PLANFILE_BRACKETS_MAX = 65536 };

void planfile_release(struct planfile *self)
{
    for (size_t i = 0; i < self->count; i++) {
        mem_free(self->objects[i].name);
        mem_free(self->objects[i].group);
        scan_free(&self->objects[i].spec);
    }
    MEM_FREE(self->objects);
    self->count = 0;
}

static int refuse(struct buf *problem, const config_setting_t *setting, const char *reason)
{
    buf_printf(problem, "line %u: %s", config_setting_source_line(setting), reason);
    return ERR_BAD_FORMAT;
}

/* --- values ------------------------------------------------------------------------------------------------ */

/* A scalar as the text that setting_put takes. */
static int value_append(const config_setting_t *setting, struct buf *out)
{
    switch (config_setting_type(setting)) {
    case CONFIG_TYPE_STRING:
        buf_append_text(out, config_setting_get_string(setting));
        return 0;
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        buf_printf(out, "%lld", config_setting_get_int64(setting));
        return 0;
    case CONFIG_TYPE_BOOL:
        buf_append_text(out, config_setting_get_bool(setting) ? "true" : "false");
        return 0;
    default:
        return ERR_BAD_FORMAT;
    }
}

static int list_append(const config_setting_t *setting, struct buf *out)
{
    int error = 0;
    for (int i = 0; error == 0 && i < config_setting_length(setting); i++) {
        buf_append_text(out, i == 0 ? "" : ",");
        error = value_append(config_setting_get_elem(setting, (unsigned) i), out);
    }
    return error;
}

static bool is_list(const config_setting_t *setting)
{
    return config_setting_is_array(setting) || config_setting_is_list(setting);
}

static int field_put(ProtobufCMessage *spec, const char *path, const config_setting_t *setting,
                     struct buf *problem)
{
    struct buf value = {0};
    struct buf reason = {0};
    int error = is_list(setting) ? list_append(setting, &value) : value_append(setting, &value);
    if (error != 0) {
        buf_printf(&reason, "%s: not a text, a number or a list of them", path);
    } else {
        error = setting_put(spec, path, buf_text(&value), &reason);
    }
    if (error != 0) {
        error = refuse(problem, setting, buf_text(&reason));
    }
    buf_release(&reason);
    buf_release(&value);
    return error;
}

/* --- objects ----------------------------------------------------------------------------------------------- */

static bool is_own_key(const char *key)
{
    return strcmp(key, "name") == 0 || strcmp(key, "version") == 0 || strcmp(key, "groups") == 0;
}

/* The fields of a configuration group, at most one level of them within. */
static int fields_put(ProtobufCMessage *spec, const char *prefix, const config_setting_t *from,
                      struct buf *problem)
{
    int error = 0;
    for (int i = 0; error == 0 && i < config_setting_length(from); i++) {
        const config_setting_t *setting = config_setting_get_elem(from, (unsigned) i);
        const char *key = config_setting_name(setting);
        struct buf path = {0};
        if (prefix == NULL && is_own_key(key)) {
            continue;
        }
        buf_printf(&path, "%s%s%s", prefix != NULL ? prefix : "", prefix != NULL ? "." : "", key);
        if (config_setting_is_group(setting) && prefix == NULL) {
            error = fields_put(spec, key, setting, problem);
        } else {
            error = field_put(spec, buf_text(&path), setting, problem);
        }
        buf_release(&path);
    }
    return error;
}

/* Name and version. */
static int head_read(const config_setting_t *from, const char **ret_name, uint64_t *ret_version,
                     struct buf *problem)
{
    long long version = 1;
    const config_setting_t *setting = config_setting_get_member(from, "version");
    if (!config_setting_is_group(from)) {
        return refuse(problem, from, "a stream, group or exchange is written { name = ...; }");
    }
    if (config_setting_lookup_string(from, "name", ret_name) != CONFIG_TRUE) {
        return refuse(problem, from, "name: missing");
    }
    if (setting != NULL) {
        version = config_setting_get_int64(setting);
        if (version < 1) {
            return refuse(problem, setting, "version: a number from 1");
        }
    }
    *ret_version = (uint64_t) version;
    return 0;
}

static const ProtobufCMessageDescriptor *spec_type(Railgun__Kind kind)
{
    return kind == RAILGUN__KIND__KIND_STREAM  ? &railgun__stream_spec__descriptor
           : kind == RAILGUN__KIND__KIND_GROUP ? &railgun__group_spec__descriptor
                                               : &railgun__exchange_spec__descriptor;
}

static int list_take(struct planfile *self, const config_setting_t *list, Railgun__Kind kind,
                     const char *stream, struct buf *problem);

static int object_compare(const void *left, const void *right)
{
    const struct planfile_object *a = *(const struct planfile_object *const *) left;
    const struct planfile_object *b = *(const struct planfile_object *const *) right;
    int order = (a->kind > b->kind) - (a->kind < b->kind);
    if (order == 0) {
        order = strcmp(a->name, b->name);
    }
    return order != 0 || a->group == NULL ? order : strcmp(a->group, b->group);
}

/* The second of one name would be refused when the first is done already. */
static int names_check(const struct planfile *self, struct buf *problem)
{
    const struct planfile_object **sorted =
        MEM_NEW_ARRAY(self->count, const struct planfile_object *);
    const struct planfile_object *twice = NULL;
    for (size_t i = 0; i < self->count; i++) {
        sorted[i] = &self->objects[i];
    }
    if (self->count > 1) {
        qsort(sorted, self->count, sizeof(*sorted), object_compare);
    }
    for (size_t i = 1; i < self->count && twice == NULL; i++) {
        twice = object_compare(&sorted[i - 1], &sorted[i]) == 0 ? sorted[i] : NULL;
    }
    mem_free(sorted);
    if (twice == NULL) {
        return 0;
    }
    buf_printf(problem, "%s%s%s is there twice", twice->name, twice->group != NULL ? "/" : "",
               twice->group != NULL ? twice->group : "");
    return ERR_BAD_FORMAT;
}

/* One object, and the groups within. `stream`: of a group. */
static int object_take(struct planfile *self, const config_setting_t *from, Railgun__Kind kind,
                       const char *stream, struct buf *problem)
{
    const char *name = NULL;
    uint64_t version = 1;
    int error = head_read(from, &name, &version, problem);
    if (error != 0) {
        return error;
    }
    const config_setting_t *groups = config_setting_get_member(from, "groups");
    if (groups != NULL && kind != RAILGUN__KIND__KIND_STREAM) {
        return refuse(problem, groups, "groups: only streams have them");
    }
    if (self->count == PLANFILE_OBJECTS_MAX) {
        return refuse(problem, from, "more than 10,000 objects");
    }
    self->objects = (struct planfile_object *) mem_resize(self->objects, self->count + 1,
                                                          sizeof(*self->objects));
    struct planfile_object *object = &self->objects[self->count++];
    object->kind = kind;
    object->name = mem_strdup(stream != NULL ? stream : name);
    object->group = stream != NULL ? mem_strdup(name) : NULL;
    object->version = version;
    object->spec = setting_new(spec_type(kind));
    error = fields_put(object->spec, NULL, from, problem);
    if (error == 0 && groups != NULL) {
        error = list_take(self, groups, RAILGUN__KIND__KIND_GROUP, name, problem);
    }
    return error;
}

static int list_take(struct planfile *self, const config_setting_t *list, Railgun__Kind kind,
                     const char *stream, struct buf *problem)
{
    if (!config_setting_is_list(list)) {
        return refuse(problem, list, "a list is needed: ( { name = ...; }, ... )");
    }
    int error = 0;
    for (int i = 0; error == 0 && i < config_setting_length(list); i++) {
        error =
            object_take(self, config_setting_get_elem(list, (unsigned) i), kind, stream, problem);
    }
    return error;
}

static int root_take(struct planfile *self, const config_setting_t *root, struct buf *problem)
{
    int error = 0;
    for (int i = 0; error == 0 && i < config_setting_length(root); i++) {
        const config_setting_t *setting = config_setting_get_elem(root, (unsigned) i);
        const char *key = config_setting_name(setting);
        if (strcmp(key, "streams") == 0) {
            error = list_take(self, setting, RAILGUN__KIND__KIND_STREAM, NULL, problem);
        } else if (strcmp(key, "exchanges") == 0) {
            error = list_take(self, setting, RAILGUN__KIND__KIND_EXCHANGE, NULL, problem);
        } else {
            error = refuse(problem, setting, "only streams and exchanges stand here");
        }
    }
    return error;
}

/* libconfig would open a file that is named behind '@', and descends by recursion. */
static const char *text_problem(const char *text)
{
    size_t brackets = 0;
    bool begins_line = true;
    for (const char *at = text; *at != '\0'; at++) {
        if (*at == '@' && begins_line) {
            return "@include is not supported";
        }
        begins_line = *at == '\n' || (begins_line && (*at == ' ' || *at == '\t' || *at == '\r'));
        brackets += *at == '{' || *at == '(' || *at == '[';
    }
    return brackets > PLANFILE_BRACKETS_MAX ? "too many brackets" : NULL;
}

int planfile_parse(const char *text, struct planfile *ret_file, struct buf *problem)
{
    struct planfile file = {0};
    config_t config;
    const char *reason = text_problem(text);
    if (reason != NULL) {
        buf_append_text(problem, reason);
        return ERR_BAD_FORMAT;
    }
    config_init(&config);
    int error = ERR_BAD_FORMAT;
    if (config_read_string(&config, text) != CONFIG_TRUE) {
        buf_printf(problem, "line %d: %s", config_error_line(&config), config_error_text(&config));
    } else {
        error = root_take(&file, config_root_setting(&config), problem);
        error = error == 0 ? names_check(&file, problem) : error;
    }
    config_destroy(&config);
    if (error != 0) {
        planfile_release(&file);
        return error;
    }
    *ret_file = file;
    return 0;
}

int planfile_load(const char *path, struct planfile *ret_file, struct buf *problem)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(path, "re");
    struct buf text = {0};
    char part[4096];
    size_t size;
    if (file == NULL) {
        buf_printf(problem, "%s: cannot be opened", path);
        return ERR_NOT_FOUND;
    }
    while (text.size <= PLANFILE_BYTES_MAX && (size = fread(part, 1, sizeof(part), file)) > 0) {
        buf_append(&text, span_make(part, size));
    }
    bool is_bad = ferror(file) != 0 || text.size > PLANFILE_BYTES_MAX;
    if (!is_stdin) {
        (void) fclose(file); /* only read */
    }
    int error = ERR_IO;
    if (is_bad) {
        buf_printf(problem, "%s: cannot be read, or is larger than 4 MiB", path);
    } else {
        struct buf reason = {0};
        error = planfile_parse(buf_text(&text), ret_file, &reason);
        if (error != 0) {
            buf_printf(problem, "%s: %s", path, buf_text(&reason));
        }
        buf_release(&reason);
    }
    buf_release(&text);
    return error;
}
