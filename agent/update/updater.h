#pragma once
/* Carries out updates: asks the table (agent/core/update.h) what to do, stores the row and the report in one
 * transaction, then does it. One slot never waits for another. Only the loop's thread may call. */

#include "agent/core/admit.h"
#include "agent/core/desired.h"
#include "agent/core/status.h"
#include "agent/core/up.h"
#include "agent/loop/fetch.h"
#include "agent/loop/loop.h"
#include "agent/state/spool.h"
#include "agent/state/state.h"
#include "agent/supervise/selftest.h"
#include "agent/update/runner.h"

struct updater;

/* All borrowed for the updater's life. */
struct updater_parts {
    struct loop *loop;
    struct state *state;
    struct spool *spool;
    const struct runner *runner;
    const struct fetch_setup *fetch;
    const char *trust_dir;
    int64_t signatures;          /* how many different keys must have signed a bundle */
    int64_t download_bytes_s;    /* most bytes per second of all downloads together, 0: any */
    struct update_device device; /* runtime and disk_free are looked up when they are needed */
    struct selftest_setup selftest;
    /* A slot's phase has changed. */
    void (*changed)(void *user);
    void *user;
};

[[nodiscard]] enum err updater_open(const struct updater_parts *parts, struct updater **ret_updater,
                                    struct err_info *info);
void updater_close(struct updater *updater);

/* Reads the journal, checks it against the disk, starts what `current` names, and goes on with what was interrupted.
 * Needs nobody: no server, no network. */
[[nodiscard]] enum err updater_start(struct updater *updater, struct err_info *info);

/* A desired document has come. One that is older than the newest is ignored. ERR_INVALID with text in info. */
[[nodiscard]] enum err updater_desired(struct updater *updater, const char *text, size_t len, struct err_info *info);

/* Generation of the newest document, 0: none; and how often it wants a beat, 0: not said. */
int64_t updater_generation(const struct updater *updater);
int64_t updater_beat_ms(const struct updater *updater);

/* What a beat says of the slots. Borrowed until the next call of anything here. */
size_t updater_slots(const struct updater *updater, struct up_slot ret_slots[SLOT_COUNT_MAX]);

/* What `muster-agent status` says of the slots. The rows are borrowed until the next call of anything here. */
size_t updater_look(const struct updater *updater, struct status_slot ret_slots[SLOT_COUNT_MAX]);

/* Somebody at the device wants the version before: starts going back. by: who; ret_text: what happens now.
 * ERR_NOT_FOUND and ERR_CONFLICT with text in info, which says what to do. */
[[nodiscard]] enum err updater_back(struct updater *updater, const char *name, const char *by,
                                    char ret_text[STATUS_TEXT_SIZE], struct err_info *info);

/* What the runner's parts have seen; name: of the slot. It runs, with the bytes that its manifest lists (good) or with
 * others; it has ended and is started again (which the manifest may allow in a probation); it has failed, by a code of
 * api/mqtt.md; it has counted inferences; or its last look was good. */
void updater_ready(struct updater *updater, const char *name, const char *bundle, bool good);
void updater_exited(struct updater *updater, const char *name, const char *bundle, const char *code,
                    const char *detail);
void updater_failed(struct updater *updater, const char *name, const char *bundle, const char *code,
                    const char *detail);
void updater_window(struct updater *updater, const char *name, const char *bundle, int64_t count, int64_t errors);
void updater_passed(struct updater *updater, const char *name, const char *bundle, const char *detail);
