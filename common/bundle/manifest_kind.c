/* What belongs to a bundle's kind: the model with its self-test, the app, the agent. */
#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "common/bundle/manifest_parts.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { TENSOR_NAME_MAX = 255, LABELS_MAX = 1000, TIMEOUT_DEFAULT_S = 60, TIMEOUT_MAX_S = 3600 };
#define TOLERANCE_MAX 1e9
#define AGENT_SLOT "agent"

/* ---- files that are named by their path ---- */

static enum err file_get(const struct manifest *m, const json_t *object, const char *key,
                         const struct manifest_file **ret_file, struct err_info *info)
{
    const char *path = NULL;
    enum err e = json_get_text(object, key, MANIFEST_PATH_MAX, &path, info);
    if (e != ERR_OK)
        return e;
    const struct manifest_file *file = manifest_file_find(m, path);
    if (file == NULL)
        return err_field(info, ERR_INVALID, key, "\"%.80s\" is not among the files", path);
    *ret_file = file;
    return ERR_OK;
}

static enum err executable_check(const struct manifest_file *file, const char *key, struct err_info *info)
{
    if (file->mode == 0555)
        return ERR_OK;
    return err_field(info, ERR_INVALID, key, "the file \"%.80s\" is not executable: its mode must be \"0555\"",
                     file->path);
}

/* ---- model ---- */

static enum err tensor_parse(const json_t *json, struct manifest_tensor *tensor, struct err_info *info)
{
    static const char *const members[] = {"name", "type", "shape", NULL};
    json_t *shape = NULL;
    enum err e = json_only(json, members, info);
    if (e == ERR_OK)
        e = json_get_text(json, "name", TENSOR_NAME_MAX, &tensor->name, info);
    if (e == ERR_OK)
        e = json_get_text(json, "type", 16, &tensor->type, info);
    if (e == ERR_OK)
        e = json_get_array(json, "shape", MANIFEST_RANK_MAX, &shape, info);
    if (e != ERR_OK)
        return e;
    for (size_t i = 0; i < json_array_size(shape); i++) {
        const json_t *n = json_array_get(shape, i);
        int64_t value = json_integer_value(n);
        if (!json_is_integer(n) || (value != -1 && (value < 1 || value > INT32_MAX)))
            return err_field(info, ERR_INVALID, "shape", "a dimension is a whole number from 1 to %d, or -1 for any",
                             INT32_MAX);
        tensor->shape[tensor->rank++] = value;
    }
    return ERR_OK;
}

static enum err tensors_parse(const json_t *model, const char *key, struct manifest_tensor **ret_tensors,
                              size_t *ret_count, struct err_info *info)
{
    json_t *array = NULL;
    if (!json_has(model, key))
        return ERR_OK;
    enum err e = json_get_array(model, key, MANIFEST_INPUTS_MAX, &array, info);
    if (e != ERR_OK || json_array_size(array) == 0)
        return e;
    cleanup_free struct manifest_tensor *tensors = calloc(json_array_size(array), sizeof *tensors);
    if (tensors == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < json_array_size(array); i++) {
        e = tensor_parse(json_array_get(array, i), &tensors[i], info);
        if (e != ERR_OK)
            return manifest_inside(info, e, "%s[%zu]", key, i);
    }
    *ret_count = json_array_size(array);
    *ret_tensors = tensors;
    tensors = NULL;
    return ERR_OK;
}

static enum err model_parse(struct manifest *m, struct err_info *info)
{
    json_t *json = NULL;
    json_t *labels = NULL;
    const struct manifest_file *file = NULL;
    enum err e = json_get_object(m->json, "model", &json, info);
    if (e != ERR_OK)
        return e;
    e = file_get(m, json, "file", &file, info);
    if (e == ERR_OK && file != NULL) {
        m->model.file = file->path;
        e = tensors_parse(json, "inputs", &m->model.inputs, &m->model.input_count, info);
    }
    if (e == ERR_OK)
        e = tensors_parse(json, "outputs", &m->model.outputs, &m->model.output_count, info);
    if (e == ERR_OK)
        e = manifest_texts(json, "labels", LABELS_MAX, &labels, info);
    m->model.labels = labels;
    return manifest_inside(info, e, "model");
}

