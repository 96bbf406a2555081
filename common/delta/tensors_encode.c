#include "common/base/cleanup.h"
#include "common/delta/choose.h"
#include "common/delta/parallel.h"
#include "common/delta/tensor_encode.h"

#include <pthread.h>
#include <stdlib.h>

/* Tensors that are coded one after the other, by one thread. */
struct group {
    size_t first, count;
    struct buf bytes;
    enum err error;
    bool done;
};

struct work {
    const struct tensor_files *files;
    const struct tensor_pair *pairs;
    const struct delta_options *options;
    int *methods;
    int64_t *sizes;
    struct group *groups;
    size_t group_count;
    uint64_t elements; /* of all tensors */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t next; /* group that nobody works on yet */
    uint64_t elements_done;
    bool stop;
};

static struct tensor_data data_of(const struct tensor_files *files, const struct tensor_pair *pair)
{
    const bool scales = pair->old_scales >= 0 && pair->new_scales >= 0;
    return (struct tensor_data){.view = tensor_view_of(pair),
                                .old = pair->old_offset < 0 ? NULL : files->old + pair->old_offset,
                                .new = files->new + pair->new_offset,
                                .old_scales = scales ? files->old + pair->old_scales : NULL,
                                .new_scales = scales ? files->new + pair->new_scales : NULL,
                                .scale_count = pair->scale_count};
}

static enum err pair_encode(struct work *work, struct tensor_encoder *encoder, size_t at, struct buf *out)
{
    const struct tensor_pair *pair = &work->pairs[at];
    const struct tensor_data data = data_of(work->files, pair);
    const size_t begin = out->len;
    enum method method;
    enum err e = choose_and_encode(encoder, &data, out, &method);
    if (e != ERR_OK)
        return e;
    if (work->methods != NULL)
        work->methods[at] = (int)method;
    if (work->sizes != NULL)
        work->sizes[at] = (int64_t)(out->len - begin);
    return ERR_OK;
}

static void progress(struct work *work, uint64_t elements)
{
    cleanup_unlock pthread_mutex_t *held = &work->lock;
    pthread_mutex_lock(held);
    work->elements_done += elements;
    if (work->options->progress != NULL)
        work->options->progress(work->options->user, (double)work->elements_done / (double)work->elements);
}

static enum err group_encode(struct work *work, struct group *group)
{
    struct tensor_encoder *encoder = tensor_encoder_new(work->options->effort);
    enum err e = encoder == NULL ? ERR_NO_MEMORY : ERR_OK;
    for (size_t i = group->first; i < group->first + group->count && e == ERR_OK; i++) {
        e = pair_encode(work, encoder, i, &group->bytes);
        progress(work, work->pairs[i].rows * work->pairs[i].cols);
    }
    tensor_encoder_free(encoder);
    return e;
}

static void *worker(void *user)
{
    struct work *work = user;
    pthread_mutex_lock(&work->lock);
    while (!work->stop && work->next < work->group_count) {
        struct group *group = &work->groups[work->next++];
        pthread_mutex_unlock(&work->lock);
        const enum err e = group_encode(work, group);
        pthread_mutex_lock(&work->lock);
        group->error = e;
        group->done = true;
        work->stop |= e != ERR_OK;
        pthread_cond_broadcast(&work->changed);
    }
    pthread_mutex_unlock(&work->lock);
    return NULL;
}

/* Its length, then what it holds. */
static enum err group_write(const struct group *group, const struct tensor_sink *sink)
{
    cleanup_buf struct buf len = BUF_INIT(16);
    enum err e = plan_number_write(&len, group->bytes.len);
    if (e == ERR_OK)
        e = sink->write(sink->user, len.data, len.len);
    if (e == ERR_OK && group->bytes.len != 0)
        e = sink->write(sink->user, group->bytes.data, group->bytes.len);
    return e;
}

/* Writes the groups in their order, each as soon as it is ready. */
static enum err groups_write(struct work *work, const struct tensor_sink *sink)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < work->group_count && e == ERR_OK; i++) {
        struct group *group = &work->groups[i];
        pthread_mutex_lock(&work->lock);
        while (!group->done && !work->stop)
            pthread_cond_wait(&work->changed, &work->lock);
        e = group->error;
        if (e == ERR_OK && !group->done)
            e = ERR_INTERNAL; /* another one failed; whoever waits for the threads looks for it */
        pthread_mutex_unlock(&work->lock);
        if (e == ERR_OK)
            e = group_write(group, sink);
        buf_free(&group->bytes);
    }
    pthread_mutex_lock(&work->lock);
    work->stop |= e != ERR_OK;
    pthread_mutex_unlock(&work->lock);
    return e;
}

static enum err work_run(struct work *work, const struct tensor_sink *sink)
{
    const int threads = parallel_threads(work->options);
    pthread_t started[PARALLEL_THREADS_MAX];
    int count = 0;
    while (count < threads && (size_t)count < work->group_count &&
           pthread_create(&started[count], NULL, worker, work) == 0)
        count++;
    if (count == 0 && work->group_count > 0)
        return ERR_NO_MEMORY;
    enum err e = groups_write(work, sink);
    for (int i = 0; i < count; i++)
        pthread_join(started[i], NULL);
    for (size_t i = 0; i < work->group_count && e == ERR_INTERNAL; i++)
        if (work->groups[i].error != ERR_OK)
            e = work->groups[i].error;
    return e;
}

static enum err groups_make(struct work *work, size_t count)
{
    cleanup_free size_t *first = calloc(count + 1, sizeof *first);
    if (first == NULL)
        return ERR_NO_MEMORY;
    work->group_count = states_groups(work->pairs, count, work->options->effort, first);
    for (size_t i = 0; i < work->group_count; i++)
        work->groups[i] =
            (struct group){.first = first[i], .count = first[i + 1] - first[i], .bytes = BUF_INIT(SIZE_MAX / 2)};
    for (size_t i = 0; i < count; i++)
        work->elements += work->pairs[i].rows * work->pairs[i].cols;
    return ERR_OK;
}

// NOLINTBEGIN(readability-non-const-parameter): the workers write them
enum err tensors_encode(const struct tensor_files *files, const struct tensor_pair *pairs, size_t count,
                        const struct delta_options *options, const struct tensor_sink *sink, int *ret_methods,
                        int64_t *ret_bytes, struct err_info *info)
// NOLINTEND(readability-non-const-parameter)
{
    struct work work = {.files = files,
                        .pairs = pairs,
                        .options = options,
                        .methods = ret_methods,
                        .sizes = ret_bytes,
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .changed = PTHREAD_COND_INITIALIZER};
    (void)info;
    cleanup_free struct group *groups = calloc(count + 1, sizeof *groups);
    if (groups == NULL)
        return ERR_NO_MEMORY;
    work.groups = groups;
    enum err e = groups_make(&work, count);
    if (e == ERR_OK)
        e = work_run(&work, sink);
    for (size_t i = 0; i < work.group_count; i++)
        buf_free(&groups[i].bytes);
    return e;
}
