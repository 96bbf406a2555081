/* How a device gets its identity, and keeps it: enrol with a token, renew with the certificate it has. */

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/text.h"
#include "server/config.h"
#include "server/core/broker_list.h"
#include "server/http/limiter.h"
#include "server/http/routes/routes.h"
#include "server/http/secret.h"
#include "server/pki/pki.h"
#include "server/server.h"
#include "server/store/audit.h"
#include "server/store/certificate.h"
#include "server/store/enrolment.h"
#include "server/store/event.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { TOKEN_TEXT_MAX = 128, NAME_MAX_LEN = 63, HARDWARE_MAX = 128 };

/* One certificate to be issued, by enrolment or by renewal. */
struct issue {
    struct call *call;
    const struct csr *csr;
    struct enrolment request;   /* of an enrolment */
    struct admission admission; /* .device_id: whose it is */
    struct certificate certificate;
};

static bool name_ok(const char *name)
{
    if (!isalnum((unsigned char)name[0]))
        return false;
    for (const char *p = name; *p != '\0'; p++)
        if (!isascii(*p) || (!isalnum((unsigned char)*p) && strchr("._-", *p) == NULL))
            return false;
    return true;
}

static bool has_control_characters(const char *text)
{
    for (; *text != '\0'; text++)
        if (iscntrl((unsigned char)*text))
            return true;
    return false;
}

static enum err csr_read(struct call *c, struct csr **ret_csr)
{
    const char *pem = NULL;
    enum err e = json_get_text(c->body, "csr", CSR_PEM_MAX, &pem, &c->info);
    return e == ERR_OK ? csr_parse(pem, strlen(pem), ret_csr, &c->info) : e;
}

/* Text that is no token of ours is as unknown as one that is not in the database. */
static enum err token_read(struct call *c, uint8_t ret_hash[SHA256_SIZE])
{
    const char *token = NULL;
    enum err e = json_get_text(c->body, "token", TOKEN_TEXT_MAX, &token, &c->info);
    if (e != ERR_OK)
        return e;
    e = secret_hash(SECRET_ENROLMENT, token, ret_hash);
    if (e != ERR_UNAUTHENTICATED)
        return e;
    return enrolment_token_unknown(&c->info);
}

static enum err enrolment_read(struct call *c, struct enrolment *out)
{
    static const char *const allowed[] = {"token", "csr", "name", "hardware", NULL};
    enum err e = json_only(c->body, allowed, &c->info);
    if (e == ERR_OK)
        e = json_get_text(c->body, "name", NAME_MAX_LEN, &out->name, &c->info);
    if (e == ERR_OK && !name_ok(out->name))
        e = err_field(
            &c->info, ERR_INVALID, "name",
            "a device's name has letters, digits, dots, hyphens and underscores, and starts with a letter or digit");
    out->hardware = "";
    if (e == ERR_OK && json_has(c->body, "hardware"))
        e = json_get_text(c->body, "hardware", HARDWARE_MAX, &out->hardware, &c->info);
    if (e == ERR_OK && has_control_characters(out->hardware))
        e = err_field(&c->info, ERR_INVALID, "hardware", "control characters are not allowed");
    if (e == ERR_OK)
        e = token_read(c, out->token_hash);
    return e;
}

static enum err issue_record(struct db *db, const struct issue *issue, const char *action, const char *kind,
                             const char *actor, struct err_info *info)
{
    const char *id = issue->admission.device_id;
    char target[sizeof "device:" + DEVICE_ID_SIZE];
    (void)snprintf(target, sizeof target, "device:%s", id);
    json_auto_t *data = json_pack("{s:s, s:I, s:s}", "certificate", issue->certificate.fingerprint, "not_after",
                                  (json_int_t)issue->certificate.not_after_ms, "by", actor);
    if (data == NULL)
        return ERR_NO_MEMORY;
    enum err e =
        event_add(db, &(struct event_entry){.kind = kind, .actor = target, .device_id = id, .data = data}, info);
    if (e != ERR_OK)
        return e;
    const struct audit_entry entry = {
        .actor = actor,
        .action = action,
        .target = target,
        .address = issue->call->address,
        .request_id = issue->call->request_id,
        .after = data,
    };
    return audit_add(db, &entry, info);
}

