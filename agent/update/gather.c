#include "agent/update/gather.h"

#include "agent/update/versions.h"
#include "common/base/text.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

/* Version and kind of a bundle that is complete here; untouched when it is not. */
static void version_read(const char *slot, const char *bundle, char version[SLOT_VERSION_SIZE], const char **kind)
{
    char dir[VERSION_PATH_SIZE];
    cleanup_manifest struct manifest *manifest = NULL;
    if (versions_find(slot, bundle, dir, &manifest) != ERR_OK)
        return;
    (void)text_copy(version, SLOT_VERSION_SIZE, manifest->version);
    if (kind != NULL)
        *kind = manifest_kind_name(manifest->kind);
}

/* The link is made anew with every switch. */
static int64_t since_read(const char *slot)
{
    char path[VERSION_PATH_SIZE];
    struct stat st;
    (void)snprintf(path, sizeof path, "slots/%s/current", slot);
    return lstat(path, &st) == 0 ? (int64_t)st.st_mtim.tv_sec * 1000 : 0;
}

void gather_slot(const struct update_row *row, struct status_slot *ret_slot)
{
    struct status_slot s = {.row = row, .since_ms = since_read(row->slot)};
    version_read(row->slot, row->committed, s.committed_version, &s.kind);
    version_read(row->slot, row->previous, s.previous_version, NULL);
    version_read(row->slot, row->object.from, s.from_version, NULL);
    (void)text_copy(s.target_version, sizeof s.target_version, row->want.version);
    if (s.target_version[0] == '\0')
        version_read(row->slot, row->want.bundle, s.target_version, NULL);
    if (text_eq(update_current(row), row->want.bundle)) /* may be of another kind than what was there */
        version_read(row->slot, row->want.bundle, s.target_version, &s.kind);
    *ret_slot = s;
}

struct update_here gather_here(const struct update_row *row)
{
    char dir[VERSION_PATH_SIZE];
    return (struct update_here){.committed = versions_find(row->slot, row->committed, dir, NULL) == ERR_OK,
                                .previous = versions_find(row->slot, row->previous, dir, NULL) == ERR_OK};
}

void gather_disk(int64_t *ret_total, int64_t *ret_free)
{
    struct statvfs fs;
    bool known = statvfs(".", &fs) == 0;
    *ret_total = known ? (int64_t)fs.f_blocks * (int64_t)fs.f_frsize : 0;
    *ret_free = known ? (int64_t)fs.f_bavail * (int64_t)fs.f_frsize : 0;
}
