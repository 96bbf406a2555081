#include "common/local/control.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/text.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

enum {
    CLIENTS_MAX = 8,
    LINE_MAX_BYTES = 4096,
    ANSWERS_MAX_BYTES = 64 * 1024, /* that one client may leave unread */
    LISTENER = CLIENTS_MAX,        /* a number beside those of the clients */
};

struct client {
    int fd; /* -1: free */
    size_t used;
    char line[LINE_MAX_BYTES]; /* received, not answered */
    struct buf out;            /* answers that the client has not read */
    bool blocked;              /* waits for room, not for lines */
};

struct control {
    int listener;
    int poll; /* an epoll of the listener and the clients */
    struct sockaddr_un address;
    control_answer *answer;
    void *arg;
    struct client clients[CLIENTS_MAX];
};

/* ---------------------------------------------------------------- the socket */

static bool somebody_listens(const struct sockaddr_un *address)
{
    cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd >= 0 && (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 || errno == EAGAIN);
}

static enum err stale_remove(const struct sockaddr_un *address, struct err_info *info)
{
    struct stat st;
    if (lstat(address->sun_path, &st) != 0)
        return ERR_OK;
    if (!S_ISSOCK(st.st_mode))
        return err_set(info, ERR_CONFLICT, "socket %s: the path is taken by something else", address->sun_path);
    if (somebody_listens(address))
        return err_set(info, ERR_CONFLICT, "socket %s: another process listens there", address->sun_path);
    (void)unlink(address->sun_path);
    return ERR_OK;
}

/* Watches fd under a number. */
static enum err watch(const struct control *c, int operation, int fd, uint32_t events, int number)
{
    struct epoll_event event = {.events = events, .data = {.u32 = (uint32_t)number}};
    return epoll_ctl(c->poll, operation, fd, &event) == 0 ? ERR_OK : err_from_errno(errno);
}

static enum err listen_at(struct control *c, struct err_info *info)
{
    c->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t mask = umask(0177);
    bool bound = c->listener >= 0 && bind(c->listener, (struct sockaddr *)&c->address, sizeof c->address) == 0;
    int bind_errno = errno;
    (void)umask(mask);
    if (!bound || listen(c->listener, CLIENTS_MAX) != 0) {
        int number = bound ? errno : bind_errno;
        return err_set(info, err_from_errno(number), "socket %s: %s", c->address.sun_path, strerror(number));
    }
    c->poll = epoll_create1(EPOLL_CLOEXEC);
    if (c->poll < 0)
        return err_set(info, err_from_errno(errno), "socket %s: %s", c->address.sun_path, strerror(errno));
    return watch(c, EPOLL_CTL_ADD, c->listener, EPOLLIN, LISTENER);
}

enum err control_open(const char *path, control_answer *answer, void *arg, struct control **ret_control,
                      struct err_info *info)
{
    struct control *c = calloc(1, sizeof *c);
    if (c == NULL)
        return ERR_NO_MEMORY;
    c->listener = -1;
    c->poll = -1;
    c->answer = answer;
    c->arg = arg;
    c->address.sun_family = AF_UNIX;
    for (int i = 0; i < CLIENTS_MAX; i++)
        c->clients[i] = (struct client){.fd = -1, .out = BUF_INIT(ANSWERS_MAX_BYTES)};
    enum err e = ERR_OK;
    if (!text_copy(c->address.sun_path, sizeof c->address.sun_path, path))
        e = err_set(info, ERR_INVALID, "socket %.200s: the path is longer than %zu bytes", path,
                    sizeof c->address.sun_path - 1);
    if (e == ERR_OK)
        e = stale_remove(&c->address, info);
    if (e == ERR_OK)
        e = listen_at(c, info);
    if (e != ERR_OK) {
        if (c->listener >= 0)
            (void)close(c->listener);
        if (c->poll >= 0)
            (void)close(c->poll);
        free(c);
        return e;
    }
    *ret_control = c;
    return ERR_OK;
}

static void client_drop(struct client *client)
{
    if (client->fd >= 0)
        (void)close(client->fd);
    client->fd = -1;
    client->used = 0;
    client->blocked = false;
    buf_free(&client->out);
}

struct control *control_close(struct control *control)
{
    if (control == NULL)
        return NULL;
    for (int i = 0; i < CLIENTS_MAX; i++)
        client_drop(&control->clients[i]);
    (void)unlink(control->address.sun_path);
    (void)close(control->listener);
    (void)close(control->poll);
    free(control);
    return NULL;
}

int control_fd(const struct control *control)
{
    return control->poll;
}

/* ---------------------------------------------------------------- clients */

