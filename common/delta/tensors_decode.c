/* Groups of tensors, and the slices of large ones, are rebuilt side by side, as far as memory goes. */
#include "common/base/cleanup.h"
#include "common/delta/parallel.h"
#include "common/delta/plan.h"
#include "common/delta/states.h"
#include "common/delta/tensor_decode.h"

#include <stdlib.h>

/* A large tensor whose head is read: its slices wait for threads. */
struct sliced {
    struct sliced *next;
    const struct tensor_pair *pair;
    struct tensor_head head;
    uint64_t at, end; /* in the source: of the next slice, and of all */
    uint64_t row;     /* that the next slice begins with */
    unsigned under_way;
};

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
    struct err_info info;  /* of the first that failed */
    uint64_t at;           /* of the next group in the source */
    size_t next, ready;    /* groups: that nobody works on yet; that are done */
    size_t heads;          /* groups under way that may bring slices */
    struct sliced *sliced; /* those that are not done */
    bool stop;
};

/* A group, or a slice of a tensor. */
struct task {
    struct sliced *sliced; /* NULL: a group */
    size_t group;
    uint64_t row, rows;
    uint64_t at, end; /* in the source */
};

static uint64_t slice_rows(const struct work *work, const struct tensor_pair *pair)
{
    const struct tensor_view view = tensor_view_of(pair);
    return states_slice_rows(&view, work->effort);
}

static bool has_slices(const struct work *work, size_t group)
{
    return states_has_slices(&work->pairs[work->first[group]], work->effort);
}

/* Reads the length at *at: ret_task gets what lies behind it, and *at goes on to what comes next. */
static enum err stretch_take(const struct work *work, uint64_t *at, uint64_t end, struct task *ret_task,
                             struct err_info *info)
{
    struct coded coded;
    uint64_t len = 0;
    coded_begin(&coded, work->source, *at, end);
    enum err e = plan_number_read(&coded, end, &len, info);
    if (e == ERR_OK && len > coded_left(&coded))
        e = plan_corrupt(info, "a group of tensors is longer than the delta");
    ret_task->at = coded_at(&coded);
    *at = ret_task->end = ret_task->at + len;
    return e;
}

static enum err slice_take(struct work *work, struct sliced *sliced, struct task *ret_task, struct err_info *info)
{
    const uint64_t rows = tensor_view_of(sliced->pair).rows, most = slice_rows(work, sliced->pair);
    const uint64_t left = rows - sliced->row;
    *ret_task = (struct task){.sliced = sliced, .row = sliced->row, .rows = left < most ? left : most};
    sliced->row += ret_task->rows;
    sliced->under_way++;
    return stretch_take(work, &sliced->at, sliced->end, ret_task, info);
}

static enum err group_take(struct work *work, struct task *ret_task, struct err_info *info)
{
    *ret_task = (struct task){.group = work->next++};
    work->heads += has_slices(work, ret_task->group);
    return stretch_take(work, &work->at, work->source->size, ret_task, info);
}

/* The next thing to do: what was begun first. False: there is nothing any more, or ret_error says why not. */
static bool task_take(struct work *work, struct task *ret_task, enum err *ret_error, struct err_info *info)
{
    cleanup_unlock pthread_mutex_t *held = &work->lock;
    pthread_mutex_lock(held);
    for (;;) {
        struct sliced *sliced = work->sliced;
        while (sliced != NULL && sliced->row == tensor_view_of(sliced->pair).rows)
            sliced = sliced->next;
        if (work->stop)
            return false;
        if (sliced != NULL)
            *ret_error = slice_take(work, sliced, ret_task, info);
        else if (work->next < work->group_count)
            *ret_error = group_take(work, ret_task, info);
        else if (work->heads == 0)
            return false;
        else {
            pthread_cond_wait(&work->changed, held);
            continue;
        }
        return *ret_error == ERR_OK;
    }
}

/* Waits until a group's scales are there. False: another one has failed. */
static bool scales_wait(struct work *work, size_t group)
{
    cleanup_unlock pthread_mutex_t *held = &work->lock;
    pthread_mutex_lock(held);
    while (group >= work->scaled && work->ready < work->scaled && !work->stop)
        pthread_cond_wait(&work->changed, held);
    return !work->stop;
}

static void sliced_remove(struct work *work, struct sliced *sliced)
{
    struct sliced **link = &work->sliced;
    while (*link != sliced)
        link = &(*link)->next;
    *link = sliced->next;
    free(sliced->head.across);
    free(sliced);
}

