/* Keys and signatures: our own round trip, everything that is refused, and minisign itself both ways. */
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/bundle/minisig.h"
#include "common/bundle/trust.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

/* Made by minisign 0.11: a key, its signature of "hi\n", and the legacy form (-l) of the same. */
static const char other_public[] = "untrusted comment: minisign public key EB5B99F9EC7D3522\n"
                                   "RWQiNX3s+Zlb69WgRrRc/015JDpgc4mxUYLwb4KZRIySEXD9bID+9ntC\n";
static const char other_signature[] =
    "untrusted comment: signature from minisign secret key\n"
    "RUQiNX3s+Zlb67J6B8rVSZmQcYDlyE0XwkBuyfkAE35bxzcZMcYqgto4Z9XRA4Wr0oTWqe6FxJWwpzv2xqVT6u0NCKFsFdU/DQs=\n"
    "trusted comment: timestamp:1795259497\tfile:f\thashed\n"
    "SD+2kKnM0234J1yTHV0Gs8opC5DMlAjYouWRxnaJjy0JN5s78tPOo17L8AoXZrHzn8KVee9i2kZ0RgOtMT01BA==\n";

struct pair {
    struct minisig_secret secret;
    struct minisig_public public;
};

static struct pair pair_new(void)
{
    struct pair p;
    assert_int_equal(minisig_generate(&p.secret, &p.public), ERR_OK);
    return p;
}

static struct minisig_signature signature_of(const struct pair *p, const char *message, const char *comment)
{
    cleanup_free char *text = NULL;
    struct minisig_signature s;
    assert_int_equal(minisig_sign(&p->secret, message, strlen(message), comment, &text), ERR_OK);
    assert_int_equal(minisig_parse(text, strlen(text), &s, NULL), ERR_OK);
    return s;
}

static void round_trip(void **state)
{
    (void)state;
    struct pair p = pair_new();
    struct minisig_signature s = signature_of(&p, "message", "muster bundle digits@1.0.0");
    assert_string_equal(s.comment, "muster bundle digits@1.0.0");
    assert_int_equal(minisig_verify(&s, &p.public, "message", 7, NULL), ERR_OK);
}

static void changes_are_refused(void **state)
{
    (void)state;
    struct pair p = pair_new();
    struct pair q = pair_new();
    struct err_info info;
    struct minisig_signature s = signature_of(&p, "message", "comment");
    assert_int_equal(minisig_verify(&s, &p.public, "massage", 7, &info), ERR_UNTRUSTED);
    assert_string_equal(info.code, "signature_untrusted");
    assert_int_equal(minisig_verify(&s, &q.public, "message", 7, NULL), ERR_UNTRUSTED);
    struct minisig_public other = q.public;
    memcpy(other.id, p.public.id, sizeof other.id); /* another key that claims the id */
    assert_int_equal(minisig_verify(&s, &other, "message", 7, NULL), ERR_UNTRUSTED);
    struct minisig_signature comment = s;
    comment.comment[0] = 'C';
    assert_int_equal(minisig_verify(&comment, &p.public, "message", 7, &info), ERR_UNTRUSTED);
    assert_non_null(strstr(info.text, "comment"));
    for (size_t i = 0; i < sizeof s.bytes; i++) {
        struct minisig_signature flipped = s;
        flipped.bytes[i] ^= 1;
        assert_int_equal(minisig_verify(&flipped, &p.public, "message", 7, NULL), ERR_UNTRUSTED);
    }
}

static void keys_survive_text(void **state)
{
    (void)state;
    struct pair p = pair_new();
    cleanup_free char *secret = NULL;
    cleanup_free char *public = NULL;
    struct pair again;
    assert_int_equal(minisig_secret_print(&p.secret, &secret), ERR_OK);
    assert_int_equal(minisig_public_print(&p.public, &public), ERR_OK);
    assert_int_equal(minisig_secret_parse(secret, strlen(secret), &again.secret, NULL), ERR_OK);
    assert_int_equal(minisig_public_parse(public, strlen(public), &again.public, NULL), ERR_OK);
    assert_memory_equal(&again.secret, &p.secret, sizeof p.secret);
    assert_memory_equal(&again.public, &p.public, sizeof p.public);
}

static void id_is_printed_like_minisign(void **state)
{
    (void)state;
    struct minisig_public key;
    char id[MINISIG_ID_TEXT];
    assert_int_equal(minisig_public_parse(other_public, strlen(other_public), &key, NULL), ERR_OK);
    minisig_id_text(key.id, id);
    assert_string_equal(id, "EB5B99F9EC7D3522");
}

static void minisign_signature_is_verified(void **state)
{
    (void)state;
    struct minisig_public key;
    struct minisig_signature s;
    assert_int_equal(minisig_public_parse(other_public, strlen(other_public), &key, NULL), ERR_OK);
    assert_int_equal(minisig_parse(other_signature, strlen(other_signature), &s, NULL), ERR_OK);
    assert_string_equal(s.comment, "timestamp:1795259497\tfile:f\thashed");
    assert_int_equal(minisig_verify(&s, &key, "hi\n", 3, NULL), ERR_OK);
    assert_int_equal(minisig_verify(&s, &key, "hi", 2, NULL), ERR_UNTRUSTED);
}

