#include "agent/local/offline.h"

#include "agent/core/up.h"
#include "agent/state/journal.h"
#include "agent/state/spool.h"
#include "agent/update/back.h"
#include "agent/update/gather.h"
#include "agent/update/recover.h"
#include "agent/update/versions.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/text.h"
#include "common/base/version.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { IDENTITY_MAX = 256 * 1024 };

#define SPOOL_ROOM ((int64_t)1 << 40) /* one report more is no reason to drop anything */

/* ---- reading ---- */

/* Id and end of the certificate, without touching the files beside it. */
static void identity_read(struct status *status, char device[64])
{
    cleanup_free char *text = NULL;
    size_t len = 0;
    json_t *json = NULL;
    if (file_read("identity/enrolment.json", IDENTITY_MAX, &text, &len) != ERR_OK ||
        json_parse(text, len, IDENTITY_MAX, &json, NULL) != ERR_OK)
        return;
    const char *id = json_text_or_null(json, "device");
    (void)text_copy(device, 64, id == NULL ? "" : id);
    status->certificate_until_ms = (int64_t)json_integer_value(json_object_get(json, "not_after"));
    json_decref(json);
}

static int64_t generation_read(struct state *state)
{
    struct desired *desired = calloc(1, sizeof *desired);
    cleanup_free char *text = NULL;
    int64_t generation = 0;
    if (desired != NULL && state_text_get(state, "desired", &text) == ERR_OK &&
        desired_parse(text, strlen(text), desired, NULL) == ERR_OK)
        generation = desired->generation;
    free(desired);
    return generation;
}

/* The journal knows how far a download was when it was last written; the file knows better. */
static void downloaded_read(struct update_row *row)
{
    char path[VERSION_PATH_SIZE];
    struct stat st;
    if (row->phase != UPDATE_DOWNLOADING || row->object.sha256[0] == '\0')
        return;
    versions_part_path(row->object.sha256, path);
    row->downloaded = stat(path, &st) == 0 ? st.st_size : 0;
}

/* The journal; none is no error: then the links alone speak. */
static enum err journal_peek(struct state **ret_state, struct err_info *info)
{
    enum err e = state_peek("state.db", ret_state, info);
    if (e == ERR_CONFLICT)
        return err_set(info, ERR_UNAVAILABLE, "an agent has its journal open, but does not answer");
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static enum err status_fill(struct state *state, struct update_row *rows, struct status_slot *slots,
                            struct status *status, struct err_info *info)
{
    size_t count = 0;
    enum err e = recover_look(state, rows, &count, info);
    if (e != ERR_OK)
        return e;
    for (size_t i = 0; i < count; i++) {
        downloaded_read(&rows[i]);
        gather_slot(&rows[i], &slots[i]);
    }
    status->slot_count = count;
    status->slots = slots;
    if (state != NULL) {
        status->generation = generation_read(state);
        if (spool_count(state, &status->spool_items, &status->spool_bytes) != ERR_OK)
            status->spool_items = -1;
    }
    gather_disk(&status->disk_total, &status->disk_free);
    return ERR_OK;
}

enum err offline_status(const char *server_url, const char *name, json_t **ret_json, struct err_info *info)
{
    char dir[PATH_MAX];
    char device[64] = "";
    struct state *state = NULL;
    cleanup_free struct update_row *rows = calloc(SLOT_COUNT_MAX, sizeof *rows);
    cleanup_free struct status_slot *slots = calloc(SLOT_COUNT_MAX, sizeof *slots);
    struct status status = {.agent_version = MUSTER_VERSION,
                            .state_dir = getcwd(dir, sizeof dir),
                            .server_url = server_url,
                            .name = name,
                            .device = device,
                            .spool_items = -1,
                            .spool_bytes = -1,
                            .spool_limit = -1};
    if (rows == NULL || slots == NULL)
        return ERR_NO_MEMORY;
    identity_read(&status, device);
    enum err e = journal_peek(&state, info);
    if (e == ERR_OK)
        e = status_fill(state, rows, slots, &status, info);
    json_t *json = e == ERR_OK ? status_json(&status) : NULL;
    state_close(state);
    if (json == NULL)
        return e == ERR_OK ? ERR_NO_MEMORY : e;
    *ret_json = json;
    return ERR_OK;
}

/* ---- going back ---- */

static enum err lock_take(int *ret_fd, struct err_info *info)
{
    int fd = open("lock", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_set(info, err_from_errno(errno), "the lock of this directory: %s", strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        (void)close(fd);
        return err_set(info, ERR_UNAVAILABLE, "an agent holds this directory, but does not answer");
    }
    *ret_fd = fd;
    return ERR_OK;
}

/* The row and its report, or neither. */
static enum err step_store(struct state *state, const struct update_row *row, const struct update_output *output,
                           const struct back *back)
{
    cleanup_free char *item = NULL;
    struct spool *spool = NULL;
    enum err e = spool_open(state, SPOOL_ROOM, &spool);
    if (e == ERR_OK)
        e = up_report(clock_wall_ms(), row->slot, output->bundle, update_report_name(output->report), back->input.code,
                      back->detail, &item);
    if (e == ERR_OK)
        e = state_begin(state);
    if (e == ERR_OK) {
        e = journal_put(state, row);
        if (e == ERR_OK)
            e = spool_add(spool, SPOOL_REPORT, item);
        if (e == ERR_OK)
            e = state_commit(state);
        else
            state_rollback(state);
    }
    spool_close(spool);
    return e;
}

static enum err row_back(struct state *state, struct update_row *row, const char *by, char ret_text[STATUS_TEXT_SIZE],
                         struct err_info *info)
{
    struct back back;
    enum err e = back_plan(row, generation_read(state), by, &back, info);
    if (e != ERR_OK)
        return e;
    struct update_output output = update_step(row, &back.input);
    e = step_store(state, row, &output, &back);
    if (e != ERR_OK)
        return err_set(info, e, "the journal cannot be written: %s; nothing was changed", err_name(e));
    if (back.input.event == UPDATE_BACK)
        e = versions_link(row); /* the agent would do the same when it starts; others may look before */
    if (e != ERR_OK)
        return err_set(info, e, "the link cannot be changed now: %s; the agent does it when it starts", err_name(e));
    (void)text_copy(ret_text, STATUS_TEXT_SIZE, back.text);
    return ERR_OK;
}

static enum err slot_back(struct state *state, const char *slot, const char *by, char ret_text[STATUS_TEXT_SIZE],
                          struct err_info *info)
{
    size_t count = 0;
    const char *names[SLOT_COUNT_MAX];
    cleanup_free struct update_row *rows = calloc(SLOT_COUNT_MAX, sizeof *rows);
    if (rows == NULL)
        return ERR_NO_MEMORY;
    enum err e = recover_look(state, rows, &count, info);
    if (e != ERR_OK)
        return e;
    for (size_t i = 0; i < count; i++) {
        if (text_eq(rows[i].slot, slot))
            return row_back(state, &rows[i], by, ret_text, info);
        names[i] = rows[i].slot;
    }
    return back_unknown(slot, names, count, info);
}

enum err offline_rollback(const char *slot, const char *by, char ret_text[STATUS_TEXT_SIZE], struct err_info *info)
{
    cleanup_fd int lock = -1;
    struct state *state = NULL;
    bool fresh = false;
    enum err e = lock_take(&lock, info);
    if (e == ERR_OK)
        e = state_open("state.db", &state, &fresh, info);
    if (e == ERR_OK)
        e = slot_back(state, slot, by, ret_text, info);
    state_close(state);
    return e;
}
