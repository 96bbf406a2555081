/* Hostile payload under a good signature, or beside it: compressed entries that are not what they say, and deltas, for
 * which no signature vouches. */
#include "common/delta/format.h"
#include "tests/unit/hostile_kit.h"

#include <sys/mman.h>
#include <zstd.h>

enum { BIG = 40000, BOMB = 64 << 20 };

/* A bundle with one file, "data": what the signed manifest says of it, and the entry that is there for it. */
struct forge {
    struct kit kit;
    char *content; /* the file's bytes */
    size_t content_len;
    char *entry; /* what travels */
    size_t entry_len;
    char entry_sha256[SHA256_HEX]; /* in the manifest; "": of entry */
    char file_sha256[SHA256_HEX];  /* the same; "": of content */
    int64_t file_size, entry_size; /* the same; -1: as they are */
    bool raw;                      /* the manifest says so */
    char name[160];                /* of the entry; "": as it should be */
    struct part more[2];           /* further entries behind it */
    size_t more_count;
    const char *old; /* what the device has for any digest that is asked; NULL: nothing */
    size_t old_len;
    bool without_olds;
};

static void noise(char *bytes, size_t len, uint32_t seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525u + 1013904223u;
        bytes[i] = (char)(seed >> 24);
    }
}

static void digest_of(const void *bytes, size_t len, char ret_sha256[SHA256_HEX])
{
    assert_int_equal(sha256_hex(bytes, len, ret_sha256), ERR_OK);
}

static char *copy_of(const void *bytes, size_t len)
{
    char *copy = malloc(len + 1);
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    return copy;
}

static void forge_start(struct forge *f)
{
    char path[160];
    *f = (struct forge){.content = malloc(BIG), .content_len = BIG, .file_size = -1, .entry_size = -1};
    assert_non_null(f->content);
    noise(f->content, BIG, 7);
    memset(f->content, 'a', BIG / 2);
    kit_start(&f->kit);
    assert_int_equal(mkdir(kit_path(&f->kit, "outside", path), 0755), 0);
}

static void forge_end(struct forge *f)
{
    free(f->content);
    free(f->entry);
    kit_end(&f->kit);
}

static void forge_write(struct forge *f)
{
    char name[160];
    char path[160];
    char id[MINISIG_ID_TEXT];
    char entry_sha256[SHA256_HEX];
    char file_sha256[SHA256_HEX];
    digest_of(f->entry, f->entry_len, entry_sha256);
    digest_of(f->content, f->content_len, file_sha256);
    const char *file = f->file_sha256[0] != '\0' ? f->file_sha256 : file_sha256;
    const char *entry = f->raw ? file : f->entry_sha256[0] != '\0' ? f->entry_sha256 : entry_sha256;
    json_int_t file_size = f->file_size >= 0 ? f->file_size : (json_int_t)f->content_len;
    json_int_t entry_size = f->raw ? file_size : f->entry_size >= 0 ? f->entry_size : (json_int_t)f->entry_len;
    json_auto_t *json =
        json_pack("{s:i, s:s, s:s, s:s, s:i, s:i, s:{}, s:[{s:s, s:I, s:s, s:s}], s:[{s:s, s:s, s:I, s:s}]}", "schema",
                  1, "kind", "app", "name", "data", "version", "1.0.0", "release_counter", 1, "created", 0, "app",
                  "files", "path", "data", "size", file_size, "sha256", file, "mode", "0444", "payload", "file", file,
                  "encoding", f->raw ? "raw" : "zstd", "size", entry_size, "sha256", entry);
    cleanup_free char *manifest = json_dumps(json, JSON_COMPACT);
    cleanup_free char *signature = NULL;
    assert_non_null(manifest);
    assert_int_equal(minisig_sign(&f->kit.key, manifest, strlen(manifest), "test", &signature), ERR_OK);
    struct archive *a = archive_write_new();
    assert_int_equal(archive_write_set_format_ustar(a), ARCHIVE_OK);
    assert_int_equal(archive_write_open_filename(a, kit_path(&f->kit, "b.mub", path)), ARCHIVE_OK);
    struct part part = part_of(MANIFEST_NAME, manifest, strlen(manifest));
    part_write(a, &part);
    minisig_id_text(f->kit.key.id, id);
    (void)snprintf(name, sizeof name, "manifest.json.%s.minisig", id);
    part = part_of(name, signature, strlen(signature));
    part_write(a, &part);
    (void)snprintf(name, sizeof name, "payload/%s", entry);
    part = part_of(f->name[0] != '\0' ? f->name : name, f->entry, f->entry_len);
    part_write(a, &part);
    for (size_t i = 0; i < f->more_count; i++)
        part_write(a, &f->more[i]);
    assert_int_equal(archive_write_free(a), ARCHIVE_OK);
}

