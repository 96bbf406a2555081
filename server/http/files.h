#pragma once
/* The console's files: from web_dir, with the right headers, and its index for every path that is a page of it. */

#include "server/http/answer.h"
#include "server/http/url.h"

struct files;
struct MHD_Connection;

/* A folder that is not there is fine: it is logged, and every path is ERR_NOT_FOUND. */
[[nodiscard]] enum err files_new(const char *web_dir, struct files **ret_files);
void files_free(struct files *f);

/* In an I/O thread: opens a file, reads none of it. Nothing outside web_dir, no link, no dot file. The precompressed
 * FILE.br or FILE.gz is sent to who accepts it. A path without a file is the index when HTML is accepted. */
[[nodiscard]] enum err files_answer(const struct files *f, const struct url_path *path, struct MHD_Connection *request,
                                    struct answer *ret_answer, struct err_info *info);