/* A file of float32 values. */
static enum err floats_get(const struct manifest *m, const json_t *json, const char *key, const char **ret_path,
                           struct err_info *info)
{
    const struct manifest_file *file = NULL;
    enum err e = file_get(m, json, key, &file, info);
    if (e != ERR_OK || file == NULL)
        return e;
    if (file->size == 0 || file->size % 4 != 0)
        return err_field(info, ERR_INVALID, key, "the file \"%.80s\" is not a whole number of float32 values",
                         file->path);
    *ret_path = file->path;
    return ERR_OK;
}

static enum err selftest_parse(struct manifest *m, struct err_info *info)
{
    static const char *const members[] = {"samples", "outputs", "tolerance", NULL};
    json_t *json = NULL;
    if (!json_has(m->json, "selftest"))
        return ERR_OK;
    enum err e = json_get_object(m->json, "selftest", &json, info);
    if (e != ERR_OK)
        return e;
    e = manifest_known(json, members, "the rule of a self-test", info);
    if (e == ERR_OK)
        e = floats_get(m, json, "samples", &m->selftest.samples, info);
    if (e == ERR_OK)
        e = floats_get(m, json, "outputs", &m->selftest.outputs, info);
    if (e == ERR_OK && strcmp(m->selftest.samples, m->selftest.outputs) == 0)
        e = err_field(info, ERR_INVALID, "outputs", "\"samples\" and \"outputs\" must be two files");
    if (e == ERR_OK)
        e = json_get_f64(json, "tolerance", 0, TOLERANCE_MAX, &m->selftest.tolerance, info);
    return manifest_inside(info, e, "selftest");
}

/* ---- app ---- */

/* An optional command; its program is one of the bundle's own files. */
static enum err command_parse(const struct manifest *m, const json_t *object, const char *key,
                              struct manifest_command *command, struct err_info *info)
{
    if (!json_has(object, key))
        return ERR_OK;
    enum err e = manifest_text_list(object, key, MANIFEST_WORDS_MAX, &command->words, &command->count, info);
    if (e != ERR_OK)
        return e;
    if (command->count == 0)
        return err_field(info, ERR_INVALID, key, "\"%s\" is empty: its first word is the path of a program", key);
    const struct manifest_file *program = manifest_file_find(m, command->words[0]);
    if (program == NULL)
        return err_field(info, ERR_INVALID, key,
                         "\"%.80s\" is not among the files; a command starts a program of the bundle, not one of the "
                         "device",
                         command->words[0]);
    return executable_check(program, key, info);
}

/* systemd's names have no +, and an @ would make it a template, which nobody could start. */
static bool unit_name_ok(const char *path)
{
    static const char ending[] = ".service";
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    size_t len = strlen(name);
    return len > strlen(ending) && strcmp(name + len - strlen(ending), ending) == 0 && strpbrk(name, "+@") == NULL;
}

static enum err unit_parse(struct manifest *m, const json_t *json, struct err_info *info)
{
    const struct manifest_file *file = NULL;
    if (!json_has(json, "unit"))
        return ERR_OK;
    enum err e = file_get(m, json, "unit", &file, info);
    if (e != ERR_OK || file == NULL)
        return e;
    if (!unit_name_ok(file->path))
        return err_field(info, ERR_INVALID, "unit",
                         "\"%.80s\" is not the name of a systemd service: NAME.service, without + and @", file->path);
    if (m->app.run.count > 0)
        return err_field(info, ERR_INVALID, "unit", "an app has \"unit\" or \"run\", not both");
    m->app.unit = file->path;
    return ERR_OK;
}

