/* Hostile archives below the level of entries: headers by hand, sizes that lie, extensions of tar, and a good bundle
 * cut, extended and damaged at every place. */
#include "tests/unit/hostile_kit.h"

#include <sys/mman.h>

enum { BLOCK = 512, ROOM = 1 << 22 };

/* A good bundle's bytes, to be changed: manifest, signature, two payload entries, the end. */
struct tar {
    struct kit kit;
    char *bytes; /* ROOM */
    size_t len;
};

static void tar_start(struct tar *t)
{
    char path[160];
    cleanup_free char *bytes = NULL;
    kit_start(&t->kit);
    struct manifest *m = kit_create(&t->kit, "good.mub");
    m = manifest_free(m);
    assert_int_equal(bundle_sign(kit_path(&t->kit, "good.mub", path), &t->kit.key, NULL), ERR_OK);
    assert_int_equal(mkdir(kit_path(&t->kit, "outside", path), 0755), 0);
    assert_int_equal(file_read(kit_path(&t->kit, "good.mub", path), ROOM, &bytes, &t->len), ERR_OK);
    t->bytes = calloc(1, ROOM);
    assert_non_null(t->bytes);
    memcpy(t->bytes, bytes, t->len);
}

static void tar_end(struct tar *t)
{
    free(t->bytes);
    kit_end(&t->kit);
}
#define cleanup_tar_ [[gnu::cleanup(tar_end)]]

/* ---- headers ---- */

static void sum(char *header)
{
    unsigned total = 0;
    memset(header + 148, ' ', 8);
    for (size_t i = 0; i < BLOCK; i++)
        total += (unsigned char)header[i];
    (void)snprintf(header + 148, 8, "%06o", total);
    header[155] = ' ';
}

static size_t blocks(size_t len)
{
    return (len + BLOCK - 1) / BLOCK * BLOCK;
}

/* The header of the n-th entry. */
static char *header_at(struct tar *t, size_t n)
{
    size_t at = 0;
    for (; n > 0; n--)
        at += BLOCK + blocks(strtoul(t->bytes + at + 124, NULL, 8));
    assert_true(at + BLOCK <= t->len && memcmp(t->bytes + at + 257, "ustar", 5) == 0);
    return t->bytes + at;
}

/* Makes room before the n-th entry. */
static char *room_at(struct tar *t, size_t n, size_t len)
{
    char *at = header_at(t, n);
    size_t offset = (size_t)(at - t->bytes);
    assert_true(t->len + len < ROOM);
    memmove(at + len, at, t->len - offset);
    memset(at, 0, len);
    t->len += len;
    return at;
}

/* A whole entry before the n-th one: of a type, with a name and content. */
static char *entry_put(struct tar *t, size_t n, char type, const char *name, const void *content, size_t len)
{
    char *at = room_at(t, n, BLOCK + blocks(len));
    (void)snprintf(at, 100, "%s", name);
    (void)snprintf(at + 100, 8, "%07o", 0444);
    (void)snprintf(at + 124, 12, "%011zo", len);
    (void)snprintf(at + 136, 12, "%011o", 0);
    memcpy(at + 257, "ustar\00000", 8);
    at[156] = type;
    sum(at);
    memcpy(at + BLOCK, content, len);
    return at;
}

/* A pax header before the n-th entry, of one record. */
static void pax_put(struct tar *t, size_t n, const char *key, const char *value)
{
    char record[600];
    char again[600];
    int len = snprintf(record, sizeof record, "00 %s=%s\n", key, value);
    len += len >= 100 ? 1 : 0;
    len = snprintf(again, sizeof again, "%d %s=%s\n", len, key, value);
    (void)entry_put(t, n, 'x', "PaxHeader", again, (size_t)len);
}

