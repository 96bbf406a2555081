/* Bundles as files: all of it works offline. */
#include "cli/api.h"
#include "cli/commands.h"
#include "cli/table.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/text.h"
#include "common/bundle/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

enum { FILES_MAX = MANIFEST_FILES_MAX, PATH_LEN = 4096, PROFILE_MAX = 64 * 1024 };

/* ---- shown ---- */

static json_t *keys_json(const struct bundle_keys *keys)
{
    json_t *array = json_array();
    for (size_t i = 0; i < keys->count; i++)
        (void)!json_array_append_new(array, json_string(keys->ids[i]));
    return array;
}

static enum err bundle_print(struct cli *cli, const struct manifest *m, const struct bundle_keys *keys)
{
    static const struct column head[] = {
        {"Bundle", "bundle", cell_text},
        {"Id", "id", cell_text},
        {"Kind", "manifest.kind", cell_text},
        {"Counter", "manifest.release_counter", cell_text},
        {"Created", "manifest.created", cell_time},
        {"Size on device", "size", cell_size},
        {"Model", "manifest.model.file", cell_text},
        {"Needs hardware", "manifest.requires.hardware", cell_text},
        {"Notes", "manifest.notes", cell_text},
        {"Signed by", "key_ids", cell_text},
    };
    static const struct column files[] = {{"FILE", "path", cell_text},
                                          {"SIZE", "size", cell_size},
                                          {"MODE", "mode", cell_text},
                                          {"SHA-256", "sha256", cell_text}};
    char name[160];
    (void)snprintf(name, sizeof name, "%s@%s", m->slot, m->version);
    json_auto_t *json = json_pack("{s:s, s:s, s:I, s:o, s:O}", "bundle", name, "id", m->id, "size",
                                  (json_int_t)manifest_files_size(m), "key_ids", keys_json(keys), "manifest", m->json);
    if (wants_json(cli))
        return json_show(json_incref(json));
    fields_print(json, COLUMNS(head));
    puts("");
    table_print(json_object_get(m->json, "files"), COLUMNS(files), "no files");
    return ERR_OK;
}

/* ---- create ---- */

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

/* The files of a new bundle, with the memory of their names. */
struct file_list {
    size_t count;
    struct bundle_file files[FILES_MAX];
    char *texts[FILES_MAX]; /* owned */
};

static void file_list_free(struct file_list **list)
{
    for (size_t i = 0; *list != NULL && i < (*list)->count; i++)
        free((*list)->texts[i]);
    free(*list);
}

/* "PATH=NAME", or "PATH", which is called like its last part. */
static enum err file_add(struct cli *cli, struct file_list *list, const char *text)
{
    if (list->count == FILES_MAX)
        return usage_error(cli, "a bundle has at most %d files", FILES_MAX);
    char *copy = strdup(text);
    if (copy == NULL)
        return ERR_NO_MEMORY;
    char *name = strrchr(copy, '=');
    if (name != NULL)
        *name++ = '\0';
    char *slash = strrchr(copy, '/');
    if (name == NULL)
        name = slash == NULL ? copy : slash + 1;
    list->texts[list->count] = copy;
    list->files[list->count++] = (struct bundle_file){.source = copy, .path = name};
    return ERR_OK;
}

static enum err profile_add(struct cli *cli, const char *path, json_t *head)
{
    cleanup_free char *text = NULL;
    json_t *profile = NULL;
    size_t len = 0;
    if (path == NULL)
        return ERR_OK;
    enum err e = file_read(path, PROFILE_MAX, &text, &len);
    if (e != ERR_OK)
        return err_set(&cli->info, e, "%.200s: cannot read: %s", path, err_name(e));
    struct err_info why = {0};
    e = json_parse(text, len, PROFILE_MAX, &profile, &why);
    if (e != ERR_OK)
        return err_set(&cli->info, e, "%.200s: %s", path, why.text);
    return json_object_set_new(head, "profile", profile) == 0 ? ERR_OK : ERR_NO_MEMORY;
}

/* "requires", when there is something to require. */
static enum err requires_add(struct cli *cli, json_t *head)
{
    const char *item = NULL;
    json_auto_t *needs = json_object();
    json_auto_t *hardware = json_array();
    for (size_t i = 0; (item = option_item(cli, "hardware", i)) != NULL; i++)
        if (json_array_append_new(hardware, json_string(item)) != 0)
            return usage_error(cli, "--hardware is not UTF-8");
    if (json_array_size(hardware) > 0)
        (void)!json_object_set(needs, "hardware", hardware);
    body_text(needs, "min_agent", option_text(cli, "min-agent"));
    if (json_object_size(needs) > 0 && json_object_set(head, "requires", needs) != 0)
        return ERR_NO_MEMORY;
    return ERR_OK;
}

