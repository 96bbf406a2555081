/* Bundles as files: signed, checked and unpacked, all of it offline. */
#include "cli/bundle.h"
#include "cli/commands.h"
#include "cli/table.h"

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

/* ---- sign ---- */

static enum err key_read(struct cli *cli, const char *path, struct minisig_secret *ret_key)
{
    char *text = NULL;
    size_t len = 0;
    struct err_info why = {0};
    enum err e = file_read(path, MINISIG_FILE_MAX, &text, &len);
    if (e != ERR_OK)
        return err_set(&cli->info, e, "%.200s: cannot read: %s", path, err_words(e));
    e = minisig_secret_parse(text, len, ret_key, &why);
    OPENSSL_cleanse(text, len);
    free(text);
    if (e == ERR_OK)
        return ERR_OK;
    e = err_set(&cli->info, e, "%.200s: %s", path, why.text);
    err_next(&cli->info, "%s", why.next);
    return e;
}

/* The secret keys of one call. */
struct keys {
    size_t count;
    struct minisig_secret keys[BUNDLE_KEYS_MAX];
};

static void keys_wipe(struct keys *keys)
{
    for (size_t i = 0; i < keys->count; i++)
        minisig_secret_wipe(&keys->keys[i]);
}

/* All of them before the first signs: one that cannot be read leaves the bundle as it was. */
static enum err keys_read(struct cli *cli, struct keys *keys)
{
    const char *path = NULL;
    while ((path = option_item(cli, "key", keys->count)) != NULL) {
        if (keys->count == BUNDLE_KEYS_MAX)
            return usage_error(cli, "a bundle has at most %d signatures", BUNDLE_KEYS_MAX);
        enum err e = key_read(cli, path, &keys->keys[keys->count]);
        if (e != ERR_OK)
            return e;
        keys->count++;
    }
    return ERR_OK;
}

static enum err sign(struct cli *cli)
{
    [[gnu::cleanup(keys_wipe)]] struct keys keys = {0};
    json_auto_t *ids = json_array();
    enum err e = keys_read(cli, &keys);
    for (size_t i = 0; e == ERR_OK && i < keys.count; i++) {
        char id[MINISIG_ID_TEXT];
        minisig_id_text(keys.keys[i].id, id);
        e = bundle_sign(cli->words[0], &keys.keys[i], &cli->info);
        (void)!json_array_append_new(ids, json_string(id));
        if (e == ERR_OK && !wants_json(cli))
            printf("%s is signed by key %s\n", cli->words[0], id);
    }
    if (e == ERR_OK && wants_json(cli))
        return json_show(json_pack("{s:O, s:O}", "key_id", json_array_get(ids, 0), "key_ids", ids));
    return e;
}

/* ---- verify, inspect ---- */

/* Of a delta bundle: the old files it needs, once each. False when it needs none. */
static bool needs_print(const struct manifest *m, const struct bundle_part *parts)
{
    bool some = false;
    for (size_t i = 0; i < m->payload_count; i++) {
        bool again = parts[i].form == BUNDLE_FULL;
        for (size_t k = 0; k < i && !again; k++)
            again = strcmp(parts[k].old_sha256, parts[i].old_sha256) == 0;
        if (again)
            continue;
        if (!some)
            puts("\ndelta bundle: needs these files of an older version");
        printf("  %s  for %s\n", parts[i].old_sha256, manifest_payload_file(m, &m->payload[i])->path);
        some = true;
    }
    return some;
}

static enum err look(struct cli *cli, const struct trust *trust, const char *full, const char *delta)
{
    cleanup_fd int fd = -1;
    cleanup_manifest struct manifest *m = NULL;
    cleanup_free struct bundle_part *parts = NULL;
    struct bundle_keys keys;
    struct err_info why = {0};
    enum err e = bundle_open(cli, cli->words[0], &fd);
    if (e != ERR_OK)
        return e;
    e = bundle_inspect(fd, trust, &m, &keys, &parts, &why);
    if (e != ERR_OK)
        return bundle_failed(cli, cli->words[0], e, &why);
    e = bundle_print(cli, m, &keys, parts);
    if (e != ERR_OK || wants_json(cli))
        return e;
    puts(needs_print(m, parts) ? delta : full);
    return ERR_OK;
}

static enum err verify(struct cli *cli)
{
    cleanup_trust struct trust *trust = NULL;
    enum err e = bundle_trust(cli, &trust);
    return e == ERR_OK ? look(cli, trust, "\nverified: signature and content are right",
                              "verified: the signature is right, and so is everything that can be checked without them")
                       : e;
}

static enum err inspect(struct cli *cli)
{
    return look(cli, NULL,
                "\nThe content matches the manifest. The signatures were NOT verified: `musterctl bundle verify` does "
                "that.",
                "The signatures were NOT verified: `musterctl bundle verify` does that.");
}

/* ---- extract ---- */

/* An old bundle, unpacked: what a delta bundle is rebuilt from. */
struct old {
    char dir[BUNDLE_SCRATCH]; /* "": none */
    int fd;
    struct manifest *manifest;
};

