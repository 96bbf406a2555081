#include "common/base/cleanup.h"
#include "server/http/routes/routes.h"
#include "server/server.h"
#include "server/store/desired.h"

static enum err handle_get(struct call *c)
{
    cleanup_free char *json = NULL;
    enum err e = desired_document(c->db, c->device_id, conf_number(c->server->conf, "beat_s"), &json, &c->info);
    return e == ERR_OK ? call_answer_text(c, 200, json) : e;
}

static const struct route routes[] = {
    {"GET", "/device/v1/desired", PERMIT_DEVICE_SELF, BODY_NONE, handle_get},
};
const struct route_table routes_device_desired = {routes, sizeof routes / sizeof routes[0]};
