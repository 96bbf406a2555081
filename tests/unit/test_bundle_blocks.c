/* Digests of blocks in the manifest, and what they tell of a file that is unfinished or damaged. */
#include "common/bundle/blocks.h"
#include "tests/unit/bundle_kit.h"

enum { BLOCK = 64 * 1024, RAW = 5 * BLOCK + 1, TEXT = 40 * BLOCK };

/* A signed bundle at b.mub: noise in six blocks, text that is compressed into two or more, and a small file. */
static struct manifest *blocks_bundle(const struct kit *k)
{
    char path[3][160];
    char out[160];
    struct manifest *m = NULL;
    struct err_info info = {0};
    cleanup_free char *bytes = malloc(TEXT);
    assert_non_null(bytes);
    uint32_t seed = 1;
    for (size_t i = 0; i < TEXT; i++) {
        seed = seed * 1664525u + 1013904223u;
        bytes[i] = (char)(seed >> 24);
    }
    kit_put(k, "noise", bytes, RAW);
    for (size_t i = 0; i < TEXT; i++)
        bytes[i] = (char)('a' + (bytes[i] & 3));
    kit_put(k, "text", bytes, TEXT);
    json_auto_t *head = json_pack("{s:s, s:s, s:s, s:i, s:{s:s}}", "kind", "model", "name", "digits", "version",
                                  "1.0.0", "release_counter", 1, "model", "file", "noise.onnx");
    const struct bundle_file files[] = {{kit_path(k, "noise", path[0]), "noise.onnx", false, false},
                                        {kit_path(k, "text", path[1]), "text", false, true},
                                        {kit_path(k, "model", path[2]), "small", false, false}};
    if (bundle_create(head, files, 3, 1764000000000, kit_path(k, "b.mub", out), &m, &info) != ERR_OK ||
        bundle_sign(out, &k->key, &info) != ERR_OK)
        fail_msg("%s: %s", info.code, info.text);
    return m;
}

static int64_t damage(const struct kit *k, const struct trust *trust)
{
    int64_t offset = -2;
    cleanup_fd int fd = kit_open(k, "b.mub");
    assert_int_equal(bundle_damage(fd, trust, &offset), ERR_OK);
    return offset;
}

/* Where an entry's bytes begin: behind the header of 512 bytes that has its name. */
static int64_t entry_offset(const struct kit *k, const char *name)
{
    char path[160];
    cleanup_free char *bytes = NULL;
    size_t len = 0;
    assert_int_equal(file_read(kit_path(k, "b.mub", path), 16 << 20, &bytes, &len), ERR_OK);
    for (size_t at = 0; at + 512 < len; at += 512)
        if (strcmp(bytes + at, name) == 0)
            return (int64_t)at + 512;
    fail_msg("there is no entry %s", name);
    return -1;
}

static void byte_flip(const struct kit *k, int64_t offset)
{
    char path[160];
    char byte = 0;
    cleanup_fd int fd = open(kit_path(k, "b.mub", path), O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, &byte, 1, offset), 1);
    byte = (char)(byte ^ 0x10);
    assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
}

static void large_entries_have_blocks(void **state)
{
    (void)state;
    cleanup_kit struct kit k;
    kit_start(&k);
    cleanup_manifest struct manifest *m = blocks_bundle(&k);
    assert_int_equal(m->payload_count, 3);
    assert_int_equal(m->payload[0].block_size, BLOCK);
    assert_int_equal(blocks_count(&m->payload[0]), 6);
    assert_int_equal(blocks_at(&m->payload[0], 5).size, 1);
    assert_int_equal(m->payload[1].encoding, MANIFEST_ZSTD);
    assert_true(blocks_count(&m->payload[1]) >= 2);
    assert_null(m->payload[2].blocks);
    assert_int_equal(blocks_count(&m->payload[2]), 1);
    assert_string_equal(blocks_at(&m->payload[2], 0).sha256, m->payload[2].sha256);
    assert_int_equal(damage(&k, &k.trust), -1);
}

