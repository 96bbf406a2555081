#pragma once
/* Scope cleanup: declare `cleanup_fd int fd = -1;` and the resource goes with the scope. */

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free_p(void *p)
{
    free(*(void **)p);
}

static inline void cleanup_fd_p(const int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

static inline void cleanup_file_p(FILE **file)
{
    if (*file != NULL)
        (void)fclose(*file);
}

static inline void cleanup_dir_p(DIR **dir)
{
    if (*dir != NULL)
        (void)closedir(*dir);
}

static inline void cleanup_unlock_p(pthread_mutex_t **mutex)
{
    if (*mutex != NULL)
        (void)pthread_mutex_unlock(*mutex);
}

#define cleanup_free [[gnu::cleanup(cleanup_free_p)]]
#define cleanup_fd [[gnu::cleanup(cleanup_fd_p)]]
#define cleanup_file [[gnu::cleanup(cleanup_file_p)]]
#define cleanup_dir [[gnu::cleanup(cleanup_dir_p)]]
/* `cleanup_unlock pthread_mutex_t *held = &m; pthread_mutex_lock(held);` */
#define cleanup_unlock [[gnu::cleanup(cleanup_unlock_p)]]
