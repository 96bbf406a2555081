#pragma once
/* The agent: its parts and what passes between them. Everything runs in the loop's thread. */

#include "agent/apps/apps.h"
#include "agent/identity/enrolment.h"
#include "agent/self/launch.h"
#include "agent/supervise/supervisor.h"
#include "common/base/err.h"

#define DESK_SOCKET "run/agent.sock" /* below the state directory */

struct agent;

/* Text is borrowed for the agent's life; paths are absolute. The working directory is the state directory. */
struct agent_settings {
    struct enrolment_settings enrolment;
    struct supervisor_settings supervisor;
    struct apps_settings apps;
    const char *server_url, *server_ca;
    const char *fetch_path;
    const char *trust_dir;
    const char *accelerators; /* names with commas between, "": none */
    int64_t signatures;       /* how many different keys must have signed a bundle */
    int64_t download_bytes_s; /* 0: as fast as it goes */
    const char *sysfs_root, *proc_root;
    const struct launch *launch;
    int report_s; /* for a new version of the agent */
    int64_t spool_bytes;
    int64_t health_ms, data_ms, poll_ms;
};

/* Builds everything and starts what is installed; needs no network. */
[[nodiscard]] enum err agent_open(struct loop *loop, const struct agent_settings *settings, struct agent **ret_agent,
                                  struct err_info *info);

/* Another version of the agent is to run: the loop has ended for it. */
bool agent_leaving(const struct agent *agent);

/* Says goodbye, ends all children, frees. NULL is fine. */
void agent_close(struct agent *agent);
