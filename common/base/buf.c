#include "common/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum err buf_reserve(struct buf *b, size_t more)
{
    if (more > b->max - b->len)
        return ERR_TOO_LARGE;
    size_t need = b->len + more + 1;
    if (need <= b->room_)
        return ERR_OK;
    size_t room = b->room_ < 256 ? 256 : b->room_ * 2;
    if (room < need)
        room = need;
    char *data = realloc(b->data, room);
    if (data == NULL)
        return ERR_NO_MEMORY;
    b->data = data;
    b->room_ = room;
    return ERR_OK;
}

enum err buf_add(struct buf *b, const void *bytes, size_t len)
{
    enum err e = buf_reserve(b, len);
    if (e != ERR_OK)
        return e;
    if (len > 0)
        memcpy(b->data + b->len, bytes, len);
    b->len += len;
    b->data[b->len] = '\0';
    return ERR_OK;
}

enum err buf_add_text(struct buf *b, const char *text)
{
    return buf_add(b, text, strlen(text));
}

enum err buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    enum err e = n < 0 ? ERR_INVALID : buf_reserve(b, (size_t)n);
    if (e == ERR_OK) {
        (void)vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
    return e;
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    if (b->data != NULL)
        b->data[0] = '\0';
}

char *buf_take(struct buf *b)
{
    char *data = b->data;
    *b = BUF_INIT(b->max);
    return data;
}

void buf_free(struct buf *b)
{
    free(b->data);
    *b = BUF_INIT(b->max);
}
