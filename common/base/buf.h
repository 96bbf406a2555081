#pragma once
/* A growing byte buffer with a mandatory maximum. Not thread-safe; one owner. */

#include "common/base/err.h"

#include <stddef.h>

struct buf {
    char *data; /* always NUL-terminated once something was added; NULL when empty */
    size_t len;
    size_t max; /* most bytes it may hold, without the NUL */
    size_t room_;
};

#define BUF_INIT(maximum) ((struct buf){.max = (maximum)})

/* Append; on ERR_TOO_LARGE or ERR_NO_MEMORY the buffer is unchanged. */
[[nodiscard]] enum err buf_add(struct buf *b, const void *bytes, size_t len);
[[nodiscard]] enum err buf_add_text(struct buf *b, const char *text);
[[nodiscard, gnu::format(printf, 2, 3)]] enum err buf_addf(struct buf *b, const char *fmt, ...);

/* Forgets the content, keeps the memory. */
void buf_clear(struct buf *b);

/* Hands the bytes over (free() them); the buffer is empty afterwards. NULL when nothing was ever added. */
[[nodiscard]] char *buf_take(struct buf *b);

void buf_free(struct buf *b);

#define cleanup_buf [[gnu::cleanup(buf_free)]]
