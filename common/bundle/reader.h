#pragma once
/* Streams a bundle once, in its one allowed order, and hands its parts to a sink. Internal to common/bundle. */

#include "common/bundle/bundle.h"

struct bundle_signature {
    char name[64]; /* of its entry */
    char id[MINISIG_ID_TEXT];
    char *text; /* the signature file, owned by the reader */
    size_t len;
};

/* One payload entry as it is in this archive. */
struct bundle_item {
    size_t index; /* among the manifest's payload */
    const struct manifest_payload *payload;
    const struct manifest_file *file; /* the first that it makes */
    enum bundle_form form;
    int64_t offset, size; /* of the entry's bytes in the archive */
};

/* What a reading is for. Every function may be NULL; an error ends the reading and is passed on. */
struct bundle_sink {
    void *user;
    bool unread; /* the bytes of entries are passed over: nothing is checked but where they are, and how large */
    bool deltas; /* entries `same/` and `delta/` are welcome; else ERR_CONFLICT `bundle_is_delta` */
    /* The manifest and the signatures that count: of trusted keys, or all of them when nothing is trusted. */
    enum err (*head)(void *user, const struct manifest *manifest, const struct bundle_signature *signatures,
                     size_t count, struct err_info *info);
    /* One payload entry: begin, its bytes in pieces, end once size and digest of a full one are right. */
    enum err (*begin)(void *user, const struct bundle_item *item, struct err_info *info);
    enum err (*raw)(void *user, const void *bytes, size_t len, struct err_info *info); /* as they are in the archive */
    enum err (*bytes)(void *user, const void *bytes, size_t len,
                      struct err_info *info); /* of the file, if it is full */
    enum err (*end)(void *user, const struct bundle_item *item, struct err_info *info);
};

/* Reads fd to its end. trust NULL: signatures must be well-formed but nothing is verified. ret_keys may be NULL. Errors
 * as in bundle.h. manifest_free() the manifest. */
[[nodiscard]] enum err bundle_read(int fd, const struct trust *trust, const struct bundle_sink *sink,
                                   struct manifest **ret_manifest, struct bundle_keys *ret_keys, struct err_info *info);

/* bundle_extract, but trust may be NULL: for a bundle that was verified before. */
[[nodiscard]] enum err bundle_unpack(int fd, const struct trust *trust, const struct bundle_olds *olds, int dir,
                                     struct manifest **ret_manifest, struct bundle_keys *ret_keys,
                                     struct err_info *info);
