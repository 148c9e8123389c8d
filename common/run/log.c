/* log: one line on standard error for each thing that happened, written with one write so that lines of several threads
 * and processes do not mix. Owns the daemon's name and the level, set once at the start of main; never allocates, never
 * fails, never lets a control character of foreign text through. */
#include "common/run/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/span.h"
#include "common/base/str.h"

enum { LOG_LINE_MAX = 4096, LOG_NAME_MAX = 64 };

static const char *const log_level_names[] = {"debug", "info", "warn", "error"};

/* Set once before any thread starts. */
static char log_daemon[LOG_NAME_MAX] = "";
static atomic_int log_lowest = LOG_LEVEL_INFO;

void log_setup(const char *daemon, enum log_level level)
{
    (void) str_escape(span_of(daemon), log_daemon, sizeof(log_daemon));
    atomic_store(&log_lowest, (int) level);
}

int log_level_parse(const char *text, enum log_level *ret_level)
{
    for (size_t i = 0; i < sizeof(log_level_names) / sizeof(log_level_names[0]); i++) {
        if (strcmp(text, log_level_names[i]) == 0) {
            *ret_level = (enum log_level) i;
            return 0;
        }
    }
    return ERR_BAD_FORMAT;
}

/* snprintf's result as a position: a cut text ends at the end of the room. */
static size_t log_advance(size_t used, int printed)
{
    if (printed < 0) {
        return used;
    }
    size_t next = used + (size_t) printed;
    return next < LOG_LINE_MAX ? next : LOG_LINE_MAX - 1;
}

static size_t log_prefix(char *line, enum log_level level, const char *event)
{
    struct timespec now;
    struct tm date;
    size_t used = 0;

    (void) clock_gettime(CLOCK_REALTIME, &now); /* cannot fail for this clock */
    (void) gmtime_r(&now.tv_sec, &date);
    used = log_advance(
        used, snprintf(line, LOG_LINE_MAX, "time=%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ level=%s ",
                       date.tm_year + 1900, date.tm_mon + 1, date.tm_mday, date.tm_hour,
                       date.tm_min, date.tm_sec, now.tv_nsec / 1000000, log_level_names[level]));
    if (log_daemon[0] != '\0') {
        used =
            log_advance(used, snprintf(line + used, LOG_LINE_MAX - used, "daemon=%s ", log_daemon));
    }
    return log_advance(used, snprintf(line + used, LOG_LINE_MAX - used, "event=\"%s\"", event));
}

void log_line(enum log_level level, const char *event, const char *format, ...)
{
    char line[LOG_LINE_MAX + 8];
    va_list arguments;

    if ((int) level < atomic_load_explicit(&log_lowest, memory_order_relaxed)) {
        return;
    }
    size_t used = log_prefix(line, level, event);
    line[used++] = ' ';
    size_t body = used;
    va_start(arguments, format);
    int printed =
        used < LOG_LINE_MAX ? vsnprintf(line + used, LOG_LINE_MAX - used, format, arguments) : 0;
    va_end(arguments);
    if (printed > 0) {
        bool cut = (size_t) printed >= LOG_LINE_MAX - used;
        used = log_advance(used, printed);
        if (cut) {
            memset(line + used - 3, '.', 3);
        }
    } else {
        used = body - 1; /* nothing varies: no space at the end */
    }
    for (size_t i = 0; i < used; i++) {
        unsigned char byte = (unsigned char) line[i];
        if (byte < 0x20 || byte == 0x7f) {
            line[i] = ' '; /* a line is a line, whatever was printed into it */
        }
    }
    line[used++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, used);
    (void) written; /* there is nobody left to tell */
}

bool log_limit_pass(struct log_limit *self, uint64_t now_ms, unsigned per_second,
                    uint64_t *ret_suppressed)
{
    if (now_ms - self->window_ms >= 1000) {
        self->window_ms = now_ms;
        self->in_window = 0;
    }
    if (self->in_window >= per_second) {
        self->suppressed++;
        return false;
    }
    self->in_window++;
    *ret_suppressed = self->suppressed;
    self->suppressed = 0;
    return true;
}
