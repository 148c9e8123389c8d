/* specs: what the library's callers ask of streams and groups, as messages. */
#ifndef CLIENT_SPECS_H
#define CLIENT_SPECS_H

#include "client/railgun.h"
#include "common/wire/client.pb-c.h"

/* All borrow the texts and lists of the specification. */
void specs_fill_ensure(Railgun__Ensure *to, uint64_t version, enum rg_ensure_mode mode,
                       bool allow_data_loss);
void specs_fill_stream(Railgun__StreamSpec *to, Railgun__DedupSpec *dedup,
                       const struct rg_stream_spec *spec);
void specs_fill_group(Railgun__GroupSpec *to, Railgun__DlqSpec *dlq,
                      const struct rg_group_spec *spec);

#endif
