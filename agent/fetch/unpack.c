/* Verifies a downloaded bundle and moves its files into the object store, each under its digest. The files of a delta
 * bundle are rebuilt from files that the store has. */

#include "agent/fetch/request.h"
#include "agent/fetch/space.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/text.h"
#include "common/bundle/bundle.h"
#include "common/bundle/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SIGNATURES_MAX = BUNDLE_KEYS_MAX,
    MEMORY_MIB = 96 /* of address space: 57 are libraries, stack and the binary; the rest is for zstd and the rebuild */
};

struct unpacking {
    struct outcome *outcome;
    int64_t signatures;
    bool delta;          /* a delta bundle: its deltas are written out once more while they are applied */
    int64_t deltas_size; /* at most */
    bool peeked;         /* the head was read and is good */
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

/* What is wrong with a delta has its own code: the agent fetches the bundle another way then. */
static bool bundle_refused(struct unpacking *u, enum err e, const struct err_info *info)
{
    bool delta = text_starts(info->code, "delta_");
    return outcome_error(u->outcome, e, delta ? info->code : code_of(e), info);
}

/* ---- room ---- */

/* The signed manifest says how large the files will be. An error ends the reading here: nothing but the head was
 * wanted. */
static enum err head_check(void *user, const struct manifest *manifest, const struct bundle_signature *signatures,
                           size_t count, struct err_info *info)
{
    struct unpacking *u = user;
    (void)signatures;
    (void)count;
    u->peeked = space_check(u->scratch_fd, manifest_files_size(manifest) + u->deltas_size, u->outcome);
    return err_set(info, ERR_CONFLICT, "only the head was wanted");
}

static bool room_check(struct unpacking *u, int fd, const struct trust *trust)
{
    struct err_info info = {0};
    const struct bundle_sink sink = {.user = u, .head = head_check};
    struct stat st;
    if (fstat(fd, &st) != 0)
        return outcome_fail(u->outcome, "io_error", "%s: %s", u->file, strerror(errno));
    u->deltas_size = u->delta ? st.st_size : 0;
    enum err e = bundle_read(fd, trust, &sink, &u->manifest, NULL, &info);
    if (!u->peeked && u->outcome->code[0] == '\0')
        return bundle_refused(u, e, &info);
    return u->peeked &&
           (lseek(fd, 0, SEEK_SET) == 0 || outcome_fail(u->outcome, "io_error", "%s: %s", u->file, strerror(errno)));
}

/* ---- reading ---- */

/* Files of older versions are found by their digest. */
static enum err old_open(void *user, const char *sha256, int *ret_fd, struct err_info *info)
{
    const struct unpacking *u = user;
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%.2s/%s", u->objects, sha256, sha256);
    if (!text_is_sha256(sha256) || n < 0 || (size_t)n >= sizeof path)
        return err_set(info, ERR_INVALID, "not a digest");
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return ERR_NOT_FOUND;
    if (fd < 0)
        return err_set(info, err_from_errno(errno), "%s: %s", path, strerror(errno));
    *ret_fd = fd;
    return ERR_OK;
}

/* Whatever a bundle makes the reader do, it does not do it to the device. Sanitizers map terabytes at their start. */
static void memory_limit(void)
{
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    const struct rlimit limit = {.rlim_cur = (rlim_t)MEMORY_MIB << 20, .rlim_max = (rlim_t)MEMORY_MIB << 20};
    (void)setrlimit(RLIMIT_AS, &limit);
#endif
}

static bool bundle_take(struct unpacking *u)
{
    struct err_info info = {0};
    cleanup_trust struct trust *trust = NULL;
    const struct bundle_olds olds = {.open = old_open, .user = u};
    enum err e = trust_load(u->trust_dir, &trust, &info);
    if (e != ERR_OK)
        return outcome_error(u->outcome, e, "signature_untrusted", &info);
    trust->required = (size_t)u->signatures;
    cleanup_fd int fd = open(u->file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return outcome_fail(u->outcome, "part_missing", "%s is not there", u->file);
    if (fd < 0)
        return outcome_fail(u->outcome, "io_error", "%s: %s", u->file, strerror(errno));
    if (!room_check(u, fd, trust))
        return false;
    e = bundle_extract(fd, trust, &olds, u->scratch_fd, &u->manifest, NULL, &info);
    if (e != ERR_OK)
        return bundle_refused(u, e, &info);
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
    struct unpacking u = {.outcome = outcome, .scratch_fd = -1, .signatures = 1};
    u.file = request_text(request, "file", outcome);
    u.bundle = u.file == NULL ? NULL : request_text(request, "bundle", outcome);
    u.trust_dir = u.bundle == NULL ? NULL : request_text(request, "trust_dir", outcome);
    u.objects = u.trust_dir == NULL ? NULL : request_text(request, "objects", outcome);
    u.scratch = u.objects == NULL ? NULL : request_text(request, "scratch", outcome);
    if (u.scratch == NULL)
        return;
    if (json_has(request->json, "signatures") &&
        json_get_i64(request->json, "signatures", 1, SIGNATURES_MAX, &u.signatures, NULL) != ERR_OK) {
        (void)outcome_fail(outcome, "request_invalid", "signatures must be a number from 1 to %d", SIGNATURES_MAX);
        return;
    }
    if (json_has(request->json, "delta") && json_get_bool(request->json, "delta", &u.delta, NULL) != ERR_OK) {
        (void)outcome_fail(outcome, "request_invalid", "delta must be true or false");
        return;
    }
    memory_limit();
    outcome->ok = scratch_open(&u) && bundle_take(&u) && objects_move(&u);
    (void)manifest_free(u.manifest);
    if (u.scratch_fd >= 0)
        (void)close(u.scratch_fd);
    /* What is left is removed by the agent, too, should this fail. */
    (void)file_remove_tree(u.scratch);
}