/* The size of the n-th entry in base 256: 2^(8 * byte) times value. */
static void size_binary(struct tar *t, size_t n, int byte, unsigned char value, unsigned char rest)
{
    char *at = header_at(t, n);
    memset(at + 124, rest, 12);
    at[124] = (char)(rest | 0x80);
    at[124 + 11 - byte] = (char)value;
    sum(at);
}

static void size_text(struct tar *t, size_t n, const char *digits)
{
    char *at = header_at(t, n);
    memset(at + 124, 0, 12);
    memcpy(at + 124, digits, strlen(digits));
    sum(at);
}

static void type_set(struct tar *t, size_t n, char type)
{
    char *at = header_at(t, n);
    at[156] = type;
    sum(at);
}

/* ---- kinds ---- */

static void size_31(struct tar *t)
{
    size_text(t, 2, "20000000000");
}
static void size_32(struct tar *t)
{
    size_text(t, 2, "40000000000");
}
static void size_33(struct tar *t)
{
    size_text(t, 2, "77777777777");
}
static void size_63(struct tar *t)
{
    size_binary(t, 2, 7, 0x80, 0);
}
static void size_62(struct tar *t)
{
    size_binary(t, 2, 7, 0x40, 0);
}
static void size_88(struct tar *t)
{
    size_binary(t, 2, 10, 0x7f, 0);
}
static void size_minus(struct tar *t)
{
    size_binary(t, 2, 0, 0xff, 0xff);
}
static void size_letters(struct tar *t)
{
    size_text(t, 2, "seven");
}
static void manifest_31(struct tar *t)
{
    size_text(t, 0, "20000000000");
}
static void manifest_63(struct tar *t)
{
    size_binary(t, 0, 7, 0x80, 0);
}
static void manifest_nothing(struct tar *t)
{
    size_text(t, 0, "0");
}
static void signature_31(struct tar *t)
{
    size_text(t, 1, "20000000000");
}
static void last_32(struct tar *t)
{
    size_text(t, 3, "40000000000");
}
static void pax_size_62(struct tar *t)
{
    pax_put(t, 2, "size", "4611686018427387904");
}
static void pax_size_64(struct tar *t)
{
    pax_put(t, 2, "size", "18446744073709551616");
}
static void pax_size_small(struct tar *t)
{
    pax_put(t, 2, "size", "3");
}
static void pax_size_minus(struct tar *t)
{
    pax_put(t, 2, "size", "-7");
}
static void pax_path(struct tar *t)
{
    pax_put(t, 2, "path", "../outside/evil");
}
static void pax_path_absolute(struct tar *t)
{
    pax_put(t, 2, "path", "/tmp/evil");
}
static void pax_path_of_manifest(struct tar *t)
{
    pax_put(t, 0, "path", "other.json");
}
static void pax_path_empty(struct tar *t)
{
    pax_put(t, 2, "path", "");
}
static void pax_sparse(struct tar *t)
{
    pax_put(t, 2, "GNU.sparse.map", "0,1,6,1");
}
static void pax_sparse_size(struct tar *t)
{
    pax_put(t, 2, "GNU.sparse.size", "2147483648");
}
static void pax_sparse_name(struct tar *t)
{
    pax_put(t, 2, "GNU.sparse.name", "../outside/evil");
}
static void pax_garbage(struct tar *t)
{
    (void)entry_put(t, 2, 'x', "PaxHeader", "99999999999 path=x\n", 19);
}
static void pax_no_end(struct tar *t)
{
    (void)entry_put(t, 2, 'x', "PaxHeader", "30 path", 7);
}
static void pax_huge(struct tar *t)
{
    static char content[2 << 20];
    (void)entry_put(t, 2, 'x', "PaxHeader", content, sizeof content);
}
static void pax_too_long(struct tar *t)
{
    char *at = entry_put(t, 2, 'x', "PaxHeader", "10 path=x\n", 10);
    memcpy(at + 124, "20000000000", 11);
    sum(at);
}
static void long_name(struct tar *t)
{
    (void)entry_put(t, 2, 'L', "././@LongLink", "../outside/evil", 16);
}
static void long_name_huge(struct tar *t)
{
    char *at = entry_put(t, 2, 'L', "././@LongLink", "x", 2);
    memcpy(at + 124, "40000000000", 11);
    sum(at);
}
static void long_name_manifest(struct tar *t)
{
    (void)entry_put(t, 0, 'L', "././@LongLink", "/manifest.json", 15);
}
static void long_link(struct tar *t)
{
    (void)entry_put(t, 2, 'K', "././@LongLink", "../../outside/evil", 19);
    char *at = header_at(t, 3);
    at[156] = '2';
    sum(at);
}
static void type_hard(struct tar *t)
{
    char *at = header_at(t, 3);
    (void)snprintf(at + 157, 100, "/etc/passwd");
    type_set(t, 3, '1');
}
static void type_symbolic(struct tar *t)
{
    char *at = header_at(t, 2);
    (void)snprintf(at + 157, 100, "../../outside/evil");
    type_set(t, 2, '2');
}
static void type_character(struct tar *t)
{
    type_set(t, 2, '3');
}
static void type_block(struct tar *t)
{
    type_set(t, 2, '4');
}
static void type_folder(struct tar *t)
{
    type_set(t, 2, '5');
}
static void type_pipe(struct tar *t)
{
    type_set(t, 2, '6');
}
/* The old GNU form: one byte of hole before six of data. */
static void type_sparse(struct tar *t)
{
    char *at = header_at(t, 2);
    memcpy(at + 257, "ustar  ", 8);
    memset(at + 345, 0, 167);
    memcpy(at + 386, "00000000001", 11);
    memcpy(at + 398, "00000000006", 11);
    memcpy(at + 483, "00000000007", 11);
    memcpy(at + 124, "00000000006", 11);
    type_set(t, 2, 'S');
}
static void type_dumpdir(struct tar *t)
{
    type_set(t, 2, 'D');
}
static void type_multivolume(struct tar *t)
{
    type_set(t, 2, 'M');
}
static void type_volume(struct tar *t)
{
    type_set(t, 2, 'V');
}
static void mode_setuid(struct tar *t)
{
    memcpy(header_at(t, 3) + 100, "0004755", 7);
    sum(header_at(t, 3));
}
static void mode_setgid(struct tar *t)
{
    memcpy(header_at(t, 3) + 100, "0002755", 7);
    sum(header_at(t, 3));
}
static void mode_sticky(struct tar *t)
{
    memcpy(header_at(t, 3) + 100, "0001755", 7);
    sum(header_at(t, 3));
}
static void sum_wrong(struct tar *t)
{
    header_at(t, 2)[148] ^= 1;
}
static void prefix_up(struct tar *t)
{
    (void)snprintf(header_at(t, 2) + 345, 100, "..");
    sum(header_at(t, 2));
}
static void prefix_root(struct tar *t)
{
    (void)snprintf(header_at(t, 2) + 345, 100, "/tmp");
    sum(header_at(t, 2));
}
static void name_unended(struct tar *t)
{
    memset(header_at(t, 2), 'a', 100);
    sum(header_at(t, 2));
}
static void name_cut(struct tar *t)
{
    header_at(t, 2)[30] = '\0';
    sum(header_at(t, 2));
}
static void name_longer(struct tar *t)
{
    (void)snprintf(header_at(t, 2) + strlen("payload/") + 64, 8, "/x");
    sum(header_at(t, 2));
}
static void name_upper(struct tar *t)
{
    char *at = header_at(t, 2);
    for (size_t i = strlen("payload/"); i < strlen("payload/") + 64; i++)
        at[i] = at[i] >= 'a' ? (char)(at[i] - 32) : at[i];
    sum(at);
}
static void ended_early(struct tar *t)
{
    (void)room_at(t, 3, (size_t)2 * BLOCK);
}
static void ended_before_payload(struct tar *t)
{
    (void)room_at(t, 2, (size_t)2 * BLOCK);
}
static void ended_at_once(struct tar *t)
{
    (void)room_at(t, 0, (size_t)2 * BLOCK);
}
static void second_archive(struct tar *t)
{
    memcpy(t->bytes + t->len, t->bytes, t->len);
    t->len *= 2;
}

