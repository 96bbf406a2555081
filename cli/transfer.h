#pragma once
/* Files to and from the server that outlive lost connections: what has arrived is kept, the rest follows when the
 * server is back. */

#include "cli/api.h"

enum { TRANSFER_PATIENCE_S = 300 }; /* without any progress, by default */

/* Uploads the bundle file in parts. patience_s: how long to go on without progress. ret_created: false when the server
 * had it already. ret_answer: the Bundle; answer_free() it. */
[[nodiscard]] enum err transfer_upload(struct cli *cli, int fd, int64_t size, int64_t patience_s, bool *ret_created,
                                       struct answer *ret_answer);

/* Downloads an object of size bytes into the empty fd, and checks its digest. */
[[nodiscard]] enum err transfer_download(struct cli *cli, const char *sha256, int64_t size, int64_t patience_s, int fd);