static void client_accept(struct control *c)
{
    int fd = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    for (int i = 0; i < CLIENTS_MAX; i++) {
        if (c->clients[i].fd < 0) {
            c->clients[i].fd = fd;
            if (watch(c, EPOLL_CTL_ADD, fd, EPOLLIN, i) != ERR_OK)
                client_drop(&c->clients[i]);
            return;
        }
    }
    (void)close(fd); /* no room: the caller sees the end at once */
}

/* Sends what the client takes now. */
static enum err client_flush(struct client *client)
{
    size_t sent = 0;
    while (sent < client->out.len) {
        ssize_t n = send(client->fd, client->out.data + sent, client->out.len - sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (n < 0)
            return ERR_IO;
        sent += (size_t)n;
    }
    if (sent > 0) {
        memmove(client->out.data, client->out.data + sent, client->out.len - sent);
        client->out.len -= sent;
    }
    return ERR_OK;
}

/* Answers the whole lines that are there, as long as the client reads the answers. */
static enum err client_answer(struct control *c, struct client *client)
{
    char *newline = NULL;
    while (client->out.len == 0 && (newline = memchr(client->line, '\n', client->used)) != NULL) {
        size_t len = (size_t)(newline - client->line);
        client->line[len] = '\0';
        cleanup_free char *answer = c->answer(c->arg, client->line, len);
        if (answer == NULL)
            return ERR_NO_MEMORY;
        client->used -= len + 1;
        memmove(client->line, newline + 1, client->used);
        enum err e = buf_add_text(&client->out, answer);
        if (e == ERR_OK)
            e = buf_add(&client->out, "\n", 1);
        if (e == ERR_OK)
            e = client_flush(client);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

/* An error ends the client: gone, a line without end, or no memory. */
static enum err client_serve(struct control *c, struct client *client, uint32_t events)
{
    if ((events & EPOLLOUT) != 0) {
        enum err e = client_flush(client);
        if (e != ERR_OK)
            return e;
    } else if ((events & EPOLLIN) != 0) {
        ssize_t n = recv(client->fd, client->line + client->used, sizeof client->line - client->used, 0);
        if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK))
            return ERR_IO;
        client->used += n > 0 ? (size_t)n : 0;
    } else if (events != 0) {
        return ERR_IO; /* hung up */
    }
    enum err e = client_answer(c, client);
    if (e == ERR_OK && client->out.len == 0 && client->used == sizeof client->line)
        e = ERR_TOO_LARGE;
    return e;
}

/* ---------------------------------------------------------------- waiting */

/* One with unread answers is not read from. */
static enum err client_rewatch(const struct control *c, struct client *client, int number)
{
    bool blocked = client->out.len > 0;
    if (blocked == client->blocked)
        return ERR_OK;
    client->blocked = blocked;
    return watch(c, EPOLL_CTL_MOD, client->fd, blocked ? EPOLLOUT : EPOLLIN, number);
}

/* Does what there is to do now. */
static void serve_once(struct control *c)
{
    struct epoll_event events[CLIENTS_MAX + 1];
    bool newcomer = false;
    int n = epoll_wait(c->poll, events, CLIENTS_MAX + 1, 0);
    for (int i = 0; i < n; i++) {
        int number = (int)events[i].data.u32;
        newcomer = newcomer || number == LISTENER;
        struct client *client = number == LISTENER ? NULL : &c->clients[number];
        if (client != NULL && client->fd >= 0 &&
            (client_serve(c, client, events[i].events) != ERR_OK || client_rewatch(c, client, number) != ERR_OK))
            client_drop(client);
    }
    if (newcomer) /* last, so that a number that has become free is not mistaken for the new client's */
        client_accept(c);
}

enum err control_serve(struct control *control, int64_t deadline_us, int stop_fd, bool *ret_stop)
{
    int64_t left = 0;
    do {
        struct pollfd fds[] = {{.fd = control->poll, .events = POLLIN}, {.fd = stop_fd, .events = POLLIN}};
        left = deadline_us - clock_mono_us();
        left = left > 0 ? left : 0;
        struct timespec timeout = {.tv_sec = left / 1000000, .tv_nsec = left % 1000000 * 1000};
        if (ppoll(fds, 2, deadline_us == INT64_MAX ? NULL : &timeout, NULL) < 0 && errno != EINTR)
            return err_from_errno(errno);
        if (fds[1].revents != 0) {
            *ret_stop = true;
            return ERR_OK;
        }
        if (fds[0].revents != 0)
            serve_once(control);
    } while (left > 0);
    *ret_stop = false;
    return ERR_OK;
}