static enum err commands_parse(struct manifest *m, const json_t *app, struct err_info *info)
{
    static const char *const members[] = {"before", "check", "stop", NULL};
    json_t *json = NULL;
    if (!json_has(app, "commands"))
        return ERR_OK;
    enum err e = json_get_object(app, "commands", &json, info);
    if (e != ERR_OK)
        return e;
    e = manifest_known(json, members, "the command", info);
    if (e == ERR_OK)
        e = command_parse(m, json, "before", &m->app.before, info);
    if (e == ERR_OK)
        e = command_parse(m, json, "check", &m->app.check, info);
    if (e == ERR_OK)
        e = command_parse(m, json, "stop", &m->app.stop, info);
    return manifest_inside(info, e, "commands");
}

static enum err app_parse(struct manifest *m, struct err_info *info)
{
    static const char *const members[] = {"unit", "run", "commands", "timeout_s", NULL};
    json_t *json = NULL;
    int64_t timeout_s = TIMEOUT_DEFAULT_S;
    enum err e = json_get_object(m->json, "app", &json, info);
    if (e != ERR_OK)
        return e;
    e = manifest_known(json, members, "of an app", info);
    if (e == ERR_OK)
        e = command_parse(m, json, "run", &m->app.run, info);
    if (e == ERR_OK)
        e = unit_parse(m, json, info);
    if (e == ERR_OK)
        e = commands_parse(m, json, info);
    if (e == ERR_OK && json_has(json, "timeout_s"))
        e = json_get_i64(json, "timeout_s", 1, TIMEOUT_MAX_S, &timeout_s, info);
    m->app.timeout_s = (int)timeout_s;
    return manifest_inside(info, e, "app");
}

/* ---- agent ---- */

static enum err agent_parse(struct manifest *m, struct err_info *info)
{
    static const char *const members[] = {"program", NULL};
    json_t *json = NULL;
    const struct manifest_file *file = NULL;
    enum err e = json_get_object(m->json, "agent", &json, info);
    if (e != ERR_OK)
        return e;
    e = manifest_known(json, members, "of an agent", info);
    if (e == ERR_OK)
        e = file_get(m, json, "program", &file, info);
    if (e == ERR_OK && file != NULL) {
        e = executable_check(file, "program", info);
        m->agent.program = file->path;
    }
    return manifest_inside(info, e, "agent");
}

/* ---- which of them ---- */

/* The slot "agent" is the agent's own: nothing else may take its place, and it is found under no other name. */
static enum err slot_check(const struct manifest *m, struct err_info *info)
{
    bool own = text_eq(m->slot, AGENT_SLOT);
    if (own == (m->kind == MANIFEST_AGENT))
        return ERR_OK;
    return err_field(info, ERR_INVALID, "name", "%s",
                     own ? "the slot \"agent\" is only for bundles of kind agent"
                         : "a bundle of kind agent is for the slot \"agent\", no other");
}

enum err manifest_kind_parse(struct manifest *m, struct err_info *info)
{
    static const struct {
        const char *member;
        enum manifest_kind kind;
    } parts[] = {
        {"model", MANIFEST_MODEL}, {"selftest", MANIFEST_MODEL}, {"app", MANIFEST_APP}, {"agent", MANIFEST_AGENT}};
    enum err e = slot_check(m, info);
    for (size_t i = 0; e == ERR_OK && i < sizeof parts / sizeof parts[0]; i++)
        if (parts[i].kind != m->kind && json_has(m->json, parts[i].member))
            e = err_field(info, ERR_INVALID, parts[i].member, "\"%s\" is not for a bundle of kind %s", parts[i].member,
                          manifest_kind_name(m->kind));
    if (e != ERR_OK)
        return e;
    switch (m->kind) {
    case MANIFEST_APP:
        return app_parse(m, info);
    case MANIFEST_AGENT:
        return agent_parse(m, info);
    case MANIFEST_MODEL:
        break;
    }
    e = model_parse(m, info);
    return e == ERR_OK ? selftest_parse(m, info) : e;
}

void manifest_kind_free(struct manifest *m)
{
    free(m->model.inputs);
    free(m->model.outputs);
    free(m->app.run.words);
    free(m->app.before.words);
    free(m->app.check.words);
    free(m->app.stop.words);
}
