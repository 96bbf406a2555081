#include "agent/update/runner.h"

#include "agent/update/versions.h"
#include "common/base/text.h"

#include <stdio.h>

/* ---- models ---- */

static enum err model_run(const struct runner *runner, const char *slot, const char *dir,
                          const struct manifest *manifest)
{
    struct supervisor_model model = {0};
    const struct manifest_file *file = manifest_file_find(manifest, manifest->model.file);
    if (file == NULL)
        return ERR_CORRUPT;
    (void)text_copy(model.slot, sizeof model.slot, slot);
    (void)text_copy(model.bundle, sizeof model.bundle, manifest->id);
    (void)text_copy(model.sha256, sizeof model.sha256, file->sha256);
    (void)snprintf(model.model, sizeof model.model, "%s/%s", dir, file->path);
    (void)snprintf(model.manifest, sizeof model.manifest, "%s/" MANIFEST_NAME, dir);
    return supervisor_run(runner->supervisor, &model);
}

/* ---- all kinds ---- */

static bool slot_is_agent(const char *slot)
{
    return text_eq(slot, SLOT_AGENT);
}

enum err runner_switch(const struct runner *runner, const struct update_row *row)
{
    enum err e = slot_is_agent(row->slot) ? self_prepare(runner->self, row) : ERR_OK;
    return e == ERR_OK ? versions_link(row) : e;
}

enum err runner_run(const struct runner *runner, const struct update_row *row)
{
    cleanup_manifest struct manifest *manifest = NULL;
    char dir[VERSION_PATH_SIZE];
    const char *current = update_current(row);
    enum err linked = runner_switch(runner, row);
    /* A disk that cannot take a link must not keep the committed version from running: that is known to be good. */
    if (linked != ERR_OK && (slot_is_agent(row->slot) || !text_eq(current, row->committed)))
        return linked;
    if (slot_is_agent(row->slot))
        return self_follow(runner->self, row);
    if (current[0] == '\0') {
        supervisor_stop(runner->supervisor, row->slot);
        apps_stop(runner->apps, row->slot);
        return linked;
    }
    enum err e = versions_find(row->slot, current, dir, &manifest);
    if (e != ERR_OK)
        return e;
    if (manifest->kind == MANIFEST_APP) {
        supervisor_stop(runner->supervisor, row->slot);
        e = apps_run(runner->apps, row->slot, dir, &manifest, row->phase == UPDATE_PROBATION);
    } else {
        apps_stop(runner->apps, row->slot);
        e = model_run(runner, row->slot, dir, manifest);
    }
    return e == ERR_OK ? linked : e;
}

const char *runner_running(const struct runner *runner, const char *slot)
{
    if (slot_is_agent(slot))
        return self_bundle(runner->self)[0] == '\0' ? NULL : self_bundle(runner->self);
    const char *app = apps_running(runner->apps, slot);
    return app != NULL ? app : supervisor_running(runner->supervisor, slot);
}

bool runner_runs(const struct runner *runner, const char *slot, const char *bundle)
{
    if (slot_is_agent(slot))
        return text_eq(self_bundle(runner->self), bundle);
    return bundle[0] == '\0' || text_eq(runner_running(runner, slot), bundle);
}

bool runner_ready(const struct runner *runner, const char *slot, const char *bundle)
{
    return runner_runs(runner, slot, bundle) && (!slot_is_agent(slot) || self_reported(runner->self));
}

bool runner_verdict(const struct runner *runner, struct update_row *row, struct verdict *ret_verdict)
{
    return slot_is_agent(row->slot) && self_verdict(runner->self, row, ret_verdict);
}

void runner_collect(const struct runner *runner, const char *slot)
{
    if (slot_is_agent(slot))
        self_collect(runner->self);
    else if (apps_known(runner->apps, slot))
        apps_collect(runner->apps, slot);
    else
        supervisor_collect(runner->supervisor, slot);
}

struct runner_limits runner_limits(const struct runner *runner, const char *slot)
{
    if (slot_is_agent(slot))
        return (struct runner_limits){.start_ms = self_start_ms(runner->self),
                                      .restore_ms = self_start_ms(runner->self),
                                      .code = "agent_not_reporting",
                                      .detail = "the new agent was not in touch with the server in time"};
    if (apps_known(runner->apps, slot)) {
        int64_t ms = apps_start_ms(runner->apps, slot);
        return (struct runner_limits){
            .start_ms = ms, .restore_ms = ms, .code = "app_start_failed", .detail = "the app did not run in time"};
    }
    /* muster-infer is ended itself, by the supervisor, before its time to start is over. */
    return (struct runner_limits){.start_ms = 130000,
                                  .restore_ms = 60000,
                                  .code = "infer_start_failed",
                                  .detail = "muster-infer was not ready in time"};
}
