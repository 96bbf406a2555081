#include "agent/self/store.h"

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/log.h"
#include "common/base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define AGENT_DIR "slots/agent"
enum {
    MANIFEST_MAX = 1024 * 1024,   /* more than any has today */
    HASHED_MAX = 64 * 1024 * 1024 /* bytes of a version that are read at each start */
};

/* ---- the two files ---- */

static enum err text_read(const char *name, char **ret_text)
{
    size_t len = 0;
    enum err e = file_read(name, TRIAL_TEXT_MAX, ret_text, &len);
    if (e == ERR_OK && strlen(*ret_text) != len) {
        free(*ret_text);
        *ret_text = NULL;
        return ERR_CORRUPT;
    }
    return e == ERR_TOO_LARGE ? ERR_CORRUPT : e;
}

enum err store_trial(struct trial *ret_trial)
{
    cleanup_free char *text = NULL;
    enum err e = text_read(TRIAL_FILE, &text);
    return e == ERR_OK ? trial_parse(text, ret_trial) : e;
}

enum err store_verdict(struct verdict *ret_verdict)
{
    cleanup_free char *text = NULL;
    enum err e = text_read(VERDICT_FILE, &text);
    return e == ERR_OK ? verdict_parse(text, ret_verdict) : e;
}

enum err store_trial_put(const struct trial *trial)
{
    char text[TRIAL_TEXT_MAX];
    trial_print(trial, text);
    return file_write(TRIAL_FILE, text, strlen(text), 0600);
}

enum err store_verdict_put(const struct verdict *verdict)
{
    char text[TRIAL_TEXT_MAX];
    verdict_print(verdict, text);
    return file_write(VERDICT_FILE, text, strlen(text), 0600);
}

/* temporary: of a file_write() that was cut short. */
static enum err name_remove(const char *name, const char *temporary)
{
    (void)unlink(temporary);
    if (unlink(name) != 0)
        return errno == ENOENT ? ERR_OK : err_from_errno(errno);
    return file_sync_dir(".");
}

enum err store_trial_remove(void)
{
    return name_remove(TRIAL_FILE, TRIAL_FILE ".tmp");
}

enum err store_verdict_remove(void)
{
    return name_remove(VERDICT_FILE, VERDICT_FILE ".tmp");
}

/* ---- versions ---- */

/* A path of a manifest stays below its directory. */
static bool path_ok(const char *path)
{
    if (path[0] == '/' || path[0] == '\0')
        return false;
    for (const char *p = path; p != NULL; p = strchr(p, '/')) {
        p += *p == '/';
        size_t n = strcspn(p, "/");
        if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
            return false;
    }
    return true;
}

/* One file as the manifest lists it; its bytes are read while there is something left of *left. */
static enum err file_check(int dir, const json_t *file, int64_t *left)
{
    struct stat st;
    char sha256[SHA256_HEX];
    int64_t size = 0;
    int64_t listed = 0;
    const char *path = json_text_or_null(file, "path");
    if (path == NULL || !path_ok(path) || json_get_i64(file, "size", 0, INT64_MAX, &listed, NULL) != ERR_OK)
        return ERR_CORRUPT;
    cleanup_fd int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return err_from_errno(errno);
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size != listed)
        return ERR_CORRUPT;
    *left -= listed;
    if (*left < 0)
        return ERR_OK;
    enum err e = sha256_fd(fd, sha256, &size);
    if (e != ERR_OK)
        return e;
    return text_eq(sha256, json_text_or_null(file, "sha256")) ? ERR_OK : ERR_CORRUPT;
}

enum err store_program(const char *dir, char ret_program[PATH_MAX])
{
    char path[PATH_MAX];
    cleanup_free char *text = NULL;
    json_auto_t *json = NULL;
    size_t len = 0;
    int64_t left = HASHED_MAX;
    (void)snprintf(path, sizeof path, AGENT_DIR "/%s", dir);
    cleanup_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_from_errno(errno);
    enum err e = file_read_at(fd, "manifest.json", MANIFEST_MAX, &text, &len);
    if (e == ERR_OK && json_parse(text, len, MANIFEST_MAX, &json, NULL) != ERR_OK)
        e = ERR_CORRUPT;
    if (e != ERR_OK)
        return e;
    const json_t *files = json_object_get(json, "files");
    const char *program = json_text_or_null(json_object_get(json, "agent"), "program");
    if (program == NULL || !path_ok(program) || !json_is_array(files))
        return ERR_CORRUPT;
    for (size_t i = 0; e == ERR_OK && i < json_array_size(files); i++)
        e = file_check(fd, json_array_get(files, i), &left);
    if (e == ERR_OK && faccessat(fd, program, X_OK, 0) != 0)
        e = ERR_CORRUPT;
    if (e == ERR_OK && snprintf(ret_program, PATH_MAX, "%s/%s", path, program) >= PATH_MAX)
        e = ERR_CORRUPT;
    return e;
}

/* What a link of the slot names: a name without a slash, or "". */
static void link_read(const char *link, char ret_dir[TRIAL_DIR_SIZE])
{
    ssize_t n = readlink(link, ret_dir, TRIAL_DIR_SIZE);
    bool good = n > 0 && n < TRIAL_DIR_SIZE && memchr(ret_dir, '/', (size_t)n) == NULL;
    ret_dir[good ? n : 0] = '\0';
}

void store_read(struct store_facts *ret_facts)
{
    char program[PATH_MAX];
    struct store_facts *f = ret_facts;
    *f = (struct store_facts){0};
    link_read(AGENT_DIR "/current", f->current);
    link_read(AGENT_DIR "/previous", f->previous);
    f->facts.current = f->current;
    f->facts.previous = f->previous;
    f->facts.current_good = f->current[0] != '\0' && store_program(f->current, program) == ERR_OK;
    enum err e = store_trial(&f->trial);
    if (e == ERR_OK)
        f->facts.trial = &f->trial;
    f->facts.trial_damaged = e == ERR_CORRUPT;
    if ((!f->facts.current_good || f->facts.trial_damaged) && f->previous[0] != '\0')
        f->facts.previous_good = store_program(f->previous, program) == ERR_OK;
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        log_error("trial_unreadable", "file=" TRIAL_FILE " error=%s", err_name(e));
    e = store_verdict(&f->verdict);
    if (e == ERR_OK)
        f->facts.verdict = &f->verdict;
    else if (e != ERR_NOT_FOUND)
        log_error("verdict_unreadable", "file=" VERDICT_FILE " error=%s", err_name(e));
}

static enum err current_set(const char *dir)
{
    static const char current[] = AGENT_DIR "/current";
    static const char fresh[] = AGENT_DIR "/.current"; /* agent/update/versions.c tidies it up, too */
    if (unlink(dir[0] == '\0' ? current : fresh) != 0 && errno != ENOENT)
        return err_from_errno(errno);
    if (dir[0] != '\0' && (symlink(dir, fresh) != 0 || rename(fresh, current) != 0))
        return err_from_errno(errno);
    return file_sync_dir(AGENT_DIR);
}

enum err store_back(const struct trial *trial, const struct verdict *verdict)
{
    enum err e = store_verdict_put(verdict);
    if (e != ERR_OK)
        log_error("verdict_not_written", "error=%s", err_name(e));
    log_error("agent_taken_back", "bundle=%.12s code=%s to=%s detail=\"%s\"", trial->bundle, verdict->code,
              trial->back[0] == '\0' ? "installed" : trial->back, verdict->detail);
    e = current_set(trial->back);
    return e == ERR_OK ? store_trial_remove() : e;
}