/* Every block of every entry: its first and its last byte. */
static void a_flipped_bit_is_found_in_its_block(void **state)
{
    (void)state;
    cleanup_kit struct kit k;
    kit_start(&k);
    cleanup_manifest struct manifest *m = blocks_bundle(&k);
    for (size_t i = 0; i < m->payload_count; i++) {
        char name[MANIFEST_PAYLOAD_NAME];
        manifest_payload_name(&m->payload[i], name);
        int64_t begin = entry_offset(&k, name);
        for (int64_t b = 0; b < blocks_count(&m->payload[i]); b++) {
            struct block block = blocks_at(&m->payload[i], b);
            for (int end = 0; end < 2; end++) {
                int64_t at = begin + block.offset + (end == 0 ? 0 : block.size - 1);
                byte_flip(&k, at);
                assert_int_equal(damage(&k, &k.trust), begin + block.offset);
                byte_flip(&k, at);
            }
        }
    }
}

/* Nothing is said of what is not there yet, and the first wrong block counts. */
static void an_unfinished_file_is_judged_as_far_as_it_goes(void **state)
{
    (void)state;
    cleanup_kit struct kit k;
    kit_start(&k);
    char path[160];
    char name[MANIFEST_PAYLOAD_NAME];
    cleanup_manifest struct manifest *m = blocks_bundle(&k);
    manifest_payload_name(&m->payload[0], name);
    int64_t begin = entry_offset(&k, name);
    (void)kit_path(&k, "b.mub", path);
    byte_flip(&k, begin + 2 * BLOCK + 7);
    byte_flip(&k, begin + 4 * BLOCK);
    assert_int_equal(truncate(path, begin + 4 * BLOCK + 100), 0);
    assert_int_equal(damage(&k, &k.trust), begin + 2 * BLOCK);
    byte_flip(&k, begin + 2 * BLOCK + 7);
    assert_int_equal(damage(&k, &k.trust), -1); /* the fifth block is not whole */
    assert_int_equal(truncate(path, begin), 0);
    assert_int_equal(damage(&k, &k.trust), -1);
    assert_int_equal(truncate(path, 700), 0);
    assert_int_equal(damage(&k, &k.trust), -1);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(damage(&k, &k.trust), -1);
}

static void nothing_is_known_of_what_nobody_signed(void **state)
{
    (void)state;
    cleanup_kit struct kit k;
    kit_start(&k);
    struct minisig_secret other_key;
    struct trust other = {.count = 1};
    char name[MANIFEST_PAYLOAD_NAME];
    cleanup_manifest struct manifest *m = blocks_bundle(&k);
    manifest_payload_name(&m->payload[0], name);
    byte_flip(&k, entry_offset(&k, name));
    assert_int_equal(minisig_generate(&other_key, &other.keys[0]), ERR_OK);
    assert_int_equal(damage(&k, &other), -1);
    assert_true(damage(&k, &k.trust) > 0);
    byte_flip(&k, 600); /* in the manifest */
    assert_int_equal(damage(&k, &k.trust), -1);
}

static void blocks_grow_with_what_they_are_of(void **state)
{
    (void)state;
    const struct manifest_payload entries[] = {{.size = (int64_t)1 << 30}, {.size = 3 * BLOCK}, {.size = 10}};
    assert_int_equal(blocks_size(entries + 1, 2, 128), BLOCK);
    assert_int_equal(blocks_size(entries, 3, 128), 8 << 20);
    assert_int_equal(blocks_size(entries, 3, 2), 512 << 20);
    assert_int_equal(blocks_size(entries, 3, 1), 0);
    assert_int_equal(blocks_size(entries + 1, 1, 2), 2 * BLOCK);
    const struct manifest_payload largest = {.size = MANIFEST_SIZE_MAX};
    assert_int_equal(blocks_size(&largest, 1, 128), (int64_t)8 << 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_entries_have_blocks),
        cmocka_unit_test(a_flipped_bit_is_found_in_its_block),
        cmocka_unit_test(an_unfinished_file_is_judged_as_far_as_it_goes),
        cmocka_unit_test(nothing_is_known_of_what_nobody_signed),
        cmocka_unit_test(blocks_grow_with_what_they_are_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
