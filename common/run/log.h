/* log: key=value lines on standard error. A constant message, then what varies:
 *   log_warn("journal is full", "free=%" PRIu64 " reserve=%" PRIu64 " action=\"publishes are refused\"", free, reserve);
 * A warning ends with what was done instead. Bytes chosen by a peer go through str_escape. Only daemons and adminctl log. @thread any */
#ifndef COMMON_RUN_LOG_H
#define COMMON_RUN_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

/* Once, at the start of main: the daemon's name for each line and the lowest level shown. */
void log_setup(const char *daemon, enum log_level level);
/* 0 or ERR_BAD_FORMAT. */
int log_level_parse(const char *text, enum log_level *ret_level);

__attribute__((format(printf, 3, 4))) void log_line(enum log_level level, const char *event,
                                                    const char *format, ...);

#define log_debug(event, ...) log_line(LOG_LEVEL_DEBUG, event, __VA_ARGS__)
#define log_info(event, ...)  log_line(LOG_LEVEL_INFO, event, __VA_ARGS__)
#define log_warn(event, ...)  log_line(LOG_LEVEL_WARN, event, __VA_ARGS__)
#define log_error(event, ...) log_line(LOG_LEVEL_ERROR, event, __VA_ARGS__)

/* For lines that peers can trigger: true at most `per_second` times a second; *ret_suppressed counts those left out since. */
struct log_limit {
    uint64_t window_ms;
    unsigned in_window;
    uint64_t suppressed;
};
bool log_limit_pass(struct log_limit *self, uint64_t now_ms, unsigned per_second,
                    uint64_t *ret_suppressed);

#endif
