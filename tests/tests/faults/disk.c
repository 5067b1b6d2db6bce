/* A disk that fails when it is told to: loaded before the C library, under the whole store.
 *
 * The file that RIVET_FAULT names says what fails: "write 28" (ENOSPC), "sync 5" (EIO), and so on; without the file all is well.
 * It may say where: "write 28 /logs/ .log" is files of that folder whose names end so, "write 28 /store/ *" all of them. Without
 * that it is the logs of the state, "/store/ .log". Never more, so that the engine itself can still speak.
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

/* Whether the file is in this folder, and its name ends so. */
static int is_in(int fd, const char *folder, const char *end) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (strstr(path, folder) == NULL) return 0;
    size_t end_length = strlen(end);
    if (strcmp(end, "*") == 0) return 1;
    return (size_t)length >= end_length && strcmp(path + length - end_length, end) == 0;
}

/* The error that this call is to fail with; 0: it is not to. */
static int fault(const char *what, int fd) {
    const char *name = getenv("RIVET_FAULT");
    if (name == NULL || access(name, R_OK) != 0) return 0;
    char word[16] = "", folder[32] = "/store/", end[16] = ".log";
    int number = 0;
    FILE *file = fopen(name, "r");
    if (file == NULL) return 0;
    int read = fscanf(file, "%15s %d %31s %15s", word, &number, folder, end);
    fclose(file);
    return read >= 2 && strcmp(word, what) == 0 && is_in(fd, folder, end) ? number : 0;
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
