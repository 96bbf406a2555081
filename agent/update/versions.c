#include "agent/update/versions.h"

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUNDLE_SHORT = 8 };

/* ---- paths ---- */

static bool path_join(char *out, size_t size, const char *a, const char *b)
{
    int n = snprintf(out, size, "%s/%s", a, b);
    return n >= 0 && (size_t)n < size;
}

static void slot_dir(const char *slot, char out[VERSION_PATH_SIZE])
{
    (void)snprintf(out, VERSION_PATH_SIZE, "slots/%s", slot);
}

static void object_path(const char *sha256, char out[VERSION_PATH_SIZE])
{
    (void)snprintf(out, VERSION_PATH_SIZE, "objects/%.2s/%s", sha256, sha256);
}

void versions_part_path(const char *object, char ret_path[VERSION_PATH_SIZE])
{
    (void)snprintf(ret_path, VERSION_PATH_SIZE, "download/%s.part", object);
}

void versions_scratch_path(const char *slot, char ret_path[VERSION_PATH_SIZE])
{
    (void)snprintf(ret_path, VERSION_PATH_SIZE, "unpack/%s", slot);
}

enum err versions_prepare(struct err_info *info)
{
    static const char *const dirs[] = {"download", "unpack", "objects", "slots", "run"};
    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++) {
        enum err e = file_make_dirs(dirs[i], 0700);
        if (e != ERR_OK)
            return err_set(info, e, "cannot make the directory %s in state_dir: %s", dirs[i], strerror(errno));
    }
    return file_sync_dir(".");
}

/* ERR_NO_SPACE, ERR_NOT_FOUND and ERR_NO_MEMORY as they are; everything else that goes wrong here is an I/O error. */
static enum err error_now(void)
{
    enum err e = err_from_errno(errno);
    return e == ERR_NO_SPACE || e == ERR_NOT_FOUND || e == ERR_NO_MEMORY ? e : ERR_IO;
}

/* ---- reading ---- */

static enum err manifest_read(const char *path, const char *bundle, struct manifest **ret_manifest)
{
    cleanup_free char *bytes = NULL;
    size_t len = 0;
    cleanup_manifest struct manifest *manifest = NULL;
    enum err e = file_read(path, MANIFEST_BYTES_MAX, &bytes, &len);
    if (e != ERR_OK) /* too large is not a manifest; anything else may be read another time */
        return e == ERR_TOO_LARGE ? ERR_CORRUPT : e;
    e = manifest_parse(bytes, len, &manifest, NULL);
    if (e == ERR_NO_MEMORY)
        return e;
    if (e != ERR_OK || (bundle != NULL && !text_eq(manifest->id, bundle)))
        return ERR_CORRUPT;
    *ret_manifest = manifest;
    manifest = NULL;
    return ERR_OK;
}

enum err versions_manifest(const char *bundle, struct manifest **ret_manifest)
{
    char path[VERSION_PATH_SIZE];
    object_path(bundle, path);
    return manifest_read(path, bundle, ret_manifest);
}

/* Every file the manifest lists is there with its size. */
static bool version_complete(const char *dir, const struct manifest *manifest)
{
    char path[PATH_MAX];
    struct stat st;
    for (size_t i = 0; i < manifest->file_count; i++) {
        if (!path_join(path, sizeof path, dir, manifest->files[i].path) || lstat(path, &st) != 0 ||
            !S_ISREG(st.st_mode) || st.st_size != manifest->files[i].size)
            return false;
    }
    return true;
}

/* bundle NULL: whichever it is. */
static enum err version_read(const char *dir, const char *bundle, struct manifest **ret_manifest)
{
    char path[PATH_MAX];
    cleanup_manifest struct manifest *manifest = NULL;
    if (!path_join(path, sizeof path, dir, MANIFEST_NAME))
        return ERR_IO;
    enum err e = manifest_read(path, bundle, &manifest);
    if (e != ERR_OK)
        return e;
    if (!version_complete(dir, manifest))
        return ERR_CORRUPT;
    *ret_manifest = manifest;
    manifest = NULL;
    return ERR_OK;
}

enum err versions_read(const char *dir, struct manifest **ret_manifest)
{
    return version_read(dir, NULL, ret_manifest);
}

