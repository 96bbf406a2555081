#include "agent/apps/unit.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/text.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    TEXT_MAX = 256 * 1024, /* of a unit file */
    LINE_MAX_BYTES = 400,
    LIMIT_SHORT_S = 30,
    LIMIT_STOP_S = 100 /* systemd itself kills after 90 s, unless the unit says otherwise */
};
#define UNITS_DIR "units"

void unit_init(struct unit *unit, struct loop *loop, const char *systemctl, const char *slot, void *user)
{
    *unit = (struct unit){.loop = loop, .systemctl = systemctl, .user = user};
    (void)snprintf(unit->name, sizeof unit->name, "muster-%s.service", slot);
}

static void file_path(const struct unit *unit, char out[VERSION_PATH_SIZE])
{
    (void)snprintf(out, VERSION_PATH_SIZE, UNITS_DIR "/%s", unit->name);
}

/* ---- the file ---- */

/* A value of a unit file: % is special everywhere; quotes, backslashes and line ends cannot be there at all. */
static enum err value_add(struct buf *text, const char *value)
{
    enum err e = value[strcspn(value, "\"\\\n\r'")] == '\0' ? ERR_OK : ERR_INVALID;
    for (; e == ERR_OK && *value != '\0'; value++)
        e = *value == '%' ? buf_add_text(text, "%%") : buf_add(text, value, 1);
    return e;
}

enum err unit_text(const char *bundle_text, size_t len, const struct app_version *version, char **ret_text)
{
    char dir[PATH_MAX];
    char variables[PLACE_VARIABLES][PLACE_VARIABLE_SIZE];
    cleanup_buf struct buf text = BUF_INIT(TEXT_MAX + 8 * PATH_MAX);
    if (len == 0 || !text_is_utf8(bundle_text, len))
        return ERR_INVALID;
    enum err e = place_absolute(version->dir, dir);
    if (e == ERR_OK)
        e = place_variables(version, variables);
    if (e == ERR_OK)
        e = buf_add(&text, bundle_text, len);
    if (e == ERR_OK)
        e = buf_add_text(&text, "\n# Added by muster-agent\n[Service]\nWorkingDirectory=");
    if (e == ERR_OK)
        e = value_add(&text, dir);
    for (size_t i = 0; e == ERR_OK && i < PLACE_VARIABLES; i++) {
        e = buf_add_text(&text, "\nEnvironment=\"");
        if (e == ERR_OK)
            e = value_add(&text, variables[i]);
        if (e == ERR_OK)
            e = buf_add_text(&text, "\"");
    }
    if (e == ERR_OK)
        e = buf_add_text(&text, "\n");
    if (e == ERR_OK)
        *ret_text = buf_take(&text);
    return e;
}

/* The text for a version whose files are on the disk. */
static enum err version_text(const struct app_version *version, char **ret_text)
{
    char path[PATH_MAX];
    size_t len = 0;
    cleanup_free char *bundle_text = NULL;
    int n = snprintf(path, sizeof path, "%s/%s", version->dir, version->manifest->app.unit);
    if (n < 0 || n >= (int)sizeof path)
        return ERR_TOO_LARGE;
    enum err e = file_read(path, TEXT_MAX, &bundle_text, &len);
    return e == ERR_OK ? unit_text(bundle_text, len, version, ret_text) : e;
}

bool unit_known(const struct unit *unit)
{
    char path[VERSION_PATH_SIZE];
    file_path(unit, path);
    return access(path, F_OK) == 0;
}

bool unit_same(const struct unit *unit, const struct app_version *version)
{
    char path[VERSION_PATH_SIZE];
    cleanup_free char *there = NULL;
    cleanup_free char *wanted = NULL;
    file_path(unit, path);
    return file_read(path, TEXT_MAX + 8 * PATH_MAX, &there, NULL) == ERR_OK &&
           version_text(version, &wanted) == ERR_OK && text_eq(there, wanted);
}

/* ---- systemctl, step by step ---- */

static void step_next(struct unit *unit);

static void unit_finish(struct unit *unit, bool ok, const char *how)
{
    char detail[UNIT_SAID_MAX + 128];
    loop_timer_clear(unit->loop, &unit->timer);
    (void)snprintf(detail, sizeof detail, "%s%s%s", how, unit->said[0] == '\0' ? "" : ": ", unit->said);
    if (unit->looked != NULL)
        unit->looked(unit->user, &unit->look);
    else
        unit->done(unit->user, ok, detail);
}

static void step_line(void *user, char *text)
{
    struct unit *unit = user;
    if (unit->looked != NULL) {
        unit_look_line(&unit->look, text);
        return;
    }
    text_printable(text);
    (void)text_copy(unit->said, sizeof unit->said, text);
    log_info("systemctl_says", "unit=%s %s", unit->name, text);
}

static void step_done(void *user, int status)
{
    struct unit *unit = user;
    char how[64];
    char detail[128];
    bool ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    loop_timer_clear(unit->loop, &unit->timer);
    if (ok || unit->forget) { /* what is to be forgotten may be gone already */
        unit->step++;
        step_next(unit);
        return;
    }
    child_status_text(status, how, sizeof how);
    if (unit->late)
        (void)snprintf(how, sizeof how, "not ended within %d s", unit->limit_s);
    (void)snprintf(detail, sizeof detail, "systemctl %s: %s", unit->steps[unit->step], how);
    unit->look.state = UNIT_UNKNOWN;
    unit_finish(unit, false, detail);
}

static void step_late(void *user)
{
    struct unit *unit = user;
    unit->late = true;
    child_signal(&unit->child, SIGKILL);
}

