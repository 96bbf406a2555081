#pragma once
/* manifest.json of a bundle, parsed and checked (api/manifest.schema.json). Its raw bytes are what is signed; their
 * SHA-256 is the bundle's id. Immutable once parsed: any thread may read. */

#include "common/base/crypt.h"
#include "common/base/err.h"
#include "common/base/json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define MANIFEST_NAME "manifest.json"

enum {
    MANIFEST_BYTES_MAX = 64 * 1024,
    MANIFEST_FILES_MAX = 1000,
    MANIFEST_PATH_MAX = 255,    /* bytes of a path, without the NUL */
    MANIFEST_SLOT_MAX = 63,     /* bytes of a slot's name */
    MANIFEST_VERSION_MAX = 64,  /* bytes of a version */
    MANIFEST_INPUTS_MAX = 32,   /* tensors in or out */
    MANIFEST_RANK_MAX = 8,      /* dimensions of a tensor */
    MANIFEST_HARDWARE_MAX = 64, /* hardware ids, accelerators */
    MANIFEST_WORDS_MAX = 64,    /* words of a command, its program among them */
};
#define MANIFEST_SIZE_MAX ((int64_t)1 << 40) /* bytes of one file, and of all files together */
#define MANIFEST_BLOCK_MIN ((int64_t)64 * 1024)

enum manifest_kind { MANIFEST_MODEL, MANIFEST_APP, MANIFEST_AGENT };

/* How the signed payload entry becomes a file: as it is, or by decompressing one zstd frame. (Deltas are not signed:
 * they stand beside the signed manifest, see bundle.h.) Others are refused as unsupported. */
enum manifest_encoding { MANIFEST_RAW, MANIFEST_ZSTD };

struct manifest_file {
    const char *path; /* relative; segments of [A-Za-z0-9._+@-], never "." or ".." or manifest.json* */
    int64_t size;
    const char *sha256; /* 64 lower-case hex digits */
    mode_t mode;        /* 0444 or 0555 */
};

/* One entry of the archive, named "payload/" and its own sha256. Files with equal content share one. */
struct manifest_payload {
    const char *file; /* sha256 of the file(s) it makes */
    enum manifest_encoding encoding;
    int64_t size;       /* of the entry's bytes */
    const char *sha256; /* of the entry's bytes; a raw one: equal to `file` */
    int64_t block_size; /* of all its blocks but the last; MANIFEST_BLOCK_MIN … size - 1 */
    const char *blocks; /* their digests, 64 hex digits each, with nothing between; NULL: there are none */
};

struct manifest_tensor {
    const char *name;
    const char *type; /* "float32", "int64", … */
    size_t rank;
    int64_t shape[MANIFEST_RANK_MAX]; /* -1: any */
};

struct manifest_model {
    const char *file; /* the model's path among the files */
    size_t input_count, output_count;
    struct manifest_tensor *inputs, *outputs;
    const json_t *labels; /* array of strings, or NULL */
};

/* A program with its arguments, started directly, never by a shell. words[0] is the path of one of the files. */
struct manifest_command {
    size_t count; /* 0: none */
    const char **words;
};

/* What a device does with the files of an app. Commands run in the version's directory with a time limit. */
struct manifest_app {
    const char *unit;               /* path of a systemd unit among the files, or NULL */
    struct manifest_command run;    /* without a unit: the program that is kept running; none: only files */
    struct manifest_command before; /* once, after staging and before the switch: the self-test */
    struct manifest_command check;  /* during probation, again and again: 0 is healthy */
    struct manifest_command stop;   /* before another version takes over; none: SIGTERM */
    int timeout_s;                  /* of each command, 1 … 3600 */
};

/* The agent's own next version. */
struct manifest_agent {
    const char *program; /* path of muster-agent among the files, mode 0555; its helpers stand beside it */
};

/* What a model has to answer before it is switched to: samples (float32, little-endian, back to back) and the first
 * output of each, to compare within a tolerance. */
struct manifest_selftest {
    const char *samples; /* path among the files; NULL: no such test */
    const char *outputs; /* path among the files */
    double tolerance;    /* largest absolute difference, 0 … 1e9 */
};

/* Rules of probation. */
struct manifest_health {
    double max_error_rate; /* of inferences, 0 … 1; default 0.01 */
    int max_restarts;      /* of the program, 0 … 100; default 0 */
};

struct manifest_requires {
    size_t hardware_count; /* 0: any hardware */
    const char **hardware; /* ids of which the device's must be one */
    const char *min_agent; /* version, or NULL */
    const char *runtime;   /* least version of ONNX Runtime, like 1.16.0, or NULL */
    int64_t memory;        /* bytes of memory the device must have in all, 0: any */
    int64_t disk;          /* bytes that must be free for it, besides its files; 0: none */
    size_t accelerator_count;
    const char **accelerators; /* the device must have one of these; 0: none needed */
};

/* Everything is owned by the manifest and lives as long as it. */
struct manifest {
    char id[SHA256_HEX]; /* SHA-256 of raw */
    char *raw;           /* the signed bytes, NUL-terminated */
    size_t raw_len;
    enum manifest_kind kind;
    const char *slot; /* manifest "name" */
    const char *version;
    int64_t release_counter; /* 1 … 2^53 - 1 */
    size_t file_count, payload_count;
    struct manifest_file *files;
    struct manifest_payload *payload; /* in the archive's order; every file has one, every one makes a file */
    struct manifest_model model;      /* when kind is MANIFEST_MODEL */
    struct manifest_app app;          /* when kind is MANIFEST_APP */
    struct manifest_agent agent;      /* when kind is MANIFEST_AGENT */
    struct manifest_selftest selftest;
    struct manifest_health health;
    const json_t *profile; /* drift reference (common/wire/profile.h), or NULL */
    struct manifest_requires requires_;
    json_t *json; /* the whole document */
};

/* Copies and parses the bytes. ERR_INVALID code `manifest_invalid` with the field in info; ERR_UNSUPPORTED code
 * `manifest_unsupported` when it needs something this version does not know (schema, encoding, a name in `critical`);
 * ERR_NO_MEMORY. Other unknown members are ignored. manifest_free() the result. */
[[nodiscard]] enum err manifest_parse(const void *bytes, size_t len, struct manifest **ret_manifest,
                                      struct err_info *info);

struct manifest *manifest_free(struct manifest *manifest);

/* The file with this path, or NULL. */
const struct manifest_file *manifest_file_find(const struct manifest *manifest, const char *path);

/* The first file that a payload entry makes; there is always one. */
const struct manifest_file *manifest_payload_file(const struct manifest *manifest,
                                                  const struct manifest_payload *entry);

/* The entry's name in the archive. */
enum { MANIFEST_PAYLOAD_NAME = 80 };
void manifest_payload_name(const struct manifest_payload *entry, char ret_name[MANIFEST_PAYLOAD_NAME]);

/* "model", "app", "agent": static. */
const char *manifest_kind_name(enum manifest_kind kind);

/* Sum of the files' sizes: bytes on the device. */
int64_t manifest_files_size(const struct manifest *manifest);

/* A slot's name is [a-z0-9][a-z0-9-]{0,62}; a version is a semantic version (semver.org 2.0.0) of at most 64 bytes. */
bool manifest_slot_ok(const char *slot);
bool manifest_version_ok(const char *version);

static inline void cleanup_manifest_p(struct manifest **manifest)
{
    (void)manifest_free(*manifest);
}
#define cleanup_manifest [[gnu::cleanup(cleanup_manifest_p)]]