static void old_drop(struct old *old)
{
    if (old->fd >= 0)
        (void)close(old->fd);
    if (old->dir[0] != '\0')
        (void)file_remove_tree(old->dir);
    (void)manifest_free(old->manifest);
}

static enum err old_file(void *user, const char *sha256, int *ret_fd, struct err_info *info)
{
    const struct old *old = user;
    for (size_t i = 0; i < old->manifest->file_count; i++) {
        if (strcmp(old->manifest->files[i].sha256, sha256) != 0)
            continue;
        int fd = openat(old->fd, old->manifest->files[i].path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
            return err_set(info, err_from_errno(errno), "%.200s: %s", old->manifest->files[i].path, strerror(errno));
        *ret_fd = fd;
        return ERR_OK;
    }
    return err_set(info, ERR_NOT_FOUND, "the old bundle has no such file");
}

static enum err old_take(struct cli *cli, const struct trust *trust, struct old *old)
{
    cleanup_fd int fd = -1;
    const char *path = option_text(cli, "old");
    if (path == NULL)
        return ERR_OK;
    enum err e = bundle_open(cli, path, &fd);
    if (e == ERR_OK)
        e = bundle_scratch(cli, old->dir);
    if (e != ERR_OK)
        return e;
    old->fd = open(old->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (old->fd < 0)
        return err_set(&cli->info, err_from_errno(errno), "%.200s: %s", old->dir, strerror(errno));
    struct err_info why = {0};
    e = bundle_extract(fd, trust, NULL, old->fd, &old->manifest, NULL, &why);
    return e == ERR_OK ? ERR_OK : bundle_failed(cli, path, e, &why);
}

static enum err extract(struct cli *cli)
{
    cleanup_fd int fd = -1;
    cleanup_fd int dir = -1;
    [[gnu::cleanup(old_drop)]] struct old old = {.fd = -1};
    cleanup_trust struct trust *trust = NULL;
    cleanup_manifest struct manifest *m = NULL;
    struct bundle_keys keys;
    const char *out = option_text(cli, "out");
    const struct bundle_olds olds = {.open = old_file, .user = &old};
    enum err e = bundle_open(cli, cli->words[0], &fd);
    if (e == ERR_OK)
        e = bundle_trust(cli, &trust);
    if (e == ERR_OK)
        e = old_take(cli, trust, &old);
    if (e != ERR_OK)
        return e;
    e = file_make_dirs(out, 0755);
    if (e == ERR_OK && (dir = open(out, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        e = err_from_errno(errno);
    if (e != ERR_OK)
        return err_set(&cli->info, e, "%.200s: cannot make this directory: %s", out, err_words(e));
    struct err_info why = {0};
    e = bundle_extract(fd, trust, old.manifest == NULL ? NULL : &olds, dir, &m, &keys, &why);
    if (e == ERR_CONFLICT && text_eq(why.code, "delta_wrong_base"))
        err_next(&why, "Name the bundle that the delta was made from with --old, or extract the full bundle.");
    if (e != ERR_OK)
        return bundle_failed(cli, cli->words[0], e, &why);
    e = bundle_print(cli, m, &keys, NULL);
    if (e == ERR_OK && !wants_json(cli))
        printf("\nverified and extracted to %s\n", out);
    return e;
}

/* ---- the table ---- */

static const struct option sign_options[] = {
    {"key", OPTION_LIST, "FILE", "secret key of `key generate` or `minisign -G -W`; several may sign", true, 0, 0},
    {.name = NULL},
};

static const struct option verify_options[] = {BUNDLE_TRUST_OPTIONS, {.name = NULL}};

static const struct option extract_options[] = {
    BUNDLE_TRUST_OPTIONS,
    {"old", OPTION_TEXT, "FILE", "the bundle that a delta bundle was made from", false, 0, 0},
    {"out", OPTION_TEXT, "DIR", "where the files go; made when it is not there", true, 0, 0},
    {.name = NULL},
};

const struct command commands_bundle[] = {
    {"bundle sign", "FILE", 1, 1, sign_options, "Add signatures to a bundle (offline)",
     "Give --key once for each key. The content is checked against the manifest first.",
     "musterctl bundle sign digits-1.0.0.mub --key release.key", sign},
    {"bundle verify", "FILE", 1, 1, verify_options, "Check signatures and content of a bundle (offline)",
     "As many different trusted keys as --required must have signed; a wrong signature of a trusted key is refused.",
     "musterctl bundle verify digits-1.0.0.mub --trust keys/", verify},
    {"bundle inspect", "FILE", 1, 1, NULL, "Show what a bundle says, without trusting it (offline)", "",
     "musterctl bundle inspect digits-1.0.0.mub", inspect},
    {"bundle extract", "FILE", 1, 1, extract_options, "Verify a bundle and write its files (offline)",
     "Nothing is left behind when anything is wrong. A delta bundle is rebuilt from the files of the bundle --old.",
     "musterctl bundle extract digits-1.0.0.mub --trust keys/ --out digits/", extract},
    {.name = NULL},
};
