/* setting: see the header. Walks protobuf-c's descriptors, so that a field of the protocol needs no line here. What is valid the server says;
 * only the form is looked at. */
#include "adminctl/setting.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/base/str.h"

enum { SETTING_WORD_MAX = 64, SETTING_LIST_MAX = 64 };

ProtobufCMessage *setting_new(const ProtobufCMessageDescriptor *type)
{
    ProtobufCMessage *message = (ProtobufCMessage *) mem_new(type->sizeof_message);
    protobuf_c_message_init(type, message);
    return message;
}

/* --- finding a field --------------------------------------------------------------------------------------- */

/* One word of a path: as it is, or with the unit that was left out. */
static const ProtobufCFieldDescriptor *field_find(const ProtobufCMessageDescriptor *type,
                                                  struct span word)
{
    static const char *const units[] = {"", "_ms", "_us", "_bytes", "_percent"};
    char name[SETTING_WORD_MAX + 16];
    if (word.size == 0 || word.size > SETTING_WORD_MAX) {
        return NULL;
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        (void) snprintf(name, sizeof(name), "%.*s%s", (int) word.size, (const char *) word.data,
                        units[i]);
        for (char *at = name; *at != '\0'; at++) {
            *at = (char) (*at == '-' ? '_' : *at);
        }
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field_by_name(type, name);
        if (field != NULL) {
            return field;
        }
    }
    return NULL;
}

/* The next word of a path; *path moves behind its dot, or becomes NULL at the end. */
static struct span path_word(const char **path)
{
    const char *begin = *path;
    const char *dot = strchr(begin, '.');
    *path = dot != NULL ? dot + 1 : NULL;
    return dot != NULL ? span_make(begin, (size_t) (dot - begin)) : span_of(begin);
}

static bool path_exists(const ProtobufCMessageDescriptor *type, const char *path)
{
    do {
        const ProtobufCFieldDescriptor *field = field_find(type, path_word(&path));
        if (field == NULL || (path != NULL) != (field->type == PROTOBUF_C_TYPE_MESSAGE)) {
            return false;
        }
        type = (const ProtobufCMessageDescriptor *) field->descriptor;
    } while (path != NULL);
    return true;
}

/* --- values ------------------------------------------------------------------------------------------------ */

static bool name_ends_with(const char *name, const char *end)
{
    size_t size = strlen(name);
    size_t end_size = strlen(end);
    return size >= end_size && strcmp(name + size - end_size, end) == 0;
}

static int number_parse(const ProtobufCFieldDescriptor *field, struct span text, uint64_t *ret)
{
    if (name_ends_with(field->name, "_ms")) {
        return str_to_duration_ms(text, ret);
    }
    if (name_ends_with(field->name, "_bytes")) {
        return str_to_size(text, ret);
    }
    return str_to_u64(text, ret);
}

/* The name of a value without its prefix: DEDUP_OFF is "off", AT_LAST_N "last_n", LIMITS "limits". */
static const char *enum_name(const ProtobufCEnumDescriptor *type, unsigned index,
                             char out[SETTING_WORD_MAX])
{
    const char *name = type->values[index].name;
    const char *first = type->values[0].name;
    const char *underscore = strchr(first, '_');
    size_t prefix = underscore != NULL ? (size_t) (underscore - first) + 1 : 0;
    if (prefix > 0 && strncmp(name, first, prefix) == 0) {
        name += prefix;
    }
    size_t size = strlen(name);
    size = size < SETTING_WORD_MAX ? size : SETTING_WORD_MAX - 1;
    for (size_t i = 0; i < size; i++) {
        out[i] = (char) tolower((unsigned char) name[i]);
    }
    out[size] = '\0';
    return out;
}

static int enum_parse(const ProtobufCEnumDescriptor *type, const char *text, uint32_t *ret_value,
                      struct buf *problem)
{
    char name[SETTING_WORD_MAX];
    for (unsigned i = 0; i < type->n_values; i++) {
        if (strcmp(enum_name(type, i, name), text) == 0) {
            *ret_value = (uint32_t) type->values[i].value;
            return 0;
        }
    }
    buf_printf(problem, "'%s' is none of", text);
    for (unsigned i = 0; i < type->n_values; i++) {
        buf_printf(problem, "%s %s", i == 0 ? "" : ",", enum_name(type, i, name));
    }
    return ERR_USAGE;
}