/* "3-0a1b2c3d" -> 3 and its bundle's first digits; 0 when it is not a version's name. */
static int64_t name_parse(const char *name, const char **ret_short)
{
    char number[20];
    int64_t n = 0;
    size_t digits = strspn(name, "0123456789");
    if (digits == 0 || digits >= sizeof number || name[digits] != '-' || strlen(name + digits + 1) != BUNDLE_SHORT)
        return 0;
    (void)text_copy(number, digits + 1, name);
    if (text_to_i64(number, 1, INT64_MAX - 1, &n) != ERR_OK)
        return 0;
    *ret_short = name + digits + 1;
    return n;
}

/* The next entry; NULL with errno 0 at the end, or with another one when the directory cannot be read: then what was
 * not seen is not known to be missing. */
static struct dirent *entry_next(DIR *list)
{
    errno = 0;
    return readdir(list);
}

/* Walks the versions of a slot: the complete one of the bundle, and the highest number in use. */
static enum err slot_scan(const char *slot, const char *bundle, char ret_dir[VERSION_PATH_SIZE],
                          struct manifest **ret_manifest, int64_t *ret_highest)
{
    char parent[VERSION_PATH_SIZE];
    slot_dir(slot, parent);
    *ret_highest = 0;
    cleanup_dir DIR *list = opendir(parent);
    if (list == NULL)
        return error_now();
    enum err found = ERR_NOT_FOUND;
    for (struct dirent *entry = entry_next(list); entry != NULL; entry = entry_next(list)) {
        const char *short_id = NULL;
        char dir[VERSION_PATH_SIZE];
        int64_t n = name_parse(entry->d_name, &short_id);
        if (n > *ret_highest)
            *ret_highest = n;
        if (n == 0 || found == ERR_OK || strncmp(short_id, bundle, BUNDLE_SHORT) != 0 ||
            !path_join(dir, sizeof dir, parent, entry->d_name))
            continue;
        enum err e = version_read(dir, bundle, ret_manifest);
        if (e == ERR_OK) {
            (void)text_copy(ret_dir, VERSION_PATH_SIZE, dir);
            found = ERR_OK;
        } else if (e != ERR_NOT_FOUND && e != ERR_CORRUPT) {
            return e; /* not known to be incomplete */
        }
    }
    return found != ERR_OK && errno != 0 ? error_now() : found;
}

enum err versions_find(const char *slot, const char *bundle, char ret_dir[VERSION_PATH_SIZE],
                       struct manifest **ret_manifest)
{
    cleanup_manifest struct manifest *manifest = NULL;
    int64_t highest = 0;
    if (bundle[0] == '\0')
        return ERR_NOT_FOUND;
    enum err e = slot_scan(slot, bundle, ret_dir, &manifest, &highest);
    if (e == ERR_OK && ret_manifest != NULL) {
        *ret_manifest = manifest;
        manifest = NULL;
    }
    return e;
}

void versions_linked(const char *slot, const char *link, char ret_bundle[SHA256_HEX])
{
    char parent[VERSION_PATH_SIZE];
    char path[VERSION_PATH_SIZE];
    cleanup_manifest struct manifest *manifest = NULL;
    ret_bundle[0] = '\0';
    slot_dir(slot, parent);
    if (path_join(path, sizeof path, parent, link) && version_read(path, NULL, &manifest) == ERR_OK &&
        text_eq(manifest->slot, slot))
        (void)text_copy(ret_bundle, SHA256_HEX, manifest->id);
}

enum err versions_slots(char ret_slots[SLOT_COUNT_MAX][SLOT_NAME_SIZE], size_t *ret_count)
{
    cleanup_dir DIR *list = opendir("slots");
    if (list == NULL)
        return error_now();
    size_t count = 0;
    struct dirent *entry = NULL;
    while (count < SLOT_COUNT_MAX && (entry = entry_next(list)) != NULL)
        if (manifest_slot_ok(entry->d_name))
            (void)text_copy(ret_slots[count++], SLOT_NAME_SIZE, entry->d_name);
    if (count < SLOT_COUNT_MAX && errno != 0)
        return error_now();
    *ret_count = count;
    return ERR_OK;
}

/* ---- staging ---- */

/* Makes the directories of a file's path below dir. */
static enum err parents_make(const char *dir, const char *path)
{
    char parent[PATH_MAX];
    if (!path_join(parent, sizeof parent, dir, path))
        return ERR_IO;
    *strrchr(parent, '/') = '\0';
    return file_make_dirs(parent, 0755);
}

