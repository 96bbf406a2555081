/* Release keys. */
#include "cli/commands.h"
#include "cli/table.h"

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/bundle/minisig.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATH_LEN = 4096 };

static enum err key_write(struct cli *cli, const char *path, const char *text, mode_t mode)
{
    enum err e = file_write(path, text, strlen(text), mode);
    return e == ERR_OK ? e : err_set(&cli->info, e, "%.200s: cannot write: %s", path, err_words(e));
}

static enum err pair_write(struct cli *cli, const struct minisig_secret *secret, const struct minisig_public *public,
                           const char *secret_path, const char *public_path)
{
    cleanup_free char *secret_text = NULL;
    cleanup_free char *public_text = NULL;
    enum err e = minisig_public_print(public, &public_text);
    if (e == ERR_OK)
        e = minisig_secret_print(secret, &secret_text);
    if (e == ERR_OK)
        e = key_write(cli, secret_path, secret_text, 0600);
    if (e == ERR_OK)
        e = key_write(cli, public_path, public_text, 0644);
    if (secret_text != NULL)
        OPENSSL_cleanse(secret_text, strlen(secret_text));
    return e;
}

static enum err key_generate(struct cli *cli)
{
    char secret_path[PATH_LEN];
    char public_path[PATH_LEN];
    char id[MINISIG_ID_TEXT];
    struct minisig_secret secret;
    struct minisig_public public;
    const char *prefix = option_text(cli, "out");
    int n = snprintf(secret_path, sizeof secret_path, "%s.key", prefix);
    int m = snprintf(public_path, sizeof public_path, "%s.pub", prefix);
    if (n < 0 || m < 0 || (size_t)n >= sizeof secret_path || *prefix == '\0')
        return usage_error(cli, "--out is empty or too long");
    if (access(secret_path, F_OK) == 0 || access(public_path, F_OK) == 0) {
        enum err e = err_set(&cli->info, ERR_CONFLICT, "%.200s or %.200s is there already", secret_path, public_path);
        err_next(&cli->info, "A lost release key cannot be made again, so none is overwritten. Choose another name.");
        return e;
    }
    enum err e = minisig_generate(&secret, &public);
    if (e == ERR_OK)
        e = pair_write(cli, &secret, &public, secret_path, public_path);
    minisig_secret_wipe(&secret);
    if (e != ERR_OK)
        return e;
    minisig_id_text(public.id, id);
    if (wants_json(cli))
        return json_show(json_pack("{s:s, s:s, s:s}", "id", id, "secret", secret_path, "public", public_path));
    printf("release key %s\n  secret  %s  (not encrypted: keep it offline)\n  public  %s  (for trust_dir of musterd "
           "and of every device)\n",
           id, secret_path, public_path);
    return ERR_OK;
}

static const struct option generate_options[] = {
    {"out", OPTION_TEXT, "PREFIX", "writes PREFIX.key (mode 0600) and PREFIX.pub", true, 0, 0},
    {.name = NULL},
};

const struct command commands_key[] = {
    {"key generate", "", 0, 0, generate_options, "Make a release key pair (offline)",
     "The files are minisign's: `minisign -V` verifies what the key signs, and `minisign -S` may sign with it.",
     "musterctl key generate --out release", key_generate},
    {.name = NULL},
};