static const struct {
    const char *what;
    void (*make)(struct tar *t);
} kinds[] = {
    {"size 2^31", size_31},
    {"size 2^32", size_32},
    {"size 2^33 - 1", size_33},
    {"size 2^62", size_62},
    {"size 2^63", size_63},
    {"size 2^87", size_88},
    {"size -1", size_minus},
    {"size in letters", size_letters},
    {"manifest of 2^31", manifest_31},
    {"manifest of 2^63", manifest_63},
    {"manifest of nothing", manifest_nothing},
    {"signature of 2^31", signature_31},
    {"last entry of 2^32", last_32},
    {"pax size 2^62", pax_size_62},
    {"pax size 2^64", pax_size_64},
    {"pax size smaller", pax_size_small},
    {"pax size negative", pax_size_minus},
    {"pax path with ..", pax_path},
    {"pax path absolute", pax_path_absolute},
    {"pax path of the manifest", pax_path_of_manifest},
    {"pax path empty", pax_path_empty},
    {"pax sparse map", pax_sparse},
    {"pax sparse size", pax_sparse_size},
    {"pax sparse name", pax_sparse_name},
    {"pax record that is too long", pax_garbage},
    {"pax record that does not end", pax_no_end},
    {"pax header of 2 MiB", pax_huge},
    {"pax header of 2^31", pax_too_long},
    {"GNU long name with ..", long_name},
    {"GNU long name of 2^32", long_name_huge},
    {"GNU long name of the manifest", long_name_manifest},
    {"GNU long link", long_link},
    {"type hard link", type_hard},
    {"type symbolic link", type_symbolic},
    {"type character device", type_character},
    {"type block device", type_block},
    {"type directory", type_folder},
    {"type named pipe", type_pipe},
    {"type GNU sparse", type_sparse},
    {"type GNU dump directory", type_dumpdir},
    {"type GNU continued", type_multivolume},
    {"type GNU volume", type_volume},
    {"mode setuid", mode_setuid},
    {"mode setgid", mode_setgid},
    {"mode sticky", mode_sticky},
    {"header sum wrong", sum_wrong},
    {"prefix ..", prefix_up},
    {"prefix absolute", prefix_root},
    {"name without an end", name_unended},
    {"name cut", name_cut},
    {"name goes on", name_longer},
    {"name in upper case", name_upper},
    {"end between entries", ended_early},
    {"end before the payload", ended_before_payload},
    {"end at once", ended_at_once},
    {"two archives", second_archive},
};

