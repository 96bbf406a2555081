#include "server/pki/init.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/text.h"
#include "server/pki/hosts.h"
#include "server/pki/pem.h"
#include "server/pki/x509.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

enum { CA_DAYS = 3652, LEAF_DAYS = 730, RENEW_DAYS = 30, ALT_NAMES_MAX = 9000 };

struct authority {
    X509 *certificate;
    EVP_PKEY *key;
};

struct init {
    const char *dir;
    FILE *out;
    int64_t now_s;
    char alt_names[ALT_NAMES_MAX];
    char first_host[65];
};

/* What a certificate below a CA is for. */
struct leaf {
    const char *name; /* of its files */
    const char *common_name;
    const char *extended_key_usage;
    const char *alt_names; /* NULL: none */
};

static enum err init_path(const struct init *in, const char *name, const char *suffix, char ret_path[PATH_MAX],
                          struct err_info *info)
{
    int n = snprintf(ret_path, PATH_MAX, "%s/%s%s", in->dir, name, suffix);
    return n > 0 && n < PATH_MAX ? ERR_OK : err_set(info, ERR_INVALID, "pki_dir is too long a path");
}

static void init_say(const struct init *in, const char *what, const char *path, const X509 *certificate,
                     const char *why)
{
    time_t ends = (time_t)x509_not_after_s(certificate);
    struct tm tm;
    char date[16] = "";
    if (gmtime_r(&ends, &tm) != NULL)
        (void)strftime(date, sizeof date, "%Y-%m-%d", &tm);
    (void)fprintf(in->out, "%-7s %s, until %s%s%s\n", what, path, date, why == NULL ? "" : ": ",
                  why == NULL ? "" : why);
}

static bool file_is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

/* The key at path; a new one is written when there is none. */
static enum err key_get(const char *path, EVP_PKEY **ret_key, struct err_info *info)
{
    if (file_is_there(path))
        return pem_key_read(path, ret_key, info);
    cleanup_key EVP_PKEY *key = EVP_EC_gen("P-256");
    if (key == NULL)
        return x509_fail(info, "a key cannot be made");
    enum err e = pem_key_write(path, key, info);
    if (e != ERR_OK)
        return e;
    *ret_key = key;
    key = NULL;
    return ERR_OK;
}

static enum err ca_issue(const struct init *in, const char *common_name, const char *path, struct authority *ca,
                         struct err_info *info)
{
    enum err e = x509_issue_ca(common_name, ca->key, in->now_s, CA_DAYS, &ca->certificate, info);
    if (e == ERR_OK)
        e = pem_certificate_write(path, ca->certificate, info);
    if (e == ERR_OK)
        init_say(in, "made", path, ca->certificate, NULL);
    return e;
}

static enum err ca_keep(const struct init *in, const char *path, struct authority *ca, struct err_info *info)
{
    enum err e = pem_certificate_read(path, &ca->certificate, info);
    if (e != ERR_OK)
        return e;
    if (X509_check_private_key(ca->certificate, ca->key) != 1) {
        ERR_clear_error();
        return err_set(info, ERR_INVALID, "%s and the key beside it do not belong together", path);
    }
    if (x509_not_after_s(ca->certificate) <= in->now_s)
        return err_set(info, ERR_INVALID, "%s: this CA has ended", path);
    init_say(in, "kept", path, ca->certificate, NULL);
    return ERR_OK;
}

/* Reads a CA or makes it. A certificate without its key is never replaced: every device may depend on it. */
static enum err ca_get(const struct init *in, const char *name, const char *common_name, struct authority *ca,
                       struct err_info *info)
{
    char key_path[PATH_MAX];
    char path[PATH_MAX];
    enum err e = init_path(in, name, ".key", key_path, info);
    if (e == ERR_OK)
        e = init_path(in, name, ".pem", path, info);
    if (e != ERR_OK)
        return e;
    bool there = file_is_there(path);
    if (there && !file_is_there(key_path)) {
        e = err_set(info, ERR_INVALID, "%s is there but its key %s is not", path, key_path);
        err_next(info,
                 "put the key back from your backup; only if it is lost, move the certificate away and enrol every "
                 "device again");
        return e;
    }
    e = key_get(key_path, &ca->key, info);
    if (e != ERR_OK)
        return e;
    return there ? ca_keep(in, path, ca, info) : ca_issue(in, common_name, path, ca, info);
}

/* The certificate has exactly these alternative names, in this order. */
static bool alt_names_same(const X509 *certificate, const char *alt_names)
{
    int at = X509_get_ext_by_NID(certificate, NID_subject_alt_name, -1);
    if (alt_names == NULL || at < 0)
        return alt_names == NULL && at < 0;
    X509_EXTENSION *wanted = X509V3_EXT_nconf_nid(NULL, NULL, NID_subject_alt_name, alt_names);
    bool same = wanted != NULL && ASN1_OCTET_STRING_cmp(X509_EXTENSION_get_data(wanted),
                                                        X509_EXTENSION_get_data(X509_get_ext(certificate, at))) == 0;
    X509_EXTENSION_free(wanted);
    return same;
}