/* other_signature with the text at `from` replaced by one of equal length or by nothing. */
static enum err parse_changed(const char *from, const char *to, struct err_info *info)
{
    char text[1024];
    struct minisig_signature s;
    const char *at = strstr(other_signature, from);
    assert_non_null(at);
    (void)snprintf(text, sizeof text, "%.*s%s%s", (int)(at - other_signature), other_signature, to, at + strlen(from));
    return minisig_parse(text, strlen(text), &s, info);
}

static void bad_signature_files_are_refused(void **state)
{
    (void)state;
    struct err_info info = {0};
    assert_int_equal(parse_changed("RUQi", "RWQi", &info), ERR_UNSUPPORTED); /* "ED" -> "Ed" */
    assert_string_equal(info.code, "signature_legacy");
    assert_true(info.next[0] != '\0');
    assert_int_equal(parse_changed("RUQi", "RVQi", &info), ERR_INVALID);
    assert_string_equal(info.code, "signature_malformed");
    assert_int_equal(parse_changed("RUQi", "R!Qi", NULL), ERR_INVALID);
    assert_int_equal(parse_changed("RUQi", "", NULL), ERR_INVALID);
    assert_int_equal(parse_changed("DQs=", "DQt=", NULL), ERR_INVALID); /* the same bytes, not canonical */
    assert_int_equal(parse_changed("untrusted comment: s", "s", NULL), ERR_INVALID);
    assert_int_equal(parse_changed("trusted comment: t", "t", NULL), ERR_INVALID);
    assert_int_equal(parse_changed("hashed", "\033[2J", NULL), ERR_INVALID);
    assert_int_equal(parse_changed("BA==\n", "BA==\nmore\n", NULL), ERR_INVALID);
    assert_int_equal(parse_changed("SD+2", "", NULL), ERR_INVALID);
    struct minisig_signature s;
    for (size_t len = 0; len + 1 < strlen(other_signature); len++)
        assert_int_not_equal(minisig_parse(other_signature, len, &s, NULL), ERR_OK);
}

static void bad_key_files_are_refused(void **state)
{
    (void)state;
    /* minisign -G with the password "x" */
    static const char encrypted[] =
        "untrusted comment: minisign encrypted secret key\n"
        "RWRTY0IyZewgbHUe/DfYixOKzCEw0LQKoa+4kCRzyiHaryY037IAAAACAAAAAAAAAEAAAAAA4qLXwmHBh5iE+lk7KiCP3jch6dpQHuvw"
        "AC+eaUFEwYMbtqAjXCMBMKTE9aXLJLPfuorF9HDs0mEWGh+OpzCWvqkRSe2GLT8ZYxP3udRz+HZeS/"
        "G8jFxPSar6LEAsyKyf9UBOt+Tb1lE=\n";
    struct err_info info = {0};
    struct minisig_secret secret;
    struct minisig_public public;
    assert_int_equal(minisig_secret_parse(encrypted, strlen(encrypted), &secret, &info), ERR_UNSUPPORTED);
    assert_string_equal(info.code, "key_encrypted");
    assert_int_equal(minisig_secret_parse(other_public, strlen(other_public), &secret, NULL), ERR_INVALID);
    assert_int_equal(minisig_public_parse("", 0, &public, &info), ERR_INVALID);
    assert_string_equal(info.code, "key_invalid");
    struct pair p = pair_new();
    p.secret.key[0] ^= 1; /* the halves differ */
    cleanup_free char *text = NULL;
    assert_int_equal(minisig_secret_print(&p.secret, &text), ERR_OK);
    assert_int_equal(minisig_secret_parse(text, strlen(text), &secret, NULL), ERR_INVALID);
}

/* ---- with files ---- */

struct folder {
    char path[64];
};

static void folder_free(struct folder *f)
{
    (void)!file_remove_tree(f->path);
}
#define cleanup_folder [[gnu::cleanup(folder_free)]]

static struct folder folder_new(void)
{
    struct folder f = {.path = "/tmp/muster-test-XXXXXX"};
    assert_non_null(mkdtemp(f.path));
    return f;
}

static const char *in_folder(const struct folder *f, const char *name, char path[128])
{
    (void)snprintf(path, 128, "%s/%s", f->path, name);
    return path;
}

static void put(const struct folder *f, const char *name, const char *text)
{
    char path[128];
    assert_int_equal(file_write(in_folder(f, name, path), text, strlen(text), 0600), ERR_OK);
}