/* Refused because of what it is: neither by luck nor by an error of the machine. */
static bool is_refusal(enum err e)
{
    return e == ERR_CORRUPT || e == ERR_UNTRUSTED || e == ERR_INVALID;
}

static void headers_by_hand(void **state)
{
    (void)state;
    const size_t count = sizeof kinds / sizeof kinds[0];
    for (size_t i = 0; i < count; i++) {
        cleanup_tar_ struct tar t;
        struct err_info info;
        struct manifest *m = NULL;
        tar_start(&t);
        kinds[i].make(&t);
        kit_put(&t.kit, "b.mub", t.bytes, t.len);
        enum err e = world_extract(&t.kit, kinds[i].what, "b.mub", NULL, &info);
        if (!is_refusal(e))
            fail_msg("%s: extract: %s, %s", kinds[i].what, err_name(e), info.text);
        cleanup_fd int fd = kit_open(&t.kit, "b.mub");
        e = bundle_verify(fd, &t.kit.trust, &m, NULL, &info);
        if (!is_refusal(e))
            fail_msg("%s: verify: %s, %s", kinds[i].what, err_name(e), info.text);
    }
    kinds_say(count, "headers");
}

/* What carries nothing changes nothing: the same bundle comes out. */
static void harmless_headers(void **state)
{
    (void)state;
    static const char *const keys[] = {"mtime", "uname", "comment", "atime"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        cleanup_tar_ struct tar t;
        struct err_info info;
        tar_start(&t);
        pax_put(&t, 2, keys[i], "1");
        kit_put(&t.kit, "b.mub", t.bytes, t.len);
        if (world_extract(&t.kit, keys[i], "b.mub", NULL, &info) != ERR_OK)
            fail_msg("%s: %s", keys[i], info.text);
        assert_int_equal(kit_count(&t.kit, "out"), 5);
    }
}