static enum err old_open(void *user, const char *sha256, int *ret_fd, struct err_info *info)
{
    const struct forge *f = user;
    (void)sha256;
    if (f->old == NULL)
        return err_set(info, ERR_NOT_FOUND, "no such object");
    *ret_fd = memfd_create("old", MFD_CLOEXEC);
    return *ret_fd < 0 ? ERR_IO : file_write_fd(*ret_fd, f->old, f->old_len);
}

/* ---- compressed entries ---- */

/* One frame of the bytes. window: its log, 0 as usual; pledged: the frame says how much is in it. */
static void frame_of(struct forge *f, const void *bytes, size_t len, int window, bool pledged)
{
    size_t room = ZSTD_compressBound(len) + 64;
    ZSTD_CCtx *zstd = ZSTD_createCCtx();
    free(f->entry);
    f->entry = malloc(room);
    assert_true(zstd != NULL && f->entry != NULL);
    if (window > 0)
        assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(zstd, ZSTD_c_windowLog, window)));
    (void)ZSTD_CCtx_setParameter(zstd, ZSTD_c_checksumFlag, 1);
    if (pledged)
        (void)ZSTD_CCtx_setPledgedSrcSize(zstd, len);
    ZSTD_inBuffer in = {.src = bytes, .size = len, .pos = 0};
    ZSTD_outBuffer out = {.dst = f->entry, .size = room, .pos = 0};
    while (in.pos < in.size)
        assert_false(ZSTD_isError(ZSTD_compressStream2(zstd, &out, &in, ZSTD_e_continue)));
    assert_int_equal(ZSTD_compressStream2(zstd, &out, &in, ZSTD_e_end), 0);
    f->entry_len = out.pos;
    (void)ZSTD_freeCCtx(zstd);
}

static void frame_usual(struct forge *f)
{
    frame_of(f, f->content, f->content_len, 0, true);
}

static void entry_append(struct forge *f, const void *bytes, size_t len)
{
    char *longer = realloc(f->entry, f->entry_len + len);
    assert_non_null(longer);
    f->entry = longer;
    memcpy(f->entry + f->entry_len, bytes, len);
    f->entry_len += len;
}

static void bomb(struct forge *f, bool pledged)
{
    cleanup_free char *zeros = calloc(1, BOMB);
    assert_non_null(zeros);
    frame_of(f, zeros, BOMB, 20, pledged);
    assert_true(f->entry_len < BOMB / 1000);
}

