/* A new bundle from files, offline: `bundle create`. */
#include "cli/api.h"
#include "cli/bundle.h"
#include "cli/commands.h"
#include "cli/commands/bundle_grid.h"
#include "cli/files.h"
#include "cli/table.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/text.h"

#include <stdio.h>
#include <string.h>

enum { PATH_LEN = 4096, PROFILE_MAX = 64 * 1024 };
#define TOLERANCE_USUAL 0.001

/* One call: what it says, and what comes of it. */
struct creation {
    struct cli *cli;
    enum manifest_kind kind;
    const char *slot;
    struct file_list *files;
    json_t *head; /* the manifest without what bundle_create adds */
    struct bundle_grid *grid;
};

static void creation_drop(struct creation *c)
{
    file_list_free(&c->files);
    json_decref(c->head);
    (void)bundle_grid_free(c->grid);
}

/* Puts a value (stolen) into an object. */
static enum err put(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new(object, key, value) == 0 ? ERR_OK : ERR_NO_MEMORY;
}

/* ---- kind and slot ---- */

enum { FOR_MODEL = 1 << MANIFEST_MODEL, FOR_APP = 1 << MANIFEST_APP, FOR_AGENT = 1 << MANIFEST_AGENT };

/* Options that only some kinds have. */
static const struct {
    const char *name;
    int kinds;
} kind_options[] = {
    {"model", FOR_MODEL},
    {"input", FOR_MODEL},
    {"profile", FOR_MODEL},
    {"selftest-samples", FOR_MODEL},
    {"selftest-outputs", FOR_MODEL},
    {"tolerance", FOR_MODEL},
    {"runtime", FOR_MODEL},
    {"from", FOR_MODEL},
    {"grid", FOR_MODEL},
    {"run", FOR_APP},
    {"unit", FOR_APP},
    {"before", FOR_APP},
    {"check", FOR_MODEL | FOR_APP},
    {"stop", FOR_APP},
    {"timeout", FOR_APP},
    {"program", FOR_AGENT},
    {"max-error-rate", FOR_MODEL},
    {"max-restarts", FOR_MODEL | FOR_APP},
};

static enum err kind_read(struct creation *c)
{
    static const char *const names[] = {"model", "app", "agent"};
    struct cli *cli = c->cli;
    const char *text = option_text(cli, "kind");
    int kind = text == NULL ? MANIFEST_MODEL : text_index(text, names, 3);
    if (kind < 0)
        return usage_error(cli, "--kind \"%.40s\": model, app or agent is expected", text);
    c->kind = (enum manifest_kind)kind;
    for (size_t i = 0; i < sizeof kind_options / sizeof kind_options[0]; i++)
        if ((kind_options[i].kinds & 1 << kind) == 0 && option_given(cli, kind_options[i].name))
            return usage_error(cli, "--%s is not for a bundle of kind %s", kind_options[i].name, names[kind]);
    if (c->kind == MANIFEST_MODEL && !option_given(cli, "model"))
        return usage_error(cli, "--model is missing; for other bundles say --kind app or --kind agent");
    if (c->kind == MANIFEST_AGENT && !option_given(cli, "program"))
        return usage_error(cli, "--program is missing: the new muster-agent");
    if (c->kind == MANIFEST_APP && !option_given(cli, "file") && !option_given(cli, "dir"))
        return usage_error(cli, "--file or --dir is missing: an app needs files");
    return ERR_OK;
}

static enum err slot_read(struct creation *c)
{
    struct cli *cli = c->cli;
    c->slot = option_text(cli, "slot");
    if (c->slot == NULL && c->kind == MANIFEST_AGENT)
        c->slot = "agent";
    if (c->slot == NULL)
        return usage_error(cli, "--slot is missing");
    if (!manifest_slot_ok(c->slot))
        return usage_error(cli, "--slot \"%.80s\": 1 to 63 of a-z, 0-9 and - are expected, not - first", c->slot);
    if (text_eq(c->slot, "agent") != (c->kind == MANIFEST_AGENT))
        return usage_error(cli, "the slot \"agent\" and --kind agent only go together");
    if (!manifest_version_ok(option_text(cli, "version")))
        return usage_error(cli, "--version \"%.80s\": a semantic version like 1.2.3 is expected",
                           option_text(cli, "version"));
    return ERR_OK;
}