/* Signs for the device in issue->admission and stores the certificate. */
static enum err certificate_issue(struct db *db, struct issue *issue, struct err_info *info)
{
    certificate_clear(&issue->certificate); /* the transaction may run again */
    const char *id = issue->admission.device_id;
    enum err e = pki_sign_device(issue->call->server->pki, issue->csr, id, &issue->certificate, info);
    return e == ERR_OK ? certificate_add(db, id, &issue->certificate, info) : e;
}

static enum err enrol_work(struct db *db, void *arg, struct err_info *info)
{
    struct issue *issue = arg;
    enum err e = enrolment_admit(db, &issue->request, &issue->admission, info);
    if (e == ERR_OK)
        e = certificate_issue(db, issue, info);
    if (e != ERR_OK)
        return e;
    char actor[48];
    (void)snprintf(actor, sizeof actor, "enrolment_token:%" PRId64, issue->admission.token_id);
    const char *kind = issue->admission.again ? "device.enrolled_again" : "device.enrolled";
    return issue_record(db, issue, "device.enrol", kind, actor, info);
}

static enum err renew_work(struct db *db, void *arg, struct err_info *info)
{
    struct issue *issue = arg;
    enum err e = certificate_issue(db, issue, info);
    return e == ERR_OK ? issue_record(db, issue, "device.renew", "device.renewed", issue->call->actor, info) : e;
}

static enum err issue_answer(const struct issue *issue)
{
    struct call *c = issue->call;
    cleanup_free char *brokers = NULL;
    json_t *list = NULL;
    enum err e = config_brokers(c->server->conf, &brokers);
    if (e == ERR_OK)
        e = broker_list_parse(brokers, &list, &c->info);
    if (e != ERR_OK)
        return e == ERR_INVALID ? ERR_INTERNAL : e; /* a wrong setting, not a wrong request */
    return call_answer_json(c, 201,
                            json_pack("{s:s, s:s, s:s, s:o}", "device", issue->admission.device_id, "certificate",
                                      issue->certificate.pem, "ca", pki_server_ca_pem(c->server->pki), "brokers",
                                      list));
}

static enum err issue_run(struct issue *issue, enum err (*work)(struct db *db, void *arg, struct err_info *info))
{
    struct call *c = issue->call;
    enum err e = db_transaction(c->db, work, issue, &c->info);
    if (e == ERR_OK)
        e = issue_answer(issue);
    certificate_clear(&issue->certificate);
    return e;
}

static enum err handle_enrol(struct call *c)
{
    struct issue issue = {.call = c};
    cleanup_csr struct csr *csr = NULL;
    enum err e = limiter_take(c->server->enrol_limiter, c->address, clock_mono_ms(), &c->info);
    if (e == ERR_OK)
        e = enrolment_read(c, &issue.request);
    if (e == ERR_OK)
        e = csr_read(c, &csr);
    if (e != ERR_OK)
        return e;
    issue.csr = csr;
    issue.request.public_key = csr_public_key(csr);
    issue.request.beat_s = conf_number(c->server->conf, "beat_s");
    return issue_run(&issue, enrol_work);
}

static enum err handle_renew(struct call *c)
{
    static const char *const allowed[] = {"csr", NULL};
    struct issue issue = {.call = c};
    cleanup_csr struct csr *csr = NULL;
    enum err e = limiter_take(c->server->enrol_limiter, c->device_id, clock_mono_ms(), &c->info);
    if (e == ERR_OK)
        e = json_only(c->body, allowed, &c->info);
    if (e == ERR_OK)
        e = csr_read(c, &csr);
    if (e != ERR_OK)
        return e;
    issue.csr = csr;
    (void)text_copy(issue.admission.device_id, sizeof issue.admission.device_id, c->device_id);
    return issue_run(&issue, renew_work);
}

static const struct route routes[] = {
    {"POST", "/device/v1/enrol", PERMIT_ANYONE, BODY_JSON, handle_enrol},
    {"POST", "/device/v1/renew", PERMIT_DEVICE_SELF, BODY_JSON, handle_renew},
};
const struct route_table routes_enrol = {routes, sizeof routes / sizeof routes[0]};
