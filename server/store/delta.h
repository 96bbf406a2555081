#pragma once
/* Deltas between bundles: which pairs there could be, which there are, and who makes one (docs/design/deltas.md). */

#include "server/core/delta_plan.h"
#include "server/db/db.h"

/* ---- what there is, and could be */

/* Columns of delta_pairs_read(). */
enum delta_column {
    DELTA_FROM,
    DELTA_TO,
    DELTA_DEVICES,
    DELTA_ACTIVE,
    DELTA_STATE,
    DELTA_DUE,
    DELTA_NEWNESS,
    DELTA_FULL_SIZE,
    DELTA_SIZE,  /* null: not known */
    DELTA_RATIO, /* null: not known */
    DELTA_SLOT,
    DELTA_FROM_VERSION,
    DELTA_TO_VERSION,
    DELTA_FROM_OBJECT,
    DELTA_TO_OBJECT,
    DELTA_ASKED_BY,     /* null: nobody */
    DELTA_DETAILS_ = 16 /* the rest of openapi's Delta, as JSON; null without a row */
};

enum delta_question {
    DELTAS_TO_MAKE,   /* what rollouts and newest bundles ask for, and people */
    DELTAS_OF_BUNDLE, /* every version that devices run in the bundle's slot, to it; and those that were made */
    DELTAS_MADE       /* those that have a row, newest first */
};

/* bundle: id, for DELTAS_OF_BUNDLE. limit, before (0: from the newest): for DELTAS_MADE, by the delta's id. rows_free()
 * the rows. */
struct delta_search {
    enum delta_question question;
    const char *bundle;
    int64_t limit, before;
};
[[nodiscard]] enum err delta_pairs_read(struct db *db, const struct delta_search *search, struct rows **ret_rows,
                                        struct err_info *info);

/* Row i as a pair, judged. */
void delta_pair_take(const struct rows *rows, size_t i, const struct delta_policy *policy, struct delta_pair *ret_pair);

/* JSON of openapi's DeltaList; free() it. */
[[nodiscard]] enum err delta_show(struct db *db, const struct delta_search *search, const struct delta_policy *policy,
                                  char **ret_json, struct err_info *info);

/* Inside the caller's transaction: asks for a pair by hand; one that failed or was not worth it is tried again.
 * ERR_INVALID code `bundle_slots_differ`, or both are the same. */
[[nodiscard]] enum err delta_ask(struct db *db, const char *from, const char *to, const char *actor,
                                 struct err_info *info);

/* ---- making one */

/* The right to make a pair, until it runs out. */
struct delta_lease {
    int64_t id, epoch, tries;
};

/* Takes the pair when nobody else has it, or had it and let the lease run out. ret_taken: false when somebody was
 * faster. */
[[nodiscard]] enum err delta_claim(struct db *db, const char *from, const char *to, const char *owner, double lease_s,
                                   bool *ret_taken, struct delta_lease *ret_lease, struct err_info *info);

/* Each of these writes only while the lease is still ours; else ERR_CONFLICT code `lease_lost`. */
[[nodiscard]] enum err delta_renew(struct db *db, const struct delta_lease *lease, double lease_s,
                                   struct err_info *info);

struct delta_result {
    int64_t size;       /* of the delta bundle */
    const char *sha256; /* of it; its object is stored, too. NULL: it is too large to be kept */
    int fd;
};

/* In one transaction: stores the object, and offers it. */
[[nodiscard]] enum err delta_finish(struct db *db, const struct delta_lease *lease, const struct delta_result *result,
                                    struct err_info *info);

/* It is tried again later, or was the last try. */
[[nodiscard]] enum err delta_fail(struct db *db, const struct delta_lease *lease, const char *why,
                                  struct err_info *info);

/* This server stops: another one may go on at once, and this was no try. */
[[nodiscard]] enum err delta_release(struct db *db, const struct delta_lease *lease, struct err_info *info);

/* In one transaction: if the object is a delta's, whose bytes turned out to be damaged, forgets both, so that it is
 * made again. ret_found: it was one. */
[[nodiscard]] enum err delta_discard(struct db *db, const char *sha256, bool *ret_found, struct err_info *info);

/* Ends pairs at which servers died again and again. */
[[nodiscard]] enum err delta_give_up(struct db *db, struct err_info *info);
