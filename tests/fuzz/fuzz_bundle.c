/* Any archive, twice: as it is, looked at by somebody who trusts nobody; and as the payload behind a head that a
 * trusted key has signed, so that the fuzzer gets past the signature. The input is MANIFEST NUL ARCHIVE: the manifest
 * is signed here, and the archive's entries follow. Whatever comes of it, nothing may appear outside the directory it
 * is extracted to, and nothing may be left in it after a refusal. */
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/bundle/bundle.h"
#include "tests/fuzz/fuzz.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { PREFIX_BYTES = 64 * 1024 };

/* TOP/out is extracted to; TOP must hold nothing else. */
struct place {
    char top[64];
    char out[80];
    struct minisig_secret key;
    struct trust trust;
};

static void place_end(struct place *place)
{
    (void)file_remove_tree(place->top);
}

static void place_begin(struct place *place)
{
    *place = (struct place){.top = "/tmp/muster-fuzz-XXXXXX", .trust = {.required = 1, .count = 1}};
    if (mkdtemp(place->top) == NULL || minisig_generate(&place->key, &place->trust.keys[0]) != ERR_OK)
        abort();
    (void)snprintf(place->out, sizeof place->out, "%s/out", place->top);
    if (mkdir(place->out, 0700) != 0)
        abort();
}

static int entries_count(const char *path)
{
    int count = 0;
    cleanup_dir DIR *dir = opendir(path);
    for (const struct dirent *entry = dir == NULL ? NULL : readdir(dir); entry != NULL; entry = readdir(dir))
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    return count;
}

static void entry_put(struct archive *archive, const char *name, const void *bytes, size_t len)
{
    struct archive_entry *entry = archive_entry_new();
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, (la_int64_t)len);
    if (archive_write_header(archive, entry) != ARCHIVE_OK || archive_write_data(archive, bytes, len) < 0)
        abort();
    archive_entry_free(entry);
}

/* The signed head without the end of the archive; its length. */
static size_t head_write(const struct place *place, const uint8_t *manifest, size_t len, char *out)
{
    char name[64];
    char id[MINISIG_ID_TEXT];
    size_t used = 0;
    char *signature = NULL;
    struct archive *archive = archive_write_new();
    if (minisig_sign(&place->key, manifest, len, "fuzz", &signature) != ERR_OK)
        abort();
    minisig_id_text(place->key.id, id);
    (void)snprintf(name, sizeof name, MANIFEST_NAME ".%s.minisig", id);
    if (archive_write_set_format_ustar(archive) != ARCHIVE_OK ||
        archive_write_open_memory(archive, out, PREFIX_BYTES + 4 * 10240, &used) != ARCHIVE_OK)
        abort();
    entry_put(archive, MANIFEST_NAME, manifest, len);
    entry_put(archive, name, signature, strlen(signature));
    (void)archive_write_free(archive);
    size_t head = 512 + (len + 511) / 512 * 512 + 512 + (strlen(signature) + 511) / 512 * 512;
    free(signature);
    return head;
}

static int memory_file(const void *bytes, size_t len)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || file_write_fd(fd, bytes, len) != ERR_OK)
        abort();
    return fd;
}

static void bundle_look(const uint8_t *data, size_t size)
{
    cleanup_manifest struct manifest *m = NULL;
    struct bundle_keys keys;
    struct err_info info = {0};
    cleanup_fd int fd = memory_file(data, size);
    (void)!lseek(fd, 0, SEEK_SET);
    if (bundle_inspect(fd, NULL, &m, &keys, NULL, &info) != ERR_OK && m != NULL)
        abort();
}

static enum err no_old(void *user, const char *sha256, int *ret_fd, struct err_info *info)
{
    (void)user;
    (void)sha256;
    (void)ret_fd;
    return err_set(info, ERR_NOT_FOUND, "not here");
}

static void bundle_take(struct place *place, const uint8_t *manifest, size_t manifest_len, const uint8_t *rest,
                        size_t rest_len)
{
    static const struct bundle_olds olds = {.open = no_old};
    cleanup_manifest struct manifest *m = NULL;
    struct err_info info = {0};
    char *head = malloc(PREFIX_BYTES + 4 * 10240);
    if (head == NULL)
        abort();
    size_t head_len = head_write(place, manifest, manifest_len, head);
    cleanup_fd int fd = memory_file(head, head_len);
    free(head);
    if (file_write_fd(fd, rest, rest_len) != ERR_OK || lseek(fd, 0, SEEK_SET) != 0)
        abort();
    cleanup_fd int dir = open(place->out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum err e = bundle_extract(fd, &place->trust, &olds, dir, &m, NULL, &info);
    if (e != ERR_OK && entries_count(place->out) != 0)
        abort();
    if (entries_count(place->top) != 1)
        abort();
    int64_t wrong = 0;
    if (bundle_damage(fd, &place->trust, &wrong) != ERR_OK || wrong < -1 || wrong >= (int64_t)(head_len + rest_len))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bundle_look(data, size);
    const uint8_t *end = size == 0 ? NULL : memchr(data, '\0', size);
    size_t manifest_len = end == NULL ? 0 : (size_t)(end - data);
    if (manifest_len == 0 || manifest_len >= PREFIX_BYTES)
        return 0;
    [[gnu::cleanup(place_end)]] struct place place;
    place_begin(&place);
    bundle_take(&place, data, manifest_len, end + 1, size - manifest_len - 1);
    return 0;
}
