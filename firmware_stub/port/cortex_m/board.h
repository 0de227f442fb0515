/* What the linker script and the start-up code give the rest of the firmware. */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

/* A register of the system control space. */
#define BOARD_REGISTER(address) (*(volatile uint32_t *)(address))

/* Symbols of link.ld.in; only their addresses mean anything. */
extern uint32_t __stack_limit[], __stack_top[];
extern uint32_t __flash_start[], __flash_end[], __ram_start[], __ram_end[];
extern uint32_t __data_load[], __data_start[], __data_end[], __bss_start[], __bss_end[];

/* Exit codes of the firmware; 100 + IPSR after a fault. */
enum {
    EXIT_NO_IMAGES = 2,     /* images.bin cannot be opened */
    EXIT_IMAGES_LENGTH = 3, /* its length is not a whole number of images */
    EXIT_READ = 4,          /* an image could not be read */
    EXIT_WRITE = 5,         /* logits.bin could not be written */
    EXIT_INVOKE = 10,       /* plus the status of repedge_invoke */
    EXIT_MPU = 20,          /* the MPU has too few regions for flash and RAM */
    EXIT_FAULT = 100
};

/* Deny every access outside flash (read, execute) and RAM (read, write). */
void mpu_enable(void);

/* Bytes of stack ever used, by the paint that is left, and its size. */
uint32_t stack_used_bytes(void);
uint32_t stack_bytes(void);

/* The one handler of every exception: reports and exits with EXIT_FAULT + IPSR. */
void fault_handler(void);

#endif
