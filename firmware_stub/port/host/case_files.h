/* The files of a program that reads cases and writes results, for tests and benchmarks. Every
 * buffer is as large as needed and no larger, so that the address sanitizer sees each byte too far.
 */
#ifndef REPEDGE_CASE_FILES_H
#define REPEDGE_CASE_FILES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { EXIT_FILES = 2, EXIT_SHORT_READ = 3, EXIT_SHORT_WRITE = 4 };

typedef struct {
    FILE *cases;
    FILE *results;
} case_files_t;

/* program CASES RESULTS */
static inline case_files_t open_files(int argc, char **argv)
{
    const case_files_t files = {argc == 3 ? fopen(argv[1], "rb") : NULL,
                                argc == 3 ? fopen(argv[2], "wb") : NULL};
    if (files.cases == NULL || files.results == NULL) {
        exit(EXIT_FILES);
    }
    return files;
}

static inline void *read_exactly(case_files_t files, size_t bytes)
{
    void *const buffer = malloc(bytes);
    if ((buffer == NULL && bytes > 0u) || fread(buffer, 1, bytes, files.cases) != bytes) {
        exit(EXIT_SHORT_READ);
    }
    return buffer;
}

static inline void write_and_free(case_files_t files, void *buffer, size_t bytes)
{
    if (fwrite(buffer, 1, bytes, files.results) != bytes) {
        exit(EXIT_SHORT_WRITE);
    }
    free(buffer);
}

static inline int close_files(case_files_t files)
{
    fclose(files.cases);
    return fclose(files.results) == 0 ? 0 : EXIT_SHORT_WRITE;
}

#endif
