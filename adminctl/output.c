/* output: gathers a tree of objects, lists and fields, then prints it as JSON or as tables. Owns all text it was given (copies). */
#include "adminctl/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/base/str.h"

enum node_type { NODE_OBJECT, NODE_LIST, NODE_TEXT, NODE_RAW };

struct node {
    enum node_type type;
    char *name;
    struct buf text;  /* NODE_TEXT: the bytes; NODE_RAW: as it stands in JSON */
    struct buf human; /* what a table shows instead; empty: the same */
    struct node *parent;
    struct node *first;
    struct node *last;
    struct node *next;
    size_t children;
};

struct output {
    enum output_format format;
    struct node *root;
    struct node *open; /* NULL before the first and after the last */
};

enum { COLUMNS_MAX = 24, CELL_MAX = 512 };

struct output *output_new(enum output_format format)
{
    struct output *self = MEM_NEW(struct output);
    self->format = format;
    return self;
}

static struct node *add(struct output *self, enum node_type type, const char *name)
{
    struct node *node = MEM_NEW(struct node);
    node->type = type;
    node->name = name != NULL ? mem_strdup(name) : NULL;
    node->parent = self->open;
    if (self->open == NULL) {
        self->root = node;
    } else {
        if (self->open->last != NULL) {
            self->open->last->next = node;
        } else {
            self->open->first = node;
        }
        self->open->last = node;
        self->open->children++;
    }
    return node;
}

void output_object(struct output *self, const char *name)
{
    self->open = add(self, NODE_OBJECT, name);
}

void output_list(struct output *self, const char *name)
{
    self->open = add(self, NODE_LIST, name);
}

void output_end(struct output *self)
{
    self->open = self->open->parent;
}

void output_text(struct output *self, const char *name, struct span text)
{
    buf_append(&add(self, NODE_TEXT, name)->text, text);
}

void output_number(struct output *self, const char *name, uint64_t value)
{
    buf_printf(&add(self, NODE_RAW, name)->text, "%" PRIu64, value);
}

void output_number_as(struct output *self, const char *name, uint64_t value, const char *human)
{
    output_number(self, name, value);
    buf_append_text(&self->open->last->human, human);
}

void output_real(struct output *self, const char *name, double value, unsigned decimals)
{
    buf_printf(&add(self, NODE_RAW, name)->text, "%.*f", (int) decimals, value);
}

/* --- JSON --- */