/* ---- files ---- */

/* Adds all of --file and --dir, so that other options can name what is in already. */
static enum err files_read(struct creation *c)
{
    const char *item = NULL;
    enum err e = ERR_OK;
    for (size_t i = 0; e == ERR_OK && (item = option_item(c->cli, "file", i)) != NULL; i++)
        e = file_list_add(c->cli, c->files, item, NULL);
    for (size_t i = 0; e == ERR_OK && (item = option_item(c->cli, "dir", i)) != NULL; i++)
        e = file_list_add_dir(c->cli, c->files, item);
    return e;
}

/* The file that an option names: one that is in already, by its name in the bundle, or one more. */
static enum err file_named(struct creation *c, const char *option, struct bundle_file **ret_file)
{
    const char *text = option_text(c->cli, option);
    struct bundle_file *file = file_list_find(c->files, text);
    enum err e = file == NULL ? file_list_add(c->cli, c->files, text, &file) : ERR_OK;
    if (e == ERR_OK)
        *ret_file = file;
    return e;
}

/* Deltas compress nothing that is compressed: models stay as they are, unless somebody asks. */
static enum err compress_choose(struct creation *c)
{
    bool yes = option_given(c->cli, "compress");
    bool no = option_given(c->cli, "no-compress");
    if (yes && no)
        return usage_error(c->cli, "--compress and --no-compress: only one of them");
    bool compress = yes || (!no && c->kind != MANIFEST_MODEL);
    for (size_t i = 0; i < c->files->count; i++)
        c->files->files[i].compress = compress;
    return ERR_OK;
}

/* ---- a model ---- */

/* "input:float32:1,1,16,16"; the name may have colons. */
static enum err input_parse(struct cli *cli, const char *text, json_t *inputs)
{
    char copy[512];
    char *shape = text_copy(copy, sizeof copy, text) ? strrchr(copy, ':') : NULL;
    if (shape != NULL)
        *shape++ = '\0';
    char *type = shape == NULL ? NULL : strrchr(copy, ':');
    if (type == NULL || type == copy)
        return usage_error(cli, "--input \"%.100s\": NAME:TYPE:N,N,... is expected, like input:float32:1,1,16,16",
                           text);
    *type++ = '\0';
    json_auto_t *dims = json_array();
    char *rest = NULL;
    for (char *word = strtok_r(shape, ",", &rest); word != NULL; word = strtok_r(NULL, ",", &rest)) {
        int64_t n = 0;
        if (text_to_i64(word, -1, INT32_MAX, &n) != ERR_OK)
            return usage_error(cli, "--input \"%.100s\": \"%.20s\" is not a dimension; -1 stands for any", text, word);
        (void)!json_array_append_new(dims, json_integer(n));
    }
    json_t *input = json_pack("{s:s, s:s, s:O}", "name", copy, "type", type, "shape", dims);
    return json_array_append_new(inputs, input) == 0 ? ERR_OK : ERR_NO_MEMORY;
}

static enum err profile_add(struct creation *c)
{
    cleanup_free char *text = NULL;
    json_t *profile = NULL;
    size_t len = 0;
    const char *path = option_text(c->cli, "profile");
    if (path == NULL)
        return ERR_OK;
    enum err e = file_read(path, PROFILE_MAX, &text, &len);
    if (e != ERR_OK)
        return err_set(&c->cli->info, e, "%.200s: cannot read: %s", path, err_words(e));
    struct err_info why = {0};
    e = json_parse(text, len, PROFILE_MAX, &profile, &why);
    if (e != ERR_OK)
        return err_set(&c->cli->info, e, "%.200s: %s", path, why.text);
    return put(c->head, "profile", profile);
}

