#include "agent/update/back.h"

#include "agent/update/gather.h"
#include "common/base/text.h"

#include <stdio.h>

static const char *name_of(const char *version, const char *bundle, char out[SLOT_VERSION_SIZE])
{
    if (version[0] != '\0')
        (void)text_copy(out, SLOT_VERSION_SIZE, version);
    else
        (void)snprintf(out, SLOT_VERSION_SIZE, "bundle %.12s", bundle);
    return out;
}

enum err back_plan(const struct update_row *row, int64_t generation, const char *by, struct back *ret_back,
                   struct err_info *info)
{
    char from[SLOT_VERSION_SIZE];
    char to[SLOT_VERSION_SIZE];
    struct status_slot seen;
    enum update_event event = UPDATE_BACK;
    const char *why_not = update_back(row, gather_here(row), &event);
    if (why_not != NULL)
        return err_set(info, ERR_CONFLICT, "slot %s cannot go back: %s", row->slot, why_not);
    gather_slot(row, &seen);
    bool watched = !text_eq(update_current(row), row->committed); /* the target is current: back to what is committed */
    (void)name_of(watched ? seen.target_version : seen.committed_version, update_current(row), from);
    (void)name_of(watched ? seen.committed_version : seen.previous_version, update_back_to(row), to);
    struct back *b = ret_back;
    *b = (struct back){0};
    (void)snprintf(b->detail, sizeof b->detail, "taken back at the device by %.64s: %.60s to %.60s", by, from, to);
    if (event == UPDATE_BACK)
        (void)snprintf(b->text, sizeof b->text,
                       "%s goes back from %s to %s, and stays there until the server asks for a version again",
                       row->slot, from, to);
    else
        (void)snprintf(b->text, sizeof b->text,
                       "%s had been taken back by hand; %s is put in the place of %s again, with a probation",
                       row->slot, to, from);
    b->input = (struct update_input){.event = event,
                                     .want = event == UPDATE_BACK ? NULL : &row->want,
                                     .generation = event == UPDATE_BACK ? generation : row->generation,
                                     .code = event == UPDATE_BACK ? "rolled_back_locally" : NULL,
                                     .detail = b->detail};
    return ERR_OK;
}

enum err back_unknown(const char *name, const char *const *slots, size_t count, struct err_info *info)
{
    char list[ERR_TEXT_MAX / 2] = "";
    size_t len = 0;
    for (size_t i = 0; i < count && len < sizeof list; i++) {
        int n = snprintf(list + len, sizeof list - len, "%s%s", i == 0 ? "" : ", ", slots[i]);
        len += n > 0 ? (size_t)n : 0;
    }
    if (count == 0)
        return err_set(info, ERR_NOT_FOUND, "there is no slot %.63s: nothing is installed here", name);
    return err_set(info, ERR_NOT_FOUND, "there is no slot %.63s; this device has: %s", name, list);
}
