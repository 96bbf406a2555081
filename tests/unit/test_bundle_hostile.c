/* Hostile archives, built entry by entry: each is refused as a whole with its code, and leaves nothing behind. */
#include "tests/unit/bundle_kit.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/mman.h>

enum { ENTRIES_MAX = 24, SIGNATURES_AT = 1, TAR_MAX = 1 << 20 };

struct part {
    char name[160];
    const char *bytes;
    size_t len;
    const char *link; /* target; NULL: no link */
    bool hard;
    bool sparse;
    unsigned type;
    unsigned perm;
};

/* A bundle taken apart; the first is always manifest.json, then one signature, then two payload entries. */
struct forge {
    struct kit kit;
    struct manifest *manifest;
    char *signature; /* its text, owned */
    struct part parts[ENTRIES_MAX];
    size_t count;
};

static struct part part_of(const char *name, const char *bytes, size_t len)
{
    struct part p = {.bytes = bytes, .len = len, .type = AE_IFREG, .perm = 0444};
    (void)snprintf(p.name, sizeof p.name, "%s", name);
    return p;
}

static char *signature_by(const struct minisig_secret *key, const char *bytes, size_t len)
{
    char *text = NULL;
    assert_int_equal(minisig_sign(key, bytes, len, "test", &text), ERR_OK);
    return text;
}

static void signature_name(const struct minisig_secret *key, char name[160])
{
    char id[MINISIG_ID_TEXT];
    minisig_id_text(key->id, id);
    (void)snprintf(name, 160, "manifest.json.%s.minisig", id);
}

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

static void part_write(struct archive *a, const struct part *p)
{
    struct archive_entry *e = archive_entry_new();
    archive_entry_set_pathname(e, p->name);
    archive_entry_set_filetype(e, p->type);
    archive_entry_set_perm(e, (mode_t)p->perm);
    archive_entry_set_size(e, (la_int64_t)p->len);
    if (p->link != NULL && p->hard)
        archive_entry_set_hardlink(e, p->link);
    else if (p->link != NULL)
        archive_entry_set_symlink(e, p->link);
    if (p->sparse)
        archive_entry_sparse_add_entry(e, 0, 1);
    assert_true(archive_write_header(a, e) >= ARCHIVE_WARN);
    if (p->len > 0)
        assert_true(archive_write_data(a, p->bytes, p->len) >= 0);
    archive_entry_free(e);
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
    info = (struct err_info){0};
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    cleanup_fd int out = kit_open(&f->kit, "out");
    e = bundle_extract(fd, &f->kit.trust, NULL, out, &m, NULL, &info);
    if (e != wanted || strcmp(info.code, code) != 0)
        fail_msg("%s: extract: %s, code \"%s\", %s", what, err_name(e), info.code, info.text);
    for (const char *c = info.text; *c != '\0'; c++)
        assert_true(*c >= 0x20);
    if (e != ERR_OK && (kit_count(&f->kit, "out") != 0 || m != NULL))
        fail_msg("%s: something was left behind", what);
    if (kit_count(&f->kit, "outside") != 0)
        fail_msg("%s: something was written outside", what);
    m = manifest_free(m);
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
};

static void hostile_archives(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof hostiles / sizeof hostiles[0]; i++) {
        struct forge f;
        char path[160];
        forge_start(&f);
        hostiles[i].make(&f);
        forge_write(&f, kit_path(&f.kit, "b.mub", path), TAR);
        expect(&f, hostiles[i].what, "b.mub", hostiles[i].e, hostiles[i].code);
        forge_end(&f);
    }
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

