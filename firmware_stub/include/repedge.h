/* RepEdge inference: the whole public interface. No heap, no floating point, no global state.
 *
 *     static _Alignas(REPEDGE_ARENA_ALIGNMENT) uint8_t arena[MODEL_ARENA_BYTES];
 *     int8_t *input = repedge_input(&repedge_model, arena);   // fill it: int8 = pixel - 128, NHWC
 *     repedge_invoke(&repedge_model, arena, input, logits);
 *     puts(repedge_class_name(&repedge_model, repedge_predict(&repedge_model, logits)));
 */
#ifndef REPEDGE_H
#define REPEDGE_H

#include <stddef.h>
#include <stdint.h>

/* Alignment of the arena in bytes; every tensor inside it has the same alignment. */
#define REPEDGE_ARENA_ALIGNMENT 16u

typedef enum {
    REPEDGE_OK = 0,
    REPEDGE_NULL_POINTER = 1,    /* an argument is NULL */
    REPEDGE_UNALIGNED_ARENA = 2, /* the arena is not aligned to REPEDGE_ARENA_ALIGNMENT */
    REPEDGE_UNKNOWN_FORMAT = 3,  /* the tables are of another packing version */
    REPEDGE_UNKNOWN_LAYER = 4,   /* a layer of the table is not one this runtime has */
    REPEDGE_SMALL_SCRATCH = 5    /* a layer of the table has less scratch than its kernel needs */
} repedge_status_t;

/* A model's tables (model_data.c), read-only; repedge_model.h shows what is inside. */
typedef struct repedge_model repedge_model_t;

/* Bytes of RAM one inference needs, input included. */
size_t repedge_arena_bytes(const repedge_model_t *model);

/* The place of the input inside the arena. An inference overwrites it. */
int8_t *repedge_input(const repedge_model_t *model, void *arena);

/* Logits (int8, one per class) of one image (int8 NHWC); `input` is repedge_input() or a buffer
 * outside the arena, which is left as it was. */
repedge_status_t repedge_invoke(const repedge_model_t *model, void *arena, const int8_t *input,
                                int8_t *logits);

/* Class of the largest logit; ties go to the lowest index. */
uint32_t repedge_predict(const repedge_model_t *model, const int8_t *logits);

/* Name of a class (UTF-8), or NULL where there is no such class. */
const char *repedge_class_name(const repedge_model_t *model, uint32_t class_index);

#endif