static enum err selftest_add(struct creation *c)
{
    struct cli *cli = c->cli;
    struct bundle_file *samples = NULL;
    struct bundle_file *outputs = NULL;
    double tolerance = TOLERANCE_USUAL;
    const char *text = option_text(cli, "tolerance");
    bool wanted = option_given(cli, "selftest-samples");
    if (wanted != option_given(cli, "selftest-outputs"))
        return usage_error(cli, "--selftest-samples and --selftest-outputs only go together");
    if (!wanted)
        return text == NULL ? ERR_OK : usage_error(cli, "--tolerance is for --selftest-samples");
    if (text != NULL && text_to_f64(text, 0, 1e9, &tolerance) != ERR_OK)
        return usage_error(cli, "--tolerance \"%.40s\": a number from 0 to 1e9 is expected", text);
    enum err e = file_named(c, "selftest-samples", &samples);
    if (e == ERR_OK)
        e = file_named(c, "selftest-outputs", &outputs);
    if (e != ERR_OK)
        return e;
    return put(
        c->head, "selftest",
        json_pack("{s:s, s:s, s:f}", "samples", samples->path, "outputs", outputs->path, "tolerance", tolerance));
}

static enum err model_add(struct creation *c)
{
    const char *input = NULL;
    struct bundle_file *model = NULL;
    json_auto_t *inputs = json_array();
    enum err e = file_named(c, "model", &model);
    for (size_t i = 0; e == ERR_OK && (input = option_item(c->cli, "input", i)) != NULL; i++)
        e = input_parse(c->cli, input, inputs);
    if (e == ERR_OK)
        e = put(c->head, "model", json_pack("{s:s, s:O}", "file", model->path, "inputs", inputs));
    if (e == ERR_OK)
        e = profile_add(c);
    return e == ERR_OK ? selftest_add(c) : e;
}

/* ---- an app ---- */

/* Words of a command: the option once, then its value is split at spaces; or once for each word. */
static json_t *words_of(const struct cli *cli, const char *option)
{
    json_t *words = json_array();
    if (option_item(cli, option, 1) != NULL) {
        for (size_t i = 0; option_item(cli, option, i) != NULL; i++)
            (void)!json_array_append_new(words, json_string(option_item(cli, option, i)));
        return words;
    }
    for (const char *s = option_text(cli, option); *s != '\0';) {
        size_t n = strcspn(s, " ");
        if (n > 0)
            (void)!json_array_append_new(words, json_stringn(s, n));
        s += n + strspn(s + n, " ");
    }
    return words;
}

/* The command of an option, into object; its program must be in the bundle, and becomes executable. */
static enum err command_add(struct creation *c, const char *option, json_t *object)
{
    if (!option_given(c->cli, option))
        return ERR_OK;
    json_t *words = words_of(c->cli, option);
    enum err e = put(object, option, words);
    if (e != ERR_OK)
        return e;
    const char *program = json_string_value(json_array_get(words, 0));
    struct bundle_file *file = program == NULL ? NULL : file_list_find(c->files, program);
    if (file == NULL) {
        e = usage_error(c->cli, "--%s: \"%.100s\" is not a file of this bundle", option,
                        program == NULL ? "" : program);
        err_next(&c->cli->info, "A command starts a program of the bundle, by its name there: put it in with --file or "
                                "--dir.");
        return e;
    }
    file->executable = true;
    return ERR_OK;
}

static enum err app_add(struct creation *c)
{
    struct cli *cli = c->cli;
    struct bundle_file *unit = NULL;
    json_auto_t *app = json_object();
    json_auto_t *commands = json_object();
    if (option_given(cli, "unit") && option_given(cli, "run"))
        return usage_error(cli, "--unit and --run: a program is started by systemd or by the agent, not by both");
    enum err e = option_given(cli, "unit") ? file_named(c, "unit", &unit) : ERR_OK;
    if (e == ERR_OK && unit != NULL)
        e = put(app, "unit", json_string(unit->path));
    if (e == ERR_OK)
        e = command_add(c, "run", app);
    if (e == ERR_OK)
        e = command_add(c, "before", commands);
    if (e == ERR_OK)
        e = command_add(c, "check", commands);
    if (e == ERR_OK)
        e = command_add(c, "stop", commands);
    if (e == ERR_OK && json_object_size(commands) > 0)
        e = put(app, "commands", json_incref(commands));
    body_int(cli, app, "timeout_s", "timeout");
    return e == ERR_OK ? put(c->head, "app", json_incref(app)) : e;
}

