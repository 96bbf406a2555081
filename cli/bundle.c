#include "cli/bundle.h"

#include "cli/table.h"

#include "common/base/cleanup.h"
#include "common/base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- opened ---- */

enum err bundle_open(struct cli *cli, const char *path, int *ret_fd)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(&cli->info, err_from_errno(errno), "%.200s: cannot read: %s", path, strerror(errno));
    *ret_fd = fd;
    return ERR_OK;
}

enum err bundle_failed(struct cli *cli, const char *path, enum err e, const struct err_info *why)
{
    e = err_code(&cli->info, e, why->code, "%.100s: %.280s", path, why->text[0] == '\0' ? err_words(e) : why->text);
    err_next(&cli->info, "%s", why->next);
    return e;
}

enum err bundle_trust(struct cli *cli, struct trust **ret_trust)
{
    const char *dir = option_text(cli, "trust");
    enum err e = trust_load(dir == NULL ? "/etc/muster/keys" : dir, ret_trust, &cli->info);
    if (e == ERR_OK)
        (*ret_trust)->required = (size_t)option_int(cli, "required", 1);
    return e;
}

enum err bundle_scratch(struct cli *cli, char ret_path[BUNDLE_SCRATCH])
{
    const char *where = getenv("TMPDIR");
    int n = snprintf(ret_path, BUNDLE_SCRATCH, "%s/musterctl-XXXXXX", where == NULL ? "/tmp" : where);
    if (n < 0 || n >= BUNDLE_SCRATCH || mkdtemp(ret_path) == NULL) {
        ret_path[0] = '\0';
        return err_set(&cli->info, ERR_IO, "cannot make a directory in $TMPDIR: %s", strerror(errno));
    }
    return ERR_OK;
}

/* ---- shown ---- */

static json_t *keys_json(const struct bundle_keys *keys)
{
    json_t *array = json_array();
    for (size_t i = 0; i < keys->count; i++)
        (void)!json_array_append_new(array, json_string(keys->ids[i]));
    return array;
}

/* "3 same, 2 residual": how the tensors of a model travel. */
static void methods_text(const struct delta_info *about, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < about->method_count && used < size; i++) {
        int n = snprintf(out + used, size - used, "%s%lld %s", i == 0 ? "" : ", ", (long long)about->methods[i].tensors,
                         about->methods[i].name);
        used += n < 0 ? 0 : (size_t)n;
    }
}

static json_t *part_json(const struct manifest *m, const struct manifest_payload *p, const struct bundle_part *part)
{
    static const char *const forms[] = {"full", "same", "delta"};
    char how[512];
    char methods[400];
    methods_text(&part->about, methods, sizeof methods);
    switch (part->form) {
    case BUNDLE_SAME:
        (void)snprintf(how, sizeof how, "not at all: the same as an old file");
        break;
    case BUNDLE_DELTA:
        (void)snprintf(how, sizeof how, "as a delta of the old file %.12s", part->old_sha256);
        break;
    case BUNDLE_FULL:
        (void)snprintf(how, sizeof how, p->encoding == MANIFEST_ZSTD ? "compressed" : "as it is");
        break;
    }
    json_t *json = json_pack("{s:s, s:s, s:s, s:I, s:s}", "file", p->file, "path", manifest_payload_file(m, p)->path,
                             "form", forms[part->form], "size", (json_int_t)part->size, "travels", how);
    if (json != NULL && part->form != BUNDLE_FULL)
        (void)!json_object_set_new(json, "old_sha256", json_string(part->old_sha256));
    if (json != NULL && methods[0] != '\0')
        (void)!json_object_set_new(json, "tensors", json_string(methods));
    return json;
}

