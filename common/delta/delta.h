#pragma once
/* Deltas between two versions of a file ("mdelta", docs/design/delta.md). Models (ONNX, safetensors) are predicted
 * tensor by tensor, everything else is matched like a binary; whatever was predicted, the rebuilt file is bit-exact,
 * because the delta holds the digests of both files and every rebuild is checked. The same input and effort make the
 * same delta on every machine and with any number of threads. No global state: any thread; calls block on files and
 * processor. */

#include "common/base/crypt.h"
#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a rebuild may take at most, besides stacks and libraries. A delta that says it needs more is refused. */
enum { DELTA_APPLY_MEMORY_MAX = 8 * 1024 * 1024 };

enum delta_effort {
    DELTA_FAST, /* one context, at least 8 MB/s per core */
    DELTA_BEST  /* mixed contexts and wider searches */
};

struct delta_options {
    enum delta_effort effort;
    int threads; /* 0: one per core */
    /* May be NULL. done: 0 … 1, never falls; called from one thread at a time, at most ten times a second. */
    void (*progress)(void *user, double done);
    void *user;
};

/* What a delta says of itself, and what creating it found. */
struct delta_info {
    enum delta_effort effort; /* `best` may have found that the way of `fast` is shorter */
    const char *format;       /* static: "onnx", "safetensors" or "binary" */
    int64_t old_size, new_size, delta_size;
    char old_sha256[SHA256_HEX], new_sha256[SHA256_HEX];
    int64_t tensors;      /* tensors of the new file that are predicted */
    int64_t apply_memory; /* bytes a rebuild needs */
    struct {
        const char *name;      /* static: "same", "residual", "low rank", "grid", … */
        int64_t tensors;       /* how many it was chosen for */
        int64_t bytes;         /* their size in the new file */
        int64_t encoded_bytes; /* their size in the delta */
    } methods[16];
    size_t method_count;
};

/* All fds are regular files and read with pread from their beginning; the offsets of old_fd and delta_fd do not move.
 * out_fd is empty and writable (and readable in delta_apply).
 *
 * Creates the delta that makes new_fd's content of old_fd's. ret_info may be NULL. ERR_IO, ERR_NO_SPACE, ERR_NO_MEMORY.
 */
[[nodiscard]] enum err delta_create(int old_fd, int new_fd, int out_fd, const struct delta_options *options,
                                    struct delta_info *ret_info, struct err_info *info);

/* What the rebuilt file has to be, from a source that is trusted (a signed manifest). */
struct delta_expect {
    const char *new_sha256;
    int64_t new_size;
};

/* Rebuilds the new file into out_fd and checks it; out_fd is not synced. expect may be NULL (then the delta's own word
 * counts, which protects against accidents only). Never writes more than the expected size; out_fd is empty again when
 * an error is returned. The old file is read as a whole only to say whether it is the reason of a failure. Memory: at
 * most DELTA_APPLY_MEMORY_MAX. ERR_CONFLICT code `delta_wrong_base`: old_fd is not what the delta was made from;
 * ERR_CORRUPT code `delta_invalid`: malformed, not what was expected, or the result has another digest; ERR_UNSUPPORTED
 * code `delta_unsupported`: made by a newer Muster, or needs too much memory; ERR_IO, ERR_NO_SPACE, ERR_NO_MEMORY. */
[[nodiscard]] enum err delta_apply(int old_fd, int delta_fd, int out_fd, const struct delta_expect *expect,
                                   struct err_info *info);

/* Reads what a delta says of itself, without the files. Errors as in delta_apply. */
[[nodiscard]] enum err delta_inspect(int delta_fd, struct delta_info *ret_info, struct err_info *info);
