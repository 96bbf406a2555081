#pragma once
/* The delta file: a head of fixed size, a directory of tensors, the coded bytes of all that is no tensor (bin_op.h)
 * and of the tensors (tensors.h), and notes about them. docs/design/delta.md has the layout. Internal to common/delta.
 */

#include "common/base/buf.h"
#include "common/delta/delta.h"
#include "common/delta/tensors.h"
#include "common/delta/vfile.h"

enum {
    FORMAT_HEAD = 116,
    FORMAT_PAIRS_MAX = 8192, /* tensors; the smaller ones of more are told like all else */
    FORMAT_DIRECTORY_MAX = 1024 * 1024,
    FORMAT_NOTES_MAX = 4096,
    FORMAT_METHODS_MAX = sizeof((struct delta_info *)NULL)->methods / sizeof((struct delta_info *)NULL)->methods[0]
};

enum format_container { FORMAT_BINARY, FORMAT_ONNX, FORMAT_SAFETENSORS, FORMAT_CONTAINERS };

struct format_head {
    enum delta_effort effort;
    enum format_container container;
    uint8_t old_sha256[SHA256_SIZE], new_sha256[SHA256_SIZE];
    int64_t old_size, new_size;
    int64_t rest_coded, tensors_coded; /* bytes of the delta */
    uint32_t directory_coded, directory_size, notes_size;
    uint32_t memory; /* KiB that a rebuild takes */
};

/* The directory, coded, from pairs in their order. ERR_NO_MEMORY, ERR_TOO_LARGE. */
[[nodiscard]] enum err format_directory_make(const struct tensor_pair *pairs, size_t count, struct buf *out,
                                             uint32_t *ret_size);

/* Head with its check; out has room for FORMAT_HEAD. */
[[nodiscard]] enum err format_head_make(const struct format_head *head, const void *directory, const void *notes,
                                        uint8_t *out);

/* Notes: which methods were chosen for how many tensors, from what the encoder said. ERR_NO_MEMORY. */
[[nodiscard]] enum err format_notes_make(const struct tensor_pair *pairs, size_t count, const int *methods,
                                         const int64_t *bytes, struct buf *out);

/* A delta that was opened: its head, checked against the size of the file, and its directory. */
struct format_file {
    int fd;
    struct format_head head;
    struct tensor_pair *pairs; /* owned; inside both files, new ones not overlapping */
    size_t pair_count;
    char *notes;                         /* owned, NUL-terminated behind notes_size */
    int64_t rest_at, tensors_at;         /* where their bytes begin */
    struct span_list old_rest, new_rest; /* what is no tensor, owned */
};

/* ERR_CORRUPT `delta_invalid`, ERR_UNSUPPORTED `delta_unsupported`, ERR_IO, ERR_NO_MEMORY. */
[[nodiscard]] enum err format_open(int fd, struct format_file *ret_file, struct err_info *info);
void format_close(struct format_file *file);

/* The spans of both files that are no tensors of the pairs. ERR_CORRUPT when new tensors overlap; ERR_NO_MEMORY. */
[[nodiscard]] enum err format_rest(const struct tensor_pair *pairs, size_t count, int64_t old_size, int64_t new_size,
                                   struct span_list *ret_old, struct span_list *ret_new);

/* Bytes of a tensor. */
int64_t format_pair_bytes(const struct tensor_pair *pair);

/* Fills what a delta says of itself; size: of the delta. */
void format_info(const struct format_file *file, int64_t size, struct delta_info *ret_info);
