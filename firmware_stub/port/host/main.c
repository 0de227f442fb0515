/* repedge_host IMAGES LOGITS: the firmware's job on the host. IMAGES is uint8 NHWC images back to
 * back, LOGITS receives int8 logits. */
#include <stdio.h>

#include "model_data.h"

static _Alignas(REPEDGE_ARENA_ALIGNMENT) uint8_t arena[MODEL_ARENA_BYTES];

enum {
    EXIT_OK = 0,
    EXIT_USAGE = 2,
    EXIT_LENGTH = 3,
    EXIT_READ = 4,
    EXIT_WRITE = 5,
    EXIT_INVOKE = 10
};

/* One image into the arena's input, pixel - 128; returns the bytes that were read. */
static size_t read_image(FILE *images, int8_t *input)
{
    const size_t read = fread(input, 1, MODEL_INPUT_BYTES, images);
    for (size_t k = 0; k < read; ++k) {
        input[k] = (int8_t)((uint8_t)input[k] ^ 0x80u);
    }
    return read;
}

static int run(FILE *images, FILE *logits_file)
{
    unsigned count = 0;
    int8_t *const input = repedge_input(&repedge_model, arena);
    for (size_t read; (read = read_image(images, input)) != 0u; ++count) {
        if (read != MODEL_INPUT_BYTES) {
            return EXIT_LENGTH;
        }
        int8_t logits[MODEL_CLASSES];
        const repedge_status_t status = repedge_invoke(&repedge_model, arena, input, logits);
        if (status != REPEDGE_OK) {
            return EXIT_INVOKE + (int)status;
        }
        if (fwrite(logits, 1, sizeof logits, logits_file) != sizeof logits) {
            return EXIT_WRITE;
        }
    }
    printf("repedge: images=%u arena_bytes=%u\n", count, MODEL_ARENA_BYTES);
    return ferror(images) ? EXIT_READ : EXIT_OK;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: repedge_host IMAGES LOGITS\n");
        return EXIT_USAGE;
    }
    FILE *images = fopen(argv[1], "rb");
    if (images == NULL) {
        perror(argv[1]);
        return EXIT_USAGE;
    }
    FILE *logits_file = fopen(argv[2], "wb");
    if (logits_file == NULL) {
        perror(argv[2]);
        fclose(images);
        return EXIT_WRITE;
    }
    int code = run(images, logits_file);
    fclose(images);
    if (fclose(logits_file) != 0) {
        code = EXIT_WRITE;
    }
    if (code != EXIT_OK) {
        fprintf(stderr, "repedge_host: failed, code %d\n", code);
    }
    return code;
}
