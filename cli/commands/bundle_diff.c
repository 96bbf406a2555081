/* What is different between two bundles, and the delta bundle from one to the other: all of it works offline. */
#include "cli/bundle.h"
#include "cli/commands.h"
#include "cli/effort.h"
#include "cli/table.h"
#include "cli/terminal.h"

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/text.h"

#include <stdio.h>
#include <string.h>

enum { PATH_LEN = 4096 };

/* The two bundles of a call. */
struct two {
    int old_fd, new_fd;
    struct manifest *old, *new;
    char scratch[BUNDLE_SCRATCH]; /* "": none */
};

static void two_drop(struct two *t)
{
    if (t->old_fd >= 0)
        (void)close(t->old_fd);
    if (t->new_fd >= 0)
        (void)close(t->new_fd);
    (void)manifest_free(t->old);
    (void)manifest_free(t->new);
    if (t->scratch[0] != '\0')
        (void)file_remove_tree(t->scratch);
}

/* Opens one of them and checks it: against the trust, or only for being whole. */
static enum err one_read(struct cli *cli, const struct trust *trust, const char *path, int *ret_fd,
                         struct manifest **ret_manifest)
{
    struct err_info why = {0};
    struct bundle_keys keys;
    enum err e = bundle_open(cli, path, ret_fd);
    if (e != ERR_OK)
        return e;
    e = trust == NULL ? bundle_inspect(*ret_fd, NULL, ret_manifest, &keys, NULL, &why)
                      : bundle_verify(*ret_fd, trust, ret_manifest, &keys, &why);
    return e == ERR_OK ? ERR_OK : bundle_failed(cli, path, e, &why);
}

static enum err two_read(struct cli *cli, const struct trust *trust, struct two *t)
{
    enum err e = one_read(cli, trust, cli->words[0], &t->old_fd, &t->old);
    return e == ERR_OK ? one_read(cli, trust, cli->words[1], &t->new_fd, &t->new) : e;
}

/* ---- the delta ---- */

static enum err delta_make(struct cli *cli, struct two *t, const char *out, struct bundle_delta_report *ret_report)
{
    int tenth = 0;
    bool progress = option_given(cli, "progress");
    struct delta_options options = {.progress = progress ? terminal_percent : NULL, .user = &tenth};
    enum err e = effort_take(cli, DELTA_BEST, &options.effort);
    if (e == ERR_OK && t->scratch[0] == '\0')
        e = bundle_scratch(cli, t->scratch);
    if (e == ERR_OK)
        e = bundle_delta(t->old_fd, t->new_fd, &options, t->scratch, out, ret_report, &cli->info);
    if (progress)
        terminal_progress_end();
    return e;
}

/* What bundle_delta found, with the parts of the file that it made. */
static enum err delta_describe(struct cli *cli, const char *path, const struct bundle_delta_report *report,
                               json_t **ret_json)
{
    cleanup_fd int fd = -1;
    cleanup_manifest struct manifest *m = NULL;
    cleanup_free struct bundle_part *parts = NULL;
    struct bundle_keys keys;
    char share[32];
    enum err e = bundle_open(cli, path, &fd);
    if (e == ERR_OK)
        e = bundle_inspect(fd, NULL, &m, &keys, &parts, &cli->info);
    if (e != ERR_OK)
        return e;
    (void)snprintf(share, sizeof share, "%.2f %%",
                   report->full_size == 0 ? 0.0 : 100.0 * (double)report->delta_size / (double)report->full_size);
    json_t *json =
        json_pack("{s:I, s:I, s:s, s:i, s:i, s:i, s:o}", "full_size", (json_int_t)report->full_size, "delta_size",
                  (json_int_t)report->delta_size, "share", share, "same", (int)report->same, "delta",
                  (int)report->delta, "full", (int)report->full, "payload", bundle_parts_json(m, parts));
    if (json == NULL)
        return ERR_NO_MEMORY;
    *ret_json = json;
    return ERR_OK;
}

static void delta_print(const json_t *json)
{
    static const struct column fields[] = {{"Full bundle", "full_size", cell_size},
                                           {"Delta bundle", "delta_size", cell_size},
                                           {"Share of the full one", "share", cell_text}};
    static const struct column payload[] = {{"FILE", "path", cell_text},
                                            {"IN THE BUNDLE", "size", cell_size},
                                            {"TRAVELS", "travels", cell_text},
                                            {"TENSORS", "tensors", cell_text}};
    fields_print(json, COLUMNS(fields));
    puts("");
    table_print(json_object_get(json, "payload"), COLUMNS(payload), "nothing");
}