json_t *bundle_parts_json(const struct manifest *m, const struct bundle_part *parts)
{
    json_t *array = json_array();
    for (size_t i = 0; i < m->payload_count; i++) {
        const struct manifest_payload *p = &m->payload[i];
        const struct bundle_part full = {.form = BUNDLE_FULL, .size = p->size};
        (void)!json_array_append_new(array, part_json(m, p, parts == NULL ? &full : &parts[i]));
    }
    return array;
}

static void head_print(const json_t *json)
{
    static const struct column head[] = {
        {"Bundle", "bundle", cell_text},
        {"Id", "id", cell_text},
        {"Kind", "manifest.kind", cell_text},
        {"Counter", "manifest.release_counter", cell_text},
        {"Created", "manifest.created", cell_time},
        {"Size on device", "size", cell_size},
        {"Model", "manifest.model.file", cell_text},
        {"Self-test", "manifest.selftest.samples", cell_text},
        {"Tolerance", "manifest.selftest.tolerance", cell_text},
        {"Runs", "manifest.app.run", cell_text},
        {"Unit", "manifest.app.unit", cell_text},
        {"Before", "manifest.app.commands.before", cell_text},
        {"Check", "manifest.app.commands.check", cell_text},
        {"Stop", "manifest.app.commands.stop", cell_text},
        {"Time limit (s)", "manifest.app.timeout_s", cell_text},
        {"Program", "manifest.agent.program", cell_text},
        {"Errors forgiven", "manifest.health.max_error_rate", cell_text},
        {"Restarts forgiven", "manifest.health.max_restarts", cell_text},
        {"Needs hardware", "manifest.requires.hardware", cell_text},
        {"Needs accelerator", "manifest.requires.accelerator", cell_text},
        {"Needs agent", "manifest.requires.min_agent", cell_text},
        {"Needs ONNX Runtime", "manifest.requires.runtime", cell_text},
        {"Needs memory", "manifest.requires.memory", cell_size},
        {"Needs disk", "manifest.requires.disk", cell_size},
        {"Notes", "manifest.notes", cell_text},
        {"Signed by", "key_ids", cell_text},
    };
    fields_print(json, COLUMNS(head));
}

/* True when something travels in another way than as it is. */
static bool parts_special(const struct manifest *m, const struct bundle_part *parts)
{
    for (size_t i = 0; i < m->payload_count; i++)
        if (m->payload[i].encoding != MANIFEST_RAW || (parts != NULL && parts[i].form != BUNDLE_FULL))
            return true;
    return false;
}

json_t *bundle_json(const struct manifest *m, const struct bundle_keys *keys, const struct bundle_part *parts)
{
    char name[160];
    (void)snprintf(name, sizeof name, "%s@%s", m->slot, m->version);
    return json_pack("{s:s, s:s, s:I, s:o, s:O, s:o}", "bundle", name, "id", m->id, "size",
                     (json_int_t)manifest_files_size(m), "key_ids", keys_json(keys), "manifest", m->json, "payload",
                     bundle_parts_json(m, parts));
}

enum err bundle_print(struct cli *cli, const struct manifest *m, const struct bundle_keys *keys,
                      const struct bundle_part *parts)
{
    static const struct column files[] = {{"FILE", "path", cell_text},
                                          {"SIZE", "size", cell_size},
                                          {"MODE", "mode", cell_text},
                                          {"SHA-256", "sha256", cell_text}};
    static const struct column payload[] = {{"FILE", "path", cell_text},
                                            {"IN THE BUNDLE", "size", cell_size},
                                            {"TRAVELS", "travels", cell_text},
                                            {"TENSORS", "tensors", cell_text}};
    json_auto_t *json = bundle_json(m, keys, parts);
    if (wants_json(cli))
        return json_show(json_incref(json));
    head_print(json);
    puts("");
    table_print(json_object_get(m->json, "files"), COLUMNS(files), "no files");
    if (parts_special(m, parts)) {
        puts("");
        table_print(json_object_get(json, "payload"), COLUMNS(payload), "nothing");
    }
    return ERR_OK;
}
