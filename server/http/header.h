#pragma once
/* What request headers mean. Pure; every value may be NULL (absent), and none is trusted. */

#include <stdbool.h>
#include <stdint.h>

enum header_range { RANGE_ALL, RANGE_PART, RANGE_UNSATISFIABLE };

/* Range (RFC 9110, 14.2) for size bytes. One byte range gives RANGE_PART with first and last; several ranges, other
 * units and bad syntax give RANGE_ALL, as the RFC lets a server do. */
enum header_range header_range(const char *range, int64_t size, int64_t *ret_first, int64_t *ret_last);

/* Content-Range of a request, "bytes FIRST-LAST/SIZE"; false for everything else, also for "*". */
bool header_content_range(const char *content_range, int64_t *ret_first, int64_t *ret_last, int64_t *ret_size);

/* If-None-Match names this entity tag (without quotes), or "*". Weak comparison. */
bool header_names_etag(const char *if_none_match, const char *etag);

/* If-Range lets a part be sent: it is absent, or exactly this entity tag. */
bool header_if_range(const char *if_range, const char *etag);

/* A comma list (Accept-Encoding, Accept) has this entry, and its q is not 0. Case does not matter. */
bool header_accepts(const char *list, const char *entry);

/* Content-Type is this media type, whatever its parameters. */
bool header_is_type(const char *content_type, const char *type);
