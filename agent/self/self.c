#include "agent/self/self.h"

#include "agent/update/versions.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/process.h"
#include "common/base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct self {
    struct loop *loop;
    const struct launch *launch;
    struct self_hooks hooks;
    int report_s;
    char dir[TRIAL_DIR_SIZE]; /* below slots/agent; "": the installed program */
    char bundle[SHA256_HEX];
    enum err unproven; /* why bundle is "" although there is a dir */
    bool reported, leaving;
    int64_t started_ms;
    struct loop_timer timer; /* hooks are never called from inside a call */
};

/* ---- which one ---- */

/* The directory below slots/agent that this program was started from, or "". */
static void dir_find(char ret_dir[TRIAL_DIR_SIZE])
{
    char here[PATH_MAX];
    char exe[PATH_MAX];
    static const char below[] = "/slots/agent/";
    ret_dir[0] = '\0';
    if (!process_exe(exe) || getcwd(here, sizeof here) == NULL)
        return;
    if (!text_starts(exe, here) || !text_starts(exe + strlen(here), below))
        return;
    const char *name = exe + strlen(here) + strlen(below);
    size_t len = strcspn(name, "/");
    if (len < TRIAL_DIR_SIZE && name[len] == '/')
        (void)text_copy(ret_dir, len + 1, name);
}

/* The bytes of this very process's file. ERR_CORRUPT: others. */
static enum err exe_check(const char *sha256)
{
    char mine[SHA256_HEX];
    int64_t size = 0;
    cleanup_fd int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_from_errno(errno);
    enum err e = sha256_fd(fd, mine, &size);
    return e == ERR_OK && !text_eq(mine, sha256) ? ERR_CORRUPT : e;
}

static void self_find(struct self *self)
{
    char path[VERSION_PATH_SIZE];
    cleanup_manifest struct manifest *manifest = NULL;
    dir_find(self->dir);
    if (self->dir[0] == '\0')
        return;
    (void)snprintf(path, sizeof path, "slots/" SLOT_AGENT "/%s", self->dir);
    enum err e = versions_read(path, &manifest);
    if (e == ERR_OK) {
        const struct manifest_file *program =
            manifest->kind == MANIFEST_AGENT ? manifest_file_find(manifest, manifest->agent.program) : NULL;
        e = program != NULL ? exe_check(program->sha256) : ERR_CORRUPT;
    }
    self->unproven = e;
    if (e == ERR_OK)
        (void)text_copy(self->bundle, sizeof self->bundle, manifest->id);
    else
        log_error("agent_version_unproven", "version=%s error=%s", self->dir, err_name(e));
}

enum err self_open(struct loop *loop, const struct launch *launch, int report_s, const struct self_hooks *hooks,
                   struct self **ret_self)
{
    struct self *self = calloc(1, sizeof *self);
    if (self == NULL)
        return ERR_NO_MEMORY;
    *self = (struct self){
        .loop = loop, .launch = launch, .hooks = *hooks, .report_s = report_s, .started_ms = clock_mono_ms()};
    self_find(self);
    *ret_self = self;
    return ERR_OK;
}

void self_close(struct self *self)
{
    if (self == NULL)
        return;
    loop_timer_clear(self->loop, &self->timer);
    free(self);
}

const char *self_bundle(const struct self *self)
{
    return self->bundle;
}

bool self_reported(const struct self *self)
{
    return self->reported;
}

bool self_leaving(const struct self *self)
{
    return self->leaving;
}

int64_t self_start_ms(const struct self *self)
{
    return (int64_t)self->report_s * 1000;
}

/* ---- trials ---- */

static bool uncommitted(const struct update_row *row)
{
    return row->phase == UPDATE_SWITCHING || row->phase == UPDATE_PROBATION;
}

/* Name of a version's directory; "" when it is not there. */
static void dir_of(const char *bundle, char ret_dir[TRIAL_DIR_SIZE])
{
    char path[VERSION_PATH_SIZE];
    ret_dir[0] = '\0';
    if (versions_find(SLOT_AGENT, bundle, path, NULL) == ERR_OK)
        (void)text_copy(ret_dir, TRIAL_DIR_SIZE, strrchr(path, '/') + 1);
}

enum err self_prepare(struct self *self, const struct update_row *row)
{
    struct trial open_;
    struct trial trial = {.tries = TRIAL_TRIES,
                          .report_s = self->report_s,
                          .probation_s = row->want.probation_s,
                          .generation = row->generation};
    if (!uncommitted(row) || text_eq(row->committed, row->want.bundle))
        return ERR_OK;
    if (store_trial(&open_) == ERR_OK && text_eq(open_.bundle, row->want.bundle)) {
        if (open_.probation_s == row->want.probation_s)
            return ERR_OK;
        open_.probation_s = row->want.probation_s; /* the document has changed its mind; its tries go on */
        return store_trial_put(&open_) == ERR_NO_SPACE ? ERR_NO_SPACE : ERR_OK;
    }
    if (text_eq(self->bundle, row->want.bundle))
        return ERR_OK;
    (void)text_copy(trial.bundle, sizeof trial.bundle, row->want.bundle);
    dir_of(row->want.bundle, trial.version);
    dir_of(row->committed, trial.back);
    if (trial.version[0] == '\0')
        return ERR_NOT_FOUND;
    enum err e = store_verdict_remove(); /* of an earlier trial */
    if (e == ERR_OK)
        e = store_trial_put(&trial);
    return e == ERR_OK || e == ERR_NO_SPACE ? e : ERR_IO;
}

