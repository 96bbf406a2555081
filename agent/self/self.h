#pragma once
/* The running agent as a version of the slot `agent`: which one it is, trials it begins and ends, and giving its place
 * to another one. Only the loop's thread may call; calls block on the disk. */

#include "agent/core/update.h"
#include "agent/loop/loop.h"
#include "agent/self/launch.h"

struct self;

/* Called from the loop, never from inside a call. */
struct self_hooks {
    void (*ready)(void *user, const char *slot, const char *bundle, bool good);
    void (*failed)(void *user, const char *slot, const char *bundle, const char *code, const char *detail);
    void (*passed)(void *user, const char *slot, const char *bundle, const char *detail);
    void *user;
};

/* report_s: how long a new version may take to report in. launch is borrowed. Finds out which version this is, by the
 * digest of the bytes it was started from. */
[[nodiscard]] enum err self_open(struct loop *loop, const struct launch *launch, int report_s,
                                 const struct self_hooks *hooks, struct self **ret_self);
void self_close(struct self *self);

/* The bundle that this process was started from; "": it is the installed program. */
const char *self_bundle(const struct self *self);

/* It has been in touch with the server since it was started. */
bool self_reported(const struct self *self);

/* Before the links are changed as the row says: a version that has not been committed needs a trial. */
[[nodiscard]] enum err self_prepare(struct self *self, const struct update_row *row);

/* After they were: ends the trial and forgets the verdict where they are not needed any more, and gives its place to
 * the version that is to run now, by ending the loop. ERR_NOT_FOUND: that one cannot be started. */
[[nodiscard]] enum err self_follow(struct self *self, const struct update_row *row);

/* The row's target was taken back while this agent did not run: why. It may be a target that the row, made anew from
 * the links, does not know: then the row is changed to wait for it. */
bool self_verdict(const struct self *self, struct update_row *row, struct verdict *ret_verdict);

/* The server has answered: a version on trial has reported in. */
void self_report(struct self *self);

/* Its probation is over: passed() is called. */
void self_collect(struct self *self);

int64_t self_start_ms(const struct self *self);

/* Another version is to take over: the agent closes, and main() calls launch_again(). */
bool self_leaving(const struct self *self);
