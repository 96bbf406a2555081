#pragma once
/* Requests to the REST API (api/openapi.yaml) as commands make them: paths, one call, and the answer shown. */

#include "cli/command.h"
#include "cli/https.h"

enum { API_PATH_MAX = 6144 };

struct api_path {
    char text[API_PATH_MAX];
    size_t len;
    bool query; /* a '?' is in it */
    bool bad;   /* it did not fit, or a part cannot be escaped: the call refuses it */
};

/* "/api/v1/devices/" + segment, percent-encoded + "/hold". segment may be NULL. */
struct api_path api_path(const char *before, const char *segment, const char *after);

/* Adds ?name=value or &name=value; nothing when value is NULL. */
void api_query(struct api_path *path, const char *name, const char *value);

/* Adds the options --limit and --before (options_page in cli/commands.h). */
void api_page(const struct cli *cli, struct api_path *path);

/* A request with the stored token. body is stolen; NULL for none. ret_json: the answer's JSON (json_decref() it), NULL
 * when it has none; ret_answer: its text (answer_free()); both may be NULL. An answer that refuses is an error, with
 * cli->problem set. */
[[nodiscard]] enum err api_call(struct cli *cli, const char *method, const struct api_path *path, json_t *body,
                                json_t **ret_json, struct answer *ret_answer);

/* The connection, made at the first use; with the stored token, or without any. */
[[nodiscard]] enum err api_connect(struct cli *cli, bool with_token, struct https **ret_https);

/* Judges an answer: 2xx is ERR_OK, everything else an error with cli->problem set when the server said why. ret_json as
 * above. */
[[nodiscard]] enum err api_judge(struct cli *cli, const struct answer *answer, json_t **ret_json);

/* Calls, and prints the answer: as it is with --output json, else by print. */
[[nodiscard]] enum err api_show(struct cli *cli, const char *method, const struct api_path *path, json_t *body,
                                void (*print)(const json_t *json));

/* "{}" and members that are given: for bodies with optional members. NULL when there is no memory. Stolen by api_*. */
void body_text(json_t *body, const char *key, const char *value); /* nothing when value is NULL */
void body_int(const struct cli *cli, json_t *body, const char *key, const char *option); /* nothing when not given */

/* The file of the token that login keeps; "" when there is no home directory. */
void token_path(const struct cli *cli, char *out, size_t size);