/* ---- a good one, damaged ---- */

/* Cut at every block, and between: the two zero blocks at the end carry nothing. */
static void cut_short(void **state)
{
    (void)state;
    cleanup_tar_ struct tar t;
    struct err_info info;
    size_t points = 0;
    tar_start(&t);
    size_t last = t.len;
    while (t.bytes[last - 1] == '\0')
        last--;
    for (size_t cut = 0; cut < last; cut += cut % BLOCK == 0 ? 1 : cut % BLOCK == 1 ? 200 : BLOCK - cut % BLOCK) {
        kit_put(&t.kit, "b.mub", t.bytes, cut);
        if (!is_refusal(world_extract(&t.kit, "cut short", "b.mub", NULL, &info)))
            fail_msg("cut to %zu of %zu bytes: %s", cut, t.len, info.text);
        points++;
    }
    assert_true(points >= 3 * (last / BLOCK));
}

static void data_behind_the_end(void **state)
{
    (void)state;
    static const struct {
        size_t zeros, at; /* at: a byte that is not zero behind the end; 0: none */
        bool good;
    } ends[] = {{10240, 0, true}, {10240, 10239, false}, {300000, 200000, false}, {3 << 20, 0, false}, {1, 1, false}};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        cleanup_tar_ struct tar t;
        struct err_info info;
        tar_start(&t);
        if (ends[i].at > 0)
            t.bytes[t.len + ends[i].at - 1] = 1;
        kit_put(&t.kit, "b.mub", t.bytes, t.len + ends[i].zeros);
        enum err e = world_extract(&t.kit, "data behind the end", "b.mub", NULL, &info);
        if (e != (ends[i].good ? ERR_OK : ERR_CORRUPT) || (!ends[i].good && strcmp(info.code, "bundle_malformed") != 0))
            fail_msg("%zu zeros, one at %zu: %s", ends[i].zeros, ends[i].at, info.text);
    }
}

/* Which part of the archive a byte is in. */
enum region { HEADERS, MANIFEST, SIGNATURE, PAYLOAD, PADDING, END, REGIONS };

static enum region region_of(struct tar *t, size_t at)
{
    for (size_t n = 0; n < 4; n++) {
        size_t start = (size_t)(header_at(t, n) - t->bytes);
        size_t len = strtoul(t->bytes + start + 124, NULL, 8);
        if (at < start + BLOCK)
            return HEADERS;
        if (at < start + BLOCK + len)
            return n == 0 ? MANIFEST : n == 1 ? SIGNATURE : PAYLOAD;
        if (at < start + BLOCK + blocks(len))
            return PADDING;
    }
    return END;
}

/* One bit in every byte in turn, another in each. Some bytes carry nothing (padding, owners, the untrusted comment),
 * but nothing wrong is ever accepted: the manifest, signatures' bytes and payload are covered without a gap. */
