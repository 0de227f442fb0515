#include "repedge_winograd.h"

static const winograd_transform_t transform = {
    .outputs = 4u,
    .positions = 36u,
    .tile_cost = 4u,
    .weights = repedge_winograd4_weights,
    .input = repedge_winograd4_input,
    .multiply = repedge_winograd4_multiply,
    .output = repedge_winograd4_output,
};

repedge_status_t repedge_conv3x3_s8_winograd4(const repedge_layer_t *layer, const int8_t *input,
                                              int8_t *scratch, int8_t *output)
{
    return repedge_winograd(layer, &transform, input, scratch, output);
}
