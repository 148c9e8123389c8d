/* daemon_status: the one place in common/run that knows DaemonInfo. */
#include "common/run/daemon_status.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/base/str.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/client.pb-c.h"

_Static_assert((int) DAEMON_STATUS_TYPE == (int) RAILGUN__BUS_TYPE__BUS_STATUS, "of bus.proto");

enum { STATUS_COUNTERS_MAX = 256 };

struct status_counters {
    size_t count;
    Railgun__Counter values[STATUS_COUNTERS_MAX];
    Railgun__Counter *pointers[STATUS_COUNTERS_MAX];
};

static void status_visit(void *ud, const char *name, uint64_t value)
{
    struct status_counters *counters = ud;
    if (counters->count < STATUS_COUNTERS_MAX) {
        Railgun__Counter *counter = &counters->values[counters->count];
        railgun__counter__init(counter);
        memcpy(&counter->name, &name, sizeof(counter->name)); /* packed only, never written */
        counter->has_value = true;
        counter->value = value;
        counters->pointers[counters->count++] = counter;
    }
}

uint64_t daemon_rss_bytes(void)
{
    char text[128];
    uint64_t pages = 0;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    ssize_t size = read(fd, text, sizeof(text) - 1);
    (void) close(fd);
    text[size > 0 ? size : 0] = '\0';
    const char *resident = strchr(text, ' '); /* the second number */
    if (resident == NULL ||
        str_to_u64(span_make(resident + 1, strcspn(resident + 1, " ")), &pages) < 0) {
        return 0;
    }
    return pages * (uint64_t) sysconf(_SC_PAGESIZE);
}

void daemon_status_write(const struct daemon_status *status, struct buf *out)
{
    char version[] = RAILGUN_VERSION;
    struct status_counters *counters = MEM_NEW(struct status_counters);
    Railgun__DaemonInfo info = RAILGUN__DAEMON_INFO__INIT;

    metrics_list(status->metrics, status_visit, counters);
    memcpy(&info.daemon, &status->daemon, sizeof(info.daemon)); /* as above */
    memcpy(&info.state, &status->state, sizeof(info.state));
    if (status->detail[0] != '\0') {
        memcpy(&info.detail, &status->detail, sizeof(info.detail));
    }
    info.version = version;
    info.has_pid = true;
    info.pid = (uint32_t) getpid();
    info.has_uptime_ms = true;
    info.uptime_ms = status->uptime_ms;
    info.has_rss_bytes = true;
    info.rss_bytes = daemon_rss_bytes();
    info.has_epoch = true;
    info.epoch = status->epoch;
    info.n_counters = counters->count;
    info.counters = counters->pointers;
    size_t size = railgun__daemon_info__get_packed_size(&info);
    size_t written = railgun__daemon_info__pack(&info, buf_reserve(out, size));
    INVARIANT(written == size);
    buf_advance(out, size);
    mem_free(counters);
}
