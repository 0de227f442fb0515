/* Runs every image of images.bin (uint8 NHWC, back to back) and writes the logits (int8) to
 * logits.bin. */
#include "board.h"
#include "model_data.h"
#include "semihosting.h"

/* not static: profilers and size reports look for this name */
_Alignas(REPEDGE_ARENA_ALIGNMENT) uint8_t repedge_arena[MODEL_ARENA_BYTES];
_Static_assert(sizeof repedge_arena == MODEL_ARENA_BYTES, "the arena is as large as the plan");

/* Read one image into the arena's input and turn its pixels into int8: pixel - 128. */
static void read_image(int images, int8_t *input)
{
    if (!semihosting_read(images, input, MODEL_INPUT_BYTES)) {
        semihosting_exit(EXIT_READ);
    }
    for (size_t k = 0; k < MODEL_INPUT_BYTES; ++k) {
        input[k] = (int8_t)((uint8_t)input[k] ^ 0x80u);
    }
}

static void run_image(int images, int logits_file)
{
    int8_t logits[MODEL_CLASSES];
    int8_t *const input = repedge_input(&repedge_model, repedge_arena);
    read_image(images, input);
    const repedge_status_t status = repedge_invoke(&repedge_model, repedge_arena, input, logits);
    if (status != REPEDGE_OK) {
        semihosting_exit(EXIT_INVOKE + (int)status);
    }
    if (!semihosting_write(logits_file, logits, sizeof logits)) {
        semihosting_exit(EXIT_WRITE);
    }
}

static void print_fact(const char *name, uint32_t value)
{
    semihosting_print(name);
    semihosting_print_unsigned(value);
}

int main(void)
{
    const int images = semihosting_open("images.bin", SEMIHOSTING_READ);
    const int bytes = images < 0 ? -1 : semihosting_length(images);
    if (bytes < 0) {
        return EXIT_NO_IMAGES;
    }
    if ((uint32_t)bytes % MODEL_INPUT_BYTES != 0u) {
        return EXIT_IMAGES_LENGTH;
    }
    const int logits_file = semihosting_open("logits.bin", SEMIHOSTING_WRITE);
    if (logits_file < 0) {
        return EXIT_WRITE;
    }
    const uint32_t count = (uint32_t)bytes / MODEL_INPUT_BYTES;
    for (uint32_t image = 0; image < count; ++image) {
        run_image(images, logits_file);
    }
    if (!semihosting_close(logits_file)) {
        return EXIT_WRITE;
    }
    print_fact("repedge: images=", count);
    print_fact(" arena_bytes=", MODEL_ARENA_BYTES);
    print_fact(" stack_used_bytes=", stack_used_bytes());
    print_fact(" stack_bytes=", stack_bytes());
    semihosting_print("\n");
    return 0;
}
