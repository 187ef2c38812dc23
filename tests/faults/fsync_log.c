/* Preloaded into the log's server: notes how long each file was at its last sync, and can make syncs slow.
   What was written after the last sync is what a power cut may take away. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int synced(const char *name, int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    struct stat before;
    fstat(file, &before); /* what is written during the sync may not be in it */
    const char *slow = getenv("FSYNC_SLOW_US"); /* so many, or between two numbers: "20000-900000" */
    if (slow) {
        unsigned least = 0, most = 0;
        static unsigned chance;
        if (!chance) chance = (unsigned)getpid();
        if (sscanf(slow, "%u-%u", &least, &most) == 2) least += rand_r(&chance) % (most - least + 1);
        usleep(least);
    }
    int answer = real(file);
    const char *notes = getenv("FSYNC_NOTES");
    char link[64], path[4096], line[4200];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (answer == 0 && notes && length > 0) {
        path[length] = 0;
        int to = open(notes, O_WRONLY | O_APPEND | O_CREAT, 0600);
        int size = snprintf(line, sizeof line, "%lld\t%s\n", (long long)before.st_size, path);
        if (write(to, line, (size_t)size) != size) abort();
        close(to);
    }
    return answer;
}

int fdatasync(int file) { return synced("fdatasync", file); }
int fsync(int file) { return synced("fsync", file); }
