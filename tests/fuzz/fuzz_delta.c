/* Deltas and models. The first byte says which: a delta as it is; a delta whose head is made right, so that the fuzzer
 * gets to its streams, and with it any old file; or a model file, that is read, and told from its own beginning and
 * back. A rebuild may never leave anything when it fails, and what a delta of ours makes is always the file it was made
 * of: from the old file, that is; from another of its size it is nothing, and said to be made from another. */
#include "common/base/cleanup.h"
#include "common/delta/container.h"
#include "common/delta/format.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { OLD_SIZE = 4096, NEW_MAX = 1 << 20, CREATE_MAX = 64 * 1024 };

static int file_of(const void *bytes, size_t len)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || pwrite(fd, bytes, len, 0) != (ssize_t)len)
        abort();
    return fd;
}

/* The old file of every delta: numbers that look like weights, and text. */
static void old_fill(uint8_t old[OLD_SIZE])
{
    for (size_t i = 0; i < OLD_SIZE / 2; i += 4) {
        float weight = (float)(i * 37 % 256) / 256.0F - 0.5F;
        memcpy(old + i, &weight, 4);
    }
    for (size_t i = OLD_SIZE / 2; i < OLD_SIZE; i++)
        old[i] = (uint8_t) "the old text of the file, again; "[i % 33];
}

static void delta_try(int old_fd, const uint8_t *delta, size_t len, int64_t new_max)
{
    struct delta_info about;
    cleanup_fd int fd = file_of(delta, len);
    cleanup_fd int out = file_of("", 0);
    if (delta_inspect(fd, &about, NULL) != ERR_OK || about.new_size > new_max)
        return;
    enum err e = delta_apply(old_fd, fd, out, NULL, NULL);
    if (lseek(out, 0, SEEK_END) != (e == ERR_OK ? about.new_size : 0))
        abort();
}

static size_t number_take(const uint8_t **data, size_t *size, size_t max)
{
    if (*size < 2)
        return 0;
    size_t n = ((*data)[0] | (size_t)(*data)[1] << 8) % (max + 1);
    *data += 2;
    *size -= 2;
    return n;
}

/* Effort, and whether the old file is this input as well; sizes; then directory, streams and notes. */
static void mended_try(uint8_t old[OLD_SIZE], const uint8_t *data, size_t size)
{
    struct format_head head = {.old_size = OLD_SIZE, .memory = 1024};
    if (size < 1)
        return;
    for (size_t i = 0; i < OLD_SIZE && (data[0] & 2) != 0; i++)
        old[i] = data[i % size];
    cleanup_fd int old_fd = file_of(old, OLD_SIZE);
    if (sha256_raw(old, OLD_SIZE, head.old_sha256) != ERR_OK)
        return;
    head.effort = (data[0] & 1) != 0 ? DELTA_BEST : DELTA_FAST;
    data++;
    size--;
    head.new_size = (int64_t)number_take(&data, &size, 0xffff);
    size_t directory = number_take(&data, &size, 0xffff);
    size_t rest = number_take(&data, &size, 0xffff);
    directory = directory < size ? directory : size;
    rest = rest < size - directory ? rest : size - directory;
    head.directory_coded = head.directory_size = (uint32_t)directory;
    head.rest_coded = (int64_t)rest;
    head.tensors_coded = (int64_t)(size - directory - rest);
    cleanup_free uint8_t *delta = malloc(FORMAT_HEAD + size);
    if (delta == NULL || format_head_make(&head, data, "", delta) != ERR_OK)
        abort();
    memcpy(delta + FORMAT_HEAD, data, size);
    delta_try(old_fd, delta, FORMAT_HEAD + size, NEW_MAX);
}

/* A delta of ours with another old file of the same size: Where the delta does not look at
 * it the file may still be right. */
static void other_try(const uint8_t *old, size_t size, int delta)
{
    struct err_info info = {0};
    cleanup_free uint8_t *other = malloc(size + 1);
    if (other == NULL || size == 0)
        return;
    for (size_t i = 0; i < size; i++)
        other[i] = (uint8_t)(old[size - 1 - i] ^ old[i] ^ (i * 29) ^ 1);
    if (memcmp(other, old, size) == 0)
        return;
    cleanup_fd int other_fd = file_of(other, size);
    cleanup_fd int out = file_of("", 0);
    enum err e = delta_apply(other_fd, delta, out, NULL, &info);
    if (e != ERR_OK && (strcmp(info.code, "delta_wrong_base") != 0 || lseek(out, 0, SEEK_END) != 0))
        abort();
}

/* Both halves of the input are files. */
static void pair_try(const uint8_t *data, size_t size)
{
    size_t half = size / 2;
    struct delta_options options = {.effort = DELTA_FAST, .threads = 1};
    cleanup_fd int old = file_of(data, half);
    cleanup_fd int new = file_of(data + half, size - half);
    cleanup_fd int delta = file_of("", 0);
    cleanup_fd int out = file_of("", 0);
    if (delta_create(old, new, delta, &options, NULL, NULL) != ERR_OK ||
        delta_apply(old, delta, out, NULL, NULL) != ERR_OK)
        abort();
    other_try(data, half, delta);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t old[OLD_SIZE];
    struct container container;
    if (size == 0)
        return 0;
    old_fill(old);
    unsigned kind = data[0] % 4;
    data++;
    size--;
    if (kind == 0) {
        cleanup_fd int old_fd = file_of(old, OLD_SIZE);
        delta_try(old_fd, data, size, NEW_MAX);
    } else if (kind == 1)
        mended_try(old, data, size);
    else if (kind == 2 && size <= CREATE_MAX)
        pair_try(data, size);
    else if (container_read(data, size, &container) == ERR_OK)
        container_free(&container);
    return 0;
}
