/* A Mosquitto plugin for tests: drops every PUBLISH that reaches the broker with a fixed probability, in both
 * directions (a device's and a server's messages are both publishes). Options: `plugin_opt_probability 0.3`,
 * `plugin_opt_seed 1`. */

#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>
#include <stdlib.h>
#include <string.h>

struct dropper {
    mosquitto_plugin_id_t *id;
    double probability;
    unsigned short state[3];
};

int mosquitto_plugin_version(int count, const int *versions)
{
    for (int i = 0; i < count; i++)
        if (versions[i] == 5)
            return 5;
    return -1;
}

static int on_message(int event, void *event_data, void *user)
{
    (void)event;
    (void)event_data;
    struct dropper *dropper = user;
    /* ACL_DENIED makes the broker forget a QoS 0 message without an answer. */
    return erand48(dropper->state) < dropper->probability ? MOSQ_ERR_ACL_DENIED : MOSQ_ERR_SUCCESS;
}

int mosquitto_plugin_init(mosquitto_plugin_id_t *id, void **user, struct mosquitto_opt *options, int count)
{
    struct dropper *dropper = calloc(1, sizeof *dropper);
    if (dropper == NULL)
        return MOSQ_ERR_NOMEM;
    dropper->id = id;
    for (int i = 0; i < count; i++) {
        if (strcmp(options[i].key, "probability") == 0)
            dropper->probability = strtod(options[i].value, NULL);
        else if (strcmp(options[i].key, "seed") == 0)
            dropper->state[0] = (unsigned short)strtoul(options[i].value, NULL, 10);
    }
    *user = dropper;
    return mosquitto_callback_register(id, MOSQ_EVT_MESSAGE, on_message, NULL, dropper);
}

int mosquitto_plugin_cleanup(void *user, struct mosquitto_opt *options, int count)
{
    (void)options;
    (void)count;
    struct dropper *dropper = user;
    int rc = mosquitto_callback_unregister(dropper->id, MOSQ_EVT_MESSAGE, on_message, NULL);
    free(dropper);
    return rc;
}
