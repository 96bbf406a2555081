/* The socket of muster-infer: lines in pieces, many lines at once, clients that do not read, stale sockets. */
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/local/control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/unit/unit.h"

struct room {
    char folder[32];
    char path[64];
    struct control *control;
    int never; /* a pipe's end that is never readable */
    int never_end;
    int answered;
};

/* "abc" -> "<abc>"; "big" -> 20,000 letters; "fail" -> no memory. */
static char *echo(void *arg, const char *line, size_t len)
{
    struct room *room = arg;
    room->answered++;
    assert_int_equal(strlen(line), len);
    char *answer = NULL;
    if (strcmp(line, "fail") == 0)
        return NULL;
    int n = strcmp(line, "big") == 0 ? asprintf(&answer, "%020000d", 0) : asprintf(&answer, "<%s>", line);
    assert_true(n > 0);
    return answer;
}

static int setup(void **state)
{
    struct room *room = calloc(1, sizeof *room);
    assert_non_null(room);
    (void)snprintf(room->folder, sizeof room->folder, "/tmp/muster-unit-XXXXXX");
    assert_non_null(mkdtemp(room->folder));
    (void)snprintf(room->path, sizeof room->path, "%s/socket", room->folder);
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    room->never = pipes[0];
    room->never_end = pipes[1];
    assert_int_equal(control_open(room->path, echo, room, &room->control, NULL), ERR_OK);
    *state = room;
    return 0;
}

static int teardown(void **state)
{
    struct room *room = *state;
    (void)control_close(room->control);
    struct stat st;
    assert_int_not_equal(lstat(room->path, &st), 0); /* nothing is left */
    (void)close(room->never);
    (void)close(room->never_end);
    assert_int_equal(rmdir(room->folder), 0);
    free(room);
    return 0;
}

static void turn(struct room *room)
{
    bool stop = true;
    assert_int_equal(control_serve(room->control, clock_mono_us() + 20000, room->never, &stop), ERR_OK);
    assert_false(stop);
}

static int join(struct room *room)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", room->path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    turn(room);
    return fd;
}

static void say(struct room *room, int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
    turn(room);
}

static void assert_heard(int fd, const char *text)
{
    char got[256] = "";
    ssize_t n = recv(fd, got, sizeof got - 1, 0);
    assert_string_equal(n > 0 ? got : "", text);
}

static void assert_cut_off(int fd)
{
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

static void test_lines(void **state)
{
    struct room *room = *state;
    int fd = join(room);
    say(room, fd, "a");
    assert_heard(fd, "");
    say(room, fd, "bc\nd\n\ne");
    assert_heard(fd, "<abc>\n<d>\n<>\n");
    say(room, fd, "f\n");
    assert_heard(fd, "<ef>\n");
    (void)close(fd);
    turn(room);
    struct stat st;
    assert_int_equal(stat(room->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void test_line_without_end(void **state)
{
    struct room *room = *state;
    int bad = join(room);
    int good = join(room);
    char line[4097];
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = '\0';
    say(room, bad, line);
    assert_cut_off(bad);
    say(room, good, "a\n");
    assert_heard(good, "<a>\n");
    int failing = join(room);
    say(room, failing, "fail\n");
    assert_cut_off(failing);
    (void)close(bad);
    (void)close(good);
    (void)close(failing);
}

/* It asks and never reads: its answers stop, the others' do not, and nobody waits. */
static void test_slow_client(void **state)
{
    struct room *room = *state;
    int slow = join(room);
    int good = join(room);
    for (int i = 0; i < 60; i++) {
        (void)send(slow, "big\nbig\nbig\nbig\n", 16, MSG_NOSIGNAL);
        int64_t start = clock_mono_us();
        turn(room);
        assert_true(clock_mono_us() - start < 1000000);
    }
    int before = room->answered;
    assert_true(before < 240);
    say(room, good, "a\n");
    assert_heard(good, "<a>\n");
    assert_int_equal(room->answered, before + 1);
    /* when it reads after all, it gets whole answers, in order */
    size_t got = 0;
    size_t newlines = 0;
    static char bytes[65536];
    for (int quiet = 0; quiet < 5;) {
        ssize_t n = recv(slow, bytes, sizeof bytes, 0);
        quiet = n > 0 ? 0 : quiet + 1;
        for (ssize_t i = 0; i < n; i++)
            newlines += bytes[i] == '\n';
        got += n > 0 ? (size_t)n : 0;
        turn(room);
    }
    assert_int_equal(newlines, 240);
    assert_int_equal(got, 240 * 20001);
    (void)close(slow);
    (void)close(good);
}

static void test_too_many_clients(void **state)
{
    struct room *room = *state;
    int fds[9];
    for (int i = 0; i < 9; i++)
        fds[i] = join(room);
    assert_cut_off(fds[8]);
    say(room, fds[7], "a\n");
    assert_heard(fds[7], "<a>\n");
    (void)close(fds[0]);
    turn(room);
    int again = join(room);
    say(room, again, "b\n");
    assert_heard(again, "<b>\n");
    (void)close(again);
    for (int i = 1; i < 9; i++)
        (void)close(fds[i]);
}

static void test_stop(void **state)
{
    struct room *room = *state;
    assert_int_equal(write(room->never_end, "x", 1), 1);
    bool stop = false;
    assert_int_equal(control_serve(room->control, INT64_MAX, room->never, &stop), ERR_OK);
    assert_true(stop);
}

static void test_addresses(void **state)
{
    struct room *room = *state;
    struct control *other = NULL;
    struct err_info info = {0};
    assert_int_equal(control_open(room->path, echo, room, &other, &info), ERR_CONFLICT);
    assert_non_null(strstr(info.text, "another process listens"));

    char path[200];
    (void)snprintf(path, sizeof path, "%s/%0120d", room->folder, 0);
    assert_int_equal(control_open(path, echo, room, &other, &info), ERR_INVALID);
    (void)snprintf(path, sizeof path, "%s/missing/socket", room->folder);
    assert_int_equal(control_open(path, echo, room, &other, &info), ERR_NOT_FOUND);

    (void)snprintf(path, sizeof path, "%s/file", room->folder);
    assert_int_equal(file_write(path, "x", 1, 0600), ERR_OK);
    assert_int_equal(control_open(path, echo, room, &other, &info), ERR_CONFLICT);
    assert_int_equal(unlink(path), 0);

    /* left behind by a process that was killed */
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/stale", room->folder);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    (void)close(fd);
    assert_int_equal(control_open(address.sun_path, echo, room, &other, &info), ERR_OK);
    (void)control_close(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(test_line_without_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slow_client, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_many_clients, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop, setup, teardown),
        cmocka_unit_test_setup_teardown(test_addresses, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