static void zstd_bomb(struct forge *f)
{
    bomb(f, false);
}
static void zstd_bomb_pledged(struct forge *f)
{
    bomb(f, true);
}
static void zstd_one_more(struct forge *f)
{
    frame_usual(f);
    f->file_size = BIG - 1;
}
static void zstd_one_less(struct forge *f)
{
    frame_usual(f);
    f->file_size = BIG + 1;
}
static void zstd_size_40(struct forge *f)
{
    frame_usual(f);
    f->file_size = (int64_t)1 << 40;
}
static void zstd_size_0(struct forge *f)
{
    frame_usual(f);
    f->file_size = 0;
}
static void zstd_window(struct forge *f)
{
    frame_of(f, f->content, f->content_len, 24, false);
}
static void zstd_window_27(struct forge *f)
{
    frame_of(f, f->content, f->content_len, 27, false);
}
/* The right content, but all of it would have to be remembered. */
static void zstd_segment(struct forge *f)
{
    free(f->content);
    f->content = calloc(1, 16 << 20);
    assert_non_null(f->content);
    f->content_len = 16 << 20;
    frame_of(f, f->content, f->content_len, 25, true);
}
static void zstd_trailing(struct forge *f)
{
    frame_usual(f);
    entry_append(f, "x", 1);
}
static void zstd_trailing_zeros(struct forge *f)
{
    static const char zeros[100000];
    frame_usual(f);
    entry_append(f, zeros, sizeof zeros);
}
static void zstd_two_frames(struct forge *f)
{
    char second[64];
    size_t len = ZSTD_compress(second, sizeof second, "more", 4, 1);
    frame_usual(f);
    entry_append(f, second, len);
}
static void zstd_skippable_behind(struct forge *f)
{
    frame_usual(f);
    entry_append(f, "\x50\x2a\x4d\x18\x04\0\0\0note", 12);
}
static void zstd_skippable_before(struct forge *f)
{
    frame_usual(f);
    size_t len = f->entry_len;
    cleanup_free char *frame = copy_of(f->entry, len);
    f->entry_len = 0;
    entry_append(f, "\x50\x2a\x4d\x18\x04\0\0\0note", 12);
    entry_append(f, frame, len);
}
static void zstd_cut(struct forge *f)
{
    frame_usual(f);
    f->entry_len /= 2;
}
static void zstd_cut_by_one(struct forge *f)
{
    frame_usual(f);
    f->entry_len--;
}
static void zstd_magic_only(struct forge *f)
{
    frame_usual(f);
    f->entry_len = 4;
}
static void zstd_half_magic(struct forge *f)
{
    frame_usual(f);
    f->entry_len = 2;
}
/* Signed as it is: only the frame's own sum, or the file's digest, can tell. */
static void zstd_flipped(struct forge *f)
{
    frame_usual(f);
    f->entry[f->entry_len / 2] ^= 1;
}
static void zstd_flipped_on_the_way(struct forge *f)
{
    frame_usual(f);
    digest_of(f->entry, f->entry_len, f->entry_sha256);
    f->entry[f->entry_len / 2] ^= 1;
}
static void zstd_sum_wrong(struct forge *f)
{
    frame_usual(f);
    f->entry[f->entry_len - 1] ^= 1;
}
static void zstd_other_file(struct forge *f)
{
    digest_of("something else", 14, f->file_sha256);
    frame_usual(f);
}
static void zstd_dictionary(struct forge *f)
{
    frame_usual(f);
    f->entry[4] |= 1; /* the frame names a dictionary of one byte */
}
static void zstd_not(struct forge *f)
{
    f->entry = copy_of(f->content, f->content_len);
    f->entry_len = f->content_len;
    f->entry[0] = 'x'; /* or it would be the file itself */
}
static void zstd_gzip(struct forge *f)
{
    f->entry = copy_of("\x1f\x8b\x08\0\0\0\0\0\0\3\3\0\0\0\0\0\0\0\0\0", 20);
    f->entry_len = 20;
}
/* A frame that says 2^63 bytes: magic, an eight-byte size, a window of 1 MiB, an empty last block. */
static void zstd_claims_63(struct forge *f)
{
    f->entry = copy_of("\x28\xb5\x2f\xfd\xc0\x50\0\0\0\0\0\0\0\x80\x01\0\0", 17);
    f->entry_len = 17;
}
static void zstd_empty_frames(struct forge *f)
{
    char empty[32];
    size_t len = ZSTD_compress(empty, sizeof empty, "", 0, 1);
    f->entry = copy_of(empty, len);
    f->entry_len = len;
    for (int i = 0; i < 100; i++)
        entry_append(f, empty, len);
}
static void zstd_size_lies(struct forge *f)
{
    frame_usual(f);
    f->entry_size = (int64_t)f->entry_len + 1;
}
static void zstd_raw_instead(struct forge *f)
{
    char sha256[SHA256_HEX];
    frame_usual(f);
    digest_of(f->content, f->content_len, sha256);
    digest_of(f->entry, f->entry_len, f->entry_sha256);
    f->entry_size = (int64_t)f->entry_len;
    free(f->entry);
    f->entry = copy_of(f->content, f->content_len);
    f->entry_len = f->content_len;
    (void)snprintf(f->name, sizeof f->name, "payload/%s", sha256);
}

