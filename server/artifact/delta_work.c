#include "server/artifact/delta_work.h"

#include "common/base/cleanup.h"
#include "common/base/json.h"
#include "common/base/log.h"
#include "common/base/process.h"
#include "common/base/text.h"
#include "common/bundle/bundle.h"
#include "common/delta/delta.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { IOPRIO_WHO_PROCESS = 1, IOPRIO_CLASS_IDLE = 3, IOPRIO_CLASS_SHIFT = 13, NICE = 19, VERSION_MAX = 1000 };

/* ---- this process, out of everybody's way */

static void limit_set(__rlimit_resource_t resource, rlim_t value)
{
    (void)setrlimit(resource, &(struct rlimit){.rlim_cur = value, .rlim_max = value});
}

static void self_lower(int memory_mb)
{
    static const char first_to_go[] = "1000";
    (void)setpriority(PRIO_PROCESS, 0, NICE);
    (void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_CLASS_IDLE << IOPRIO_CLASS_SHIFT);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* their shadow alone is terabytes */
    limit_set(RLIMIT_DATA, (rlim_t)memory_mb * 1024 * 1024);
#else
    (void)memory_mb;
#endif
    limit_set(RLIMIT_CORE, 0);
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!write(fd, first_to_go, sizeof first_to_go - 1);
        (void)close(fd);
    }
}

/* ---- the check: rebuild it as a device does */

/* The files of the old bundle, as extracted. */
struct olds {
    int dir;
    const struct manifest *manifest;
};

static enum err old_open(void *user, const char *sha256, int *ret_fd, struct err_info *info)
{
    const struct olds *olds = user;
    for (size_t i = 0; i < olds->manifest->file_count; i++) {
        const struct manifest_file *file = &olds->manifest->files[i];
        if (!text_eq(file->sha256, sha256))
            continue;
        int fd = openat(olds->dir, file->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
            return err_set(info, err_from_errno(errno), "%s: %s", file->path, strerror(errno));
        *ret_fd = fd;
        return ERR_OK;
    }
    return ERR_NOT_FOUND;
}

static enum err folder_make(const char *scratch, const char *name, int *ret_fd, struct err_info *info)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/%s", scratch, name);
    int fd = mkdir(path, 0700) == 0 ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd < 0)
        return err_set(info, err_from_errno(errno), "%s: %s", path, strerror(errno));
    *ret_fd = fd;
    return ERR_OK;
}

static enum err trust_read(const struct delta_work *w, struct trust **ret_trust, struct err_info *info)
{
    enum err e = trust_load(w->trust_dir, ret_trust, info);
    if (e == ERR_OK)
        (*ret_trust)->required = (size_t)w->signatures;
    return e;
}

/* Everything is compared with what the release keys have signed, as on a device. */
static enum err rebuild(const struct delta_work *w, const char *delta, struct err_info *info)
{
    cleanup_trust struct trust *trust = NULL;
    cleanup_manifest struct manifest *old = NULL;
    cleanup_manifest struct manifest *new = NULL;
    cleanup_fd int old_dir = -1;
    cleanup_fd int new_dir = -1;
    cleanup_fd int fd = open(delta, O_RDONLY | O_CLOEXEC);
    enum err e = fd < 0 || lseek(w->old_fd, 0, SEEK_SET) != 0 ? err_from_errno(errno) : trust_read(w, &trust, info);
    if (e == ERR_OK)
        e = folder_make(w->scratch, "old", &old_dir, info);
    if (e == ERR_OK)
        e = folder_make(w->scratch, "new", &new_dir, info);
    if (e == ERR_OK)
        e = bundle_extract(w->old_fd, trust, NULL, old_dir, &old, NULL, info);
    if (e != ERR_OK)
        return e;
    struct olds olds = {.dir = old_dir, .manifest = old};
    const struct bundle_olds files = {.open = old_open, .user = &olds};
    e = bundle_extract(fd, trust, &files, new_dir, &new, NULL, info);
    if (e == ERR_OK && !text_eq(new->id, w->bundle))
        e = err_set(info, ERR_CORRUPT, "what was rebuilt is bundle %.12s…", new->id);
    return e;
}

/* ---- the child */

static enum err work_do(const struct delta_work *w, int64_t *ret_size, struct err_info *info)
{
    char delta[PATH_MAX];
    struct bundle_delta_report report = {0};
    const struct delta_options options = {.effort = text_eq(w->effort, "fast") ? DELTA_FAST : DELTA_BEST,
                                          .threads = w->threads};
    (void)snprintf(delta, sizeof delta, "%s/delta", w->scratch);
    enum err e = bundle_delta(w->old_fd, w->new_fd, &options, w->scratch, delta, &report, info);
    if (e == ERR_OK)
        e = rebuild(w, delta, info);
    if (e == ERR_OK)
        *ret_size = report.delta_size;
    return e;
}

static void result_print(enum err e, int64_t size, const struct err_info *info)
{
    char error[ERR_TEXT_MAX + ERR_CODE_MAX + 8];
    (void)snprintf(error, sizeof error, "%s%s%s", info->code[0] != '\0' ? info->code : err_name(e),
                   info->text[0] == '\0' ? "" : ": ", info->text);
    text_printable(error);
    json_t *json = e == ERR_OK ? json_pack("{s:o}", "size", json_id(size)) : json_pack("{s:s}", "error", error);
    cleanup_free char *text = NULL;
    if (json_print(json, &text, NULL) == ERR_OK)
        puts(text);
    json_decref(json);
}

enum { WORK_WORDS = 9 };

static bool number(const char *text, int *ret_value)
{
    int64_t value = 0;
    if (text_to_i64(text, 0, INT_MAX, &value) != ERR_OK)
        return false;
    *ret_value = (int)value;
    return true;
}

int delta_work_main(int argc, char **argv)
{
    struct err_info info = {.offset = -1};
    int64_t size = 0;
    struct delta_work w = {0};
    if (argc != WORK_WORDS || !number(argv[0], &w.old_fd) || !number(argv[1], &w.new_fd) ||
        !number(argv[4], &w.threads) || !number(argv[5], &w.memory_mb) || !number(argv[7], &w.signatures)) {
        (void)fprintf(stderr, "musterd: %s is called by musterd itself\n", DELTA_WORK_COMMAND);
        return 2;
    }
    w.scratch = argv[2];
    w.effort = argv[3];
    w.trust_dir = argv[6];
    w.bundle = argv[8];
    if (!process_follow_parent()) /* another server takes it over when the lease has run out */
        return 1;
    self_lower(w.memory_mb);
    json_start();
    enum err e = work_do(&w, &size, &info);
    result_print(e, size, &info);
    return e == ERR_OK ? 0 : 1;
}
