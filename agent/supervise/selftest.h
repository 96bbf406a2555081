#pragma once
/* Tries a staged version out while the present one runs on: one function per kind of bundle (selftest.c). Only the
 * loop's thread may call. */

#include "agent/apps/command.h"
#include "agent/loop/child.h"
#include "common/bundle/manifest.h"

/* Borrowed for as long as tests are made. */
struct selftest_setup {
    const char *infer_path;  /* of muster-infer */
    const char *onnxruntime; /* library, "": let it search */
};

enum { SELFTEST_LINE_MAX = 200 };

/* One test at a time. Zero is a valid, idle state. */
struct selftest {
    struct loop *loop;
    struct child child;
    struct app_test app; /* of an app, instead of child */
    struct loop_timer limit;
    bool late;                        /* it was ended for taking too long */
    int limit_s;                      /* how long it may take */
    char said[SELFTEST_LINE_MAX + 1]; /* its last line */
    /* What the end of the child means: NULL when it has passed, else the code. */
    const char *(*judge)(int status);
    void (*done)(void *user, const char *code, const char *detail);
    void *user;
};

/* Starts the test of the complete version in the directory dir (relative to the working directory). The manifest is
 * only read, and only now. done is called
 * from the loop exactly once, unless selftest_cancel() comes first: code NULL when the version has passed, else why
 * not, for programs; detail is for people. On an error nothing was started. */
[[nodiscard]] enum err selftest_start(struct selftest *test, struct loop *loop, const struct selftest_setup *setup,
                                      struct manifest *manifest, const char *slot, const char *dir,
                                      void (*done)(void *user, const char *code, const char *detail), void *user,
                                      struct err_info *info);

bool selftest_running(const struct selftest *test);

/* Ends the test without an answer. */
void selftest_cancel(struct selftest *test);
