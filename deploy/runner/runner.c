/* Runs a model library over a file of images: runner IMAGES LOGITS
 * IMAGES: int8 images of REPEDGE_INPUT_BYTES each; LOGITS: REPEDGE_CLASSES int8 values per image.
 * Prints "stack_bytes N", the deepest stack that repedge_run used: it runs on a painted stack. */
#include "repedge_model.h"

#include <stdio.h>
#include <string.h>
#include <ucontext.h>

enum { BUCKETS = 64, PAINTED_BYTES = 256 * 1024, PAINT = 0xC5 };

volatile uint32_t prof_marks[BUCKETS];

/* The counting plugin watches stores to prof_marks made by this function. */
__attribute__((noinline)) void prof_mark(uint32_t layer)
{
    prof_marks[layer] = layer;
}

static _Alignas(64) uint8_t painted_stack[PAINTED_BYTES];
static int8_t input[REPEDGE_INPUT_BYTES];
static int8_t logits[REPEDGE_CLASSES];
static ucontext_t caller, callee;

static void run_once(void)
{
    repedge_run(input, logits);
}

static int run_on_painted_stack(void)
{
    if (getcontext(&callee) != 0) {
        return -1;
    }
    callee.uc_stack.ss_sp = painted_stack;
    callee.uc_stack.ss_size = sizeof painted_stack;
    callee.uc_link = &caller;
    makecontext(&callee, run_once, 0);
    return swapcontext(&caller, &callee);
}

static size_t used_stack_bytes(void)
{
    size_t untouched = 0;
    while (untouched < sizeof painted_stack && painted_stack[untouched] == PAINT) {
        untouched++;
    }
    return sizeof painted_stack - untouched;
}

static int run_all(FILE *images, FILE *results)
{
    size_t got;
    while ((got = fread(input, 1, sizeof input, images)) == sizeof input) {
        if (run_on_painted_stack() != 0 ||
            fwrite(logits, 1, sizeof logits, results) != sizeof logits) {
            return 1;
        }
    }
    return got != 0 || ferror(images);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: runner IMAGES LOGITS\n");
        return 2;
    }
    FILE *images = fopen(argv[1], "rb");
    FILE *results = fopen(argv[2], "wb");
    if (images == NULL || results == NULL) {
        perror(images == NULL ? argv[1] : argv[2]);
        return 2;
    }
    memset(painted_stack, PAINT, sizeof painted_stack);
    int failed = run_all(images, results);
    failed |= fclose(results) != 0;
    fclose(images);
    printf("stack_bytes %zu\n", used_stack_bytes());
    return failed;
}
