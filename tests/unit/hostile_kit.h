#pragma once
/* What the tests of hostile bundles share: entries to build archives of, and a refusal that must leave nothing. */
#include "tests/unit/bundle_kit.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>

enum { ENTRIES_MAX = 24, SIGNATURES_AT = 1, TAR_MAX = 1 << 20 };

struct part {
    char name[160];
    const char *bytes;
    size_t len;
    const char *link; /* target; NULL: no link */
    bool hard;
    bool sparse;
    unsigned type;
    unsigned perm;
};

static inline struct part part_of(const char *name, const char *bytes, size_t len)
{
    struct part p = {.bytes = bytes, .len = len, .type = AE_IFREG, .perm = 0444};
    (void)snprintf(p.name, sizeof p.name, "%s", name);
    return p;
}

static inline char *signature_by(const struct minisig_secret *key, const char *bytes, size_t len)
{
    char *text = NULL;
    assert_int_equal(minisig_sign(key, bytes, len, "test", &text), ERR_OK);
    return text;
}

static inline void signature_name(const struct minisig_secret *key, char name[160])
{
    char id[MINISIG_ID_TEXT];
    minisig_id_text(key->id, id);
    (void)snprintf(name, 160, "manifest.json.%s.minisig", id);
}

static inline void part_write(struct archive *a, const struct part *p)
{
    struct archive_entry *e = archive_entry_new();
    archive_entry_set_pathname(e, p->name);
    archive_entry_set_filetype(e, p->type);
    archive_entry_set_perm(e, (mode_t)p->perm);
    archive_entry_set_size(e, (la_int64_t)p->len);
    if (p->link != NULL && p->hard)
        archive_entry_set_hardlink(e, p->link);
    else if (p->link != NULL)
        archive_entry_set_symlink(e, p->link);
    if (p->sparse)
        archive_entry_sparse_add_entry(e, 0, 1);
    assert_true(archive_write_header(a, e) >= ARCHIVE_WARN);
    if (p->len > 0)
        assert_true(archive_write_data(a, p->bytes, p->len) >= 0);
    archive_entry_free(e);
}

/* ---- the world around: a refusal changes nothing in it ---- */

static inline int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static inline void print_add(struct sha256 *hash, const char *path)
{
    char line[512];
    struct stat st;
    struct dirent **entries = NULL;
    assert_int_equal(lstat(path, &st), 0);
    /* A directory's own time may change: files come and go in it. */
    (void)snprintf(line, sizeof line, "%s %o %lld %lld %u\n", path, st.st_mode,
                   S_ISDIR(st.st_mode) ? 0 : (long long)st.st_size,
                   S_ISDIR(st.st_mode) ? 0 : (long long)st.st_mtim.tv_nsec, (unsigned)st.st_nlink);
    assert_int_equal(sha256_add(hash, line, strlen(line)), ERR_OK);
    if (S_ISREG(st.st_mode)) {
        char digest[SHA256_HEX];
        int64_t size = 0;
        cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_int_equal(sha256_fd(fd, digest, &size), ERR_OK);
        assert_int_equal(sha256_add(hash, digest, SHA256_HEX), ERR_OK);
    }
    int count = S_ISDIR(st.st_mode) ? scandir(path, &entries, NULL, by_name) : 0;
    for (int i = 0; i < count; i++) {
        char below[PATH_MAX];
        (void)snprintf(below, sizeof below, "%s/%s", path, entries[i]->d_name);
        if (strcmp(entries[i]->d_name, ".") != 0 && strcmp(entries[i]->d_name, "..") != 0)
            print_add(hash, below);
        free(entries[i]);
    }
    free(entries);
}

/* A digest of every name, mode and byte below the kit's folder. */
static inline void world_print(const struct kit *k, char ret_digest[SHA256_HEX])
{
    cleanup_sha256 struct sha256 *hash = NULL;
    assert_int_equal(sha256_new(&hash), ERR_OK);
    print_add(hash, k->path);
    assert_int_equal(sha256_end(hash, ret_digest), ERR_OK);
}

/* Extracts NAME into the kit's out, which is empty. Refused, it must leave the world as it was. */
static inline enum err world_extract(const struct kit *k, const char *what, const char *name,
                                     const struct bundle_olds *olds, struct err_info *info)
{
    char before[SHA256_HEX];
    char after[SHA256_HEX];
    struct manifest *m = NULL;
    *info = (struct err_info){0};
    cleanup_fd int fd = kit_open(k, name);
    cleanup_fd int out = kit_open(k, "out");
    world_print(k, before);
    enum err e = bundle_extract(fd, &k->trust, olds, out, &m, NULL, info);
    if ((e == ERR_OK) != (m != NULL))
        fail_msg("%s: a manifest for a refused bundle", what);
    m = manifest_free(m);
    world_print(k, after);
    if (e != ERR_OK && strcmp(before, after) != 0)
        fail_msg("%s: something was left behind, or changed", what);
    for (const char *c = info->text; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            fail_msg("%s: the text is not for terminals", what);
    return e;
}

/* How many kinds a program has refused: the last line says it. */
static inline void kinds_say(size_t count, const char *of)
{
    printf("hostile bundles: %zu kinds of %s, each refused with nothing written\n", count, of);
}
