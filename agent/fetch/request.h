#pragma once
/* One request as it was read from stdin. Text is borrowed from its JSON. */

#include "agent/fetch/outcome.h"

struct request {
    json_t *json; /* owned */
    const char *operation;
    const char *url; /* https://host:port */
    const char *ca, *certificate, *key;
};

/* Parses and checks the members every request has. False: outcome says what is wrong. */
bool request_parse(const char *text, size_t len, struct request *ret_request, struct outcome *outcome);
void request_free(struct request *request);

/* A member only this operation has; NULL and an outcome when it is missing or not text. */
const char *request_text(const struct request *request, const char *key, struct outcome *outcome);

/* The operations. Each fills the outcome. */
void operation_enrol(const struct request *request, struct outcome *outcome);
void operation_renew(const struct request *request, struct outcome *outcome);
void operation_desired(const struct request *request, struct outcome *outcome);
void operation_object(const struct request *request, struct outcome *outcome);
void operation_unpack(const struct request *request, struct outcome *outcome);
void operation_verify(const struct request *request, struct outcome *outcome);