/* The head of a group with slices, which are then there for all threads. */
static enum err head_decode(struct work *work, struct tensor_decoder *decoder, const struct task *task)
{
    const struct tensor_pair *pair = &work->pairs[work->first[task->group]];
    struct sliced *sliced = calloc(1, sizeof *sliced);
    if (sliced == NULL)
        return ERR_NO_MEMORY;
    enum err e = tensor_head_decode(decoder, work->source, task->at, task->end, pair, &sliced->head);
    if (e == ERR_OK && !sliced->head.has_slices)
        e = tensor_group_decode(decoder, work->source, task->at, task->end, pair, 1);
    cleanup_unlock pthread_mutex_t *held = &work->lock;
    pthread_mutex_lock(held);
    if (e == ERR_OK && sliced->head.has_slices) {
        sliced->pair = pair;
        sliced->at = sliced->head.end;
        sliced->end = task->end;
        sliced->next = work->sliced;
        work->sliced = sliced;
    } else {
        free(sliced);
        work->ready += e == ERR_OK;
    }
    work->heads--;
    pthread_cond_broadcast(&work->changed);
    return e;
}

static enum err group_decode(struct work *work, struct tensor_decoder *decoder, const struct task *task)
{
    const size_t first = work->first[task->group];
    if (!scales_wait(work, task->group))
        return ERR_OK;
    if (has_slices(work, task->group))
        return head_decode(work, decoder, task);
    enum err e = tensor_group_decode(decoder, work->source, task->at, task->end, work->pairs + first,
                                     work->first[task->group + 1] - first);
    cleanup_unlock pthread_mutex_t *held = &work->lock;
    pthread_mutex_lock(held);
    work->ready += e == ERR_OK;
    pthread_cond_broadcast(&work->changed);
    return e;
}

static enum err slice_decode(struct work *work, struct tensor_decoder *decoder, const struct task *task,
                             struct err_info *info)
{
    struct sliced *sliced = task->sliced;
    enum err e = tensor_slice_decode(decoder, work->source, task->at, task->end, sliced->pair, &sliced->head.plan,
                                     task->row, task->rows);
    cleanup_unlock pthread_mutex_t *held = &work->lock;
    pthread_mutex_lock(held);
    sliced->under_way--;
    if (e != ERR_OK || sliced->under_way > 0 || sliced->row < tensor_view_of(sliced->pair).rows)
        return e;
    if (sliced->at != sliced->end)
        e = plan_corrupt(info, "a tensor holds more than its slices");
    sliced_remove(work, sliced);
    work->ready++;
    pthread_cond_broadcast(&work->changed);
    return e;
}

static void work_stop(struct work *work, const struct err_info *info)
{
    cleanup_unlock pthread_mutex_t *held = &work->lock;
    pthread_mutex_lock(held);
    if (!work->stop)
        work->info = *info;
    work->stop = true;
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
    while (e == ERR_OK && task_take(work, &task, &e, &info))
        e = task.sliced == NULL ? group_decode(work, decoder, &task) : slice_decode(work, decoder, &task, &info);
    if (e != ERR_OK)
        work_stop(work, &info);
    tensor_decoder_free(decoder);
    return e;
}

static enum err groups_decode(struct work *work, int threads, size_t memory_max)
{
    work->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    work->changed = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    work->info = (struct err_info){0};
    work->at = work->next = work->ready = work->heads = 0;
    work->stop = false;
    work->thread_memory = memory_max / (size_t)threads;
    enum err e = parallel_run((size_t)threads, threads, thread_run, work);
    while (work->sliced != NULL) /* of what failed */
        sliced_remove(work, work->sliced);
    if (e == ERR_OK && work->at != work->source->size)
        e = plan_corrupt(&work->info, "there is more behind the last group of tensors");
    return e;
}

/* How many threads have memory to work in. */
static int threads_useful(const struct work *work, size_t memory_max)
{
    const int threads = parallel_threads(&(struct delta_options){0});
    const size_t with_memory = memory_max / TENSOR_DECODER_FAST_MAX;
    if (work->effort == DELTA_BEST || (work->group_count == 1 && !has_slices(work, 0)))
        return 1;
    if (memory_max == 0 || (size_t)threads <= with_memory)
        return threads;
    return with_memory < 1 ? 1 : (int)with_memory;
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
