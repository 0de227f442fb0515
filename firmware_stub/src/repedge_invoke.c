#include "repedge_kernels.h"
#include "repedge_prof.h"

static repedge_status_t check_arguments(const repedge_model_t *model, const void *arena,
                                        const int8_t *input, const int8_t *logits)
{
    if (model == NULL || arena == NULL || input == NULL || logits == NULL) {
        return REPEDGE_NULL_POINTER;
    }
    if ((uintptr_t)arena % REPEDGE_ARENA_ALIGNMENT != 0u) {
        return REPEDGE_UNALIGNED_ARENA;
    }
    if (model->packing_version != REPEDGE_PACKING_VERSION) {
        return REPEDGE_UNKNOWN_FORMAT;
    }
    return REPEDGE_OK;
}

static repedge_status_t run_layer(const repedge_layer_t *layer, int8_t *arena, const int8_t *input,
                                  int8_t *logits)
{
    switch (layer->kind) {
    case REPEDGE_CONV3X3:
        if (layer->convolve == NULL) {
            return REPEDGE_UNKNOWN_LAYER;
        }
        return layer->convolve(layer, input, arena + layer->scratch_offset,
                               arena + layer->output_offset);
    case REPEDGE_AVERAGE_POOL:
        repedge_average_pool_s8(layer, input, arena + layer->output_offset);
        return REPEDGE_OK;
    case REPEDGE_FULLY_CONNECTED:
        repedge_fully_connected_s8(layer, input, logits);
        return REPEDGE_OK;
    default:
        return REPEDGE_UNKNOWN_LAYER;
    }
}

repedge_status_t repedge_invoke(const repedge_model_t *model, void *arena, const int8_t *input,
                                int8_t *logits)
{
    repedge_status_t status = check_arguments(model, arena, input, logits);
    int8_t *const bytes = arena;
    for (uint32_t k = 0; status == REPEDGE_OK && k < model->layer_count; ++k) {
        const repedge_layer_t *layer = &model->layers[k];
        prof_mark(k);
        status = run_layer(layer, bytes, k == 0u ? input : bytes + layer->input_offset, logits);
    }
    prof_mark(REPEDGE_PROF_END);
    return status;
}
