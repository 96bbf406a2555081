#pragma once
/* What the bundle tests share: a folder with a release key, sources and an empty `out`, and ways to look at it. */
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/bundle/bundle.h"
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct kit {
    char path[64];
    struct minisig_secret key;
    struct trust trust; /* that key only */
};

static inline const char *kit_path(const struct kit *k, const char *name, char path[160])
{
    (void)snprintf(path, 160, "%s/%s", k->path, name);
    return path;
}

static inline void kit_put(const struct kit *k, const char *name, const void *bytes, size_t len)
{
    char path[160];
    assert_int_equal(file_write(kit_path(k, name, path), bytes, len, 0644), ERR_OK);
}

static inline void kit_start(struct kit *k)
{
    char path[160];
    *k = (struct kit){.path = "/tmp/muster-test-XXXXXX"};
    if (access("/dev/shm", W_OK) == 0) /* thousands of small files are synced */
        (void)snprintf(k->path, sizeof k->path, "/dev/shm/muster-test-XXXXXX");
    assert_non_null(mkdtemp(k->path));
    assert_int_equal(mkdir(kit_path(k, "out", path), 0755), 0);
    assert_int_equal(minisig_generate(&k->key, &k->trust.keys[0]), ERR_OK);
    k->trust.count = 1;
    kit_put(k, "model", "weights", 7);
    kit_put(k, "run", "#!/bin/sh\n", 10);
    assert_int_equal(chmod(kit_path(k, "run", path), 0755), 0);
}

static inline void kit_end(struct kit *k)
{
    assert_int_equal(file_remove_tree(k->path), ERR_OK);
}
#define cleanup_kit [[gnu::cleanup(kit_end)]]

/* An unsigned bundle of three files, two of them equal, at NAME in the kit's folder. */
static inline struct manifest *kit_create(const struct kit *k, const char *name)
{
    char model[160];
    char run[160];
    char out[160];
    struct manifest *m = NULL;
    struct err_info info = {0};
    json_auto_t *head = json_pack("{s:s, s:s, s:s, s:i, s:{s:s}}", "kind", "model", "name", "digits", "version",
                                  "1.0.0", "release_counter", 1, "model", "file", "model.onnx");
    const struct bundle_file files[] = {{kit_path(k, "model", model), "model.onnx", false, false},
                                        {kit_path(k, "run", run), "bin/run", false, false},
                                        {model, "copy/of/model.onnx", false, false}};
    enum err e = bundle_create(head, files, 3, 1764000000000, kit_path(k, name, out), &m, &info);
    if (e != ERR_OK)
        fail_msg("bundle_create: %s: %s", info.code, info.text);
    return m;
}

static inline int kit_open(const struct kit *k, const char *name)
{
    char path[160];
    int fd = open(kit_path(k, name, path), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* Entries of a directory of the kit, without . and ... */
static inline int kit_count(const struct kit *k, const char *name)
{
    char path[160];
    int count = 0;
    cleanup_dir DIR *dir = opendir(kit_path(k, name, path));
    assert_non_null(dir);
    for (const struct dirent *d = readdir(dir); d != NULL; d = readdir(dir))
        count += strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0;
    return count;
}
