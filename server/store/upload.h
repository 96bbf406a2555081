#pragma once
/* Uploads on their way in: what has come so far, kept in whole chunks, so that they survive any server. One per owner
 * and file. All but upload_show and upload_expire run inside the caller's transaction. */

#include "server/store/object.h"

enum { UPLOAD_KEPT_S = 24 * 3600 }; /* after its last part */

struct upload_row {
    int64_t id;
    int64_t received; /* bytes: a whole number of chunks, or all */
    struct object_row bytes;
};

struct upload_limits {
    int64_t count_of_owner; /* most unfinished uploads of one owner */
    int64_t bytes;          /* most bytes of all unfinished uploads together, as they will be */
};

/* Finds the upload and keeps everybody else from it until the transaction ends; makes it when it is not there or has
 * expired. ERR_CONFLICT code `upload_size_differs`; ERR_RATE code `too_many_uploads`, ERR_NO_SPACE is the database's.
 */
[[nodiscard]] enum err upload_open(struct db *db, const char *owner, const char *sha256, int64_t size,
                                   const struct upload_limits *limits, struct upload_row *ret_upload,
                                   struct err_info *info);

/* Keeps len bytes of fd at offset as the next ones; len is a whole number of chunks, or up to the end. */
[[nodiscard]] enum err upload_add(struct db *db, struct upload_row *upload, int fd, int64_t offset, int64_t len,
                                  struct err_info *info);

/* Forgets the upload; its bytes go too unless they were adopted. */
[[nodiscard]] enum err upload_close(struct db *db, const struct upload_row *upload, bool adopted,
                                    struct err_info *info);

/* Forgets it by name. ret_found: there was one. */
[[nodiscard]] enum err upload_forget(struct db *db, const char *owner, const char *sha256, bool *ret_found,
                                     struct err_info *info);

/* JSON of openapi's Upload: the owner's upload, or a bundle with this file that is stored already. free() it.
 * ERR_NOT_FOUND code `upload_not_found`. */
[[nodiscard]] enum err upload_show(struct db *db, const char *owner, const char *sha256, char **ret_json,
                                   struct err_info *info);

/* The bundle whose file has this digest. ERR_NOT_FOUND. */
[[nodiscard]] enum err upload_bundle_find(struct db *db, const char *sha256, char ret_id[65], struct err_info *info);

/* Removes what has expired, with its bytes. */
[[nodiscard]] enum err upload_expire(struct db *db, int64_t *ret_count, struct err_info *info);