static enum err object_link(const char *sha256, const char *dir, const char *path)
{
    char source[VERSION_PATH_SIZE];
    char target[PATH_MAX];
    object_path(sha256, source);
    if (!path_join(target, sizeof target, dir, path))
        return ERR_IO;
    return link(source, target) == 0 ? ERR_OK : error_now();
}

/* Syncs the directory of a file's path and those above it, up to dir. */
static enum err parents_sync(const char *dir, const char *path)
{
    char parent[PATH_MAX];
    if (!path_join(parent, sizeof parent, dir, path))
        return ERR_IO;
    enum err e = ERR_OK;
    while (e == ERR_OK && strlen(parent) > strlen(dir)) {
        *strrchr(parent, '/') = '\0';
        e = file_sync_dir(parent);
    }
    return e;
}

static enum err version_fill(const char *dir, const struct manifest *manifest)
{
    enum err e = file_remove_tree(dir);
    if (e == ERR_OK)
        e = file_make_dirs(dir, 0755);
    if (e == ERR_OK)
        e = object_link(manifest->id, dir, MANIFEST_NAME);
    for (size_t i = 0; e == ERR_OK && i < manifest->file_count; i++) {
        e = parents_make(dir, manifest->files[i].path);
        if (e == ERR_OK)
            e = object_link(manifest->files[i].sha256, dir, manifest->files[i].path);
    }
    for (size_t i = 0; e == ERR_OK && i < manifest->file_count; i++)
        e = parents_sync(dir, manifest->files[i].path);
    return e;
}

enum err versions_stage(const char *slot, const struct manifest *manifest)
{
    char parent[VERSION_PATH_SIZE];
    char fresh[VERSION_PATH_SIZE];
    char final[VERSION_PATH_SIZE];
    cleanup_manifest struct manifest *there = NULL;
    int64_t highest = 0;
    slot_dir(slot, parent);
    enum err e = file_make_dirs(parent, 0755);
    if (e == ERR_OK)
        e = slot_scan(slot, manifest->id, final, &there, &highest);
    if (e != ERR_NOT_FOUND)
        return e;
    (void)snprintf(fresh, sizeof fresh, "slots/%s/.new", slot);
    (void)snprintf(final, sizeof final, "slots/%s/%lld-%.8s", slot, (long long)highest + 1, manifest->id);
    e = version_fill(fresh, manifest);
    if (e == ERR_OK && rename(fresh, final) != 0)
        e = error_now();
    if (e == ERR_OK)
        e = file_sync_dir(parent);
    if (e == ERR_OK)
        e = file_sync_dir("slots");
    if (e != ERR_OK)
        (void)file_remove_tree(fresh);
    return e;
}

/* ---- links ---- */

static enum err link_set(const char *slot, const char *name, const char *bundle)
{
    char parent[VERSION_PATH_SIZE];
    char dir[VERSION_PATH_SIZE];
    char path[VERSION_PATH_SIZE];
    char fresh[VERSION_PATH_SIZE];
    char now[VERSION_PATH_SIZE];
    slot_dir(slot, parent);
    (void)snprintf(path, sizeof path, "slots/%s/%s", slot, name);
    (void)snprintf(fresh, sizeof fresh, "slots/%s/.%s", slot, name);
    if (bundle[0] == '\0')
        return unlink(path) == 0 ? file_sync_dir(parent) : errno == ENOENT ? ERR_OK : error_now();
    enum err e = versions_find(slot, bundle, dir, NULL);
    if (e != ERR_OK)
        return e;
    const char *target = strrchr(dir, '/') + 1;
    ssize_t n = readlink(path, now, sizeof now - 1);
    if (n > 0 && (size_t)n == strlen(target) && strncmp(now, target, (size_t)n) == 0)
        return ERR_OK;
    if (unlink(fresh) != 0 && errno != ENOENT)
        return error_now();
    if (symlink(target, fresh) != 0 || rename(fresh, path) != 0)
        return error_now();
    return file_sync_dir(parent);
}

enum err versions_link(const struct update_row *row)
{
    enum err e = link_set(row->slot, "previous", update_previous(row));
    if (e == ERR_NOT_FOUND) /* somebody has removed it: that must not stop the way forward */
        e = link_set(row->slot, "previous", "");
    return e == ERR_OK ? link_set(row->slot, "current", update_current(row)) : e;
}

