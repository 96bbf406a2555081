#include "server/http/broadcast.h"

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "server/db/db.h"
#include "server/http/listeners.h"
#include "server/store/changes.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    RESYNC_PACE_MS = 5000, /* everybody reads everything again at most so often */
    PERIOD_MS = 300,       /* so that there are at most four frames a second */
    WINDOW_MS = 10000,     /* how long a transaction may take to commit and still be seen; at most twice that is read */
    TOPICS_MAX = 1000,     /* in a frame; more is a resync */
    FRAME_MAX = 64 * 1024,
};

struct broadcast {
    struct listeners *listeners;
    struct db *db;
    struct session_limits session_limits;
    pthread_t thread;
    bool started;
    /* the thread's own: */
    struct rows *before;          /* what was read last time; NULL: nothing, or it could not be read */
    struct changes_window window; /* what is read now */
    struct changes_window next;   /* where the window will begin when it is time */
    int64_t next_ms;              /* when next was taken; 0: never */
    bool away;                    /* the database did not answer */
    bool resync_due;              /* too much has changed to be told one by one */
    int64_t resync_ms;            /* when that was last told */
};

/* ---- what is new: the marks that were not there the time before */

static int text_compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The column's texts, sorted; free() the array. NULL without memory. */
static const char **column_sort(const struct rows *rows, int column)
{
    size_t n = rows_count(rows);
    const char **texts = calloc(n + 1, sizeof *texts);
    for (size_t i = 0; texts != NULL && i < n; i++)
        texts[i] = rows_text(rows, i, column);
    if (texts != NULL)
        qsort(texts, n, sizeof *texts, text_compare);
    return texts;
}

/* Topics of rows whose mark is not in `before`, each once, sorted. Returns how many, or TOPICS_MAX + 1 when there are
 * more; out has room for TOPICS_MAX. */
static size_t topics_new(const struct rows *now, const struct rows *before, const char *out[static TOPICS_MAX])
{
    const char **known = column_sort(before, 0);
    size_t n = 0;
    for (size_t i = 0; known != NULL && i < rows_count(now); i++) {
        const char *mark = rows_text(now, i, 0);
        if (bsearch(&mark, known, rows_count(before), sizeof *known, text_compare) != NULL)
            continue;
        if (n == TOPICS_MAX) {
            free(known);
            return TOPICS_MAX + 1;
        }
        out[n++] = rows_text(now, i, 1);
    }
    if (known == NULL)
        return TOPICS_MAX + 1;
    free(known);
    qsort(out, n, sizeof *out, text_compare);
    size_t unique = 0;
    for (size_t i = 0; i < n; i++)
        if (unique == 0 || strcmp(out[unique - 1], out[i]) != 0)
            out[unique++] = out[i];
    return unique;
}

/* Ids and the fixed names of topics need no escapes in JSON. */
static enum err frame_write(const char *const topics[], size_t count, struct buf *out)
{
    enum err e = buf_add_text(out, "event: change\ndata: {\"topics\": [");
    for (size_t i = 0; e == ERR_OK && i < count; i++)
        e = buf_addf(out, "%s\"%s\"", i == 0 ? "" : ", ", topics[i]);
    return e == ERR_OK ? buf_add_text(out, "]}\n\n") : e;
}

/* ---- one look */

static int64_t back(int64_t id, int64_t by)
{
    return id > by ? id - by : 0;
}

/* The first window reaches back over what may not have been committed yet. */
static enum err window_move(struct broadcast *b, struct err_info *info)
{
    int64_t now = clock_mono_ms();
    if (b->next_ms != 0 && now - b->next_ms < WINDOW_MS)
        return ERR_OK;
    struct changes_window latest = {};
    enum err e = changes_now(b->db, &latest, info);
    if (e != ERR_OK)
        return e;
    const struct changes_window first = {.event_after = back(latest.event_after, CHANGES_MAX),
                                         .audit_after = back(latest.audit_after, CHANGES_MAX)};
    b->window = b->next_ms == 0 ? first : b->next;
    b->next = latest;
    b->next_ms = now;
    return ERR_OK;
}

