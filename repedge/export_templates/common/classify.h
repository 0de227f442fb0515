/* The example: classify one embedded test image, print its class, and compare all logits with those of the reference. */
#ifndef CLASSIFY_H
#define CLASSIFY_H

#include "example_image.h"
#include "model.h"

/* 0 and "PASS" where every logit is the reference's. `print` writes text as it is. */
static int classify(void (*print)(const char *text))
{
    MODEL_ALIGN static uint8_t arena[MODEL_ARENA_BYTES];
    static model_t model;
    if (model_init(&model, arena, sizeof arena) != MODEL_OK) {
        print("FAIL: model_init\n");
        return 1;
    }
    int8_t *const input = model_input(&model);
    for (size_t k = 0; k < MODEL_INPUT_BYTES; ++k) {
        input[k] = (int8_t)(example_pixels[k] ^ 0x80u); /* pixel - 128 */
    }
    if (model_invoke(&model) != MODEL_OK) {
        print("FAIL: model_invoke\n");
        return 1;
    }
    const int8_t *const logits = model_output(&model);
    size_t best = 0, wrong = 0;
    for (size_t k = 0; k < MODEL_CLASSES; ++k) {
        best = logits[k] > logits[best] ? k : best;
        wrong += logits[k] != example_logits[k];
    }
    print("class ");
    print(model_class_name[best]);
    print(wrong == 0u ? "\nPASS\n" : "\nFAIL: other logits than the reference\n");
    return wrong == 0u ? 0 : 1;
}

#endif
