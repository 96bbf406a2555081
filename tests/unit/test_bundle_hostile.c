/* Hostile archives, built entry by entry: each is refused as a whole with its code, and leaves nothing behind. */
#include "tests/unit/hostile_kit.h"

/* A bundle taken apart; the first is always manifest.json, then one signature, then two payload entries. */
struct forge {
    struct kit kit;
    struct manifest *manifest;
    char *signature; /* its text, owned */
    struct part parts[ENTRIES_MAX];
    size_t count;
};

static void forge_start(struct forge *f)
{
    char name[160];
    kit_start(&f->kit);
    f->manifest = kit_create(&f->kit, "good.mub");
    f->signature = signature_by(&f->kit.key, f->manifest->raw, f->manifest->raw_len);
    f->count = 0;
    f->parts[f->count++] = part_of(MANIFEST_NAME, f->manifest->raw, f->manifest->raw_len);
    signature_name(&f->kit.key, name);
    f->parts[f->count++] = part_of(name, f->signature, strlen(f->signature));
    for (size_t i = 0; i < 2; i++) {
        manifest_payload_name(&f->manifest->payload[i], name);
        f->parts[f->count++] = i == 0 ? part_of(name, "weights", 7) : part_of(name, "#!/bin/sh\n", 10);
    }
    char path[160];
    assert_int_equal(mkdir(kit_path(&f->kit, "outside", path), 0755), 0);
}

static void forge_end(struct forge *f)
{
    f->manifest = manifest_free(f->manifest);
    free(f->signature);
    kit_end(&f->kit);
}

static void part_insert(struct forge *f, size_t at, struct part p)
{
    assert_true(f->count < ENTRIES_MAX && at <= f->count);
    memmove(&f->parts[at + 1], &f->parts[at], (f->count - at) * sizeof f->parts[0]);
    f->parts[at] = p;
    f->count++;
}

static void part_remove(struct forge *f, size_t at)
{
    memmove(&f->parts[at], &f->parts[at + 1], (f->count - at - 1) * sizeof f->parts[0]);
    f->count--;
}

enum wrapping { TAR, GZIP, CPIO };

static void forge_write(const struct forge *f, const char *path, enum wrapping wrapping)
{
    struct archive *a = archive_write_new();
    assert_int_equal(wrapping == CPIO ? archive_write_set_format_cpio_newc(a) : archive_write_set_format_pax(a), 0);
    assert_int_equal(wrapping == GZIP ? archive_write_add_filter_gzip(a) : archive_write_add_filter_none(a), 0);
    assert_int_equal(archive_write_open_filename(a, path), ARCHIVE_OK);
    for (size_t i = 0; i < f->count; i++)
        part_write(a, &f->parts[i]);
    assert_int_equal(archive_write_close(a), ARCHIVE_OK);
    assert_int_equal(archive_write_free(a), ARCHIVE_OK);
}

/* Verifies and extracts NAME; both must end alike, and a refusal must leave nothing. */
static void expect(const struct forge *f, const char *what, const char *name, enum err wanted, const char *code)
{
    struct err_info info = {0};
    struct manifest *m = NULL;
    cleanup_fd int fd = kit_open(&f->kit, name);
    enum err e = bundle_verify(fd, &f->kit.trust, &m, NULL, &info);
    if (e != wanted || strcmp(info.code, code) != 0)
        fail_msg("%s: verify: %s, code \"%s\", %s", what, err_name(e), info.code, info.text);
    m = manifest_free(m);
    e = world_extract(&f->kit, what, name, NULL, &info);
    if (e != wanted || strcmp(info.code, code) != 0)
        fail_msg("%s: extract: %s, code \"%s\", %s", what, err_name(e), info.code, info.text);
}

/* ---- one case each: changes the parts of a good bundle ---- */

static void nothing(struct forge *f)
{
    (void)f;
}

static void unlisted_last(struct forge *f)
{
    part_insert(f, f->count, part_of("payload/extra", "x", 1));
}

static void unlisted_between(struct forge *f)
{
    part_insert(f, 3, part_of("extra", "x", 1));
}

static void missing_last(struct forge *f)
{
    part_remove(f, 3);
}

static void missing_first(struct forge *f)
{
    part_remove(f, 2);
}

static void missing_all(struct forge *f)
{
    f->count = 2;
}

static void duplicate(struct forge *f)
{
    part_insert(f, 3, f->parts[2]);
}

static void duplicate_last(struct forge *f)
{
    part_insert(f, f->count, f->parts[2]);
}