/* What the command line says of the manifest. */
static enum err head_make(struct cli *cli, const char *model, json_t **ret_head)
{
    const char *slot = option_text(cli, "slot");
    const char *version = option_text(cli, "version");
    json_auto_t *inputs = json_array();
    enum err e = ERR_OK;
    if (!manifest_slot_ok(slot))
        return usage_error(cli, "--slot \"%.80s\": 1 to 63 of a-z, 0-9 and - are expected, not - first", slot);
    if (!manifest_version_ok(version))
        return usage_error(cli, "--version \"%.80s\": a semantic version like 1.2.3 is expected", version);
    const char *input = NULL;
    for (size_t i = 0; e == ERR_OK && (input = option_item(cli, "input", i)) != NULL; i++)
        e = input_parse(cli, input, inputs);
    if (e != ERR_OK)
        return e;
    json_auto_t *head = json_pack("{s:s, s:s, s:s, s:I, s:{s:s, s:O}}", "kind", "model", "name", slot, "version",
                                  version, "release_counter", (json_int_t)option_int(cli, "counter", 0), "model",
                                  "file", model, "inputs", inputs);
    if (head == NULL)
        return usage_error(cli, "the name of the model is not UTF-8");
    e = profile_add(cli, option_text(cli, "profile"), head);
    if (e == ERR_OK)
        e = requires_add(cli, head);
    if (e == ERR_OK)
        *ret_head = json_incref(head);
    return e;
}

static enum err create(struct cli *cli)
{
    [[gnu::cleanup(file_list_free)]] struct file_list *list = calloc(1, sizeof *list);
    cleanup_manifest struct manifest *m = NULL;
    json_auto_t *head = NULL;
    const char *file = NULL;
    char usual[PATH_LEN];
    const char *out = option_text(cli, "out");
    if (list == NULL)
        return ERR_NO_MEMORY;
    enum err e = file_add(cli, list, option_text(cli, "model"));
    for (size_t i = 0; e == ERR_OK && (file = option_item(cli, "file", i)) != NULL; i++)
        e = file_add(cli, list, file);
    if (e == ERR_OK)
        e = head_make(cli, list->files[0].path, &head);
    if (e != ERR_OK)
        return e;
    (void)snprintf(usual, sizeof usual, "%s-%s.mub", option_text(cli, "slot"), option_text(cli, "version"));
    out = out == NULL ? usual : out;
    e = bundle_create(head, list->files, list->count, clock_wall_ms(), out, &m, &cli->info);
    if (e != ERR_OK)
        return e;
    struct bundle_keys none = {0};
    e = bundle_print(cli, m, &none);
    if (e == ERR_OK && !wants_json(cli))
        printf("\nwrote %s; sign it next: musterctl bundle sign %s --key FILE.key\n", out, out);
    return e;
}

/* ---- sign, verify, inspect, extract ---- */

static enum err key_read(struct cli *cli, const char *path, struct minisig_secret *ret_key)
{
    char *text = NULL;
    size_t len = 0;
    struct err_info why = {0};
    enum err e = file_read(path, MINISIG_FILE_MAX, &text, &len);
    if (e != ERR_OK)
        return err_set(&cli->info, e, "%.200s: cannot read: %s", path, err_name(e));
    e = minisig_secret_parse(text, len, ret_key, &why);
    OPENSSL_cleanse(text, len);
    free(text);
    if (e == ERR_OK)
        return ERR_OK;
    e = err_set(&cli->info, e, "%.200s: %s", path, why.text);
    err_next(&cli->info, "%s", why.next);
    return e;
}

static enum err sign(struct cli *cli)
{
    struct minisig_secret key;
    char id[MINISIG_ID_TEXT];
    enum err e = key_read(cli, option_text(cli, "key"), &key);
    if (e != ERR_OK)
        return e;
    minisig_id_text(key.id, id);
    e = bundle_sign(cli->words[0], &key, &cli->info);
    minisig_secret_wipe(&key);
    if (e == ERR_OK && wants_json(cli))
        return json_show(json_pack("{s:s}", "key_id", id));
    if (e == ERR_OK)
        printf("%s is signed by key %s\n", cli->words[0], id);
    return e;
}