static enum err delta(struct cli *cli)
{
    [[gnu::cleanup(two_drop)]] struct two t = {.old_fd = -1, .new_fd = -1};
    cleanup_trust struct trust *trust = NULL;
    struct bundle_delta_report report;
    json_auto_t *json = NULL;
    const char *out = option_text(cli, "out");
    enum err e = bundle_trust(cli, &trust);
    if (e == ERR_OK)
        e = two_read(cli, trust, &t);
    if (e == ERR_OK)
        e = delta_make(cli, &t, out, &report);
    if (e == ERR_OK)
        e = delta_describe(cli, out, &report, &json);
    if (e != ERR_OK)
        return e;
    if (wants_json(cli))
        return json_show(json_incref(json));
    delta_print(json);
    printf("\nwrote %s; a device with %s@%s can take it: musterctl bundle extract %s --old %s --out DIR\n", out,
           t.old->slot, t.old->version, out, cli->words[0]);
    return ERR_OK;
}

/* ---- differences ---- */

/* One row of a table: a member of both manifests, if it is not the same. */
static void value_add(json_t *rows, const char *what, const json_t *old, const json_t *new)
{
    if (old == new || (old != NULL && new != NULL &&json_equal(old, new)))
        return;
    json_t *row = json_pack("{s:s, s:O?, s:O?}", "what", what, "old", old, "new", new);
    (void)!json_array_append_new(rows, row);
}

/* The members of two objects, either of which may be missing. */
static void members_add(json_t *rows, const char *name, const json_t *old, const json_t *new)
{
    const char *key = NULL;
    json_t *value = NULL;
    char what[128];
    json_object_foreach((json_t *)old, key, value)
    {
        (void)snprintf(what, sizeof what, "%.40s.%.60s", name, key);
        value_add(rows, what, value, json_object_get(new, key));
    }
    json_object_foreach((json_t *)new, key, value)
    {
        (void)snprintf(what, sizeof what, "%.40s.%.60s", name, key);
        if (json_object_get(old, key) == NULL)
            value_add(rows, what, NULL, value);
    }
}

/* Everything that the manifests say, but for their files. */
static json_t *changes_json(const struct two *t)
{
    static const char *const values[] = {"kind", "name", "version", "release_counter", "created", "notes", "critical"};
    static const char *const objects[] = {"requires", "model", "selftest", "app", "agent", "health"};
    json_t *rows = json_array();
    const json_t *old = t->old->json;
    const json_t *new = t->new->json;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        value_add(rows, values[i], json_object_get(old, values[i]), json_object_get(new, values[i]));
    for (size_t i = 0; i < sizeof objects / sizeof objects[0]; i++)
        members_add(rows, objects[i], json_object_get(old, objects[i]), json_object_get(new, objects[i]));
    if (!json_equal(t->old->profile, t->new->profile) && t->old->profile != t->new->profile)
        (void)!json_array_append_new(rows, json_pack("{s:s, s:s, s:s}", "what", "profile", "old",
                                                     t->old->profile == NULL ? "none" : "one", "new",
                                                     t->new->profile == NULL ? "none" : "another"));
    return rows;
}

/* A file of either bundle or of both; NULL where it is not there. */
static json_t *file_json(const char *path, const struct manifest_file *old, const struct manifest_file *new)
{
    const char *change = "same";
    if (new == NULL)
        change = "removed";
    else if (old == NULL)
        change = "added";
    else if (strcmp(old->sha256, new->sha256) != 0)
        change = "changed";
    else if (old->mode != new->mode)
        change = "mode";
    json_t *json = json_pack("{s:s, s:s}", "path", path, "change", change);
    if (json != NULL && old != NULL)
        (void)!json_object_set_new(json, "old_size", json_integer(old->size));
    if (json != NULL && new != NULL)
        (void)!json_object_set_new(json, "new_size", json_integer(new->size));
    return json;
}

static json_t *files_json(const struct two *t)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < t->new->file_count; i++)
        (void)!json_array_append_new(
            rows,
            file_json(t->new->files[i].path, manifest_file_find(t->old, t->new->files[i].path), &t->new->files[i]));
    for (size_t i = 0; i < t->old->file_count; i++)
        if (manifest_file_find(t->new, t->old->files[i].path) == NULL)
            (void)!json_array_append_new(rows, file_json(t->old->files[i].path, &t->old->files[i], NULL));
    return rows;
}