static void reordered(struct forge *f)
{
    struct part p = f->parts[2];
    f->parts[2] = f->parts[3];
    f->parts[3] = p;
}

static void absolute_name(struct forge *f)
{
    (void)kit_path(&f->kit, "outside/evil", f->parts[2].name);
}

static void dot_dot_name(struct forge *f)
{
    (void)snprintf(f->parts[2].name, sizeof f->parts[2].name, "../outside/evil");
}

static void dot_dot_extra(struct forge *f)
{
    part_insert(f, f->count, part_of("../outside/evil", "x", 1));
}

/* Read back as it is, but shown with '?'. */
static void terminal_name(struct forge *f)
{
    (void)snprintf(f->parts[2].name, sizeof f->parts[2].name, "\033[2J");
}

static void symbolic_link(struct forge *f)
{
    f->parts[2].type = AE_IFLNK;
    f->parts[2].link = "../../outside/evil";
    f->parts[2].len = 0;
}

static void hard_link(struct forge *f)
{
    f->parts[3].link = f->parts[2].name;
    f->parts[3].hard = true;
    f->parts[3].len = 0;
}

static void link_to_manifest(struct forge *f)
{
    f->parts[0].type = AE_IFLNK;
    f->parts[0].link = "/etc/passwd";
    f->parts[0].len = 0;
}

static void folder_entry(struct forge *f)
{
    struct part p = part_of("payload/", "", 0);
    p.type = AE_IFDIR;
    part_insert(f, 2, p);
}

static void pipe_entry(struct forge *f)
{
    f->parts[2].type = AE_IFIFO;
    f->parts[2].len = 0;
}

static void device_entry(struct forge *f)
{
    f->parts[2].type = AE_IFBLK;
    f->parts[2].len = 0;
}

static void setuid_bit(struct forge *f)
{
    f->parts[3].perm = 04755;
}

static void setgid_bit(struct forge *f)
{
    f->parts[3].perm = 02755;
}

static void sticky_bit(struct forge *f)
{
    f->parts[2].perm = 01444;
}

static void sparse_entry(struct forge *f)
{
    f->parts[2].sparse = true;
}

static void too_long(struct forge *f)
{
    f->parts[2].bytes = "weights and more";
    f->parts[2].len = 16;
}

static void too_short(struct forge *f)
{
    f->parts[2].len = 6;
}

static void flipped_payload(struct forge *f)
{
    f->parts[2].bytes = "weighus";
}

static void flipped_last_payload(struct forge *f)
{
    f->parts[3].bytes = "#!/bin/sh\r";
}

static void flipped_manifest(struct forge *f)
{
    char *digit = strstr(f->manifest->raw, "1.0.0");
    assert_non_null(digit);
    digit[0] = '2'; /* still a valid manifest, but not the signed one */
}

static void manifest_not_first(struct forge *f)
{
    part_insert(f, 0, part_of("README", "x", 1));
}

static void manifest_missing(struct forge *f)
{
    part_remove(f, 0);
}

static void manifest_dotted(struct forge *f)
{
    (void)snprintf(f->parts[0].name, sizeof f->parts[0].name, "./manifest.json");
}

static void manifest_twice(struct forge *f)
{
    part_insert(f, 1, f->parts[0]);
}

static void manifest_oversized(struct forge *f)
{
    static char large[MANIFEST_BYTES_MAX + 1];
    memset(large, ' ', sizeof large);
    f->parts[0].bytes = large;
    f->parts[0].len = sizeof large;
}

static void not_signed(struct forge *f)
{
    part_remove(f, SIGNATURES_AT);
}

static void other_key_only(struct forge *f)
{
    struct minisig_public unused;
    assert_int_equal(minisig_generate(&f->kit.key, &unused), ERR_OK); /* trust keeps the first one */
    free(f->signature);
    f->signature = signature_by(&f->kit.key, f->manifest->raw, f->manifest->raw_len);
    char name[160];
    signature_name(&f->kit.key, name);
    f->parts[SIGNATURES_AT] = part_of(name, f->signature, strlen(f->signature));
}

