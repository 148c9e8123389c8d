/* start: a place in a stream as people write it. */

#include <string.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/str.h"

#include "adminctl/ctl.h"

#define SECOND_US  UINT64_C(1000000)
#define TIME_S_MAX UINT64_C(1000000000000) /* far behind any date, far below overflow */

/* ".25" -> 250,000. 0, or ERR_BAD_FORMAT; *text moves behind it. */
static int fraction_us(const char **text, uint64_t *ret_us)
{
    uint64_t unit = SECOND_US;
    *ret_us = 0;
    if (**text != '.') {
        return 0;
    }
    const char *at = *text + 1;
    for (; *at >= '0' && *at <= '9'; at++) {
        unit /= 10;
        *ret_us += (uint64_t) (*at - '0') * unit; /* beyond a microsecond: 0 */
    }
    bool is_empty = at == *text + 1;
    *text = at;
    return is_empty ? ERR_BAD_FORMAT : 0;
}

/* A date, UTC. */
static int date_us(const char *text, uint64_t *ret_us)
{
    static const char *const forms[] = {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M",
                                        "%Y-%m-%d %H:%M", "%Y-%m-%d"};
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct tm parts = {0};
        uint64_t us = 0;
        const char *rest = strptime(text, forms[i], &parts);
        if (rest == NULL || (i < 2 && fraction_us(&rest, &us) != 0)) {
            continue;
        }
        rest += *rest == 'Z';
        time_t seconds = timegm(&parts);
        if (*rest == '\0' && seconds > 0) {
            *ret_us = (uint64_t) seconds * SECOND_US + us;
            return 0;
        }
    }
    return ERR_BAD_FORMAT;
}

static int time_us(const char *text, uint64_t *ret_us)
{
    uint64_t number = 0;
    if (text[0] == '-') {
        uint64_t now_us = timesource_real_us(timesource_system());
        if (str_to_duration_ms(span_of(text + 1), &number) != 0) {
            return ERR_BAD_FORMAT;
        }
        *ret_us = number < now_us / 1000 ? now_us - number * 1000 : 1;
        return 0;
    }
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || (text[digits] != '\0' && text[digits] != '.')) {
        return date_us(text, ret_us);
    }
    const char *rest = text + digits;
    uint64_t part_us = 0;
    if (str_to_u64(span_make(text, digits), &number) != 0 || number > TIME_S_MAX ||
        fraction_us(&rest, &part_us) != 0 || *rest != '\0') {
        return ERR_BAD_FORMAT;
    }
    *ret_us = number * SECOND_US + part_us;
    return 0;
}

int ctl_start_parse(const char *text, struct rg_start *ret_start)
{
    uint64_t number = 0;
    bool from_end = text[0] == '-';
    if (strcmp(text, "first") == 0) {
        *ret_start = (struct rg_start){RG_START_FIRST, 0};
        return 0;
    }
    if (strcmp(text, "latest") == 0) {
        *ret_start = (struct rg_start){RG_START_LATEST, 0};
        return 0;
    }
    if (text[0] == '@') {
        int result = time_us(text + 1, &number);
        if (result == 0) {
            *ret_start = (struct rg_start){RG_START_TIME, number};
        }
        return result;
    }
    if (str_to_u64(span_of(from_end ? text + 1 : text), &number) < 0 || number == 0) {
        return ERR_BAD_FORMAT;
    }
    *ret_start = (struct rg_start){from_end ? RG_START_LAST_N : RG_START_OFFSET, number};
    return 0;
}

int ctl_gap_parse(const char *text, enum rg_on_gap *ret_on_gap)
{
    static const char *const names[] = {"error", "first", "latest"};
    for (unsigned i = 0; i < 3; i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret_on_gap = (enum rg_on_gap) i;
            return 0;
        }
    }
    return ERR_BAD_FORMAT;
}
