/* err: lookup in the one list of errors. */
#include "common/base/err.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#define ERR_ROW(number, symbol, class, meaning, remedy)                                            \
    {number, #symbol, ERR_CLASS_##class, meaning, remedy},
static const struct err_info err_rows[] = {ERR_TABLE(ERR_ROW)};
#undef ERR_ROW

enum { ERR_ROW_COUNT = sizeof(err_rows) / sizeof(err_rows[0]) };

const struct err_info *err_find(int code)
{
    int number = code < 0 ? -code : code;
    size_t low = 0;
    size_t high = ERR_ROW_COUNT;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (err_rows[middle].number == number) {
            return &err_rows[middle];
        }
        if (err_rows[middle].number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

const struct err_info *err_find_name(const char *name)
{
    for (size_t i = 0; i < ERR_ROW_COUNT; i++) {
        if (strcasecmp(err_rows[i].name, name) == 0) {
            return &err_rows[i];
        }
    }
    return NULL;
}

const char *err_name(int code)
{
    const struct err_info *info = err_find(code);
    if (code == 0) {
        return "OK";
    }
    return info != NULL ? info->name : "UNKNOWN";
}

const char *err_text(int code)
{
    const struct err_info *info = err_find(code);
    if (code == 0) {
        return "ok";
    }
    return info != NULL ? info->meaning : "unknown error";
}

const struct err_info *err_list(size_t *ret_count)
{
    *ret_count = ERR_ROW_COUNT;
    return err_rows;
}

int err_from_errno(int system_errno)
{
    switch (system_errno) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return ERR_STORAGE_FULL;
    case ENOMEM:
        return ERR_NO_MEMORY;
    case EAGAIN:
    case EINTR:
        return ERR_AGAIN;
    case ENOENT:
        return ERR_NOT_FOUND;
    case EPIPE:
    case ECONNRESET:
    case ECONNABORTED:
    case ENOTCONN:
    case ECONNREFUSED:
        return ERR_CLOSED;
    default:
        return ERR_IO;
    }
}