/* Adds count signatures of unknown keys before the good one. The texts are in static memory. */
static void strangers_sign(struct forge *f, size_t count)
{
    static char texts[ENTRIES_MAX][MINISIG_FILE_MAX];
    for (size_t i = 0; i < count; i++) {
        struct minisig_secret key;
        struct minisig_public unused;
        char name[160];
        assert_int_equal(minisig_generate(&key, &unused), ERR_OK);
        cleanup_free char *text = signature_by(&key, f->manifest->raw, f->manifest->raw_len);
        (void)snprintf(texts[i], sizeof texts[i], "%s", text);
        signature_name(&key, name);
        part_insert(f, SIGNATURES_AT, part_of(name, texts[i], strlen(texts[i])));
    }
}

static void seven_strangers(struct forge *f)
{
    strangers_sign(f, BUNDLE_KEYS_MAX - 1);
}

static void eight_strangers(struct forge *f)
{
    strangers_sign(f, BUNDLE_KEYS_MAX);
}

/* A second trusted key, whose signature is wrong: one good signature does not excuse a forged one. */
static void one_good_one_forged(struct forge *f)
{
    static char text[MINISIG_FILE_MAX];
    struct minisig_secret key;
    char name[160];
    assert_int_equal(minisig_generate(&key, &f->kit.trust.keys[f->kit.trust.count++]), ERR_OK);
    cleanup_free char *signature = signature_by(&key, "something else", 14);
    (void)snprintf(text, sizeof text, "%s", signature);
    signature_name(&key, name);
    part_insert(f, SIGNATURES_AT + 1, part_of(name, text, strlen(text)));
}

static void signature_flipped(struct forge *f)
{
    char *at = strchr(f->signature, '\n') + 40; /* inside the base64 of the signature */
    *at = *at == 'A' ? 'B' : 'A';
}

static void comment_changed(struct forge *f)
{
    char *at = strstr(f->signature, "trusted comment: test");
    assert_non_null(at);
    at = strstr(at + 1, "test");
    *at = 'b';
}

static void signature_garbage(struct forge *f)
{
    f->parts[SIGNATURES_AT] = part_of(f->parts[SIGNATURES_AT].name, "garbage", 7);
}

static void signature_oversized(struct forge *f)
{
    static char large[MINISIG_FILE_MAX + 1];
    f->parts[SIGNATURES_AT].bytes = large;
    f->parts[SIGNATURES_AT].len = sizeof large;
}

static void signature_of_other_name(struct forge *f)
{
    (void)snprintf(f->parts[SIGNATURES_AT].name, 160, "manifest.json.0123456789ABCDEF.minisig");
}

static void signature_twice(struct forge *f)
{
    part_insert(f, SIGNATURES_AT, f->parts[SIGNATURES_AT]);
}

static void signature_last(struct forge *f)
{
    struct part p = f->parts[SIGNATURES_AT];
    part_remove(f, SIGNATURES_AT);
    part_insert(f, f->count, p);
}

static void signature_after_payload(struct forge *f)
{
    strangers_sign(f, 1);
    struct part p = f->parts[SIGNATURES_AT];
    part_remove(f, SIGNATURES_AT);
    part_insert(f, f->count, p);
}

/* Signed by the right key, but what it says is not allowed. */
static void manifest_replaced(struct forge *f, const char *from, const char *to)
{
    static char raw[MANIFEST_BYTES_MAX];
    const char *at = strstr(f->manifest->raw, from);
    assert_non_null(at);
    (void)snprintf(raw, sizeof raw, "%.*s%s%s", (int)(at - f->manifest->raw), f->manifest->raw, to, at + strlen(from));
    free(f->signature);
    f->signature = signature_by(&f->kit.key, raw, strlen(raw));
    f->parts[0] = part_of(MANIFEST_NAME, raw, strlen(raw));
    f->parts[SIGNATURES_AT] = part_of(f->parts[SIGNATURES_AT].name, f->signature, strlen(f->signature));
}

static void signed_escape(struct forge *f)
{
    manifest_replaced(f, "bin/run", "../outside/evil");
}

static void signed_absolute(struct forge *f)
{
    manifest_replaced(f, "bin/run", "/tmp/evil");
}

static void signed_setuid(struct forge *f)
{
    manifest_replaced(f, "\"0555\"", "\"4755\"");
}

static void signed_encoding(struct forge *f)
{
    manifest_replaced(f, "\"raw\"", "\"delta\"");
}

static void signed_nonsense(struct forge *f)
{
    manifest_replaced(f, "{", "nonsense");
}

/* The signature is good, but of another manifest. */
static void signature_of_other(struct forge *f)
{
    free(f->signature);
    f->signature = signature_by(&f->kit.key, "{}", 2);
    f->parts[SIGNATURES_AT] = part_of(f->parts[SIGNATURES_AT].name, f->signature, strlen(f->signature));
}