/* ---- the agent ---- */

static enum err agent_add(struct creation *c)
{
    struct bundle_file *program = NULL;
    enum err e = file_named(c, "program", &program);
    if (e != ERR_OK)
        return e;
    program->executable = true;
    return put(c->head, "agent", json_pack("{s:s}", "program", program->path));
}

/* ---- what all kinds have ---- */

/* "512MiB", "2GB", or a number of bytes. */
static enum err size_read(struct cli *cli, const char *option, json_t *object, const char *key)
{
    static const struct {
        const char *name;
        int64_t bytes;
    } units[] = {{"", 1},
                 {"kB", 1000},
                 {"MB", 1000000},
                 {"GB", 1000000000},
                 {"KiB", (int64_t)1 << 10},
                 {"MiB", (int64_t)1 << 20},
                 {"GiB", (int64_t)1 << 30}};
    char number[24] = "";
    int64_t n = 0;
    const char *text = option_text(cli, option);
    if (text == NULL)
        return ERR_OK;
    size_t digits = strspn(text, "0123456789");
    if (digits < sizeof number)
        (void)snprintf(number, sizeof number, "%.*s", (int)digits, text);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (text_eq(text + digits, units[i].name) &&
            text_to_i64(number, 0, MANIFEST_SIZE_MAX / units[i].bytes, &n) == ERR_OK)
            return put(object, key, json_integer(n * units[i].bytes));
    return usage_error(cli, "--%s \"%.40s\": a number of bytes is expected, like 512MiB or 2GB, at most 1024GiB",
                       option, text);
}

static enum err list_add(struct cli *cli, const char *option, json_t *object, const char *key)
{
    const char *item = NULL;
    json_auto_t *list = json_array();
    for (size_t i = 0; (item = option_item(cli, option, i)) != NULL; i++)
        if (json_array_append_new(list, json_string(item)) != 0)
            return usage_error(cli, "--%s is not UTF-8", option);
    return json_array_size(list) == 0 ? ERR_OK : put(object, key, json_incref(list));
}

static enum err requires_add(struct creation *c)
{
    struct cli *cli = c->cli;
    json_auto_t *needs = json_object();
    enum err e = list_add(cli, "hardware", needs, "hardware");
    if (e == ERR_OK)
        e = list_add(cli, "accelerator", needs, "accelerator");
    if (e == ERR_OK)
        e = size_read(cli, "memory", needs, "memory");
    if (e == ERR_OK)
        e = size_read(cli, "disk", needs, "disk");
    body_text(needs, "min_agent", option_text(cli, "min-agent"));
    body_text(needs, "runtime", option_text(cli, "runtime"));
    return e != ERR_OK || json_object_size(needs) == 0 ? e : put(c->head, "requires", json_incref(needs));
}

static enum err health_add(struct creation *c)
{
    struct cli *cli = c->cli;
    double rate = 0;
    json_auto_t *health = json_object();
    const char *text = option_text(cli, "max-error-rate");
    if (text != NULL && text_to_f64(text, 0, 1, &rate) != ERR_OK)
        return usage_error(cli, "--max-error-rate \"%.40s\": a number from 0 to 1 is expected", text);
    if (text != NULL)
        (void)!put(health, "max_error_rate", json_real(rate));
    body_int(cli, health, "max_restarts", "max-restarts");
    return json_object_size(health) == 0 ? ERR_OK : put(c->head, "health", json_incref(health));
}

/* What an agent that knows only models would get wrong, it shall refuse. */
static enum err critical_add(struct creation *c)
{
    return c->kind == MANIFEST_MODEL ? ERR_OK : put(c->head, "critical", json_pack("[s]", manifest_kind_name(c->kind)));
}

