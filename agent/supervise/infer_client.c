#include "agent/supervise/infer_client.h"

#include "common/base/text.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { ANSWER_MAX = 64 * 1024 };

void infer_client_init(struct infer_client *client, struct loop *loop, void (*answer)(void *user, const json_t *json),
                       void *user)
{
    *client = (struct infer_client){.loop = loop, .fd = -1, .in = BUF_INIT(ANSWER_MAX), .answer = answer, .user = user};
}

void infer_client_close(struct infer_client *client)
{
    if (client->fd < 0)
        return;
    loop_watch_clear(client->loop, &client->watch);
    (void)close(client->fd);
    client->fd = -1;
    client->asked = false;
    buf_free(&client->in);
}

static void client_break(struct infer_client *client)
{
    infer_client_close(client);
    client->answer(client->user, NULL);
}

/* Hands over one answer; what else is in the buffer was not asked for. */
static void line_answer(struct infer_client *client)
{
    json_t *json = NULL;
    size_t len = strcspn(client->in.data, "\n");
    enum err e = json_parse(client->in.data, len, ANSWER_MAX, &json, NULL);
    bool due = client->asked;
    buf_clear(&client->in);
    client->asked = false;
    if (e != ERR_OK || !due)
        client_break(client);
    else
        client->answer(client->user, json);
    json_decref(json);
}

static void client_ready(void *user, short revents)
{
    (void)revents;
    struct infer_client *client = user;
    char bytes[4096];
    ssize_t n = recv(client->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0 || buf_add(&client->in, bytes, (size_t)n) != ERR_OK) {
        client_break(client);
        return;
    }
    if (memchr(client->in.data, '\n', client->in.len) != NULL)
        line_answer(client);
}

enum err infer_client_connect(struct infer_client *client, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!text_copy(address.sun_path, sizeof address.sun_path, path))
        return ERR_TOO_LARGE;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_from_errno(errno);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        enum err e = errno == EAGAIN ? ERR_UNAVAILABLE : err_from_errno(errno);
        (void)close(fd);
        return e;
    }
    client->fd = fd;
    loop_watch_set(client->loop, &client->watch, fd, POLLIN, client_ready, client);
    return ERR_OK;
}

bool infer_client_connected(const struct infer_client *client)
{
    return client->fd >= 0;
}

enum err infer_client_ask(struct infer_client *client, const char *operation)
{
    char line[64];
    if (client->fd < 0)
        return ERR_UNAVAILABLE;
    if (client->asked)
        return ERR_CONFLICT;
    int n = snprintf(line, sizeof line, "{\"op\":\"%s\"}\n", operation);
    /* The socket's buffer is empty, because the last question was answered. */
    if (send(client->fd, line, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) != n)
        return ERR_UNAVAILABLE;
    client->asked = true;
    return ERR_OK;
}
