#include "agent/apps/place.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/text.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    ENVIRON_MAX = 2 * 1024 * 1024, /* of one process, the kernel's usual limit */
    CLEAR_MS = 500,
    CLEAR_STEP_MS = 10
};

void app_version_free(struct app_version *version)
{
    (void)manifest_free(version->manifest);
    *version = (struct app_version){0};
}

enum err place_absolute(const char *path, char ret_path[PATH_MAX])
{
    char here[PATH_MAX];
    if (getcwd(here, sizeof here) == NULL)
        return ERR_IO;
    int n = snprintf(ret_path, PATH_MAX, "%s/%s", here, path);
    return n < 0 || n >= PATH_MAX ? ERR_TOO_LARGE : ERR_OK;
}

static void data_path(const char *slot, char out[VERSION_PATH_SIZE])
{
    (void)snprintf(out, VERSION_PATH_SIZE, "data/%s", slot);
}

enum err place_data(const char *slot, char ret_path[VERSION_PATH_SIZE])
{
    data_path(slot, ret_path);
    enum err e = file_make_dirs(ret_path, 0700);
    return e == ERR_OK || e == ERR_NO_SPACE ? e : ERR_IO;
}

/* ---- environment ---- */

enum err place_variables(const struct app_version *version, char ret_variables[PLACE_VARIABLES][PLACE_VARIABLE_SIZE])
{
    char relative[VERSION_PATH_SIZE];
    char data[PATH_MAX];
    const struct manifest *m = version->manifest;
    data_path(version->slot, relative);
    enum err e = place_absolute(relative, data);
    if (e != ERR_OK)
        return e;
    (void)snprintf(ret_variables[0], PLACE_VARIABLE_SIZE, "MUSTER_SLOT=%s", version->slot);
    (void)snprintf(ret_variables[1], PLACE_VARIABLE_SIZE, "MUSTER_VERSION=%s", m->version);
    (void)snprintf(ret_variables[2], PLACE_VARIABLE_SIZE, "MUSTER_BUNDLE=%s", m->id);
    (void)snprintf(ret_variables[3], PLACE_VARIABLE_SIZE, "MUSTER_STATE=%s", data);
    return ERR_OK;
}

/* What an app gets of the agent's environment: nothing that is meant for the agent. */
static bool variable_passed(const char *variable)
{
    static const char *const passed[] = {"PATH=", "HOME=", "USER=", "LOGNAME=", "LANG=", "LC_", "TZ=", "TMPDIR="};
    for (size_t i = 0; i < sizeof passed / sizeof passed[0]; i++)
        if (text_starts(variable, passed[i]))
            return true;
    return false;
}

const char **place_environment(const struct app_version *version)
{
    size_t passed = 0;
    for (char **v = environ; v != NULL && *v != NULL; v++)
        passed += variable_passed(*v);
    size_t pointers = (passed + PLACE_VARIABLES + 1) * sizeof(char *);
    char *block = malloc(pointers + (size_t)PLACE_VARIABLES * PLACE_VARIABLE_SIZE);
    if (block == NULL)
        return NULL;
    char(*own)[PLACE_VARIABLE_SIZE] = (char(*)[PLACE_VARIABLE_SIZE])(block + pointers);
    if (place_variables(version, own) != ERR_OK) {
        free(block);
        return NULL;
    }
    const char **list = (const char **)(void *)block;
    size_t n = 0;
    for (char **v = environ; v != NULL && *v != NULL && n < passed; v++)
        if (variable_passed(*v))
            list[n++] = *v;
    for (size_t i = 0; i < PLACE_VARIABLES; i++)
        list[n++] = own[i];
    list[n] = NULL;
    return list;
}

/* ---- what is left over ---- */

/* The value of a variable in a block of "NAME=value\0"s, or NULL. */
static const char *block_get(const char *block, size_t len, const char *name)
{
    size_t n = strlen(name);
    for (const char *v = block; v < block + len; v += strlen(v) + 1)
        if (strncmp(v, name, n) == 0 && v[n] == '=')
            return v + n + 1;
    return NULL;
}

/* The process was started for this slot of this state directory, and for this bundle. */
static bool process_of(const char *pid, const char *state, const char *slot, const char *bundle)
{
    char path[64];
    size_t len = 0;
    cleanup_free char *block = NULL;
    (void)snprintf(path, sizeof path, "/proc/%.20s/environ", pid);
    if (file_read(path, ENVIRON_MAX, &block, &len) != ERR_OK || len == 0)
        return false; /* another user's, or gone, or a thread of the kernel */
    const char *its_state = block_get(block, len, "MUSTER_STATE");
    const char *its_slot = block_get(block, len, "MUSTER_SLOT");
    if (its_state == NULL || its_slot == NULL || !text_starts(its_state, state) ||
        !text_eq(its_state + strlen(state), its_slot))
        return false;
    return (slot == NULL || text_eq(its_slot, slot)) &&
           (bundle == NULL || text_eq(block_get(block, len, "MUSTER_BUNDLE"), bundle));
}

static int clear_once(const char *state, const char *slot, const char *bundle)
{
    int count = 0;
    cleanup_dir DIR *list = opendir("/proc");
    for (struct dirent *d = list == NULL ? NULL : readdir(list); d != NULL; d = readdir(list)) {
        int64_t pid = 0;
        if (!isdigit((unsigned char)d->d_name[0]) || text_to_i64(d->d_name, 2, INT_MAX, &pid) != ERR_OK ||
            pid == getpid() || !process_of(d->d_name, state, slot, bundle))
            continue;
        count += kill((pid_t)pid, SIGKILL) == 0;
    }
    return count;
}

int place_clear(const char *slot, const char *bundle)
{
    char state[PATH_MAX];
    if (place_absolute("data/", state) != ERR_OK)
        return 0;
    int first = clear_once(state, slot, bundle);
    /* A killed process has no environment any more, so this ends when all have gone. */
    for (int waited = 0, left = first; left > 0 && waited < CLEAR_MS; waited += CLEAR_STEP_MS) {
        clock_sleep_ms(CLEAR_STEP_MS);
        left = clear_once(state, slot, bundle);
    }
    return first;
}
