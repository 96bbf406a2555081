#pragma once
/* The query language that picks devices: `site:berlin-* status:healthy -tag:lab`. All terms must hold. Pure.
 *
 *     selector = term { space term }
 *     term     = [ "-" ] field ":" value          "-" turns the term round
 *     field    = id | name | site | hardware | tag | status | liveness | model
 *     value    = characters other than space and '"', or '"' anything but '"' '"'; `*` stands for any run of characters
 *     model's value is SLOT@VERSION: what the device really runs. */

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>

enum { SELECTOR_TEXT_MAX = 2000, SELECTOR_TERMS_MAX = 12 };

enum selector_field {
    SELECTOR_ID,
    SELECTOR_NAME,
    SELECTOR_SITE,
    SELECTOR_HARDWARE,
    SELECTOR_TAG,      /* one of the device's tags matches */
    SELECTOR_STATUS,   /* as in the view device_state */
    SELECTOR_LIVENESS, /* as in the view device_state */
    SELECTOR_MODEL,    /* slot and version of a bundle that the latest beat says is running */
    SELECTOR_FIELDS_
};

struct selector_term {
    enum selector_field field;
    bool negated;
    /* Patterns for SQL's LIKE with its default escape '\': `*` became '%', and '%', '_' and '\' are escaped. */
    char *like;         /* of the value; for SELECTOR_MODEL, of the slot */
    char *like_version; /* SELECTOR_MODEL only, else NULL */
};

struct selector {
    struct selector_term *terms;
    size_t count; /* 1 .. SELECTOR_TERMS_MAX: each needs at most two parameters */
};

/* ERR_INVALID with field "q", the byte offset, what is wrong and what to do. Empty text is an error: it never means
 * everything. selector_free() the result. */
[[nodiscard]] enum err selector_parse(const char *text, struct selector **ret_selector, struct err_info *info);
void selector_free(struct selector *s);

/* As it is written in a query: "site". Static. */
const char *selector_field_name(enum selector_field field);

static inline void cleanup_selector_p(struct selector **s)
{
    selector_free(*s);
}
#define cleanup_selector [[gnu::cleanup(cleanup_selector_p)]]
