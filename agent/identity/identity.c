#include "agent/identity/identity.h"

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/text.h"

#include <string.h>

#define DIRECTORY "identity"
#define ENROLMENT "identity/enrolment.json"

enum { PEM_MAX = 64 * 1024 };

/* A copy that already says the same is left alone. */
static enum err copy_write(const char *path, const char *pem)
{
    cleanup_free char *now = NULL;
    if (file_read(path, PEM_MAX, &now, NULL) == ERR_OK && text_eq(now, pem))
        return ERR_OK;
    return file_write(path, pem, strlen(pem), 0600);
}

static enum err brokers_read(const json_t *json, struct identity *identity, struct err_info *info)
{
    json_t *brokers = NULL;
    enum err e = json_get_array(json, "brokers", IDENTITY_BROKERS_MAX, &brokers, info);
    for (size_t i = 0; e == ERR_OK && i < json_array_size(brokers); i++) {
        struct identity_broker *broker = &identity->brokers[i];
        const char *host = NULL;
        int64_t port = 0;
        e = json_get_text(json_array_get(brokers, i), "host", IDENTITY_HOST_SIZE - 1, &host, info);
        if (e == ERR_OK)
            e = json_get_i64(json_array_get(brokers, i), "port", 1, 65535, &port, info);
        if (e != ERR_OK)
            return e;
        (void)text_copy(broker->host, sizeof broker->host, host);
        broker->port = (int)port;
        identity->broker_count++;
    }
    return e;
}

static enum err enrolment_read(const json_t *json, struct identity *identity, struct err_info *info)
{
    const char *device = NULL;
    const char *key = NULL;
    const char *certificate = NULL;
    const char *ca = NULL;
    enum err e = json_get_text(json, "device", IDENTITY_DEVICE_SIZE - 1, &device, info);
    if (e == ERR_OK)
        e = json_get_text(json, "key", IDENTITY_KEY_SIZE - 1, &key, info);
    if (e == ERR_OK)
        e = json_get_text(json, "certificate", PEM_MAX, &certificate, info);
    if (e == ERR_OK)
        e = json_get_text(json, "ca", PEM_MAX, &ca, info);
    if (e == ERR_OK)
        e = json_get_i64(json, "not_before", INT64_MIN, INT64_MAX, &identity->not_before, info);
    if (e == ERR_OK)
        e = json_get_i64(json, "not_after", INT64_MIN, INT64_MAX, &identity->not_after, info);
    if (e == ERR_OK)
        e = brokers_read(json, identity, info);
    if (e != ERR_OK)
        return e;
    (void)text_copy(identity->device, sizeof identity->device, device);
    (void)text_copy(identity->key, sizeof identity->key, key);
    e = copy_write(IDENTITY_CERTIFICATE, certificate);
    if (e == ERR_OK)
        e = copy_write(IDENTITY_CA, ca);
    return e == ERR_OK ? ERR_OK : err_set(info, e, "cannot write into " DIRECTORY ": %s", err_name(e));
}

enum err identity_load(struct identity *ret_identity, struct err_info *info)
{
    cleanup_free char *text = NULL;
    size_t len = 0;
    json_t *json = NULL;
    struct identity identity = {0};
    enum err e = file_make_dirs(DIRECTORY, 0700);
    if (e != ERR_OK)
        return err_set(info, e, "cannot make the directory " DIRECTORY " in state_dir: %s", err_name(e));
    e = file_read(ENROLMENT, JSON_BYTES_MAX, &text, &len);
    if (e == ERR_OK)
        e = json_parse(text, len, JSON_BYTES_MAX, &json, info);
    if (e == ERR_OK)
        e = enrolment_read(json, &identity, info);
    json_decref(json);
    if (e == ERR_INVALID)
        err_next(info, "remove " ENROLMENT " in state_dir and give the agent a new token");
    if (e == ERR_OK)
        *ret_identity = identity;
    return e;
}

enum err identity_store(const json_t *enrolment, const char *key, struct err_info *info)
{
    cleanup_free char *text = NULL;
    size_t len = 0;
    json_t *json = json_copy((json_t *)enrolment);
    enum err e = ERR_NO_MEMORY;
    if (json != NULL && json_object_set_new(json, "key", json_string(key)) == 0)
        e = json_print(json, &text, &len);
    if (e == ERR_OK)
        e = file_write(ENROLMENT, text, len, 0600);
    json_decref(json);
    return e == ERR_OK ? ERR_OK : err_set(info, e, "cannot write " ENROLMENT ": %s", err_name(e));
}

const char *identity_next_key(const struct identity *identity)
{
    static const char *const keys[] = {"identity/device-a.key", "identity/device-b.key"};
    return identity != NULL && text_eq(identity->key, keys[0]) ? keys[1] : keys[0];
}