static enum err bundle_open(struct cli *cli, int *ret_fd)
{
    int fd = open(cli->words[0], O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(&cli->info, err_from_errno(errno), "%.200s: cannot read: %s", cli->words[0], strerror(errno));
    *ret_fd = fd;
    return ERR_OK;
}

static enum err trust_open(struct cli *cli, struct trust **ret_trust)
{
    const char *dir = option_text(cli, "trust");
    return trust_load(dir == NULL ? "/etc/muster/keys" : dir, ret_trust, &cli->info);
}

static enum err verify(struct cli *cli)
{
    cleanup_fd int fd = -1;
    cleanup_trust struct trust *trust = NULL;
    cleanup_manifest struct manifest *m = NULL;
    struct bundle_keys keys;
    enum err e = bundle_open(cli, &fd);
    if (e == ERR_OK)
        e = trust_open(cli, &trust);
    if (e == ERR_OK)
        e = bundle_verify(fd, trust, &m, &keys, &cli->info);
    if (e == ERR_OK)
        e = bundle_print(cli, m, &keys);
    if (e == ERR_OK && !wants_json(cli))
        puts("\nverified: signature and content are right");
    return e;
}

static enum err inspect(struct cli *cli)
{
    cleanup_fd int fd = -1;
    cleanup_manifest struct manifest *m = NULL;
    struct bundle_keys keys;
    enum err e = bundle_open(cli, &fd);
    if (e == ERR_OK)
        e = bundle_inspect(fd, NULL, &m, &keys, NULL, &cli->info);
    if (e == ERR_OK)
        e = bundle_print(cli, m, &keys);
    if (e == ERR_OK && !wants_json(cli))
        puts("\nThe content matches the manifest. The signatures were NOT verified: `musterctl bundle verify` does "
             "that.");
    return e;
}

static enum err extract(struct cli *cli)
{
    cleanup_fd int fd = -1;
    cleanup_fd int dir = -1;
    cleanup_trust struct trust *trust = NULL;
    cleanup_manifest struct manifest *m = NULL;
    struct bundle_keys keys;
    const char *out = option_text(cli, "out");
    enum err e = bundle_open(cli, &fd);
    if (e == ERR_OK)
        e = trust_open(cli, &trust);
    if (e != ERR_OK)
        return e;
    e = file_make_dirs(out, 0755);
    if (e == ERR_OK && (dir = open(out, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        e = err_from_errno(errno);
    if (e != ERR_OK)
        return err_set(&cli->info, e, "%.200s: cannot make this directory: %s", out, err_name(e));
    e = bundle_extract(fd, trust, NULL, dir, &m, &keys, &cli->info);
    if (e == ERR_OK)
        e = bundle_print(cli, m, &keys);
    if (e == ERR_OK && !wants_json(cli))
        printf("\nverified and extracted to %s\n", out);
    return e;
}

/* ---- the table ---- */

static const struct option create_options[] = {
    {"slot", OPTION_TEXT, "SLOT", "which slot of a device it is for, like digits", true, 0, 0},
    {"version", OPTION_TEXT, "VERSION", "semantic version, like 1.2.3", true, 0, 0},
    {"counter", OPTION_INT, "N", "release counter; devices refuse a smaller one than they have", true, 1,
     ((int64_t)1 << 53) - 1},
    {"model", OPTION_TEXT, "FILE[=NAME]", "the ONNX model", true, 0, 0},
    {"input", OPTION_LIST, "NAME:TYPE:N,N", "an input of the model, like input:float32:1,1,16,16", false, 0, 0},
    {"profile", OPTION_TEXT, "FILE", "drift reference made by `profile create`", false, 0, 0},
    {"file", OPTION_LIST, "FILE[=NAME]", "another file to put in", false, 0, 0},
    {"hardware", OPTION_LIST, "ID", "only devices whose hardware is one of these take it", false, 0, 0},
    {"min-agent", OPTION_TEXT, "VERSION", "only devices with this agent or a newer one take it", false, 0, 0},
    {"out", OPTION_TEXT, "FILE", "where the bundle goes (default: SLOT-VERSION.mub)", false, 0, 0},
    {.name = NULL},
};

static const struct option sign_options[] = {
    {"key", OPTION_TEXT, "FILE", "secret key of `key generate` or `minisign -G -W`", true, 0, 0},
    {.name = NULL},
};

#define TRUST_OPTION                                                                                                   \
    {                                                                                                                  \
        "trust", OPTION_TEXT, "DIR", "directory of trusted public keys (default: /etc/muster/keys)", false, 0, 0       \
    }

static const struct option verify_options[] = {TRUST_OPTION, {.name = NULL}};

static const struct option extract_options[] = {
    TRUST_OPTION,
    {"out", OPTION_TEXT, "DIR", "where the files go; made when it is not there", true, 0, 0},
    {.name = NULL},
};

const struct command commands_bundle[] = {
    {"bundle create", "", 0, 0, create_options, "Make an unsigned bundle of a model (offline)", "",
     "musterctl bundle create --slot digits --version 1.0.0 --counter 1 --model cnn.onnx \\\n"
     "    --input input:float32:1,1,16,16 --profile profile.json --file labels.txt --out digits-1.0.0.mub",
     create},
    {"bundle sign", "FILE", 1, 1, sign_options, "Add a signature to a bundle (offline)",
     "Several keys may sign. The content is checked against the manifest first.",
     "musterctl bundle sign digits-1.0.0.mub --key release.key", sign},
    {"bundle verify", "FILE", 1, 1, verify_options, "Check signatures and content of a bundle (offline)",
     "One good signature of a trusted key is enough; a wrong one of a trusted key is refused.",
     "musterctl bundle verify digits-1.0.0.mub --trust keys/", verify},
    {"bundle inspect", "FILE", 1, 1, NULL, "Show what a bundle says, without trusting it (offline)", "",
     "musterctl bundle inspect digits-1.0.0.mub", inspect},
    {"bundle extract", "FILE", 1, 1, extract_options, "Verify a bundle and write its files (offline)",
     "Nothing is left behind when anything is wrong.",
     "musterctl bundle extract digits-1.0.0.mub --trust keys/ --out digits/", extract},
    {.name = NULL},
};
