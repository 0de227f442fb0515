#include "semihosting.h"

#include <string.h>

enum {
    SYS_OPEN = 0x01,
    SYS_CLOSE = 0x02,
    SYS_WRITE0 = 0x04,
    SYS_WRITE = 0x05,
    SYS_READ = 0x06,
    SYS_FLEN = 0x0C,
    SYS_EXIT_EXTENDED = 0x20
};

#define APPLICATION_EXIT 0x20026u

/* BKPT 0xAB: operation in r0, address of its parameters in r1, result in r0. */
static __attribute__((noinline)) int call(int operation, const void *parameters)
{
    register int r0 __asm("r0") = operation;
    register const void *r1 __asm("r1") = parameters;
    __asm volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory", "cc", "r2", "r3", "ip", "lr");
    return r0;
}

int semihosting_open(const char *name, int mode)
{
    const uint32_t parameters[3] = {(uint32_t)name, (uint32_t)mode, strlen(name)};
    return call(SYS_OPEN, parameters);
}

int semihosting_length(int handle)
{
    const uint32_t parameters[1] = {(uint32_t)handle};
    return call(SYS_FLEN, parameters);
}

/* both calls return how many bytes were left over */
bool semihosting_read(int handle, void *bytes, size_t count)
{
    const uint32_t parameters[3] = {(uint32_t)handle, (uint32_t)bytes, count};
    return call(SYS_READ, parameters) == 0;
}

bool semihosting_write(int handle, const void *bytes, size_t count)
{
    const uint32_t parameters[3] = {(uint32_t)handle, (uint32_t)bytes, count};
    return call(SYS_WRITE, parameters) == 0;
}

bool semihosting_close(int handle)
{
    const uint32_t parameters[1] = {(uint32_t)handle};
    return call(SYS_CLOSE, parameters) == 0;
}

void semihosting_print(const char *text)
{
    call(SYS_WRITE0, text);
}

void semihosting_print_unsigned(uint32_t value)
{
    char text[11];
    size_t start = sizeof text - 1;
    text[start] = '\0';
    do {
        text[--start] = (char)('0' + value % 10u);
        value /= 10u;
    } while (value != 0u);
    semihosting_print(text + start);
}

void semihosting_print_hex(uint32_t value)
{
    char text[9] = {0};
    for (int k = 7; k >= 0; --k) {
        text[k] = "0123456789abcdef"[value & 15u];
        value >>= 4;
    }
    semihosting_print(text);
}

_Noreturn void semihosting_exit(int code)
{
    const uint32_t parameters[2] = {APPLICATION_EXIT, (uint32_t)code};
    call(SYS_EXIT_EXTENDED, parameters);
    for (;;) {
        __asm volatile("wfi");
    }
}