/* Runs minisign in the folder; its exit status, 127 when it is not installed. */
static int minisign(const struct folder *f, char *const argv[])
{
    pid_t pid = fork();
    if (pid == 0) {
        (void)!freopen("/dev/null", "w", stdout);
        (void)!freopen("/dev/null", "w", stderr);
        if (chdir(f->path) == 0)
            execvp(argv[0], argv);
        _exit(127);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void minisign_verifies_ours(void **state)
{
    (void)state;
    cleanup_folder struct folder f = folder_new();
    struct pair p = pair_new();
    cleanup_free char *public = NULL;
    cleanup_free char *signature = NULL;
    assert_int_equal(minisig_public_print(&p.public, &public), ERR_OK);
    assert_int_equal(minisig_sign(&p.secret, "{}", 2, "muster bundle a@1.0.0", &signature), ERR_OK);
    put(&f, "key.pub", public);
    put(&f, "manifest.json", "{}");
    put(&f, "manifest.json.minisig", signature);
    char *const verify[] = {"minisign", "-V", "-H", "-p", "key.pub", "-m", "manifest.json", NULL};
    assert_int_equal(minisign(&f, verify), 0);
    put(&f, "manifest.json", "[]");
    assert_int_equal(minisign(&f, verify), 1);
}

static void minisign_signs_with_our_key(void **state)
{
    (void)state;
    cleanup_folder struct folder f = folder_new();
    struct pair p = pair_new();
    cleanup_free char *secret = NULL;
    cleanup_free char *text = NULL;
    char path[128];
    size_t len = 0;
    struct minisig_signature s;
    assert_int_equal(minisig_secret_print(&p.secret, &secret), ERR_OK);
    put(&f, "key.key", secret);
    put(&f, "manifest.json", "{}");
    char *const sign[] = {"minisign", "-S", "-s", "key.key", "-m", "manifest.json", NULL};
    assert_int_equal(minisign(&f, sign), 0);
    assert_int_equal(file_read(in_folder(&f, "manifest.json.minisig", path), MINISIG_FILE_MAX, &text, &len), ERR_OK);
    assert_int_equal(minisig_parse(text, len, &s, NULL), ERR_OK);
    assert_int_equal(minisig_verify(&s, &p.public, "{}", 2, NULL), ERR_OK);
    char *const legacy[] = {"minisign", "-S", "-l", "-s", "key.key", "-m", "manifest.json", NULL};
    assert_int_equal(minisign(&f, legacy), 0);
    cleanup_free char *old = NULL;
    assert_int_equal(file_read(path, MINISIG_FILE_MAX, &old, &len), ERR_OK);
    assert_int_equal(minisig_parse(old, len, &s, NULL), ERR_UNSUPPORTED);
}

static void trust_reads_a_directory(void **state)
{
    (void)state;
    cleanup_folder struct folder f = folder_new();
    struct pair p = pair_new();
    cleanup_free char *public = NULL;
    assert_int_equal(minisig_public_print(&p.public, &public), ERR_OK);
    put(&f, "one.pub", public);
    put(&f, "same.pub", public);
    put(&f, "other.pub", other_public);
    put(&f, "notes.txt", "not a key");
    cleanup_trust struct trust *trust = NULL;
    assert_int_equal(trust_load(f.path, &trust, NULL), ERR_OK);
    assert_int_equal(trust->count, 2);
    assert_memory_equal(trust_find(trust, p.public.id), &p.public, sizeof p.public);
    struct pair stranger = pair_new();
    assert_null(trust_find(trust, stranger.public.id));
}

static void trust_refuses(void **state)
{
    (void)state;
    cleanup_folder struct folder f = folder_new();
    struct err_info info = {0};
    struct trust *trust = NULL;
    assert_int_equal(trust_load(f.path, &trust, &info), ERR_NOT_FOUND);
    assert_string_equal(info.code, "no_release_keys");
    assert_true(info.next[0] != '\0');
    assert_int_equal(trust_load("/nonexistent/keys", &trust, &info), ERR_NOT_FOUND);
    put(&f, "bad.pub", "not a key");
    assert_int_equal(trust_load(f.path, &trust, &info), ERR_INVALID);
    assert_non_null(strstr(info.text, "bad.pub"));
    struct pair p = pair_new();
    struct pair q = pair_new();
    memcpy(q.public.id, p.public.id, sizeof q.public.id);
    cleanup_free char *one = NULL;
    cleanup_free char *two = NULL;
    assert_int_equal(minisig_public_print(&p.public, &one), ERR_OK);
    assert_int_equal(minisig_public_print(&q.public, &two), ERR_OK);
    put(&f, "bad.pub", one);
    put(&f, "two.pub", two);
    assert_int_equal(trust_load(f.path, &trust, &info), ERR_INVALID);
    assert_non_null(strstr(info.text, "same id"));
    assert_null(trust);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(changes_are_refused),
        cmocka_unit_test(keys_survive_text),
        cmocka_unit_test(id_is_printed_like_minisign),
        cmocka_unit_test(minisign_signature_is_verified),
        cmocka_unit_test(bad_signature_files_are_refused),
        cmocka_unit_test(bad_key_files_are_refused),
        cmocka_unit_test(minisign_verifies_ours),
        cmocka_unit_test(minisign_signs_with_our_key),
        cmocka_unit_test(trust_reads_a_directory),
        cmocka_unit_test(trust_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