static int value_refuse(const ProtobufCFieldDescriptor *field, const char *value,
                        struct buf *problem)
{
    const char *form = "number";
    if (field->type == PROTOBUF_C_TYPE_BOOL) {
        form = "true or false";
    } else if (name_ends_with(field->name, "_ms")) {
        form = "duration (250ms, 5s, 10m, 24h, 7d)";
    } else if (name_ends_with(field->name, "_bytes")) {
        form = "size (4096, 64k, 1GiB)";
    }
    buf_printf(problem, "'%s' is not a %s", value, form);
    return ERR_USAGE;
}

static void flag_set(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    protobuf_c_boolean yes = 1;
    memcpy((char *) message + field->quantifier_offset, &yes, sizeof(yes));
}

static int number_put(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                      const char *value, struct buf *problem)
{
    char *at = (char *) message + field->offset;
    uint64_t number = 0;
    uint32_t small = 0;
    bool is_big = field->type == PROTOBUF_C_TYPE_UINT64 || field->type == PROTOBUF_C_TYPE_FIXED64;
    if (field->type == PROTOBUF_C_TYPE_ENUM) {
        int error =
            enum_parse((const ProtobufCEnumDescriptor *) field->descriptor, value, &small, problem);
        if (error != 0) {
            return error;
        }
    } else if (field->type == PROTOBUF_C_TYPE_BOOL) {
        small = strcmp(value, "true") == 0 || strcmp(value, "yes") == 0;
        if (small == 0 && strcmp(value, "false") != 0 && strcmp(value, "no") != 0) {
            return value_refuse(field, value, problem);
        }
    } else if (number_parse(field, span_of(value), &number) != 0 ||
               (!is_big && number > UINT32_MAX)) {
        return value_refuse(field, value, problem);
    } else {
        small = (uint32_t) number;
    }
    if (is_big) {
        memcpy(at, &number, sizeof(number));
    } else {
        memcpy(at, &small, sizeof(small));
    }
    flag_set(message, field);
    return 0;
}

/* Of 64-bit numbers. */
static int list_put(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                    const char *value, struct buf *problem)
{
    uint64_t numbers[SETTING_LIST_MAX];
    size_t count = 0;
    const char *at = value;
    do {
        const char *comma = strchr(at, ',');
        struct span word = comma != NULL ? span_make(at, (size_t) (comma - at)) : span_of(at);
        if (count == SETTING_LIST_MAX || number_parse(field, word, &numbers[count]) != 0) {
            return value_refuse(field, value, problem);
        }
        count++;
        at = comma != NULL ? comma + 1 : NULL;
    } while (at != NULL);
    void *old;
    memcpy(&old, (char *) message + field->offset, sizeof(old));
    mem_free(old);
    uint64_t *list = MEM_NEW_ARRAY(count, uint64_t);
    memcpy(list, numbers, count * sizeof(*list));
    memcpy((char *) message + field->offset, &list, sizeof(list));
    memcpy((char *) message + field->quantifier_offset, &count, sizeof(count));
    return 0;
}

static int value_put(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                     const char *value, struct buf *problem)
{
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        return list_put(message, field, value, problem);
    }
    if (field->type != PROTOBUF_C_TYPE_STRING) {
        return number_put(message, field, value, problem);
    }
    char *old;
    char *copy = mem_strdup(value);
    memcpy(&old, (char *) message + field->offset, sizeof(old));
    mem_free(old);
    memcpy((char *) message + field->offset, &copy, sizeof(copy));
    return 0;
}

/* The nested message, made if need be. */
static ProtobufCMessage *message_in(ProtobufCMessage *message,
                                    const ProtobufCFieldDescriptor *field)
{
    ProtobufCMessage *inner;
    memcpy(&inner, (char *) message + field->offset, sizeof(inner));
    if (inner == NULL) {
        inner = setting_new((const ProtobufCMessageDescriptor *) field->descriptor);
        memcpy((char *) message + field->offset, &inner, sizeof(inner));
    }
    return inner;
}

int setting_put(ProtobufCMessage *message, const char *path, const char *value, struct buf *problem)
{
    const char *rest = path;
    if (!path_exists(message->descriptor, path)) {
        buf_printf(problem, "%s: no such field", path);
        return ERR_USAGE;
    }
    const ProtobufCFieldDescriptor *field = field_find(message->descriptor, path_word(&rest));
    while (rest != NULL) {
        INVARIANT(field != NULL); /* it exists */
        message = message_in(message, field);
        field = field_find(message->descriptor, path_word(&rest));
    }
    INVARIANT(field != NULL); /* it exists */
    buf_printf(problem, "%s: ", path);
    int error = value_put(message, field, value, problem);
    if (error == 0) {
        buf_reset(problem);
    }
    return error;
}