/* What cannot be told one by one, or compared with a time before, is told as a resync. */
static void rows_tell(struct broadcast *b, const struct rows *now)
{
    const char *topics[TOPICS_MAX];
    cleanup_buf struct buf frame = BUF_INIT(FRAME_MAX);
    int64_t now_ms = clock_mono_ms();
    bool first = b->before == NULL;
    size_t count = first ? TOPICS_MAX + 1 : topics_new(now, b->before, topics);
    bool too_many = count > TOPICS_MAX || (count > 0 && frame_write(topics, count, &frame) != ERR_OK);
    b->resync_due = b->resync_due || too_many;
    bool resync = b->resync_due && (first || now_ms - b->resync_ms >= RESYNC_PACE_MS);
    listeners_tell(b->listeners, count > 0 && !too_many ? frame.data : NULL, resync);
    if (!resync)
        return;
    b->resync_due = false;
    b->resync_ms = now_ms;
}

static enum err changes_tell(struct broadcast *b, struct err_info *info)
{
    struct rows *now = NULL;
    enum err e = window_move(b, info);
    if (e == ERR_OK)
        e = changes_read(b->db, &b->window, &now, info);
    if (e != ERR_OK) {
        listeners_tell(b->listeners, NULL, false);
        return e;
    }
    rows_tell(b, now);
    rows_free(b->before);
    b->before = now;
    return ERR_OK;
}

/* A stream ends with the login it was opened with. */
static void credentials_check(struct broadcast *b)
{
    struct credential credential;
    while (listeners_next_check(b->listeners, &credential)) {
        struct identity identity;
        enum err e = credential_find(b->db, &credential, b->session_limits, &identity, NULL);
        if (e == ERR_UNAUTHENTICATED || (e == ERR_OK && !access_allows(identity.grant, PERMIT_READ)))
            listeners_cut(b->listeners, &credential);
    }
}

static void forget(struct broadcast *b)
{
    rows_free(b->before);
    b->before = NULL;
    b->next_ms = 0;
}

static void *broadcast_main(void *arg)
{
    struct broadcast *b = arg;
    while (listeners_wait(b->listeners, PERIOD_MS)) {
        struct err_info info = {};
        enum err e = changes_tell(b, &info);
        if (e != ERR_OK && !b->away)
            log_warn("broadcast_blind", "error=%s text=\"%s\"", err_name(e), info.text);
        else if (e == ERR_OK && b->away)
            log_info("broadcast_sees", "the database answers again");
        b->away = e != ERR_OK;
        if (e == ERR_OK)
            credentials_check(b);
        if (e != ERR_OK || listeners_count(b->listeners) == 0)
            forget(b);
    }
    return NULL;
}

enum err broadcast_start(const struct broadcast_settings *settings, struct broadcast **ret_broadcast,
                         struct err_info *info)
{
    struct broadcast *b = calloc(1, sizeof *b);
    if (b == NULL)
        return err_set(info, ERR_NO_MEMORY, "no memory for the broadcaster");
    b->session_limits = settings->session_limits;
    enum err e = listeners_new(&b->listeners);
    if (e == ERR_OK)
        e = db_new(settings->database_url, "musterd broadcast", settings->statement_timeout_ms, &b->db);
    if (e == ERR_OK && pthread_create(&b->thread, NULL, broadcast_main, b) != 0)
        e = ERR_NO_MEMORY;
    if (e != ERR_OK) {
        broadcast_free(b);
        return err_set(info, e, "cannot start the broadcaster");
    }
    b->started = true;
    *ret_broadcast = b;
    return ERR_OK;
}

void broadcast_stop(struct broadcast *b)
{
    if (b == NULL || !b->started)
        return;
    listeners_stop(b->listeners);
    (void)pthread_join(b->thread, NULL);
    b->started = false;
}

void broadcast_free(struct broadcast *b)
{
    if (b == NULL)
        return;
    forget(b);
    listeners_free(b->listeners);
    db_free(b->db);
    free(b);
}

enum err broadcast_listen(struct broadcast *b, struct MHD_Connection *connection, const struct credential *credential,
                          struct MHD_Response **ret_response, struct err_info *info)
{
    return listeners_add(b->listeners, connection, credential, ret_response, info);
}
