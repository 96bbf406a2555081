#include "cli/terminal.h"

#include "common/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

/* One line from fd, byte by byte, so that nothing behind it is lost. */
static enum err line_read(int fd, char *out, size_t size, struct err_info *info)
{
    size_t len = 0;
    for (;;) {
        char c = '\0';
        ssize_t n = read(fd, &c, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(info, err_from_errno(errno), "cannot read the answer: %s", strerror(errno));
        if (n == 0 || c == '\n')
            break;
        if (len + 1 == size)
            return err_set(info, ERR_TOO_LARGE, "the line is longer than %zu bytes", size - 1);
        out[len++] = c;
    }
    if (len > 0 && out[len - 1] == '\r')
        len--;
    out[len] = '\0';
    return ERR_OK;
}

static enum err terminal_open(const char *question, int *ret_fd, struct err_info *info)
{
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (tty < 0) {
        enum err e = err_set(info, ERR_UNAVAILABLE, "there is no terminal to ask on: \"%s\"", question);
        err_next(info, "In a script, use --user and --password-stdin.");
        return e;
    }
    *ret_fd = tty;
    return ERR_OK;
}

enum err terminal_ask(const char *question, char *out, size_t size, struct err_info *info)
{
    cleanup_fd int tty = -1;
    enum err e = terminal_open(question, &tty, info);
    if (e != ERR_OK)
        return e;
    dprintf(tty, "%s ", question);
    return line_read(tty, out, size, info);
}

enum err terminal_password(const char *question, bool twice, char *out, size_t size, struct err_info *info)
{
    cleanup_fd int tty = -1;
    char prompt[128];
    enum err e = terminal_open(question, &tty, info);
    if (e != ERR_OK)
        return e;
    (void)snprintf(prompt, sizeof prompt, "%s ", question);
    /* OpenSSL's reader turns the echo off, and on again whatever signal comes. */
    if (EVP_read_pw_string_min(out, 1, (int)size, prompt, twice ? 1 : 0) != 0)
        return err_set(info, ERR_INVALID, twice ? "no password was given, or the two differ" : "no password was given");
    return ERR_OK;
}

enum err stdin_line(char *out, size_t size, struct err_info *info)
{
    return line_read(STDIN_FILENO, out, size, info);
}

void terminal_progress(int64_t sent, int64_t total)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%5.1f %%  %.1f of %.1f MB", 100.0 * (double)sent / (double)total, (double)sent / 1e6,
                (double)total / 1e6);
}

void terminal_progress_end(void)
{
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
}

void terminal_percent(void *user, double done)
{
    int *tenth = user;
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%5.1f %%", 100.0 * done);
    else if ((int)(done * 10) > *tenth)
        fprintf(stderr, "%d %%\n", (*tenth = (int)(done * 10)) * 10);
}