/* The trial is over when a committed version is current again; the verdict is not needed when the journal knows it. */
static void trial_end(const struct update_row *row)
{
    if (uncommitted(row))
        return;
    enum err e = store_trial_remove();
    if (e == ERR_OK && row->phase != UPDATE_RESTORING)
        e = store_verdict_remove();
    if (e != ERR_OK) /* it is tried again with the next event */
        log_warn("trial_not_ended", "error=%s", err_name(e));
}

/* This version is to run, and would be. */
static bool launchable(const struct self *self, const char *bundle)
{
    char wanted[TRIAL_DIR_SIZE];
    char choice[TRIAL_DIR_SIZE];
    dir_of(bundle, wanted);
    launch_choice(self->launch, choice);
    return text_eq(wanted, choice) && (bundle[0] == '\0' || wanted[0] != '\0');
}

static void bad_tell(void *user)
{
    struct self *self = user;
    char current[SHA256_HEX];
    versions_linked(SLOT_AGENT, "current", current);
    if (self->unproven == ERR_IO)
        self->hooks.failed(self->hooks.user, SLOT_AGENT, current, "io_error", "the version's files cannot be read");
    else
        self->hooks.ready(self->hooks.user, SLOT_AGENT, current, false);
}

enum err self_follow(struct self *self, const struct update_row *row)
{
    char wanted[TRIAL_DIR_SIZE];
    const char *current = update_current(row);
    trial_end(row);
    if (text_eq(self->bundle, current))
        return ERR_OK;
    bool moving = row->phase == UPDATE_PROBATION || row->phase == UPDATE_RESTORING || row->phase == UPDATE_WITHDRAWING;
    if (!moving) {
        if (row->phase != UPDATE_SWITCHING)
            log_error("agent_version_not_running", "bundle=%.12s running=%.12s", current, self->bundle);
        return ERR_OK;
    }
    dir_of(current, wanted);
    if (self->dir[0] != '\0' && text_eq(self->dir, wanted)) { /* started from it, but not what its manifest lists */
        loop_timer_set(self->loop, &self->timer, 0, bad_tell, self);
        return ERR_OK;
    }
    if (!launchable(self, current))
        return ERR_NOT_FOUND;
    log_info("agent_takeover", "from=%.12s to=%.12s", self->bundle, current);
    self->leaving = true;
    loop_stop(self->loop);
    return ERR_OK;
}

bool self_verdict(const struct self *self, struct update_row *row, struct verdict *ret_verdict)
{
    (void)self;
    if (store_verdict(ret_verdict) != ERR_OK)
        return false;
    bool unknown = row->phase == UPDATE_IDLE || row->generation == 0;
    if (unknown && row->generation <= ret_verdict->generation && !text_eq(row->committed, ret_verdict->bundle)) {
        /* The journal is lost or has a phase of the future, because only the version that was taken back could read it.
         * Without this row the document would lead to the same version again. */
        row->phase = UPDATE_PROBATION;
        row->generation = ret_verdict->generation;
        (void)text_copy(row->want.bundle, sizeof row->want.bundle, ret_verdict->bundle);
    }
    return uncommitted(row) && text_eq(row->want.bundle, ret_verdict->bundle);
}

/* ---- probation ---- */

static void ready_tell(void *user)
{
    struct self *self = user;
    self->hooks.ready(self->hooks.user, SLOT_AGENT, self->bundle, true);
}

void self_report(struct self *self)
{
    struct trial trial;
    if (self->reported)
        return;
    self->reported = true;
    if (store_trial(&trial) != ERR_OK || !text_eq(trial.bundle, self->bundle))
        return;
    trial.reported = true;
    enum err e = store_trial_put(&trial);
    if (e != ERR_OK) /* then the guard takes it back in time */
        log_error("trial_not_written", "error=%s", err_name(e));
    loop_timer_set(self->loop, &self->timer, 0, ready_tell, self);
}

static void passed_tell(void *user)
{
    struct self *self = user;
    char detail[96];
    (void)snprintf(detail, sizeof detail, "runs since %lld s", (long long)(clock_mono_ms() - self->started_ms) / 1000);
    self->hooks.passed(self->hooks.user, SLOT_AGENT, self->bundle, detail);
}

void self_collect(struct self *self)
{
    loop_timer_set(self->loop, &self->timer, 0, passed_tell, self);
}