/* Why the certificate that is there has to go; NULL when it is good. */
static const char *leaf_fault(const struct init *in, const struct leaf *leaf, const struct authority *ca, X509 *old,
                              EVP_PKEY *key)
{
    const char *why = NULL;
    if (X509_check_private_key(old, key) != 1)
        why = "it was not for the key beside it";
    else if (X509_verify(old, ca->key) != 1)
        why = "it was of another CA";
    else if (x509_not_after_s(old) < in->now_s + (int64_t)RENEW_DAYS * X509_DAY_S)
        why = "it was near its end";
    else if (!alt_names_same(old, leaf->alt_names))
        why = "the hosts have changed";
    ERR_clear_error();
    return why;
}

static enum err leaf_issue(const struct init *in, const struct leaf *leaf, const struct authority *ca, EVP_PKEY *key,
                           const char *path, X509 **ret_certificate, struct err_info *info)
{
    const struct x509_leaf profile = {
        .common_name = leaf->common_name,
        .extended_key_usage = leaf->extended_key_usage,
        .alt_names = leaf->alt_names,
        .now_s = in->now_s,
        .days = LEAF_DAYS,
    };
    cleanup_x509 X509 *certificate = NULL;
    enum err e = x509_issue_leaf(&profile, key, ca->certificate, ca->key, &certificate, info);
    if (e == ERR_OK)
        e = pem_certificate_write(path, certificate, info);
    if (e != ERR_OK)
        return e;
    *ret_certificate = certificate;
    certificate = NULL;
    return ERR_OK;
}

static enum err leaf_get(const struct init *in, const struct leaf *leaf, const struct authority *ca,
                         struct err_info *info)
{
    char path[PATH_MAX];
    enum err e = init_path(in, leaf->name, ".key", path, info);
    cleanup_key EVP_PKEY *key = NULL;
    if (e == ERR_OK)
        e = key_get(path, &key, info);
    if (e == ERR_OK)
        e = init_path(in, leaf->name, ".pem", path, info);
    if (e != ERR_OK)
        return e;
    cleanup_x509 X509 *old = NULL;
    const char *why = NULL;
    if (file_is_there(path)) {
        e = pem_certificate_read(path, &old, info);
        if (e != ERR_OK)
            return e;
        why = leaf_fault(in, leaf, ca, old, key);
        if (why == NULL) {
            init_say(in, "kept", path, old, NULL);
            return ERR_OK;
        }
    }
    cleanup_x509 X509 *certificate = NULL;
    e = leaf_issue(in, leaf, ca, key, path, &certificate, info);
    if (e == ERR_OK)
        init_say(in, old == NULL ? "made" : "renewed", path, certificate, why);
    return e;
}

static enum err leaves_get(const struct init *in, const struct authority *ca, struct err_info *info)
{
    const struct leaf leaves[] = {
        {"musterd", in->first_host, "serverAuth", in->alt_names},
        {"broker", in->first_host, "serverAuth", in->alt_names},
        {"mqtt-client", "musterd", "clientAuth", NULL},
    };
    enum err e = ERR_OK;
    for (size_t i = 0; e == ERR_OK && i < sizeof leaves / sizeof leaves[0]; i++)
        e = leaf_get(in, &leaves[i], ca, info);
    return e;
}

static enum err init_run(const struct init *in, struct authority *server_ca, struct authority *device_ca,
                         struct err_info *info)
{
    enum err e = ca_get(in, "server-ca", "Muster server CA", server_ca, info);
    if (e == ERR_OK)
        e = ca_get(in, "device-ca", "Muster device CA", device_ca, info);
    if (e == ERR_OK)
        e = leaves_get(in, server_ca, info);
    return e;
}

/* An fd that keeps a second `pki init` out for as long as it is open. */
static enum err dir_lock(const char *dir, int *ret_fd, struct err_info *info)
{
    enum err e = file_make_dirs(dir, 0700);
    int fd = e == ERR_OK ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd < 0) {
        e = e == ERR_OK ? err_from_errno(errno) : e;
        return err_set(info, e, "the folder %s cannot be made: %s", dir, err_name(e));
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        (void)close(fd);
        return err_set(info, ERR_CONFLICT, "another `pki init` is at work in %s", dir);
    }
    *ret_fd = fd;
    return ERR_OK;
}

enum err pki_init(const char *dir, const char *hosts, FILE *out, struct err_info *info)
{
    struct init in = {.dir = dir, .out = out, .now_s = clock_wall_ms() / 1000};
    cleanup_buf struct buf alt_names = BUF_INIT(ALT_NAMES_MAX - 1);
    enum err e = hosts_alt_names(hosts, &alt_names, in.first_host, info);
    if (e != ERR_OK)
        return e;
    (void)text_copy(in.alt_names, sizeof in.alt_names, alt_names.data);
    cleanup_fd int lock = -1;
    e = dir_lock(dir, &lock, info);
    if (e != ERR_OK)
        return e;
    struct authority server_ca = {0};
    struct authority device_ca = {0};
    e = init_run(&in, &server_ca, &device_ca, info);
    X509_free(server_ca.certificate);
    EVP_PKEY_free(server_ca.key);
    X509_free(device_ca.certificate);
    EVP_PKEY_free(device_ca.key);
    return e;
}