static enum err notes_add(struct creation *c)
{
    const char *notes = option_text(c->cli, "notes");
    if (notes != NULL && json_object_set_new(c->head, "notes", json_string(notes)) != 0)
        return usage_error(c->cli, "--notes is not UTF-8");
    return ERR_OK;
}

static enum err head_make(struct creation *c)
{
    struct cli *cli = c->cli;
    c->head = json_pack("{s:s, s:s, s:s, s:I}", "kind", manifest_kind_name(c->kind), "name", c->slot, "version",
                        option_text(cli, "version"), "release_counter", (json_int_t)option_int(cli, "counter", 0));
    if (c->head == NULL)
        return ERR_NO_MEMORY;
    enum err e = ERR_OK;
    switch (c->kind) {
    case MANIFEST_MODEL:
        e = model_add(c);
        break;
    case MANIFEST_APP:
        e = app_add(c);
        break;
    case MANIFEST_AGENT:
        e = agent_add(c);
        break;
    }
    if (e == ERR_OK)
        e = requires_add(c);
    if (e == ERR_OK)
        e = health_add(c);
    if (e == ERR_OK)
        e = critical_add(c);
    return e == ERR_OK ? notes_add(c) : e;
}

/* ---- the whole ---- */

/* What was written, and what the grid did. */
static enum err created_show(const struct creation *c, const struct manifest *m)
{
    const struct bundle_keys none = {0};
    if (!wants_json(c->cli) || c->grid == NULL)
        return bundle_print(c->cli, m, &none, NULL);
    json_t *json = bundle_json(m, &none, NULL);
    return json_object_set(json, "grid", bundle_grid_json(c->grid)) == 0 ? json_show(json) : ERR_NO_MEMORY;
}

static enum err bundle_write(struct creation *c)
{
    struct cli *cli = c->cli;
    cleanup_manifest struct manifest *m = NULL;
    char usual[PATH_LEN];
    const char *out = option_text(cli, "out");
    (void)snprintf(usual, sizeof usual, "%s-%s.mub", c->slot, option_text(cli, "version"));
    out = out == NULL ? usual : out;
    enum err e = bundle_create(c->head, c->files->files, c->files->count, clock_wall_ms(), out, &m, &cli->info);
    if (e == ERR_OK)
        e = created_show(c, m);
    if (e == ERR_OK && !wants_json(cli))
        printf("\nwrote %s; sign it next: musterctl bundle sign %s --key FILE.key\n", out, out);
    return e;
}

static enum err create(struct cli *cli)
{
    [[gnu::cleanup(creation_drop)]] struct creation c = {.cli = cli};
    enum err e = kind_read(&c);
    if (e == ERR_OK)
        e = slot_read(&c);
    if (e == ERR_OK)
        e = file_list_new(&c.files);
    if (e == ERR_OK)
        e = files_read(&c);
    if (e == ERR_OK)
        e = head_make(&c);
    if (e == ERR_OK)
        e = compress_choose(&c);
    if (e == ERR_OK && c.kind == MANIFEST_MODEL)
        e = bundle_grid_make(cli, c.head, c.files->files, c.files->count, &c.grid);
    return e == ERR_OK ? bundle_write(&c) : e;
}

/* ---- the table ---- */

