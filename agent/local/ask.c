#include "agent/local/ask.h"

#include "agent/agent.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/text.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

enum { WAIT_S = 10 };

static enum err socket_connect(int fd, struct err_info *info)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timeval wait = {.tv_sec = WAIT_S};
    (void)text_copy(address.sun_path, sizeof address.sun_path, DESK_SOCKET);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait) != 0)
        return err_set(info, ERR_IO, "cannot set up a socket: %s", strerror(errno));
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
        return ERR_OK;
    bool nobody = errno == ENOENT || errno == ECONNREFUSED;
    return err_set(info, nobody ? ERR_NOT_FOUND : err_from_errno(errno), DESK_SOCKET ": %s", strerror(errno));
}

static enum err line_send(int fd, const char *text, struct err_info *info)
{
    size_t len = strlen(text);
    if (send(fd, text, len, MSG_NOSIGNAL) != (ssize_t)len || send(fd, "\n", 1, MSG_NOSIGNAL) != 1)
        return err_set(info, ERR_UNAVAILABLE, "the agent does not listen: %s", strerror(errno));
    return ERR_OK;
}

static enum err line_read(int fd, struct buf *line, struct err_info *info)
{
    char bytes[4096];
    while (line->len == 0 || memchr(line->data, '\n', line->len) == NULL) {
        ssize_t n = recv(fd, bytes, sizeof bytes, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return err_set(info, ERR_TIMEOUT, "the agent runs, but has not answered for %d s", WAIT_S);
        if (n <= 0)
            return err_set(info, ERR_UNAVAILABLE, "the agent has ended the conversation");
        enum err e = buf_add(line, bytes, (size_t)n);
        if (e != ERR_OK)
            return err_set(info, e, "the agent's answer is too long");
    }
    return ERR_OK;
}

enum err ask_agent(const json_t *request, json_t **ret_answer, struct err_info *info)
{
    cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cleanup_free char *text = NULL;
    cleanup_buf struct buf line = BUF_INIT(JSON_BYTES_MAX);
    if (fd < 0)
        return err_set(info, ERR_IO, "cannot make a socket: %s", strerror(errno));
    enum err e = socket_connect(fd, info);
    if (e == ERR_OK)
        e = json_print(request, &text, NULL);
    if (e == ERR_OK)
        e = line_send(fd, text, info);
    if (e == ERR_OK)
        e = line_read(fd, &line, info);
    if (e != ERR_OK)
        return e;
    return json_parse(line.data, strcspn(line.data, "\n"), JSON_BYTES_MAX, ret_answer, info);
}
