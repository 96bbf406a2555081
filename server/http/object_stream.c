#include "server/http/object_stream.h"

#include "common/base/log.h"
#include "server/store/object.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 64 * 1024 };

struct object_stream {
    struct job job; /* first: what a worker gets */
    struct http *http;
    struct MHD_Connection *connection;
    struct object_row object;
    int64_t first; /* the response's byte 0 */
    int64_t n;     /* number of the chunk that is here or was asked for; -1: none yet */
    char *chunk;   /* NULL: not here */
    size_t len;
    bool failed;
};

/* In a worker, while the connection is suspended. The stream is not touched after it was resumed. */
static void chunk_fetch(struct job *job, struct db *db)
{
    struct object_stream *s = (struct object_stream *)job;
    struct err_info info = {0};
    void *bytes = NULL;
    enum err e = blob_chunk_read(db, s->object.blob, s->n, &bytes, &s->len, &info);
    s->chunk = bytes;
    s->failed = e != ERR_OK;
    if (e != ERR_OK)
        log_warn("object_stream_cut", "blob=%" PRId64 " chunk=%" PRId64 " error=%s text=\"%s\"", s->object.blob, s->n,
                 err_name(e), info.text);
    MHD_resume_connection(s->connection);
}

static ssize_t on_read(void *cls, uint64_t position, char *out, size_t max)
{
    struct object_stream *s = cls;
    int64_t at = s->first + (int64_t)position;
    int64_t n = at / OBJECT_CHUNK_SIZE;
    if (s->failed || atomic_load(&s->http->stopping))
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (s->chunk != NULL && s->n == n) {
        size_t from = (size_t)(at % OBJECT_CHUNK_SIZE);
        size_t left = from < s->len ? s->len - from : 0;
        size_t give = left < max ? left : max;
        memcpy(out, s->chunk + from, give);
        return give > 0 ? (ssize_t)give : MHD_CONTENT_READER_END_WITH_ERROR; /* a chunk that is too short */
    }
    free(s->chunk);
    s->chunk = NULL;
    s->n = n;
    if (!workers_admit(s->http->workers))
        return MHD_CONTENT_READER_END_WITH_ERROR;
    MHD_suspend_connection(s->connection);
    workers_push(s->http->workers, &s->job);
    return 0;
}

static void on_free(void *cls)
{
    struct object_stream *s = cls;
    free(s->chunk);
    free(s);
}

enum err object_stream_new(struct http *http, struct MHD_Connection *connection, const struct object_row *object,
                           int64_t first, int64_t last, struct MHD_Response **ret_response)
{
    struct object_stream *s = calloc(1, sizeof *s);
    if (s == NULL)
        return ERR_NO_MEMORY;
    *s = (struct object_stream){.job = {.run = chunk_fetch},
                                .http = http,
                                .connection = connection,
                                .object = *object,
                                .first = first,
                                .n = -1};
    struct MHD_Response *response =
        MHD_create_response_from_callback((uint64_t)(last - first + 1), BLOCK, on_read, s, on_free);
    if (response == NULL) {
        free(s);
        return ERR_NO_MEMORY;
    }
    *ret_response = response;
    return ERR_OK;
}
