#pragma once
/* Files in memory, deltas between them, and small models that are made by hand. */
#include "tests/unit/unit.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/delta/delta.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { KIT_FILE_MAX = 64 * 1024 * 1024 };

/* The same numbers on every run. */
[[maybe_unused]] static uint32_t kit_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

/* A file with that content; close() it. */
[[maybe_unused]] static int kit_file(const void *bytes, size_t len)
{
    int fd = memfd_create("delta", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, len, 0), len);
    return fd;
}

[[maybe_unused]] static size_t kit_size(int fd)
{
    off_t size = lseek(fd, 0, SEEK_END);
    assert_true(size >= 0);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return (size_t)size;
}

/* All bytes of a file; free() them. */
[[maybe_unused]] static uint8_t *kit_bytes(int fd, size_t *ret_len)
{
    *ret_len = kit_size(fd);
    uint8_t *bytes = malloc(*ret_len + 1);
    assert_non_null(bytes);
    assert_int_equal(pread(fd, bytes, *ret_len, 0), *ret_len);
    return bytes;
}

[[maybe_unused]] static void kit_same(int a, int b)
{
    size_t a_len = 0;
    size_t b_len = 0;
    cleanup_free uint8_t *a_bytes = kit_bytes(a, &a_len);
    cleanup_free uint8_t *b_bytes = kit_bytes(b, &b_len);
    assert_int_equal(a_len, b_len);
    assert_memory_equal(a_bytes, b_bytes, a_len);
}

/* A delta; close() it. ret_info may be NULL. */
[[maybe_unused]] static int kit_delta(int old, int new, enum delta_effort effort, int threads,
                                      struct delta_info *ret_info)
{
    struct delta_options options = {.effort = effort, .threads = threads};
    struct err_info info = {0};
    int out = memfd_create("delta", MFD_CLOEXEC);
    assert_true(out >= 0);
    enum err e = delta_create(old, new, out, &options, ret_info, &info);
    if (e != ERR_OK)
        fail_msg("create: %s: %s", err_name(e), info.text);
    return out;
}

/* There and back; the size of the delta. */
[[maybe_unused]] static size_t kit_round_trip(const void *old, size_t old_len, const void *new, size_t new_len,
                                              enum delta_effort effort, struct delta_info *ret_info)
{
    cleanup_fd int old_fd = kit_file(old, old_len);
    cleanup_fd int new_fd = kit_file(new, new_len);
    cleanup_fd int delta = kit_delta(old_fd, new_fd, effort, 2, ret_info);
    cleanup_fd int out = memfd_create("out", MFD_CLOEXEC);
    struct err_info info = {0};
    enum err e = delta_apply(old_fd, delta, out, NULL, &info);
    if (e != ERR_OK)
        fail_msg("apply: %s: %s", err_name(e), info.text);
    kit_same(out, new_fd);
    return kit_size(delta);
}

/* ---- protobuf, for ONNX ---- */

[[maybe_unused]] static void kit_varint(struct buf *b, uint64_t value)
{
    uint8_t bytes[10];
    size_t n = 0;
    for (; value >= 128; value >>= 7)
        bytes[n++] = (uint8_t)(value | 128);
    bytes[n++] = (uint8_t)value;
    assert_int_equal(buf_add(b, bytes, n), ERR_OK);
}

[[maybe_unused]] static void kit_number(struct buf *b, uint32_t field, uint64_t value)
{
    kit_varint(b, (uint64_t)field << 3);
    kit_varint(b, value);
}

[[maybe_unused]] static void kit_field(struct buf *b, uint32_t field, const void *bytes, size_t len)
{
    kit_varint(b, (uint64_t)field << 3 | 2);
    kit_varint(b, len);
    assert_int_equal(buf_add(b, bytes, len), ERR_OK);
}

[[maybe_unused]] static void kit_text(struct buf *b, uint32_t field, const char *text)
{
    kit_field(b, field, text, strlen(text));
}

/* TensorProto with raw data. */
[[maybe_unused]] static void kit_tensor(struct buf *b, const char *name, uint64_t type, const uint64_t *dims,
                                        size_t rank, const void *bytes, size_t len)
{
    for (size_t i = 0; i < rank; i++)
        kit_number(b, 1, dims[i]);
    kit_number(b, 2, type);
    kit_text(b, 8, name);
    kit_field(b, 9, bytes, len);
}

/* An initializer of a graph. */
[[maybe_unused]] static void kit_initializer(struct buf *graph, const char *name, uint64_t type, const uint64_t *dims,
                                             size_t rank, const void *bytes, size_t len)
{
    cleanup_buf struct buf tensor = BUF_INIT(KIT_FILE_MAX);
    kit_tensor(&tensor, name, type, dims, rank, bytes, len);
    kit_field(graph, 5, tensor.data, tensor.len);
}

/* The model around a graph. */
[[maybe_unused]] static void kit_model(struct buf *model, const struct buf *graph)
{
    kit_number(model, 1, 8);
    kit_text(model, 2, "by hand");
    kit_field(model, 7, graph->data, graph->len);
}

/* n weights of about a tenth, each moved by up to `moved` parts of itself from those of the same seed. */
[[maybe_unused]] static float *kit_weights(size_t n, uint64_t seed, float moved)
{
    float *w = malloc(n * sizeof *w);
    uint64_t other = seed ^ 0x5555;
    assert_non_null(w);
    for (size_t i = 0; i < n; i++) {
        float unit = (float)kit_random(&seed) / (float)UINT32_MAX - 0.25F;
        float step = (float)kit_random(&other) / (float)UINT32_MAX - 0.25F;
        w[i] = unit * 0.2F * (1.0F + moved * step);
    }
    return w;
}