static void diff_print(const json_t *json, bool with_delta)
{
    static const struct column changes[] = {
        {"WHAT", "what", cell_text}, {"OLD", "old", cell_any}, {"NEW", "new", cell_any}};
    static const struct column files[] = {{"FILE", "path", cell_text},
                                          {"CHANGE", "change", cell_text},
                                          {"OLD SIZE", "old_size", cell_size},
                                          {"NEW SIZE", "new_size", cell_size}};
    printf("%s -> %s\n\n", json_string_value(json_object_get(json, "old")),
           json_string_value(json_object_get(json, "new")));
    table_print(json_object_get(json, "changes"), COLUMNS(changes), "the manifests say the same");
    puts("");
    table_print(json_object_get(json, "files"), COLUMNS(files), "no files");
    if (with_delta) {
        puts("");
        delta_print(json_object_get(json, "delta"));
    }
    puts("\nThe signatures were NOT verified: `musterctl bundle verify` does that.");
}

static enum err diff_delta(struct cli *cli, struct two *t, json_t *json)
{
    char out[PATH_LEN];
    struct bundle_delta_report report;
    json_t *made = NULL;
    enum err e = bundle_scratch(cli, t->scratch);
    (void)snprintf(out, sizeof out, "%s/delta.mub", t->scratch);
    if (e == ERR_OK)
        e = delta_make(cli, t, out, &report);
    if (e == ERR_OK)
        e = delta_describe(cli, out, &report, &made);
    return e == ERR_OK && json_object_set_new(json, "delta", made) != 0 ? ERR_NO_MEMORY : e;
}

static enum err diff(struct cli *cli)
{
    [[gnu::cleanup(two_drop)]] struct two t = {.old_fd = -1, .new_fd = -1};
    char old[160];
    char new[160];
    bool with_delta = option_given(cli, "delta");
    if (!with_delta && (option_given(cli, "effort") || option_given(cli, "progress")))
        return usage_error(cli, "--effort and --progress are for --delta");
    enum err e = two_read(cli, NULL, &t);
    if (e != ERR_OK)
        return e;
    (void)snprintf(old, sizeof old, "%s@%s", t.old->slot, t.old->version);
    (void)snprintf(new, sizeof new, "%s@%s", t.new->slot, t.new->version);
    json_auto_t *json = json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "old", old, "old_id", t.old->id, "new", new,
                                  "new_id", t.new->id, "changes", changes_json(&t), "files", files_json(&t));
    if (json == NULL)
        return ERR_NO_MEMORY;
    if (with_delta)
        e = diff_delta(cli, &t, json);
    if (e != ERR_OK)
        return e;
    if (wants_json(cli))
        return json_show(json_incref(json));
    diff_print(json, with_delta);
    return ERR_OK;
}

/* ---- the table ---- */

static const struct option delta_options[] = {
    {"out", OPTION_TEXT, "FILE", "where the delta bundle goes; -o FILE is the same", true, 0, 0},
    EFFORT_OPTION("best"),
    {"progress", OPTION_FLAG, NULL, "show on stderr how far it is", false, 0, 0},
    BUNDLE_TRUST_OPTIONS,
    {.name = NULL},
};

static const struct option diff_options[] = {
    {"delta", OPTION_FLAG, NULL, "make the delta bundle, too, and say how large it is", false, 0, 0},
    EFFORT_OPTION("best"),
    {"progress", OPTION_FLAG, NULL, "show on stderr how far the delta is", false, 0, 0},
    {.name = NULL},
};

const struct command commands_bundle_diff[] = {
    {"bundle diff", "OLD NEW", 2, 2, diff_options, "Show what is different between two bundles (offline)", "",
     "musterctl bundle diff digits-1.0.0.mub digits-1.1.0.mub --delta", diff},
    {"bundle delta", "OLD NEW", 2, 2, delta_options, "Make the delta bundle from one bundle to another (offline)",
     "The result is the new bundle with the same signatures, but for devices that have the old one. It needs no key.\n"
     "The server makes them by itself for the versions that its devices have; this is for looking at it by hand.",
     "musterctl bundle delta digits-1.0.0.mub digits-1.1.0.mub --trust keys/ --out digits-1.0.0-1.1.0.mub", delta},
    {.name = NULL},
};
