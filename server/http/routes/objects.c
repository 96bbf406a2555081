#include "common/base/text.h"
#include "server/http/routes/routes.h"
#include "server/store/desired.h"

/* The same answer whether the object does not exist or is not for this device. */
static enum err device_object_unknown(struct call *c)
{
    return err_code(&c->info, ERR_NOT_FOUND, "object_not_found",
                    "there is no such object, or this device's desired state does not name it");
}

static enum err handle_device_get(struct call *c)
{
    const char *sha256 = call_path(c, "sha256");
    bool allowed = false;
    if (!text_is_sha256(sha256))
        return device_object_unknown(c);
    enum err e = desired_allows_object(c->db, c->device_id, sha256, &allowed, &c->info);
    if (e != ERR_OK)
        return e;
    if (!allowed)
        return device_object_unknown(c);
    e = call_answer_object(c, sha256);
    return e == ERR_NOT_FOUND ? device_object_unknown(c) : e;
}

/* For people: whoever may see bundles may have them. */
static enum err handle_get(struct call *c)
{
    const char *sha256 = call_path(c, "sha256");
    if (!text_is_sha256(sha256))
        return err_code(&c->info, ERR_NOT_FOUND, "object_not_found", "an object is named by its SHA-256");
    return call_answer_object(c, sha256);
}

static const struct route device_routes[] = {
    {"GET", "/device/v1/objects/{sha256}", PERMIT_DEVICE_SELF, BODY_NONE, handle_device_get},
};
const struct route_table routes_device_objects = {device_routes, sizeof device_routes / sizeof device_routes[0]};

static const struct route routes[] = {
    {"GET", "/api/v1/objects/{sha256}", PERMIT_READ, BODY_NONE, handle_get},
};
const struct route_table routes_objects = {routes, sizeof routes / sizeof routes[0]};
