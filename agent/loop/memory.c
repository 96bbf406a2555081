#include "agent/loop/memory.h"

#include "common/base/cleanup.h"

#include <limits.h>
#include <malloc.h>
#include <sys/mman.h>

/* Only executable mappings of files: they are never written to, so dropping their pages loses nothing. (Read-only data
 * may have been relocated, and is left alone.) */
static void text_drop(void)
{
    char line[PATH_MAX + 128];
    cleanup_file FILE *maps = fopen("/proc/self/maps", "re");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        void *from = NULL;
        void *to = NULL;
        char slash = 0;
        if (sscanf(line, "%p-%p r-xp %*s %*s %*s %c", &from, &to, &slash) == 3 && slash == '/')
            (void)madvise(from, (size_t)((char *)to - (char *)from), MADV_DONTNEED);
    }
}

void memory_trim(void)
{
    (void)malloc_trim(0);
    text_drop();
}
