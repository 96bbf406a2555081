#include "server/core/access.h"

#include "common/base/text.h"

#include <stddef.h>

static const char *const ROLES[ROLE_COUNT_] = {"viewer", "operator", "releaser", "admin"};

/* Roles are a ladder: each has what the one before has. */
struct right {
    const char *name; /* in the API */
    enum role from;   /* the lowest role that has it */
    bool in_person;   /* never an API token's */
};

static const struct right RIGHTS[PERMIT_COUNT_] = {
    [PERMIT_READ] = {"read", ROLE_VIEWER, false},
    [PERMIT_DEVICE_HOLD] = {"device.hold", ROLE_OPERATOR, false},
    [PERMIT_ALERT_ACK] = {"alert.ack", ROLE_OPERATOR, false},
    [PERMIT_ROLLOUT_PAUSE] = {"rollout.pause", ROLE_OPERATOR, false},
    [PERMIT_ROLLOUT_WRITE] = {"rollout.write", ROLE_RELEASER, false},
    [PERMIT_BUNDLE_WRITE] = {"bundle.write", ROLE_RELEASER, false},
    [PERMIT_ACCESS_ADMIN] = {"access.admin", ROLE_ADMIN, false},
    [PERMIT_TOKEN_WRITE] = {"token.write", ROLE_ADMIN, true},
};

enum err access_role_parse(const char *name, enum role *ret_role, struct err_info *info)
{
    for (enum role role = 0; role < ROLE_COUNT_; role++)
        if (text_eq(name, ROLES[role])) {
            *ret_role = role;
            return ERR_OK;
        }
    return err_field(info, ERR_INVALID, "role", "role must be one of viewer, operator, releaser, admin");
}

const char *access_role_name(enum role role)
{
    return ROLES[role];
}

bool access_allows(struct grant grant, enum permission permission)
{
    if (permission == PERMIT_ANYONE)
        return true;
    const struct right *right = &RIGHTS[permission];
    return right->name != NULL && grant.role >= right->from && !(right->in_person && grant.is_token);
}

const char *access_permission_name(enum permission permission)
{
    return RIGHTS[permission].name;
}