static void every_byte_flipped(void **state)
{
    (void)state;
    cleanup_tar_ struct tar t;
    size_t seen[REGIONS] = {0};
    size_t refused[REGIONS] = {0};
    tar_start(&t);
    enum region *regions = calloc(t.len, sizeof *regions);
    assert_non_null(regions);
    for (size_t i = 0; i < t.len; i++)
        regions[i] = region_of(&t, i);
    cleanup_fd int fd = memfd_create("bundle", MFD_CLOEXEC);
    assert_int_equal(file_write_fd(fd, t.bytes, t.len), ERR_OK);
    struct manifest *good = NULL;
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_int_equal(bundle_verify(fd, &t.kit.trust, &good, NULL, NULL), ERR_OK);
    for (size_t i = 0; i < t.len; i++) {
        struct manifest *m = NULL;
        char flipped = (char)(t.bytes[i] ^ (1 << (i * 5 % 8)));
        assert_int_equal(pwrite(fd, &flipped, 1, (off_t)i), 1);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        enum err e = bundle_verify(fd, &t.kit.trust, &m, NULL, NULL);
        seen[regions[i]]++;
        refused[regions[i]] += e != ERR_OK;
        if (e == ERR_OK)
            assert_string_equal(m->id, good->id);
        m = manifest_free(m);
        assert_int_equal(pwrite(fd, &t.bytes[i], 1, (off_t)i), 1);
    }
    good = manifest_free(good);
    free(regions);
    assert_int_equal(refused[MANIFEST], seen[MANIFEST]);
    assert_int_equal(refused[PAYLOAD], seen[PAYLOAD]);
    assert_true(refused[HEADERS] > 0 && refused[SIGNATURE] > 200 && refused[END] > 0);
    assert_true(seen[PADDING] > 0);
}

/* The same with extraction, for some bytes of each region: nothing stays, nothing wrong comes out. */
static void flipped_and_extracted(void **state)
{
    (void)state;
    cleanup_tar_ struct tar t;
    char path[160];
    struct err_info info;
    size_t refused[REGIONS] = {0};
    tar_start(&t);
    for (size_t i = 0; i < t.len; i += 37) {
        enum region region = region_of(&t, i);
        t.bytes[i] ^= 4;
        kit_put(&t.kit, "b.mub", t.bytes, t.len);
        t.bytes[i] ^= 4;
        if (world_extract(&t.kit, "one bit", "b.mub", NULL, &info) != ERR_OK) {
            refused[region]++;
            continue;
        }
        cleanup_free char *weights = NULL;
        assert_int_equal(file_read(kit_path(&t.kit, "out/model.onnx", path), 100, &weights, NULL), ERR_OK);
        assert_string_equal(weights, "weights");
        assert_int_equal(file_remove_tree(kit_path(&t.kit, "out", path)), ERR_OK);
        assert_int_equal(mkdir(path, 0755), 0);
    }
    assert_true(refused[HEADERS] > 0 && refused[MANIFEST] > 0 && refused[SIGNATURE] > 0);
}

/* Verified first, and then another file under the same name: extraction trusts nothing that was verified before. */
static void swapped_after_verifying(void **state)
{
    (void)state;
    cleanup_tar_ struct tar t;
    struct err_info info;
    struct manifest *m = NULL;
    tar_start(&t);
    kit_put(&t.kit, "b.mub", t.bytes, t.len);
    cleanup_fd int fd = kit_open(&t.kit, "b.mub");
    assert_int_equal(bundle_verify(fd, &t.kit.trust, &m, NULL, NULL), ERR_OK);
    m = manifest_free(m);
    memcpy(header_at(&t, 2) + BLOCK, "Weights", 7);
    kit_put(&t.kit, "b.mub", t.bytes, t.len);
    assert_int_equal(world_extract(&t.kit, "swapped", "b.mub", NULL, &info), ERR_CORRUPT);
    assert_string_equal(info.code, "payload_mismatch");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_by_hand),
        cmocka_unit_test(harmless_headers),
        cmocka_unit_test(cut_short),
        cmocka_unit_test(data_behind_the_end),
        cmocka_unit_test(every_byte_flipped),
        cmocka_unit_test(flipped_and_extracted),
        cmocka_unit_test(swapped_after_verifying),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