/* The older form of minisign, over the bytes themselves: its first letters are "Ed", not "ED". */
static void signature_legacy(struct forge *f)
{
    char *at = strchr(f->signature, '\n') + 1;
    assert_memory_equal(at, "RU", 2); /* base64 of "ED" */
    at[1] = 'W';                      /* and of "Ed" */
}

static void two_manifests(struct forge *f)
{
    static char other[MANIFEST_BYTES_MAX];
    (void)snprintf(other, sizeof other, "%s ", f->manifest->raw);
    part_insert(f, f->count, part_of(MANIFEST_NAME, other, strlen(other)));
}

static void two_required(struct forge *f)
{
    f->kit.trust.required = 2;
}

/* One key in two files with two ids: still one. */
static void one_key_for_two(struct forge *f)
{
    static char text[MINISIG_FILE_MAX];
    struct minisig_secret alias = f->kit.key;
    char name[160];
    alias.id[3] ^= 1;
    f->kit.trust.keys[f->kit.trust.count] = f->kit.trust.keys[0];
    f->kit.trust.keys[f->kit.trust.count++].id[3] ^= 1;
    f->kit.trust.required = 2;
    cleanup_free char *signature = signature_by(&alias, f->manifest->raw, f->manifest->raw_len);
    (void)snprintf(text, sizeof text, "%s", signature);
    signature_name(&alias, name);
    part_insert(f, SIGNATURES_AT + 1, part_of(name, text, strlen(text)));
}

static void signed_duplicate_key(struct forge *f)
{
    manifest_replaced(f, "{", "{\"kind\":\"app\",");
}

static void signed_two_of_one_path(struct forge *f)
{
    manifest_replaced(f, "copy/of/model.onnx", "model.onnx");
}

static void signed_file_as_folder(struct forge *f)
{
    manifest_replaced(f, "copy/of/model.onnx", "model.onnx/x");
}

static void signed_manifest_path(struct forge *f)
{
    manifest_replaced(f, "bin/run", "manifest.json");
}

static void signed_critical(struct forge *f)
{
    manifest_replaced(f, "{", "{\"critical\":[\"attestation\"],");
}

static void signed_size(struct forge *f, const char *size)
{
    char text[64];
    (void)snprintf(text, sizeof text, "\"size\":%s,", size);
    manifest_replaced(f, "\"size\":10,", text);
}

static void signed_size_31(struct forge *f)
{
    signed_size(f, "2147483648");
}

static void signed_size_32(struct forge *f)
{
    signed_size(f, "4294967296");
}

static void signed_size_63(struct forge *f)
{
    signed_size(f, "9223372036854775808");
}

static void signed_size_negative(struct forge *f)
{
    signed_size(f, "-1");
}

static void signed_size_fraction(struct forge *f)
{
    signed_size(f, "10.5");
}

struct hostile {
    const char *what;
    void (*make)(struct forge *f);
    enum err e;
    const char *code;
};

#define MISMATCH ERR_CORRUPT, "payload_mismatch"
#define MALFORMED ERR_CORRUPT, "bundle_malformed"
#define UNTRUSTED ERR_UNTRUSTED, "signature_untrusted"
#define INVALID ERR_INVALID, "manifest_invalid"
#define GOOD ERR_OK, ""

