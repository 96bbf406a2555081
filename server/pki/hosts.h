#pragma once
/* The names a server certificate is for, as people type them. Pure. */

#include "common/base/buf.h"
#include "common/base/err.h"

/* "localhost,10.0.0.1" -> "DNS:localhost,IP:10.0.0.1", OpenSSL's form of subject alternative names. ret_first: the
 * first of them, as it is (room for 64; longer ones are cut). DNS names (with `*.` in front if need be) and IP
 * addresses, 1 to
 * 32. ERR_INVALID names the one that is wrong. */
[[nodiscard]] enum err hosts_alt_names(const char *hosts, struct buf *alt_names, char ret_first[65],
                                       struct err_info *info);