/* Cut anywhere before its end, a bundle is refused; the two zero blocks at the end carry nothing. */
static void cut_short(void **state)
{
    (void)state;
    struct forge f;
    char path[160];
    size_t len = 0;
    cleanup_free char *bytes = NULL;
    forge_start(&f);
    forge_write(&f, kit_path(&f.kit, "whole.mub", path), TAR);
    assert_int_equal(file_read(path, TAR_MAX, &bytes, &len), ERR_OK);
    size_t last = len;
    while (bytes[last - 1] == '\0')
        last--;
    for (size_t cut = 0; cut < last; cut += cut % 512 == 0 ? 1 : 73) {
        struct manifest *m = NULL;
        kit_put(&f.kit, "b.mub", bytes, cut);
        cleanup_fd int fd = kit_open(&f.kit, "b.mub");
        cleanup_fd int out = kit_open(&f.kit, "out");
        enum err e = bundle_extract(fd, &f.kit.trust, NULL, out, &m, NULL, NULL);
        if (e == ERR_OK || kit_count(&f.kit, "out") != 0)
            fail_msg("cut to %zu of %zu bytes: %s", cut, len, err_name(e));
    }
    forge_end(&f);
}

static void data_behind_the_end(void **state)
{
    (void)state;
    struct forge f;
    char path[160];
    size_t len = 0;
    cleanup_free char *bytes = NULL;
    forge_start(&f);
    forge_write(&f, kit_path(&f.kit, "b.mub", path), TAR);
    assert_int_equal(file_read(path, TAR_MAX, &bytes, &len), ERR_OK);
    size_t size = len + 3 * 1024 * 1024;
    char *longer = realloc(bytes, size);
    assert_non_null(longer);
    bytes = longer;
    memset(bytes + len, 0, size - len);
    kit_put(&f.kit, "b.mub", bytes, len + 10240);
    struct manifest *m = NULL;
    cleanup_fd int fd = kit_open(&f.kit, "b.mub");
    assert_int_equal(bundle_verify(fd, &f.kit.trust, &m, NULL, NULL), ERR_OK); /* tar's usual padding */
    m = manifest_free(m);
    bytes[len + 10239] = 1;
    kit_put(&f.kit, "b.mub", bytes, len + 10240);
    expect(&f, "a byte near the end", "b.mub", MALFORMED);
    bytes[len + 10239] = 0;
    bytes[len + 200000] = 1;
    kit_put(&f.kit, "b.mub", bytes, len + 300000);
    expect(&f, "a byte far behind the end", "b.mub", MALFORMED);
    bytes[len + 200000] = 0;
    kit_put(&f.kit, "b.mub", bytes, size);
    expect(&f, "megabytes of zeros", "b.mub", MALFORMED);
    forge_end(&f);
}

/* Flip every byte in turn: some carry nothing (padding, user names), but nothing wrong is ever accepted. */
static void every_byte_flipped(void **state)
{
    (void)state;
    struct forge f;
    char path[160];
    size_t len = 0;
    size_t refused = 0;
    cleanup_free char *bytes = NULL;
    forge_start(&f);
    assert_int_equal(bundle_sign(kit_path(&f.kit, "good.mub", path), &f.kit.key, NULL), ERR_OK);
    assert_int_equal(file_read(path, TAR_MAX, &bytes, &len), ERR_OK);
    cleanup_fd int fd = memfd_create("bundle", MFD_CLOEXEC);
    assert_int_equal(file_write_fd(fd, bytes, len), ERR_OK);
    for (size_t i = 0; i < len; i++) {
        struct manifest *m = NULL;
        char flipped = (char)(bytes[i] ^ 0x10);
        assert_int_equal(pwrite(fd, &flipped, 1, (off_t)i), 1);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        enum err e = bundle_verify(fd, &f.kit.trust, &m, NULL, NULL);
        if (e == ERR_OK)
            assert_string_equal(m->id, f.manifest->id);
        else
            refused++;
        m = manifest_free(m);
        assert_int_equal(pwrite(fd, &bytes[i], 1, (off_t)i), 1);
    }
    /* At least the manifest, the signature's three lines, and the payload. */
    assert_true(refused > f.manifest->raw_len + 200 + 17);
    forge_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_archives),    cmocka_unit_test(other_formats),      cmocka_unit_test(cut_short),
        cmocka_unit_test(data_behind_the_end), cmocka_unit_test(every_byte_flipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