/* ---- tidying ---- */

/* The target is, or is about to be, a version on the disk. */
static bool target_staged(const struct update_row *row)
{
    return row->phase >= UPDATE_STAGING && row->phase <= UPDATE_WITHDRAWING;
}

static bool version_needed(const struct update_row *row, const char *short_id)
{
    return strncmp(row->committed, short_id, BUNDLE_SHORT) == 0 ||
           strncmp(row->previous, short_id, BUNDLE_SHORT) == 0 ||
           (target_staged(row) && strncmp(row->want.bundle, short_id, BUNDLE_SHORT) == 0);
}

/* A link of the slot names this version. */
static bool version_linked(const char *parent, const char *name)
{
    static const char *const links[] = {"current", "previous"};
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
        char path[VERSION_PATH_SIZE];
        char target[VERSION_PATH_SIZE];
        if (!path_join(path, sizeof path, parent, links[i]))
            continue;
        ssize_t n = readlink(path, target, sizeof target - 1);
        if (n > 0 && (size_t)n == strlen(name) && strncmp(target, name, (size_t)n) == 0)
            return true;
    }
    return false;
}

/* Of a step that was cut short. */
static bool name_unfinished(const char *name)
{
    return text_eq(name, ".new") || text_eq(name, ".current") || text_eq(name, ".previous");
}

static void slot_tidy(const struct update_row *row)
{
    char parent[VERSION_PATH_SIZE];
    slot_dir(row->slot, parent);
    cleanup_dir DIR *list = opendir(parent);
    for (struct dirent *entry = list == NULL ? NULL : readdir(list); entry != NULL; entry = readdir(list)) {
        char path[VERSION_PATH_SIZE];
        const char *short_id = NULL;
        bool version = name_parse(entry->d_name, &short_id) != 0;
        if (!path_join(path, sizeof path, parent, entry->d_name))
            continue;
        if (version && !version_needed(row, short_id) && !version_linked(parent, entry->d_name))
            (void)file_remove_tree(path);
        if (name_unfinished(entry->d_name))
            (void)file_remove_tree(path);
    }
}

static bool part_needed(const struct update_row *rows, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        bool fetching = rows[i].phase == UPDATE_DOWNLOADING || rows[i].phase == UPDATE_VERIFYING;
        if (fetching && rows[i].object.sha256[0] != '\0' && text_starts(name, rows[i].object.sha256))
            return true;
    }
    return false;
}

static void downloads_tidy(const struct update_row *rows, size_t count)
{
    cleanup_dir DIR *list = opendir("download");
    for (struct dirent *entry = list == NULL ? NULL : readdir(list); entry != NULL; entry = readdir(list))
        if (entry->d_name[0] != '.' && !part_needed(rows, count, entry->d_name))
            (void)unlinkat(dirfd(list), entry->d_name, 0);
}

/* Objects that no version links to. */
static void objects_tidy(void)
{
    cleanup_dir DIR *list = opendir("objects");
    for (struct dirent *entry = list == NULL ? NULL : readdir(list); entry != NULL; entry = readdir(list)) {
        char path[VERSION_PATH_SIZE];
        struct stat st;
        if (entry->d_name[0] == '.' || !path_join(path, sizeof path, "objects", entry->d_name))
            continue;
        cleanup_dir DIR *files = opendir(path);
        for (struct dirent *file = files == NULL ? NULL : readdir(files); file != NULL; file = readdir(files))
            if (fstatat(dirfd(files), file->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
                st.st_nlink == 1)
                (void)unlinkat(dirfd(files), file->d_name, 0);
        (void)rmdir(path);
    }
}

static void scratch_tidy(const struct update_row *row)
{
    char path[VERSION_PATH_SIZE];
    versions_scratch_path(row->slot, path);
    if (row->phase != UPDATE_VERIFYING)
        (void)file_remove_tree(path);
}

void versions_tidy(const struct update_row *rows, size_t count)
{
    bool unpacking = false; /* then objects appear that nothing links to yet */
    for (size_t i = 0; i < count; i++) {
        slot_tidy(&rows[i]);
        scratch_tidy(&rows[i]);
        unpacking = unpacking || rows[i].phase == UPDATE_VERIFYING || rows[i].phase == UPDATE_STAGING;
    }
    downloads_tidy(rows, count);
    if (!unpacking)
        objects_tidy();
}
