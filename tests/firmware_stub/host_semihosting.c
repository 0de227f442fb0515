/* semihosting.h on the host, with stdio: for test drivers that run on both. */
#include "semihosting.h"

#include <stdio.h>
#include <stdlib.h>

enum { FILES = 4 };

static FILE *files[FILES];

int semihosting_open(const char *name, int mode)
{
    for (int k = 0; k < FILES; ++k) {
        if (files[k] == NULL) {
            files[k] = fopen(name, mode == SEMIHOSTING_READ ? "rb" : "wb");
            return files[k] != NULL ? k : -1;
        }
    }
    return -1;
}

bool semihosting_read(int handle, void *bytes, size_t count)
{
    return fread(bytes, 1, count, files[handle]) == count;
}

bool semihosting_write(int handle, const void *bytes, size_t count)
{
    return fwrite(bytes, 1, count, files[handle]) == count;
}

bool semihosting_close(int handle)
{
    return fclose(files[handle]) == 0;
}

void semihosting_exit(int code)
{
    exit(code);
}
