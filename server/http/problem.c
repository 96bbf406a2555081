#include "server/http/problem.h"

#include "common/base/json.h"
#include "common/base/text.h"

#include <stdio.h>
#include <string.h>

struct problem {
    unsigned status;
    const char *title;
    const char *detail; /* when the error has no text, or a private one */
    const char *next;   /* when the error says nothing */
};

static const char SEE_LOG[] = "Look for the request id in the log of musterd.";

static const struct problem TABLE[ERR_COUNT_] = {
    [ERR_INVALID] = {400, "The request is not valid", "Something in the request is not valid.", ""},
    [ERR_UNAUTHENTICATED] = {401, "Not logged in", "This needs a valid login or token.",
                             "Log in, or send an API token as `Authorization: Bearer`."},
    [ERR_FORBIDDEN] = {403, "Not allowed", "You are known, but this is not allowed for you.",
                       "Ask an administrator for a role that has this right."},
    [ERR_NOT_FOUND] = {404, "Not found", "There is no such thing.", ""},
    [ERR_METHOD] = {405, "Wrong method", "This path does not take that method.", ""},
    [ERR_CONFLICT] = {409, "Conflict", "The state has changed, or the name is taken.", "Read it again, then decide."},
    [ERR_TOO_LARGE] = {413, "Too large", "The request is over a limit.", ""},
    [ERR_UNSUPPORTED] = {415, "Not supported", "The server does not understand this format.", ""},
    [ERR_UNTRUSTED] = {422, "Not trusted", "A signature is missing or not of a trusted key.", ""},
    [ERR_CORRUPT] = {422, "Damaged", "The bytes do not match their digest or their format.", "Send it again."},
    [ERR_RATE] = {429, "Too many attempts", "There were too many attempts.", "Wait, then try again."},
    [ERR_TIMEOUT] = {503, "Took too long", "The database did not answer in time.", "Try again in a moment."},
    [ERR_UNAVAILABLE] = {503, "Not available now", "The database cannot be reached.", "Try again in a moment."},
    [ERR_NO_SPACE] = {507, "No space", "The server has no space left.", "Free space on the server's disk."},
    [ERR_NO_MEMORY] = {503, "No memory", "The server is out of memory.", "Try again in a moment."},
    [ERR_IO] = {500, "The server failed", "The server could not read or write a file.", SEE_LOG},
    [ERR_INTERNAL] = {500, "The server failed", "The server failed at this request.", SEE_LOG},
};

/* Codes whose status says more than their error's. */
static const struct {
    const char *code;
    struct problem problem;
} SPECIAL[] = {
    {"range_not_satisfiable", {416, "Range not satisfiable", "", "Ask for a range inside the file, or for all of it."}},
    /* not 503: asking again does not help, and a device is to try another way */
    {"object_damaged", {500, "The stored bytes are damaged", "", "Restore the database from a backup."}},
    {"bundle_malformed", {422, "Not a whole bundle", "", "Send the file again."}},
    {"target_too_long", {414, "Address too long", "", "Shorten the query."}},
};

static const struct problem *problem_of(enum err e, const struct err_info *info)
{
    for (size_t i = 0; i < sizeof SPECIAL / sizeof SPECIAL[0]; i++)
        if (text_eq(SPECIAL[i].code, info->code))
            return &SPECIAL[i].problem;
    return &TABLE[e > ERR_OK && e < ERR_COUNT_ ? e : ERR_INTERNAL];
}

unsigned problem_status(enum err e, const struct err_info *info)
{
    return problem_of(e, info)->status;
}

bool problem_is_private(enum err e, const struct err_info *info)
{
    switch (e) {
    case ERR_UNAVAILABLE:
    case ERR_TIMEOUT:
        return info->code[0] == '\0' || text_eq(info->code, "database_unavailable");
    case ERR_NO_SPACE:
    case ERR_NO_MEMORY:
    case ERR_IO:
    case ERR_INTERNAL:
        return true;
    default:
        return e <= ERR_OK || e >= ERR_COUNT_;
    }
}

static json_t *field_errors(const struct err_info *info, const char *detail)
{
    const char *field = info->field[0] == '\0' ? "body" : info->field;
    json_t *error = json_pack("{s:s, s:s}", "field", field, "message", detail);
    if (info->offset >= 0)
        (void)json_object_set_new(error, "offset", json_integer(info->offset));
    return json_pack("[o]", error);
}

char *problem_print(enum err e, const struct err_info *info, const char *request_id)
{
    const struct problem *problem = problem_of(e, info);
    const char *code = info->code[0] != '\0' ? info->code : err_name(e);
    bool own = !problem_is_private(e, info);
    const char *detail = own && info->text[0] != '\0' ? info->text : problem->detail;
    const char *next = own && info->next[0] != '\0' ? info->next : problem->next;
    char type[16 + ERR_CODE_MAX];
    (void)snprintf(type, sizeof type, "urn:muster:%s", code);

    json_auto_t *json = json_pack("{s:s, s:s, s:i, s:s, s:s, s:s}", "type", type, "title", problem->title, "status",
                                  (int)problem->status, "code", code, "detail", detail, "request_id", request_id);
    if (next[0] != '\0')
        (void)json_object_set_new(json, "next", json_string(next));
    if (own && (info->field[0] != '\0' || info->offset >= 0))
        (void)json_object_set_new(json, "field_errors", field_errors(info, detail));
    char *text = NULL;
    return json_print(json, &text, NULL) == ERR_OK ? text : NULL;
}
