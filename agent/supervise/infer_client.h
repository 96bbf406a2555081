#pragma once
/* The agent's end of muster-infer's unix socket: one JSON object per line, one question at a time, never blocking. Only
 * the loop's thread may call. */

#include "agent/loop/loop.h"
#include "common/base/buf.h"
#include "common/base/json.h"

struct infer_client {
    struct loop *loop;
    int fd; /* -1: not connected */
    struct loop_watch watch;
    struct buf in;
    bool asked; /* an answer is due */
    /* An answer (borrowed); NULL: the connection has broken, and is closed now. May ask again or close. */
    void (*answer)(void *user, const json_t *json);
    void *user;
};

void infer_client_init(struct infer_client *client, struct loop *loop, void (*answer)(void *user, const json_t *json),
                       void *user);

/* ERR_NOT_FOUND or ERR_UNAVAILABLE: nobody listens yet. */
[[nodiscard]] enum err infer_client_connect(struct infer_client *client, const char *path);
bool infer_client_connected(const struct infer_client *client);

/* Asks {"op": operation}. ERR_CONFLICT: an answer is still due; ERR_UNAVAILABLE: not connected or broken. */
[[nodiscard]] enum err infer_client_ask(struct infer_client *client, const char *operation);

void infer_client_close(struct infer_client *client);
