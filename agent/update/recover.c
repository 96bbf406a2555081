#include "agent/update/recover.h"

#include "agent/state/journal.h"
#include "agent/update/versions.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/text.h"

#include <string.h>

enum { PROBATION_LOST_S = 30 }; /* probation when the document that said how long is lost */

static int64_t counter_of(const char *slot, const char *bundle)
{
    char dir[VERSION_PATH_SIZE];
    cleanup_manifest struct manifest *manifest = NULL;
    return versions_find(slot, bundle, dir, &manifest) == ERR_OK ? manifest->release_counter : 0;
}

/* A row from the links alone. With two versions the present one may have been in probation: it goes through it (again);
 * the other one is known to be good. */
static void row_from_links(const char *slot, struct update_row *row)
{
    char current[SHA256_HEX];
    char previous[SHA256_HEX];
    *row = (struct update_row){0};
    versions_linked(slot, "current", current);
    versions_linked(slot, "previous", previous);
    (void)text_copy(row->slot, sizeof row->slot, slot);
    (void)text_copy(row->want.name, sizeof row->want.name, slot);
    (void)text_copy(row->want.bundle, sizeof row->want.bundle, current);
    row->want.probation_s = PROBATION_LOST_S;
    bool unsure = current[0] != '\0' && previous[0] != '\0' && !text_eq(current, previous);
    row->phase = unsure ? UPDATE_PROBATION : UPDATE_IDLE;
    (void)text_copy(row->committed, sizeof row->committed, unsure ? previous : current);
    row->counter = counter_of(slot, row->committed);
    row->target_counter = counter_of(slot, current);
}

/* Not known to be missing: an error of the moment must not make the agent forget a version. */
static bool version_here(const char *slot, const char *bundle)
{
    char dir[VERSION_PATH_SIZE];
    return versions_find(slot, bundle, dir, NULL) != ERR_NOT_FOUND;
}

static bool row_check(struct update_row *row, bool rebooted)
{
    char current[SHA256_HEX];
    versions_linked(row->slot, "current", current);
    struct update_disk disk = {.committed_here = row->committed[0] == '\0' || version_here(row->slot, row->committed),
                               .previous_here = version_here(row->slot, row->previous),
                               .current = current,
                               .rebooted = rebooted};
    if (!disk.committed_here)
        log_error("version_lost", "slot=%s bundle=%.12s current=%.12s", row->slot, row->committed, current);
    return update_recover(row, &disk);
}

/* The device has booted since the journal was last opened. */
static bool boot_changed(struct state *state)
{
    cleanup_free char *now = NULL;
    cleanup_free char *before = NULL;
    if (file_read("/proc/sys/kernel/random/boot_id", 128, &now, NULL) != ERR_OK)
        return false;
    enum err e = state_text_get(state, "boot_id", &before);
    bool changed = e == ERR_OK && !text_eq(now, before);
    if (!text_eq(now, before) && state_text_put(state, "boot_id", now) != ERR_OK)
        log_warn("boot_id_not_stored", "error=io_error");
    return changed;
}

static bool row_known(const struct update_row *rows, size_t count, const char *slot)
{
    for (size_t i = 0; i < count; i++)
        if (text_eq(rows[i].slot, slot))
            return true;
    return false;
}

/* Rows of the journal, then those of slots that only have links. */
static enum err rows_read(struct state *state, struct update_row rows[SLOT_COUNT_MAX], size_t *ret_journal,
                          size_t *ret_count, struct err_info *info)
{
    char slots[SLOT_COUNT_MAX][SLOT_NAME_SIZE];
    size_t count = 0;
    size_t on_disk = 0;
    enum err e = state == NULL ? ERR_OK : journal_load(state, rows, &count);
    if (e != ERR_OK)
        return err_set(info, e, "cannot read the journal: %s", err_name(e));
    e = versions_slots(slots, &on_disk);
    if (e != ERR_OK && e != ERR_NOT_FOUND) /* an agent that has never run has none */
        return err_set(info, e, "cannot read the directory slots: %s", err_name(e));
    *ret_journal = count;
    for (size_t i = 0; i < on_disk && count < SLOT_COUNT_MAX; i++)
        if (!row_known(rows, count, slots[i]))
            row_from_links(slots[i], &rows[count++]);
    *ret_count = count;
    return ERR_OK;
}

enum err recover_look(struct state *state, struct update_row ret_rows[SLOT_COUNT_MAX], size_t *ret_count,
                      struct err_info *info)
{
    size_t journal = 0;
    return rows_read(state, ret_rows, &journal, ret_count, info);
}

enum err recover_rows(struct state *state, struct update_row ret_rows[SLOT_COUNT_MAX], bool ret_fail[SLOT_COUNT_MAX],
                      size_t *ret_count, struct err_info *info)
{
    size_t count = 0;
    size_t journal = 0;
    enum err e = rows_read(state, ret_rows, &journal, &count, info);
    if (e != ERR_OK)
        return e;
    bool rebooted = boot_changed(state);
    for (size_t i = 0; i < journal; i++)
        ret_fail[i] = row_check(&ret_rows[i], rebooted);
    for (size_t i = journal; i < count; i++)
        log_warn("slot_recovered", "slot=%s current=%.12s previous=%.12s", ret_rows[i].slot, ret_rows[i].want.bundle,
                 ret_rows[i].previous);
    for (size_t i = 0; i < count; i++) {
        e = journal_put(state, &ret_rows[i]);
        if (e != ERR_OK) /* a full disk must not keep the present version from running */
            log_error("journal_not_written", "slot=%s error=%s", ret_rows[i].slot, err_name(e));
    }
    *ret_count = count;
    return ERR_OK;
}