/* ---- deltas ---- */

static char *old_bytes(const struct forge *f)
{
    char *old = copy_of(f->content, f->content_len);
    for (size_t i = 0; i < 2000; i += 100)
        old[i] = (char)(old[i] + 1);
    return old;
}

static int memory_of(const void *bytes, size_t len)
{
    int fd = memfd_create("bytes", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(file_write_fd(fd, bytes, len), ERR_OK);
    return fd;
}

/* The entry is a delta of old, which the device has, that makes these bytes; called as one that makes the file. */
static void delta_to(struct forge *f, const void *bytes, size_t len)
{
    static const struct delta_options options = {.effort = DELTA_FAST, .threads = 1};
    char sha256[SHA256_HEX];
    char path[160];
    f->raw = true;
    char *old = old_bytes(f);
    f->old = old; /* freed by delta_end */
    f->old_len = f->content_len;
    cleanup_fd int old_fd = memory_of(old, f->old_len);
    cleanup_fd int new_fd = memory_of(bytes, len);
    int out = open(kit_path(&f->kit, "delta", path), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(out >= 0);
    assert_int_equal(delta_create(old_fd, new_fd, out, &options, NULL, NULL), ERR_OK);
    (void)close(out);
    free(f->entry);
    f->entry = NULL;
    assert_int_equal(file_read(path, 1 << 20, &f->entry, &f->entry_len), ERR_OK);
    digest_of(f->content, f->content_len, sha256);
    (void)snprintf(f->name, sizeof f->name, "delta/%s", sha256);
}

static void delta_usual(struct forge *f)
{
    delta_to(f, f->content, f->content_len);
}

static void same_usual(struct forge *f)
{
    char sha256[SHA256_HEX];
    f->raw = true;
    f->entry = copy_of("", 0);
    digest_of(f->content, f->content_len, sha256);
    (void)snprintf(f->name, sizeof f->name, "same/%s", sha256);
    f->old = copy_of(f->content, f->content_len);
    f->old_len = f->content_len;
}

static void old_forget(struct forge *f)
{
    free((void *)(uintptr_t)f->old);
    f->old = NULL;
}

/* Changes the head of the delta, with a check that fits it. */
static void head_change(struct forge *f, void (*change)(struct format_head *head, const struct forge *f))
{
    struct format_file file;
    cleanup_fd int fd = memory_of(f->entry, f->entry_len);
    assert_int_equal(format_open(fd, &file, NULL), ERR_OK);
    struct format_head head = file.head;
    change(&head, f);
    const char *directory = f->entry + FORMAT_HEAD;
    assert_int_equal(format_head_make(&head, directory, file.notes, (uint8_t *)f->entry), ERR_OK);
    format_close(&file);
}

/* The delta makes other bytes, and says that they are the file. */
static void head_claim(struct format_head *head, const struct forge *f)
{
    head->new_size = (int64_t)f->content_len;
    assert_int_equal(sha256_raw(f->content, f->content_len, head->new_sha256), ERR_OK);
}

static void head_size_40(struct format_head *head, const struct forge *f)
{
    (void)f;
    head->new_size = (int64_t)1 << 40;
}

static void head_old_size(struct format_head *head, const struct forge *f)
{
    (void)f;
    head->old_size = (int64_t)1 << 40;
}

static void head_memory(struct format_head *head, const struct forge *f)
{
    (void)f;
    head->memory = UINT32_MAX;
}

static void head_coded(struct format_head *head, const struct forge *f)
{
    (void)f;
    head->rest_coded = INT64_MAX;
}

static void same_not_there(struct forge *f)
{
    same_usual(f);
    old_forget(f);
}
static void same_without(struct forge *f)
{
    same_usual(f);
    f->without_olds = true;
}
static void same_damaged(struct forge *f)
{
    same_usual(f);
    old_forget(f);
    f->old = old_bytes(f);
}
static void same_shorter(struct forge *f)
{
    same_usual(f);
    f->old_len--;
}
static void same_longer(struct forge *f)
{
    char *longer = malloc(f->content_len + 1);
    assert_non_null(longer);
    same_usual(f);
    old_forget(f);
    memcpy(longer, f->content, f->content_len);
    longer[f->content_len] = 'x';
    f->old = longer;
    f->old_len = f->content_len + 1;
    f->content_len++; /* the signed file is another */
    free(f->content);
    f->content = copy_of(longer, f->content_len);
    f->content[3] ^= 1;
    digest_of(f->content, f->content_len, f->name + strlen("same/"));
}
static void same_with_bytes(struct forge *f)
{
    same_usual(f);
    entry_append(f, "x", 1);
}
static void same_of_other(struct forge *f)
{
    same_usual(f);
    digest_of("x", 1, f->name + strlen("same/"));
}
static void same_outside(struct forge *f)
{
    same_usual(f);
    (void)snprintf(f->name, sizeof f->name, "same/../../outside/evil");
}
static void same_twice(struct forge *f)
{
    same_usual(f);
    f->more[f->more_count++] = part_of(f->name, "", 0);
}
static void same_and_payload(struct forge *f)
{
    char name[160];
    same_usual(f);
    (void)snprintf(name, sizeof name, "payload/%s", f->name + strlen("same/"));
    f->more[f->more_count++] = part_of(name, f->content, f->content_len);
}
static void delta_without(struct forge *f)
{
    delta_usual(f);
    f->without_olds = true;
}
static void delta_not_there(struct forge *f)
{
    delta_usual(f);
    old_forget(f);
}
static void delta_wrong_base(struct forge *f)
{
    delta_usual(f);
    old_forget(f);
    char *other = copy_of(f->content, f->content_len);
    noise(other, f->content_len, 5);
    f->old = other;
}
static void delta_base_shorter(struct forge *f)
{
    delta_usual(f);
    f->old_len--;
}
static void delta_empty(struct forge *f)
{
    delta_usual(f);
    f->entry_len = 0;
}
static void delta_garbage(struct forge *f)
{
    delta_usual(f);
    noise(f->entry, f->entry_len, 3);
}
static void delta_zstd(struct forge *f)
{
    char name[160];
    delta_usual(f);
    memcpy(name, f->name, sizeof name);
    frame_usual(f);
    memcpy(f->name, name, sizeof name);
}
static void delta_cut(struct forge *f)
{
    delta_usual(f);
    f->entry_len /= 2;
}
static void delta_cut_in_head(struct forge *f)
{
    delta_usual(f);
    f->entry_len = FORMAT_HEAD - 1;
}
static void delta_longer(struct forge *f)
{
    delta_usual(f);
    entry_append(f, "x", 1);
}
static void delta_too_large(struct forge *f)
{
    cleanup_free char *more = calloc(1, BIG + (64 << 10));
    assert_non_null(more);
    delta_usual(f);
    entry_append(f, more, BIG + (64 << 10));
}
static void delta_of_other(struct forge *f)
{
    delta_to(f, "other bytes, other bytes", 24);
}
static void delta_lies_shorter(struct forge *f)
{
    delta_to(f, f->content, f->content_len - 1000);
    head_change(f, head_claim);
}
static void delta_lies_longer(struct forge *f)
{
    cleanup_free char *longer = calloc(1, f->content_len + 5000);
    assert_non_null(longer);
    memcpy(longer, f->content, f->content_len);
    delta_to(f, longer, f->content_len + 5000);
    head_change(f, head_claim);
}
static void delta_lies_content(struct forge *f)
{
    cleanup_free char *other = copy_of(f->content, f->content_len);
    other[77] ^= 1;
    delta_to(f, other, f->content_len);
    head_change(f, head_claim);
}
static void delta_lies_40(struct forge *f)
{
    delta_usual(f);
    head_change(f, head_size_40);
}
static void delta_lies_old(struct forge *f)
{
    delta_usual(f);
    head_change(f, head_old_size);
}
static void delta_lies_memory(struct forge *f)
{
    delta_usual(f);
    head_change(f, head_memory);
}
static void delta_lies_coded(struct forge *f)
{
    delta_usual(f);
    head_change(f, head_coded);
}
static void delta_name_of_other(struct forge *f)
{
    delta_usual(f);
    digest_of("x", 1, f->name + strlen("delta/"));
}
static void delta_outside(struct forge *f)
{
    delta_usual(f);
    (void)snprintf(f->name, sizeof f->name, "delta/../../outside/evil");
}
static void delta_name_goes_on(struct forge *f)
{
    delta_usual(f);
    (void)snprintf(f->name + strlen(f->name), 8, "/x");
}
static void delta_and_payload(struct forge *f)
{
    char name[160];
    delta_usual(f);
    (void)snprintf(name, sizeof name, "payload/%s", f->name + strlen("delta/"));
    f->more[f->more_count++] = part_of(name, f->content, f->content_len);
}
static void delta_twice(struct forge *f)
{
    delta_usual(f);
    f->more[f->more_count++] = part_of(f->name, f->entry, f->entry_len);
}
static void delta_as_payload(struct forge *f)
{
    char name[160];
    delta_usual(f);
    (void)snprintf(name, sizeof name, "payload/%s", f->name + strlen("delta/"));
    memcpy(f->name, name, sizeof name);
}

#define MISMATCH ERR_CORRUPT, "payload_mismatch"
#define BASE ERR_CONFLICT, "delta_wrong_base"
#define BAD_DELTA ERR_CORRUPT, "delta_invalid"
#define GOOD ERR_OK, ""

static const struct {
    const char *what;
    void (*make)(struct forge *f);
    enum err e;
    const char *code;
} kinds[] = {
    {"a good frame", frame_usual, GOOD},
    {"a good delta", delta_usual, GOOD},
    {"a good old file", same_usual, GOOD},
    {"bomb", zstd_bomb, MISMATCH},
    {"bomb that says so", zstd_bomb_pledged, MISMATCH},
    {"one byte more than signed", zstd_one_more, MISMATCH},
    {"one byte less than signed", zstd_one_less, MISMATCH},
    {"signed as 2^40", zstd_size_40, MISMATCH},
    {"signed as empty", zstd_size_0, MISMATCH},
    {"window of 16 MiB", zstd_window, MISMATCH},
    {"window of 128 MiB", zstd_window_27, MISMATCH},
    {"one segment of 16 MiB", zstd_segment, MISMATCH},
    {"a byte behind the frame", zstd_trailing, MISMATCH},
    {"zeros behind the frame", zstd_trailing_zeros, MISMATCH},
    {"two frames", zstd_two_frames, MISMATCH},
    {"skippable frame behind", zstd_skippable_behind, MISMATCH},
    {"skippable frame before", zstd_skippable_before, MISMATCH},
    {"half a frame", zstd_cut, MISMATCH},
    {"frame without its last byte", zstd_cut_by_one, MISMATCH},
    {"only the magic", zstd_magic_only, MISMATCH},
    {"half the magic", zstd_half_magic, MISMATCH},
    {"one bit, signed", zstd_flipped, MISMATCH},
    {"one bit, on the way", zstd_flipped_on_the_way, MISMATCH},
    {"the frame's own sum", zstd_sum_wrong, MISMATCH},
    {"another file in the frame", zstd_other_file, MISMATCH},
    {"frame with a dictionary", zstd_dictionary, MISMATCH},
    {"no frame at all", zstd_not, MISMATCH},
    {"gzip", zstd_gzip, MISMATCH},
    {"frame that says 2^63", zstd_claims_63, MISMATCH},
    {"a hundred empty frames", zstd_empty_frames, MISMATCH},
    {"entry of another size", zstd_size_lies, MISMATCH},
    {"the file instead of the frame", zstd_raw_instead, MISMATCH},
    {"same: not there", same_not_there, BASE},
    {"same: no old files", same_without, BASE},
    {"same: damaged", same_damaged, BASE},
    {"same: shorter", same_shorter, BASE},
    {"same: of other bytes", same_longer, BASE},
    {"same: with bytes in it", same_with_bytes, MISMATCH},
    {"same: of another file", same_of_other, MISMATCH},
    {"same: outside", same_outside, MISMATCH},
    {"same: twice", same_twice, MISMATCH},
    {"same: and the payload, too", same_and_payload, MISMATCH},
    {"delta: no old files", delta_without, BASE},
    {"delta: base not there", delta_not_there, BASE},
    {"delta: wrong base", delta_wrong_base, BASE},
    {"delta: base cut", delta_base_shorter, BASE},
    {"delta: empty", delta_empty, MISMATCH},
    {"delta: garbage", delta_garbage, BAD_DELTA},
    {"delta: a zstd frame", delta_zstd, BAD_DELTA},
    {"delta: cut", delta_cut, BAD_DELTA},
    {"delta: cut in its head", delta_cut_in_head, BAD_DELTA},
    {"delta: longer than it says", delta_longer, BAD_DELTA},
    {"delta: larger than its file", delta_too_large, MISMATCH},
    {"delta: makes another file", delta_of_other, BAD_DELTA},
    {"delta: makes less than it says", delta_lies_shorter, BAD_DELTA},
    {"delta: makes more than it says", delta_lies_longer, BAD_DELTA},
    {"delta: makes other bytes than it says", delta_lies_content, BAD_DELTA},
    {"delta: says 2^40 bytes", delta_lies_40, BAD_DELTA},
    {"delta: says that the old file has 2^40", delta_lies_old, ERR_OK, NULL},
    {"delta: wants 4 TiB of memory", delta_lies_memory, ERR_UNSUPPORTED, "delta_unsupported"},
    {"delta: says 2^63 coded bytes", delta_lies_coded, BAD_DELTA},
    {"delta: called as another file's", delta_name_of_other, MISMATCH},
    {"delta: outside", delta_outside, MISMATCH},
    {"delta: its name goes on", delta_name_goes_on, MISMATCH},
    {"delta: and the payload, too", delta_and_payload, MISMATCH},
    {"delta: twice", delta_twice, MISMATCH},
    {"delta: called payload", delta_as_payload, MISMATCH},
};

static void payloads(void **state)
{
    (void)state;
    size_t refused = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct forge f;
        struct err_info info;
        forge_start(&f);
        kinds[i].make(&f);
        forge_write(&f);
        const struct bundle_olds olds = {.open = old_open, .user = &f};
        enum err e = world_extract(&f.kit, kinds[i].what, "b.mub", f.without_olds ? NULL : &olds, &info);
        bool any = kinds[i].code == NULL; /* refused, one way or the other */
        if (any ? e == ERR_OK : e != kinds[i].e || strcmp(info.code, kinds[i].code) != 0)
            fail_msg("%s: %s, code \"%s\", %s", kinds[i].what, err_name(e), info.code, info.text);
        refused += e != ERR_OK;
        old_forget(&f);
        forge_end(&f);
    }
    kinds_say(refused, "payload and deltas");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(payloads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