/* How many bytes the UTF-8 character at the front takes; 0 if it is none. */
static size_t utf8_size(struct span text)
{
    uint8_t lead = text.data[0];
    size_t size = lead < 0x80                   ? 1
                  : lead >= 0xc2 && lead < 0xe0 ? 2
                  : lead >= 0xe0 && lead < 0xf0 ? 3
                  : lead >= 0xf0 && lead < 0xf5 ? 4
                                                : 0;
    if (size == 0 || size > text.size) {
        return 0;
    }
    for (size_t i = 1; i < size; i++) {
        if ((text.data[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if ((lead == 0xe0 && text.data[1] < 0xa0) || (lead == 0xed && text.data[1] > 0x9f) ||
        (lead == 0xf0 && text.data[1] < 0x90) || (lead == 0xf4 && text.data[1] > 0x8f)) {
        return 0;
    }
    return size;
}

bool output_is_utf8(struct span text)
{
    while (text.size > 0) {
        size_t size = utf8_size(text);
        if (size == 0) {
            return false;
        }
        text = span_make(text.data + size, text.size - size);
    }
    return true;
}

void output_json_text(struct buf *out, struct span text)
{
    buf_append_byte(out, '"');
    while (text.size > 0) {
        size_t size = utf8_size(text);
        uint8_t byte = text.data[0];
        if (size == 0) {
            buf_append_text(out, "\\ufffd"); /* JSON cannot hold it: the replacement character */
            size = 1;
        } else if (byte == '"' || byte == '\\') {
            buf_append_byte(out, '\\');
            buf_append_byte(out, byte);
        } else if (byte < 0x20 || byte == 0x7f) {
            buf_printf(out, "\\u%04x", byte);
        } else {
            buf_append(out, span_make(text.data, size));
        }
        text = span_make(text.data + size, text.size - size);
    }
    buf_append_byte(out, '"');
}

static void json_node(struct buf *out, const struct node *node, unsigned depth)
{
    if (node->type == NODE_TEXT) {
        output_json_text(out, buf_span(&node->text));
        return;
    }
    if (node->type == NODE_RAW) {
        buf_append(out, buf_span(&node->text));
        return;
    }
    bool is_list = node->type == NODE_LIST;
    buf_append_byte(out, is_list ? '[' : '{');
    for (const struct node *child = node->first; child != NULL; child = child->next) {
        /* One line for each member of an outer list keeps the output greppable. */
        buf_append_text(out, is_list && depth < 2 ? "\n  " : child == node->first ? "" : " ");
        if (!is_list) {
            output_json_text(out, span_of(child->name != NULL ? child->name : ""));
            buf_append_text(out, ": ");
        }
        json_node(out, child, depth + 1);
        if (child->next != NULL) {
            buf_append_byte(out, ',');
        }
    }
    if (is_list && depth < 2 && node->first != NULL) {
        buf_append_byte(out, '\n');
    }
    buf_append_byte(out, is_list ? ']' : '}');
}

/* --- tables --- */

static const char *cell(const struct node *node, char out[CELL_MAX])
{
    const struct buf *shown = node->human.size > 0 ? &node->human : &node->text;
    struct span text = buf_span(shown);
    size_t used = 0;
    if (node->type == NODE_OBJECT || node->type == NODE_LIST) {
        (void) snprintf(out, CELL_MAX, "%zu", node->children);
        return out;
    }
    while (text.size > 0 && used < CELL_MAX - 8) {
        size_t size = utf8_size(text);
        if (size == 0 || (size == 1 && (text.data[0] < 0x20 || text.data[0] == 0x7f))) {
            used += (size_t) snprintf(out + used, CELL_MAX - used, "\\x%02x", text.data[0]);
            size = 1;
        } else {
            memcpy(out + used, text.data, size);
            used += size;
        }
        text = span_make(text.data + size, text.size - size);
    }
    out[used] = 0;
    return out;
}

/* Columns on the screen: continuation bytes take none. */
static size_t cell_width(const char *text)
{
    size_t width = 0;
    for (; *text != 0; text++) {
        width += ((uint8_t) *text & 0xc0) != 0x80;
    }
    return width;
}

static void table_cell(struct buf *out, const char *text, size_t width, bool right, bool is_last)
{
    size_t own = cell_width(text);
    size_t pad = own < width ? width - own : 0;
    for (size_t i = 0; right && i < pad; i++) {
        buf_append_byte(out, ' ');
    }
    buf_append_text(out, text);
    for (size_t i = 0; !right && !is_last && i < pad; i++) {
        buf_append_byte(out, ' ');
    }
    buf_append_text(out, is_last ? "\n" : "  ");
}

static void table_list(struct buf *out, const struct node *list)
{
    size_t width[COLUMNS_MAX] = {0};
    bool right[COLUMNS_MAX] = {false};
    size_t columns = 0;
    char text[CELL_MAX];

    if (list->first == NULL) {
        buf_append_text(out, "(none)\n");
        return;
    }
    for (const struct node *row = list->first; row != NULL; row = row->next) {
        size_t c = 0;
        for (const struct node *field = row->first; field != NULL && c < COLUMNS_MAX;
             field = field->next, c++) {
            size_t own = cell_width(cell(field, text));
            size_t name = row == list->first ? strlen(field->name) : 0;
            width[c] = own > width[c] ? own : width[c];
            width[c] = name > width[c] ? name : width[c];
            right[c] = field->type == NODE_RAW;
            columns = c + 1 > columns ? c + 1 : columns;
        }
    }
    size_t c = 0;
    for (const struct node *field = list->first->first; field != NULL && c < COLUMNS_MAX;
         field = field->next, c++) {
        char title[CELL_MAX];
        (void) snprintf(title, sizeof(title), "%s", field->name);
        for (char *at = title; *at != 0; at++) {
            *at = *at == '_' ? ' ' : *at >= 'a' && *at <= 'z' ? (char) (*at - 32) : *at;
        }
        table_cell(out, title, width[c], right[c], field->next == NULL);
    }
    for (const struct node *row = list->first; row != NULL; row = row->next) {
        c = 0;
        for (const struct node *field = row->first; field != NULL && c < COLUMNS_MAX;
             field = field->next, c++) {
            table_cell(out, cell(field, text), width[c], right[c], field->next == NULL);
        }
    }
}

static void table_node(struct buf *out, const struct node *node)
{
    char text[CELL_MAX];
    size_t width = 0;
    if (node->type == NODE_LIST) {
        table_list(out, node);
        return;
    }
    for (const struct node *field = node->first; field != NULL; field = field->next) {
        if (field->type != NODE_LIST && field->type != NODE_OBJECT && field->name != NULL) {
            width = strlen(field->name) > width ? strlen(field->name) : width;
        }
    }
    for (const struct node *field = node->first; field != NULL; field = field->next) {
        if (field->type == NODE_LIST || field->type == NODE_OBJECT) {
            buf_printf(out, "\n%s\n", field->name != NULL ? field->name : "");
            table_node(out, field);
        } else {
            table_cell(out, field->name != NULL ? field->name : "", width, false, false);
            buf_printf(out, "%s\n", cell(field, text));
        }
    }
}

static void free_node(struct node *node)
{
    struct node *child = node->first;
    while (child != NULL) {
        struct node *next = child->next;
        free_node(child);
        child = next;
    }
    buf_release(&node->text);
    buf_release(&node->human);
    mem_free(node->name);
    mem_free(node);
}

void output_discard(struct output **self)
{
    if ((*self)->root != NULL) {
        free_node((*self)->root);
    }
    MEM_FREE(*self);
}

int output_finish(struct output **self)
{
    struct buf out = {0};
    int result = 0;
    if ((*self)->root != NULL) {
        if ((*self)->format == OUTPUT_JSON) {
            json_node(&out, (*self)->root, 0);
            buf_append_byte(&out, '\n');
        } else {
            table_node(&out, (*self)->root);
        }
        free_node((*self)->root);
    }
    if (fwrite(out.data, 1, out.size, stdout) != out.size || fflush(stdout) != 0) {
        result = ERR_IO;
    }
    buf_release(&out);
    MEM_FREE(*self);
    return result;
}

const char *output_bytes(uint64_t bytes, char *out)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double) bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        value /= 1024;
        unit++;
    }
    (void) snprintf(out, 32, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return out;
}

const char *output_time_us(uint64_t us, char *out)
{
    time_t seconds = (time_t) (us / 1000000);
    struct tm parts;
    if (us == 0 || gmtime_r(&seconds, &parts) == NULL) {
        (void) snprintf(out, 32, "-");
        return out;
    }
    size_t used = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &parts);
    (void) snprintf(out + used, 32 - used, ".%03uZ", (unsigned) (us / 1000 % 1000));
    return out;
}

const char *output_duration(uint64_t ms, char *out)
{
    uint64_t s = ms / 1000;
    if (ms < 1000) {
        (void) snprintf(out, 32, "%" PRIu64 " ms", ms);
    } else if (s < 120) {
        (void) snprintf(out, 32, "%" PRIu64 ".%" PRIu64 " s", s, ms % 1000 / 100);
    } else if (s < 7200) {
        (void) snprintf(out, 32, "%" PRIu64 " m %" PRIu64 " s", s / 60, s % 60);
    } else if (s < 172800) {
        (void) snprintf(out, 32, "%" PRIu64 " h %" PRIu64 " m", s / 3600, s % 3600 / 60);
    } else {
        (void) snprintf(out, 32, "%" PRIu64 " d %" PRIu64 " h", s / 86400, s % 86400 / 3600);
    }
    return out;
}
