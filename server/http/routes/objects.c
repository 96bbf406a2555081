#include "common/base/text.h"
#include "server/artifact/object_cache.h"
#include "server/http/routes/routes.h"
#include "server/server.h"
#include "server/store/desired.h"

/* The same answer whether the object does not exist or is not for this device. */
static enum err object_unknown(struct call *c)
{
    return err_code(&c->info, ERR_NOT_FOUND, "object_not_found",
                    "there is no such object, or this device's desired state does not name it");
}

static enum err handle_get(struct call *c)
{
    const char *sha256 = call_path(c, "sha256");
    bool allowed = false;
    if (!text_is_sha256(sha256))
        return object_unknown(c);
    enum err e = desired_allows_object(c->db, c->device_id, sha256, &allowed, &c->info);
    if (e != ERR_OK)
        return e;
    if (!allowed)
        return object_unknown(c);
    int fd = -1;
    int64_t size = 0;
    e = object_cache_open(c->server->objects, c->db, sha256, &fd, &size, &c->info);
    if (e == ERR_NOT_FOUND)
        return object_unknown(c);
    return e == ERR_OK ? call_answer_file(c, fd, size, "application/octet-stream", sha256) : e;
}

static const struct route routes[] = {
    {"GET", "/device/v1/objects/{sha256}", PERMIT_DEVICE_SELF, BODY_NONE, handle_get},
};
const struct route_table routes_objects = {routes, sizeof routes / sizeof routes[0]};
