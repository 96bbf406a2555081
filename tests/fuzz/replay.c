/* Runs a fuzz target on every file of the directories it is given, and prints how many there were. */
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "tests/fuzz/fuzz.h"

#include <limits.h>
#include <stdio.h>

enum { INPUT_MAX = 16 * 1024 * 1024 };

static int directory_replay(const char *path)
{
    int count = 0;
    cleanup_dir DIR *dir = opendir(path);
    for (const struct dirent *entry = dir == NULL ? NULL : readdir(dir); entry != NULL; entry = readdir(dir)) {
        char file[PATH_MAX];
        cleanup_free char *bytes = NULL;
        size_t len = 0;
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        if (file_read(file, INPUT_MAX, &bytes, &len) != ERR_OK)
            return -1;
        (void)LLVMFuzzerTestOneInput((const uint8_t *)bytes, len);
        count++;
    }
    return count;
}

int main(int argc, char **argv)
{
    int count = 0;
    for (int i = 1; i < argc; i++) {
        int n = directory_replay(argv[i]);
        if (n <= 0) {
            (void)fprintf(stderr, "%s: %s\n", argv[i], n == 0 ? "no inputs" : "cannot be read");
            return 1;
        }
        count += n;
    }
    (void)printf("%d inputs\n", count);
    return count > 0 ? 0 : 1;
}
