/* Semihosting of the M profile: files and exit of the machine that runs the emulator or debugger.
 */
#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SEMIHOSTING_READ = 1, SEMIHOSTING_WRITE = 5 }; /* "rb", "wb" */

/* Handle of an open file, or -1. */
int semihosting_open(const char *name, int mode);

/* Length of a file in bytes, or -1. */
int semihosting_length(int handle);

/* True where every byte was read or written. */
bool semihosting_read(int handle, void *bytes, size_t count);
bool semihosting_write(int handle, const void *bytes, size_t count);

/* True where the file was closed and its bytes are safe. */
bool semihosting_close(int handle);

/* Print text, an unsigned number, or eight hexadecimal digits. */
void semihosting_print(const char *text);
void semihosting_print_unsigned(uint32_t value);
void semihosting_print_hex(uint32_t value);

/* End the emulator with this exit code. */
_Noreturn void semihosting_exit(int code);

#endif