int setting_assign(ProtobufCMessage *message, const char *assignment, struct buf *problem)
{
    const char *equals = strchr(assignment, '=');
    if (equals == NULL) {
        buf_printf(problem, "'%s' is not path=value", assignment);
        return ERR_USAGE;
    }
    struct buf path = {0};
    buf_append(&path, span_make(assignment, (size_t) (equals - assignment)));
    int error = setting_put(message, buf_text(&path), equals + 1, problem);
    buf_release(&path);
    return error;
}

/* --- showing ----------------------------------------------------------------------------------------------- */

static void number_show(struct output *out, const char *path, uint64_t value)
{
    char human[32];
    if (name_ends_with(path, "_ms") && value > 0) {
        output_number_as(out, path, value, output_duration(value, human));
    } else if (name_ends_with(path, "_bytes") && value > 0) {
        output_number_as(out, path, value, output_bytes(value, human));
    } else {
        output_number(out, path, value);
    }
}

static void enum_show(struct output *out, const char *path, const ProtobufCEnumDescriptor *type,
                      uint32_t value)
{
    char name[SETTING_WORD_MAX];
    for (unsigned i = 0; i < type->n_values; i++) {
        if (type->values[i].value == (int) value) {
            output_text(out, path, span_of(enum_name(type, i, name)));
        }
    }
}

static void plain_show(struct output *out, const char *path, const ProtobufCFieldDescriptor *field,
                       const char *at)
{
    uint32_t small;
    uint64_t big;
    if (field->type == PROTOBUF_C_TYPE_UINT64 || field->type == PROTOBUF_C_TYPE_FIXED64) {
        memcpy(&big, at, sizeof(big));
        number_show(out, path, big);
        return;
    }
    memcpy(&small, at, sizeof(small));
    if (field->type == PROTOBUF_C_TYPE_BOOL) {
        output_text(out, path, span_of(small != 0 ? "true" : "false"));
    } else if (field->type == PROTOBUF_C_TYPE_ENUM) {
        enum_show(out, path, (const ProtobufCEnumDescriptor *) field->descriptor, small);
    } else {
        number_show(out, path, small);
    }
}

static void list_show(struct output *out, const char *path, const ProtobufCFieldDescriptor *field,
                      const ProtobufCMessage *message)
{
    const uint64_t *values;
    size_t count;
    struct buf text = {0};
    memcpy(&values, (const char *) message + field->offset, sizeof(values));
    memcpy(&count, (const char *) message + field->quantifier_offset, sizeof(count));
    for (size_t i = 0; i < count; i++) {
        buf_printf(&text, "%s%" PRIu64, i == 0 ? "" : ",", values[i]);
    }
    if (count > 0) {
        output_text(out, path, buf_span(&text));
    }
    buf_release(&text);
}

static void level_show(struct output *out, const ProtobufCMessage *message, const char *prefix);

static void field_show(struct output *out, const char *path, const ProtobufCFieldDescriptor *field,
                       const ProtobufCMessage *message)
{
    const char *at = (const char *) message + field->offset;
    protobuf_c_boolean has = 0;
    const void *pointer;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        list_show(out, path, field, message);
    } else if (field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_MESSAGE) {
        memcpy(&pointer, at, sizeof(pointer));
        if (pointer != NULL && field->type == PROTOBUF_C_TYPE_STRING) {
            output_text(out, path, span_of((const char *) pointer));
        } else if (pointer != NULL) {
            level_show(out, (const ProtobufCMessage *) pointer, path);
        }
    } else {
        memcpy(&has, (const char *) message + field->quantifier_offset, sizeof(has));
        if (has) {
            plain_show(out, path, field, at);
        }
    }
}

static void level_show(struct output *out, const ProtobufCMessage *message, const char *prefix)
{
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        struct buf path = {0};
        buf_printf(&path, "%s%s%s", prefix, prefix[0] != '\0' ? "." : "", field->name);
        field_show(out, buf_text(&path), field, message);
        buf_release(&path);
    }
}

void setting_show(struct output *out, const ProtobufCMessage *message)
{
    level_show(out, message, "");
}
