/* The small questions one can ask a model. */
#include "repedge_model.h"

size_t repedge_arena_bytes(const repedge_model_t *model)
{
    return model->arena_bytes;
}

int8_t *repedge_input(const repedge_model_t *model, void *arena)
{
    return (int8_t *)arena + model->input_offset;
}

uint32_t repedge_predict(const repedge_model_t *model, const int8_t *logits)
{
    uint32_t best = 0;
    for (uint32_t k = 1; k < model->class_count; ++k) {
        if (logits[k] > logits[best]) {
            best = k;
        }
    }
    return best;
}

const char *repedge_class_name(const repedge_model_t *model, uint32_t class_index)
{
    return class_index < model->class_count ? model->class_names[class_index] : NULL;
}
