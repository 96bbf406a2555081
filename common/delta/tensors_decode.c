/* Groups of tensors are rebuilt side by side, as far as memory goes. */
#include "common/base/cleanup.h"
#include "common/delta/parallel.h"
#include "common/delta/plan.h"
#include "common/delta/states.h"
#include "common/delta/tensor_decode.h"

#include <stdlib.h>

struct work {
    int old_fd, new_fd;
    const struct tensor_pair *pairs;
    const size_t *first; /* pair of each group */
    size_t group_count;
    size_t scaled; /* groups from this one on want the scales that lie in those before */
    enum delta_effort effort;
    const struct tensor_source *source;
    size_t thread_memory; /* 0: no limit */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct err_info info; /* of the first that failed */
    uint64_t at;          /* of the next group in the source */
    size_t next, ready;   /* groups: that nobody works on yet; that are done */
    bool stop;
};

struct task {
    size_t group;
    uint64_t at, end; /* in the source */
};

/* The next group. False: there is none, or its length is not right: then ret_error says so. */
static bool task_take(struct work *work, struct task *ret_task, enum err *ret_error, struct err_info *info)
{
    struct coded coded;
    uint64_t len = 0;
    cleanup_unlock pthread_mutex_t *held = &work->lock;
    pthread_mutex_lock(held);
    if (work->stop || work->next == work->group_count)
        return false;
    coded_begin(&coded, work->source, work->at, work->source->size);
    *ret_error = plan_number_read(&coded, work->source->size, &len, info);
    if (*ret_error == ERR_OK && len > coded_left(&coded))
        *ret_error = plan_corrupt(info, "a group of tensors is longer than the delta");
    *ret_task = (struct task){.group = work->next++, .at = coded_at(&coded), .end = coded_at(&coded) + len};
    work->at = ret_task->end;
    return *ret_error == ERR_OK;
}

/* Waits until a group's scales are there. False: another group has failed. */
static bool scales_wait(struct work *work, size_t group)
{
    cleanup_unlock pthread_mutex_t *held = &work->lock;
    pthread_mutex_lock(held);
    while (group >= work->scaled && work->ready < work->scaled && !work->stop)
        pthread_cond_wait(&work->changed, held);
    return !work->stop;
}

static void task_end(struct work *work, enum err e, const struct err_info *info)
{
    cleanup_unlock pthread_mutex_t *held = &work->lock;
    pthread_mutex_lock(held);
    work->ready++;
    if (e != ERR_OK && !work->stop)
        work->info = *info;
    work->stop |= e != ERR_OK;
    pthread_cond_broadcast(&work->changed);
}

static enum err thread_run(void *user, size_t number)
{
    struct work *work = user;
    struct tensor_decoder *decoder = NULL;
    struct err_info info = {0};
    struct task task;
    (void)number;
    enum err e = tensor_decoder_new(work->old_fd, work->new_fd, work->effort, work->thread_memory, &info, &decoder);
    while (e == ERR_OK && task_take(work, &task, &e, &info) && scales_wait(work, task.group)) {
        const size_t first = work->first[task.group];
        e = tensor_group_decode(decoder, work->source, task.at, task.end, work->pairs + first,
                                work->first[task.group + 1] - first);
        if (e == ERR_OK)
            task_end(work, e, &info);
    }
    if (e != ERR_OK)
        task_end(work, e, &info);
    tensor_decoder_free(decoder);
    return e;
}

static enum err groups_decode(struct work *work, int threads, size_t memory_max)
{
    work->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    work->changed = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    work->info = (struct err_info){0};
    work->at = work->next = work->ready = work->stop = 0;
    work->thread_memory = memory_max / (size_t)threads;
    enum err e = parallel_run((size_t)threads, threads, thread_run, work);
    if (e == ERR_OK && work->at != work->source->size)
        e = plan_corrupt(&work->info, "there is more behind the last group of tensors");
    return e;
}

/* How many threads have something to do and memory to do it in. */
static int threads_useful(const struct work *work, size_t memory_max)
{
    size_t threads = (size_t)parallel_threads(&(struct delta_options){0});
    const size_t with_memory = memory_max / TENSOR_DECODER_FAST_MAX;
    if (work->effort == DELTA_BEST || work->group_count < 2)
        return 1;
    if (memory_max != 0 && threads > with_memory)
        threads = with_memory;
    if (threads > work->group_count)
        threads = work->group_count;
    return threads < 1 ? 1 : (int)threads;
}

enum err tensors_decode(int old_fd, int new_fd, const struct tensor_pair *pairs, size_t count, enum delta_effort effort,
                        const struct tensor_source *source, size_t memory_max, struct err_info *info)
{
    cleanup_free size_t *first = calloc(count + 1, sizeof *first);
    if (first == NULL)
        return ERR_NO_MEMORY;
    struct work work = {
        .old_fd = old_fd, .new_fd = new_fd, .pairs = pairs, .first = first, .effort = effort, .source = source};
    work.group_count = states_groups(pairs, count, effort, first);
    while (work.scaled < work.group_count && pairs[first[work.scaled]].new_scales < 0)
        work.scaled++;
    const int threads = threads_useful(&work, memory_max);
    enum err e = groups_decode(&work, threads, memory_max);
    if (e == ERR_NO_MEMORY && threads > 1)
        e = groups_decode(&work, 1, memory_max);
    if (e != ERR_OK && info != NULL)
        *info = work.info;
    return e;
}
