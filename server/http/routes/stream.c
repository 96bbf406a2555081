#include "server/http/routes/routes.h"

static const struct route routes[] = {
    {"GET", "/api/v1/stream", PERMIT_READ, BODY_NONE, call_answer_stream},
};
const struct route_table routes_stream = {routes, sizeof routes / sizeof routes[0]};
