#pragma once
/* Gets the device its certificate, and a new one in time. Only the loop's thread may call. */

#include "agent/core/retry.h"
#include "agent/identity/identity.h"
#include "agent/loop/fetch.h"

struct enrolment_settings {
    const char *name, *hardware;
    const char *token, *token_file; /* "" for none; the file is read at every try */
};

struct enrolment {
    struct loop *loop;
    const struct enrolment_settings *settings;
    struct fetch_setup *fetch_setup; /* its key follows the identity */
    struct identity *identity;
    bool enrolled;
    const char *key; /* of the request under way */
    struct fetch fetch;
    struct loop_timer timer;
    struct retry retry;
    /* The identity is there, or is a new one. */
    void (*ready)(void *user);
    void *user;
};

/* Loads the identity or enrols, for ever if need be; ready() is called from the loop. Everything is borrowed. Errors:
 * the enrolment is damaged, or there is neither one nor a token. */
[[nodiscard]] enum err enrolment_start(struct enrolment *enrolment, struct loop *loop,
                                       const struct enrolment_settings *settings, struct fetch_setup *fetch_setup,
                                       struct identity *identity, void (*ready)(void *user), void *user,
                                       struct err_info *info);

/* The certificate has been accepted: the key it has replaced is not needed any more. */
void enrolment_worked(struct enrolment *enrolment);

void enrolment_stop(struct enrolment *enrolment);