static const struct option create_options[] = {
    {"kind", OPTION_TEXT, "KIND", "model, app or agent (default: model)", false, 0, 0},
    {"slot", OPTION_TEXT, "SLOT", "which slot of a device it is for, like digits; an agent's is always agent", false, 0,
     0},
    {"version", OPTION_TEXT, "VERSION", "semantic version, like 1.2.3", true, 0, 0},
    {"counter", OPTION_INT, "N", "release counter; devices refuse a smaller one than they have", true, 1,
     ((int64_t)1 << 53) - 1},
    {"model", OPTION_TEXT, "FILE[=NAME]", "model: the ONNX file", false, 0, 0},
    {"input", OPTION_LIST, "NAME:TYPE:N,N", "model: an input, like input:float32:1,1,16,16", false, 0, 0},
    {"profile", OPTION_TEXT, "FILE", "model: drift reference made by `profile create`", false, 0, 0},
    {"selftest-samples", OPTION_TEXT, "FILE[=NAME]", "model: inputs to try it with, float32, back to back", false, 0,
     0},
    {"selftest-outputs", OPTION_TEXT, "FILE[=NAME]", "model: its first output for each of them", false, 0, 0},
    {"tolerance", OPTION_TEXT, "X", "model: largest difference from them (default: 0.001)", false, 0, 0},
    {"run", OPTION_LIST, "WORDS", "app: program to keep running, split at spaces; or once for each word", false, 0, 0},
    {"unit", OPTION_TEXT, "FILE[=NAME]", "app: systemd service to run it with", false, 0, 0},
    {"before", OPTION_LIST, "WORDS", "app: command to succeed before the switch", false, 0, 0},
    {"check", OPTION_LIST, "WORDS", "app: command that says whether it is well; with --grid: samples", false, 0, 0},
    {"stop", OPTION_LIST, "WORDS", "app: command to end it (default: SIGTERM)", false, 0, 0},
    {"timeout", OPTION_INT, "SECONDS", "app: for each command (default: 60)", false, 1, 3600},
    {"program", OPTION_TEXT, "FILE[=NAME]", "agent: the new muster-agent; put its helpers in with --file", false, 0, 0},
    {"file", OPTION_LIST, "FILE[=NAME]", "a file to put in; an executable one stays so", false, 0, 0},
    {"dir", OPTION_LIST, "DIR[=NAME]", "everything in a directory, below NAME", false, 0, 0},
    {"compress", OPTION_FLAG, NULL, "zstd where it saves 5 %; usual for apps and agents", false, 0, 0},
    {"no-compress", OPTION_FLAG, NULL, "as it is; usual for models, whose deltas are smaller so", false, 0, 0},
    {"hardware", OPTION_LIST, "ID", "only devices whose hardware is one of these take it", false, 0, 0},
    {"accelerator", OPTION_LIST, "NAME", "only devices that have one of these take it", false, 0, 0},
    {"memory", OPTION_TEXT, "SIZE", "only devices with this much memory take it, like 512MiB", false, 0, 0},
    {"disk", OPTION_TEXT, "SIZE", "only devices with this much free besides its files take it", false, 0, 0},
    {"runtime", OPTION_TEXT, "VERSION", "only devices with this ONNX Runtime or a newer one take it", false, 0, 0},
    {"min-agent", OPTION_TEXT, "VERSION", "only devices with this agent or a newer one take it", false, 0, 0},
    {"max-error-rate", OPTION_TEXT, "X", "share of failed inferences that a probation forgives (default: 0.01)", false,
     0, 0},
    {"max-restarts", OPTION_INT, "N", "restarts that a probation forgives (default: 0)", false, 0, 100},
    GRID_OPTIONS,
    {"notes", OPTION_TEXT, "TEXT", "what is new, for people", false, 0, 0},
    {"out", OPTION_TEXT, "FILE", "where the bundle goes (default: SLOT-VERSION.mub)", false, 0, 0},
    {.name = NULL},
};

const struct command commands_bundle_create[] = {
    {"bundle create", "", 0, 0, create_options, "Make an unsigned bundle of a model, an app or the agent (offline)",
     "An option that names a FILE puts it in, or names by its NAME one that --file or --dir has put in. The program of "
     "a\n"
     "command is one of the bundle's files, by its NAME; there is no shell.",
     "musterctl bundle create --slot digits --version 1.0.0 --counter 1 --model cnn.onnx \\\n"
     "    --input input:float32:1,1,16,16 --profile profile.json --file labels.txt --out digits-1.0.0.mub\n"
     "musterctl bundle create --kind app --slot counter --version 1.0.0 --counter 1 --dir build/counter \\\n"
     "    --run \"bin/counter --port 8080\" --check \"bin/counter --ping\"\n"
     "musterctl bundle create --kind agent --version 0.2.0 --counter 2 --program muster-agent --file muster-fetch",
     create},
    {.name = NULL},
};