static const struct hostile hostiles[] = {
    {"a good one", nothing, GOOD},
    {"unlisted entry at the end", unlisted_last, MISMATCH},
    {"unlisted entry between", unlisted_between, MISMATCH},
    {"last entry missing", missing_last, MISMATCH},
    {"first entry missing", missing_first, MISMATCH},
    {"all entries missing", missing_all, MISMATCH},
    {"entry twice", duplicate, MISMATCH},
    {"entry again at the end", duplicate_last, MISMATCH},
    {"entries reordered", reordered, MISMATCH},
    {"absolute name", absolute_name, MISMATCH},
    {"name with ..", dot_dot_name, MISMATCH},
    {"extra name with ..", dot_dot_extra, MISMATCH},
    {"name with an escape", terminal_name, MISMATCH},
    {"symbolic link", symbolic_link, MISMATCH},
    {"hard link", hard_link, MISMATCH},
    {"manifest is a link", link_to_manifest, MISMATCH},
    {"directory", folder_entry, MISMATCH},
    {"named pipe", pipe_entry, MISMATCH},
    {"block device", device_entry, MISMATCH},
    {"setuid", setuid_bit, MISMATCH},
    {"setgid", setgid_bit, MISMATCH},
    {"sticky", sticky_bit, MISMATCH},
    {"sparse", sparse_entry, MISMATCH},
    {"too long", too_long, MISMATCH},
    {"too short", too_short, MISMATCH},
    {"one bit of the payload", flipped_payload, MISMATCH},
    {"one bit of the last payload", flipped_last_payload, MISMATCH},
    {"one digit of the manifest", flipped_manifest, UNTRUSTED},
    {"manifest not first", manifest_not_first, MALFORMED},
    {"manifest missing", manifest_missing, MALFORMED},
    {"manifest called ./manifest.json", manifest_dotted, MALFORMED},
    {"manifest twice", manifest_twice, UNTRUSTED},
    {"manifest oversized", manifest_oversized, MISMATCH},
    {"not signed", not_signed, UNTRUSTED},
    {"signed by a stranger", other_key_only, UNTRUSTED},
    {"signed by seven strangers too", seven_strangers, GOOD},
    {"too many signatures", eight_strangers, UNTRUSTED},
    {"a trusted signature is forged", one_good_one_forged, UNTRUSTED},
    {"one character of the signature", signature_flipped, UNTRUSTED},
    {"trusted comment", comment_changed, UNTRUSTED},
    {"signature is garbage", signature_garbage, UNTRUSTED},
    {"signature oversized", signature_oversized, MISMATCH},
    {"signature under another name", signature_of_other_name, UNTRUSTED},
    {"signature twice", signature_twice, UNTRUSTED},
    {"only signature at the end", signature_last, UNTRUSTED},
    {"a signature at the end", signature_after_payload, MISMATCH},
    {"signed path outside", signed_escape, INVALID},
    {"signed absolute path", signed_absolute, INVALID},
    {"signed setuid", signed_setuid, INVALID},
    {"signed unknown encoding", signed_encoding, ERR_UNSUPPORTED, "manifest_unsupported"},
    {"signed nonsense", signed_nonsense, INVALID},
    {"signature of another manifest", signature_of_other, UNTRUSTED},
    {"signature in the older form", signature_legacy, UNTRUSTED},
    {"another manifest at the end", two_manifests, MISMATCH},
    {"one key where two are required", two_required, UNTRUSTED},
    {"one key under two ids for two", one_key_for_two, UNTRUSTED},
    {"signed manifest with a key twice", signed_duplicate_key, INVALID},
    {"signed path twice", signed_two_of_one_path, INVALID},
    {"signed file that is a directory, too", signed_file_as_folder, INVALID},
    {"signed path of the manifest", signed_manifest_path, INVALID},
    {"signed need of something unknown", signed_critical, ERR_UNSUPPORTED, "manifest_unsupported"},
    {"signed size 2^31", signed_size_31, INVALID},
    {"signed size 2^32", signed_size_32, INVALID},
    {"signed size 2^63", signed_size_63, INVALID},
    {"signed size -1", signed_size_negative, INVALID},
    {"signed size 10.5", signed_size_fraction, INVALID},
};

static void hostile_archives(void **state)
{
    (void)state;
    size_t refused = 0;
    for (size_t i = 0; i < sizeof hostiles / sizeof hostiles[0]; i++) {
        struct forge f;
        char path[160];
        forge_start(&f);
        hostiles[i].make(&f);
        forge_write(&f, kit_path(&f.kit, "b.mub", path), TAR);
        expect(&f, hostiles[i].what, "b.mub", hostiles[i].e, hostiles[i].code);
        refused += hostiles[i].e != ERR_OK;
        forge_end(&f);
    }
    kinds_say(refused, "archives and signatures");
    assert_true(refused >= 40);
}

static void other_formats(void **state)
{
    (void)state;
    struct forge f;
    char path[160];
    forge_start(&f);
    (void)kit_path(&f.kit, "b.mub", path);
    forge_write(&f, path, GZIP);
    expect(&f, "gzip", "b.mub", MALFORMED);
    forge_write(&f, path, CPIO);
    expect(&f, "cpio", "b.mub", MALFORMED);
    kit_put(&f.kit, "b.mub", "", 0);
    expect(&f, "empty", "b.mub", MALFORMED);
    kit_put(&f.kit, "b.mub", "{\"schema\":1}", 12);
    expect(&f, "text", "b.mub", MALFORMED);
    forge_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_archives),
        cmocka_unit_test(other_formats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
