#include "common/bundle/trust.h"

#include "common/base/cleanup.h"
#include "common/base/file.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static bool is_public_key_name(const char *name)
{
    size_t len = strlen(name);
    return name[0] != '.' && len > 4 && strcmp(name + len - 4, ".pub") == 0;
}

static enum err key_add(struct trust *trust, const struct minisig_public *key, const char *dir, const char *name,
                        struct err_info *info)
{
    const struct minisig_public *same = trust_find(trust, key->id);
    if (same != NULL && memcmp(same->key, key->key, sizeof key->key) == 0)
        return ERR_OK;
    if (same != NULL)
        return err_code(info, ERR_INVALID, "key_invalid",
                        "%s/%s: another file in this directory has a different key with the same id", dir, name);
    if (trust->count == TRUST_KEYS_MAX)
        return err_code(info, ERR_TOO_LARGE, "too_many_keys", "%s: more than %d release keys", dir, TRUST_KEYS_MAX);
    trust->keys[trust->count++] = *key;
    return ERR_OK;
}

static enum err key_file_add(struct trust *trust, int dir_fd, const char *dir, const char *name, struct err_info *info)
{
    cleanup_free char *text = NULL;
    size_t len = 0;
    enum err e = file_read_at(dir_fd, name, MINISIG_FILE_MAX, &text, &len);
    if (e != ERR_OK)
        return err_code(info, e, "key_invalid", "%s/%s: cannot read this release key: %s", dir, name, err_name(e));
    struct minisig_public key;
    struct err_info why = {0};
    e = minisig_public_parse(text, len, &key, &why);
    if (e != ERR_OK)
        return err_code(info, e, "key_invalid", "%s/%s: %s", dir, name, why.text);
    return key_add(trust, &key, dir, name, info);
}

enum err trust_load(const char *dir, struct trust **ret_trust, struct err_info *info)
{
    cleanup_dir DIR *stream = opendir(dir);
    if (stream == NULL) {
        enum err e = err_from_errno(errno);
        e = err_code(info, e, "no_release_keys", "%s: cannot read the directory of release keys: %s", dir,
                     strerror(errno));
        err_next(info, "Create it and put the public key files (*.pub) of your release keys into it.");
        return e;
    }
    cleanup_trust struct trust *trust = calloc(1, sizeof *trust);
    if (trust == NULL)
        return ERR_NO_MEMORY;
    trust->required = 1;
    const struct dirent *entry = NULL;
    while (errno = 0, (entry = readdir(stream)) != NULL) {
        enum err e =
            is_public_key_name(entry->d_name) ? key_file_add(trust, dirfd(stream), dir, entry->d_name, info) : ERR_OK;
        if (e != ERR_OK)
            return e;
    }
    if (errno != 0)
        return err_set(info, err_from_errno(errno), "%s: cannot read the directory of release keys: %s", dir,
                       strerror(errno));
    if (trust->count == 0) {
        enum err e = err_code(info, ERR_NOT_FOUND, "no_release_keys", "%s: there is no release key (*.pub) here", dir);
        err_next(info, "Put the public key file of a release key here; `musterctl key generate` makes a pair.");
        return e;
    }
    *ret_trust = trust;
    trust = NULL;
    return ERR_OK;
}

const struct minisig_public *trust_find(const struct trust *trust, const uint8_t id[MINISIG_ID])
{
    for (size_t i = 0; i < trust->count; i++)
        if (memcmp(trust->keys[i].id, id, MINISIG_ID) == 0)
            return &trust->keys[i];
    return NULL;
}

struct trust *trust_free(struct trust *trust)
{
    free(trust);
    return NULL;
}
