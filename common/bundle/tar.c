#include "common/bundle/tar.h"

#include "common/base/cleanup.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 256 * 1024, PADDING_MAX = 1024 * 1024 };

struct tar {
    int fd;
    struct archive *archive;
    bool begun;                  /* a first header was there */
    struct archive_entry *entry; /* the present header; NULL after the last one; owned by archive */
    int64_t size;                /* of entry */
    int64_t given;               /* bytes of entry that tar_piece has given */
    int read_errno;              /* of the last failed read(); 0: none */
    int64_t nonzero_end;         /* offset behind the last byte of the file that was not zero, so far */
    int64_t position;            /* bytes read from fd */
    char chunk[CHUNK];           /* libarchive's window on the file */
};

/* Whatever it is, it is not what somebody wanted to give. */
enum err tar_no_bundle(struct err_info *info, const char *why)
{
    enum err e = err_code(info, ERR_CORRUPT, "bundle_malformed", "this is no bundle: %.300s", why);
    err_next(info,
             "Give the .mub file that `musterctl bundle create` has written. If it is that one, it was damaged on "
             "its way: copy it again.");
    return e;
}

static enum err malformed(struct tar *t, struct err_info *info)
{
    if (t->read_errno != 0)
        return err_set(info, err_from_errno(t->read_errno), "cannot read the bundle: %s", strerror(t->read_errno));
    if (archive_errno(t->archive) == ENOMEM)
        return ERR_NO_MEMORY;
    if (!t->begun)
        return tar_no_bundle(info, "it does not begin like one, which is an uncompressed tar");
    const char *why = archive_error_string(t->archive);
    enum err e = err_code(info, ERR_CORRUPT, "bundle_malformed", "this is not a whole bundle: %.200s",
                          why == NULL ? "no reason given" : why);
    err_next(info, "It was cut off or damaged on its way: copy it again.");
    return e;
}

/* Bytes up to the last one that is not zero. Data end at once; runs of zeros go eight at a time. */
static size_t nonzero_length(const char *bytes, size_t len)
{
    static const char zeros[8];
    while (len >= sizeof zeros && memcmp(bytes + len - sizeof zeros, zeros, sizeof zeros) == 0)
        len -= sizeof zeros;
    while (len > 0 && bytes[len - 1] == '\0')
        len--;
    return len;
}

static la_ssize_t chunk_next(struct archive *archive, void *user, const void **ret_bytes)
{
    struct tar *t = user;
    ssize_t n = 0;
    do
        n = read(t->fd, t->chunk, sizeof t->chunk);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        t->read_errno = errno;
        archive_set_error(archive, errno, "read failed");
        return -1;
    }
    size_t used = nonzero_length(t->chunk, (size_t)n);
    if (used > 0)
        t->nonzero_end = t->position + (int64_t)used;
    t->position += n;
    *ret_bytes = t->chunk;
    return n;
}

enum err tar_open(int fd, struct tar **ret_tar, struct err_info *info)
{
    cleanup_tar struct tar *t = calloc(1, sizeof *t);
    if (t == NULL)
        return ERR_NO_MEMORY;
    t->fd = fd;
    t->archive = archive_read_new();
    if (t->archive == NULL)
        return ERR_NO_MEMORY;
    if (archive_read_support_format_tar(t->archive) != ARCHIVE_OK ||
        archive_read_open(t->archive, t, NULL, chunk_next, NULL) != ARCHIVE_OK)
        return malformed(t, info);
    *ret_tar = t;
    t = NULL;
    return ERR_OK;
}

struct tar *tar_free(struct tar *t)
{
    if (t != NULL)
        (void)archive_read_free(t->archive);
    free(t);
    return NULL;
}

enum err tar_refused(struct err_info *info, const char *name, const char *why)
{
    return err_code(info, ERR_CORRUPT, "payload_mismatch", "entry \"%.100s\": %s", name, why);
}

/* A plain file, nothing else. What it may be called, its place in the order says. */
static enum err entry_check(struct archive_entry *e, struct err_info *info)
{
    const char *name = archive_entry_pathname(e);
    if (name == NULL)
        return tar_refused(info, "", "its name cannot be read");
    if (archive_entry_hardlink(e) != NULL || archive_entry_symlink(e) != NULL)
        return tar_refused(info, name, "it is a link; only plain files are allowed");
    if (archive_entry_filetype(e) != AE_IFREG)
        return tar_refused(info, name, "it is not a plain file");
    if ((archive_entry_perm(e) & 07000) != 0)
        return tar_refused(info, name, "it has a setuid, setgid or sticky bit");
    if (archive_entry_sparse_count(e) > 0 || !archive_entry_size_is_set(e) || archive_entry_size(e) < 0)
        return tar_refused(info, name, "it is sparse or has no size");
    return ERR_OK;
}

enum err tar_next(struct tar *t, struct err_info *info)
{
    t->size = 0;
    t->given = 0;
    int rc = archive_read_next_header(t->archive, &t->entry);
    if (rc != ARCHIVE_OK) {
        t->entry = NULL;
        return rc == ARCHIVE_EOF ? ERR_OK : malformed(t, info);
    }
    t->begun = true;
    enum err e = entry_check(t->entry, info);
    if (e == ERR_OK)
        t->size = archive_entry_size(t->entry);
    else
        t->entry = NULL;
    return e;
}

const char *tar_name(const struct tar *t)
{
    return t->entry == NULL ? NULL : archive_entry_pathname(t->entry);
}

int64_t tar_size(const struct tar *t)
{
    return t->size;
}

int64_t tar_offset(const struct tar *t)
{
    return archive_filter_bytes(t->archive, -1);
}

enum err tar_text(struct tar *t, int64_t max, char **ret_text, size_t *ret_len, struct err_info *info)
{
    if (t->size > max)
        return tar_refused(info, tar_name(t), "it is larger than it may be");
    size_t size = (size_t)t->size;
    cleanup_free char *text = malloc(size + 1);
    if (text == NULL)
        return ERR_NO_MEMORY;
    if (archive_read_data(t->archive, text, size) != (la_ssize_t)size)
        return malformed(t, info);
    text[size] = '\0';
    *ret_len = size;
    *ret_text = text;
    text = NULL;
    return ERR_OK;
}

enum err tar_piece(struct tar *t, const void **ret_bytes, size_t *ret_len, struct err_info *info)
{
    const void *bytes = NULL;
    size_t len = 0;
    la_int64_t offset = 0;
    int rc = archive_read_data_block(t->archive, &bytes, &len, &offset);
    if (rc == ARCHIVE_EOF && t->given == t->size) {
        *ret_len = 0;
        return ERR_OK;
    }
    if (rc != ARCHIVE_OK)
        return malformed(t, info);
    /* A hole would shift what follows it; an entry that was not sparse has none. */
    if (offset != t->given || len > (size_t)(t->size - t->given) || len == 0)
        return tar_refused(info, tar_name(t), "its data have a hole");
    t->given += (int64_t)len;
    *ret_bytes = bytes;
    *ret_len = len;
    return ERR_OK;
}

enum err tar_rest(struct tar *t, struct err_info *info)
{
    int64_t end = archive_filter_bytes(t->archive, -1);
    const void *bytes = NULL;
    for (la_ssize_t n = 1; n > 0 && t->position - end <= PADDING_MAX;) {
        n = chunk_next(t->archive, t, &bytes);
        if (n < 0)
            return malformed(t, info);
    }
    if (t->nonzero_end > end || t->position - end > PADDING_MAX)
        return err_code(info, ERR_CORRUPT, "bundle_malformed", "there is data after the end of the archive");
    return ERR_OK;
}
