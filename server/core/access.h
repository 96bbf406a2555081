#pragma once
/* Who may do what: a pure table. */

#include "common/base/err.h"

#include <stdbool.h>

enum permission {
    PERMIT_ANYONE,        /* no credentials needed */
    PERMIT_READ,          /* viewer and above */
    PERMIT_DEVICE_HOLD,   /* operator */
    PERMIT_ALERT_ACK,     /* operator */
    PERMIT_ROLLOUT_PAUSE, /* operator: the brake */
    PERMIT_ROLLOUT_WRITE, /* releaser */
    PERMIT_BUNDLE_WRITE,  /* releaser */
    PERMIT_ACCESS_ADMIN,  /* admin: enrolment, audit, list of tokens */
    PERMIT_TOKEN_WRITE,   /* admin in person: a token makes no tokens */
    PERMIT_DEVICE_SELF,   /* device port: a valid, known, unrevoked client certificate */
    PERMIT_COUNT_
};

enum role { ROLE_VIEWER, ROLE_OPERATOR, ROLE_RELEASER, ROLE_ADMIN, ROLE_COUNT_ };

/* Who asks, as far as rights go. */
struct grant {
    enum role role;
    bool is_token; /* an API token, not a person */
};

/* ERR_INVALID for an unknown name. */
[[nodiscard]] enum err access_role_parse(const char *name, enum role *ret_role, struct err_info *info);
const char *access_role_name(enum role role);

/* PERMIT_DEVICE_SELF is never a person's or a token's. */
bool access_allows(struct grant grant, enum permission permission);

/* Name of a permission in the API ("rollout.pause"); NULL for PERMIT_ANYONE and PERMIT_DEVICE_SELF. */
const char *access_permission_name(enum permission permission);