static void step_failed(void *user)
{
    struct unit *unit = user;
    unit->look.state = UNIT_UNKNOWN;
    unit_finish(unit, unit->forget, "not started");
}

static void steps_over(void *user)
{
    struct unit *unit = user;
    if (unit->forget) {
        char path[VERSION_PATH_SIZE];
        file_path(unit, path);
        (void)unlink(path);
    }
    unit_finish(unit, true, "done");
}

static void step_next(struct unit *unit)
{
    struct err_info info = {0};
    const char *word = unit->step < UNIT_STEPS_MAX ? unit->steps[unit->step] : NULL;
    if (word == NULL) {
        loop_timer_set(unit->loop, &unit->timer, 0, steps_over, unit);
        return;
    }
    const char *subject = text_eq(word, "link") ? unit->path : text_eq(word, "daemon-reload") ? NULL : unit->name;
    const char *argv[] = {unit->systemctl, "--no-ask-password", word, subject, NULL, NULL};
    if (text_eq(word, "show"))
        argv[4] = "--property=ActiveState,NRestarts,Result";
    struct child_spec spec = {.argv = argv,
                              .output = CHILD_STDOUT_AND_STDERR,
                              .line_max = LINE_MAX_BYTES,
                              .line = step_line,
                              .done = step_done,
                              .user = unit};
    unit->late = false;
    enum err e = child_start(&unit->child, unit->loop, &spec, &info);
    if (e == ERR_OK) {
        loop_timer_set(unit->loop, &unit->timer, (int64_t)unit->limit_s * 1000, step_late, unit);
        return;
    }
    (void)text_copy(unit->said, sizeof unit->said, info.text);
    loop_timer_set(unit->loop, &unit->timer, 0, step_failed, unit);
}

/* A new operation, whatever was going on. */
static void unit_begin(struct unit *unit, int limit_s)
{
    unit_cancel(unit);
    memset(unit->steps, 0, sizeof unit->steps);
    unit->step = 0;
    unit->limit_s = limit_s;
    unit->forget = false;
    unit->said[0] = '\0';
    unit->done = NULL;
    unit->looked = NULL;
    unit->look = (struct unit_look){0};
}

static enum err file_put(struct unit *unit, const struct app_version *version, bool *ret_install)
{
    char path[VERSION_PATH_SIZE];
    cleanup_free char *text = NULL;
    file_path(unit, path);
    enum err e = version_text(version, &text);
    if (e == ERR_OK)
        e = file_make_dirs(UNITS_DIR, 0755);
    if (e == ERR_OK)
        e = file_write(path, text, strlen(text), 0644);
    if (e == ERR_OK)
        e = place_absolute(path, unit->path);
    *ret_install = e == ERR_OK && strstr(text, "[Install]") != NULL;
    return e;
}

void unit_start(struct unit *unit, const struct app_version *version,
                void (*done)(void *user, bool ok, const char *detail))
{
    char data[VERSION_PATH_SIZE];
    bool install = false;
    size_t n = 0;
    int limit_s = version->manifest->app.timeout_s;
    unit_begin(unit, limit_s > LIMIT_SHORT_S ? limit_s : LIMIT_SHORT_S);
    unit->done = done;
    enum err e = place_data(version->slot, data);
    if (e == ERR_OK)
        e = file_put(unit, version, &install);
    if (e != ERR_OK) {
        (void)snprintf(unit->said, sizeof unit->said, "the unit file cannot be written: %s", err_name(e));
        loop_timer_set(unit->loop, &unit->timer, 0, step_failed, unit);
        return;
    }
    unit->steps[n++] = "link";
    unit->steps[n++] = "daemon-reload";
    if (install) /* then it runs from boot on, before the agent does */
        unit->steps[n++] = "enable";
    unit->steps[n++] = "restart";
    step_next(unit);
}

void unit_stop(struct unit *unit, bool forget, void (*done)(void *user, bool ok, const char *detail))
{
    size_t n = 0;
    unit_begin(unit, LIMIT_STOP_S);
    unit->done = done;
    unit->forget = forget;
    unit->steps[n++] = "stop";
    if (forget) {
        unit->steps[n++] = "disable"; /* removes the link, too */
        unit->steps[n++] = "daemon-reload";
    }
    step_next(unit);
}

void unit_look(struct unit *unit, void (*looked)(void *user, const struct unit_look *look))
{
    unit_begin(unit, LIMIT_SHORT_S);
    unit->looked = looked;
    unit->steps[0] = "show";
    step_next(unit);
}

void unit_cancel(struct unit *unit)
{
    if (unit->loop == NULL)
        return;
    child_destroy(&unit->child);
    loop_timer_clear(unit->loop, &unit->timer);
}

void unit_look_line(struct unit_look *look, const char *line)
{
    static const char *const up[] = {"active", "reloading"};
    static const char *const between[] = {"activating", "deactivating", "maintenance", "refreshing"};
    const char *value = strchr(line, '=');
    if (value == NULL)
        return;
    value++;
    if (text_starts(line, "ActiveState="))
        look->state = text_index(value, up, 2) >= 0        ? UNIT_ACTIVE
                      : text_index(value, between, 4) >= 0 ? UNIT_CHANGING
                                                           : UNIT_DOWN;
    else if (text_starts(line, "NRestarts="))
        (void)(text_to_i64(value, 0, INT32_MAX, &look->restarts) == ERR_OK);
    else if (text_starts(line, "Result="))
        (void)text_copy(look->result, sizeof look->result, value);
}
