/* Verifies a downloaded bundle and moves its files into the object store, each under its digest. */

#include "agent/fetch/request.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/text.h"
#include "common/bundle/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct unpacking {
    struct outcome *outcome;
    const char *file, *bundle, *trust_dir, *objects, *scratch;
    int scratch_fd;
    struct manifest *manifest;
};

/* The codes of api/mqtt.md for what the bundle reader says. */
static const char *code_of(enum err e)
{
    switch (e) {
    case ERR_UNTRUSTED:
        return "signature_untrusted";
    case ERR_INVALID:
        return "manifest_invalid";
    case ERR_UNSUPPORTED:
        return "agent_too_old";
    default:
        return "payload_mismatch";
    }
}

static bool bundle_read(struct unpacking *u)
{
    struct err_info info = {0};
    cleanup_trust struct trust *trust = NULL;
    enum err e = trust_load(u->trust_dir, &trust, &info);
    if (e != ERR_OK)
        return outcome_error(u->outcome, e, "signature_untrusted", &info);
    cleanup_fd int fd = open(u->file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return outcome_fail(u->outcome, "part_missing", "%s is not there", u->file);
    if (fd < 0)
        return outcome_fail(u->outcome, "io_error", "%s: %s", u->file, strerror(errno));
    e = bundle_extract(fd, trust, NULL, u->scratch_fd, &u->manifest, NULL, &info);
    if (e != ERR_OK)
        return outcome_error(u->outcome, e, code_of(e), &info);
    if (!text_eq(u->manifest->id, u->bundle))
        return outcome_fail(u->outcome, "manifest_invalid", "the object holds the bundle %.12s, not %.12s",
                            u->manifest->id, u->bundle);
    return true;
}

/* scratch/path -> objects/ab/abcd…, durably once the directories are synced. Equal files are one object. */
static bool object_move(struct unpacking *u, const char *path, const char *sha256)
{
    char dir[PATH_MAX];
    char target[PATH_MAX];
    int n = snprintf(dir, sizeof dir, "%s/%.2s", u->objects, sha256);
    int m = snprintf(target, sizeof target, "%s/%.2s/%s", u->objects, sha256, sha256);
    if (n < 0 || m < 0 || (size_t)n >= sizeof dir || (size_t)m >= sizeof target)
        return outcome_fail(u->outcome, "io_error", "the state directory's path is too long");
    enum err e = file_make_dirs(dir, 0700);
    if (e == ERR_OK && renameat(u->scratch_fd, path, AT_FDCWD, target) != 0)
        e = err_from_errno(errno) == ERR_NO_SPACE ? ERR_NO_SPACE : ERR_IO;
    if (e == ERR_OK)
        e = file_sync_dir(dir);
    return e == ERR_OK || outcome_error(u->outcome, e, "io_error", NULL);
}

static bool objects_move(struct unpacking *u)
{
    const struct manifest *m = u->manifest;
    bool moved = m != NULL;
    for (size_t i = 0; moved && i < m->file_count; i++)
        moved = object_move(u, m->files[i].path, m->files[i].sha256);
    if (moved)
        moved = object_move(u, MANIFEST_NAME, m->id);
    if (moved && file_sync_dir(u->objects) != ERR_OK)
        moved = outcome_fail(u->outcome, "io_error", "cannot write %s", u->objects);
    return moved;
}

/* An empty scratch directory. */
static bool scratch_open(struct unpacking *u)
{
    enum err e = file_remove_tree(u->scratch);
    if (e == ERR_OK)
        e = file_make_dirs(u->scratch, 0700);
    if (e != ERR_OK)
        return outcome_error(u->outcome, e == ERR_NO_SPACE ? e : ERR_IO, "io_error", NULL);
    u->scratch_fd = open(u->scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return u->scratch_fd >= 0 || outcome_fail(u->outcome, "io_error", "%s: %s", u->scratch, strerror(errno));
}

void operation_unpack(const struct request *request, struct outcome *outcome)
{
    struct unpacking u = {.outcome = outcome, .scratch_fd = -1};
    u.file = request_text(request, "file", outcome);
    u.bundle = u.file == NULL ? NULL : request_text(request, "bundle", outcome);
    u.trust_dir = u.bundle == NULL ? NULL : request_text(request, "trust_dir", outcome);
    u.objects = u.trust_dir == NULL ? NULL : request_text(request, "objects", outcome);
    u.scratch = u.objects == NULL ? NULL : request_text(request, "scratch", outcome);
    if (u.scratch == NULL)
        return;
    outcome->ok = scratch_open(&u) && bundle_read(&u) && objects_move(&u);
    (void)manifest_free(u.manifest);
    if (u.scratch_fd >= 0)
        (void)close(u.scratch_fd);
    /* What is left is removed by the agent, too, should this fail. */
    (void)file_remove_tree(u.scratch);
}
