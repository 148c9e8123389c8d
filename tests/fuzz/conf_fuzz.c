/* conf_fuzz: any text as a configuration: it is taken or refused with a reason, and what was taken is within its limits. No
 * file is ever read: the text may name one, but then it is refused. */
#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/run/conf.h"

struct values {
    char *text;
    uint64_t number;
    uint64_t size;
    uint64_t duration;
    bool flag;
};

#define AT(member) offsetof(struct values, member)
static const struct conf_key keys[] = {
    {"text", CONF_STRING, AT(text), "x", 1, 40, true, "Text."},
    {"group.number", CONF_NUMBER, AT(number), "7", 1, 65535, false, "Number."},
    {"group.size", CONF_SIZE, AT(size), "8M", 4096, UINT64_C(1) << 40, true, "Size."},
    {"group.inner.duration", CONF_DURATION, AT(duration), "5s", 10, 3600000, true, "Duration."},
    {"flag", CONF_BOOL, AT(flag), "false", 0, 0, true, "Flag."},
};
static const struct conf_table table = {"fuzzd", keys, sizeof(keys) / sizeof(keys[0]),
                                        sizeof(struct values)};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* libconfig 1.5 forgets the string it was scanning when the text ends or errs in the middle of it: some bytes for each wrong
 * file, which ends the daemon or the reload. */
const char *__lsan_default_suppressions(void)
{
    return "leak:strbuf_append\nleak:libconfig";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct values values;
    struct buf problem = {0};
    char *text = mem_new(size + 1);

    if (size != 0) {
        memcpy(text, data, size);
    }
    conf_defaults(&table, &values);
    int rc = conf_read_text(&table, text, &values, &problem);
    if (rc == 0) {
        INVARIANT(problem.size == 0);
        INVARIANT(strlen(values.text) >= 1 && strlen(values.text) <= 40);
        INVARIANT(values.number >= 1 && values.number <= 65535);
        INVARIANT(values.size >= 4096 && values.size <= UINT64_C(1) << 40);
        INVARIANT(values.duration >= 10 && values.duration <= 3600000);
    } else {
        INVARIANT(rc == ERR_BAD_CONFIG);
        INVARIANT(problem.size != 0);
    }
    conf_release(&table, &values);
    conf_defaults(&table, &values);
    (void) conf_set(&table, text, &values, &problem);
    conf_release(&table, &values);
    buf_release(&problem);
    mem_free(text);
    return 0;
}
