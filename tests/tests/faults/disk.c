/* A disk that fails when it is told to: loaded before the C library, under the whole store.
 *
 * The file that RIVET_FAULT names says what fails: "write 28" (ENOSPC), "sync 5" (EIO), and so on; without the file all is well.
 * Only files of RocksDB's log are meant, so that the engine itself can still speak.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int is_log(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 4) return 0;
    path[length] = 0;
    return strcmp(path + length - 4, ".log") == 0 && strstr(path, "/store/") != NULL;
}

/* The error that this call is to fail with; 0: it is not to. */
static int fault(const char *what, int fd) {
    const char *name = getenv("RIVET_FAULT");
    if (name == NULL || access(name, R_OK) != 0 || !is_log(fd)) return 0;
    char word[16] = "";
    int number = 0;
    FILE *file = fopen(name, "r");
    if (file == NULL) return 0;
    int read = fscanf(file, "%15s %d", word, &number);
    fclose(file);
    return read == 2 && strcmp(word, what) == 0 ? number : 0;
}

#define REAL(type, name, ...) type (*real)(__VA_ARGS__) = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

ssize_t write(int fd, const void *bytes, size_t length) {
    REAL(ssize_t, "write", int, const void *, size_t);
    int error = fault("write", fd);
    if (error) {
        /* By half, as a disk does that becomes full in the middle. */
        if (length > 1) (void)!real(fd, bytes, length / 2);
        errno = error;
        return -1;
    }
    return real(fd, bytes, length);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    int error = fault("write", fd);
    if (error) {
        errno = error;
        return -1;
    }
    return real(fd, bytes, length, at);
}

int fdatasync(int fd) {
    REAL(int, "fdatasync", int);
    int error = fault("sync", fd);
    if (error) {
        errno = error;
        return -1;
    }
    return real(fd);
}

int fsync(int fd) {
    REAL(int, "fsync", int);
    int error = fault("sync", fd);
    if (error) {
        errno = error;
        return -1;
    }
    return real(fd);
}
