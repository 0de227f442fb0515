#include "repedge_winograd.h"

static const winograd_transform_t transform = {
    .outputs = 2u,
    .positions = 16u,
    .tile_cost = 3u,
    .weights = repedge_winograd2_weights,
    .input = repedge_winograd2_input,
    .multiply = repedge_winograd2_multiply,
    .output = repedge_winograd2_output,
};

repedge_status_t repedge_conv3x3_s8_winograd2(const repedge_layer_t *layer, const int8_t *input,
                                              int8_t *scratch, int8_t *output)
{
    return repedge_winograd(layer, &transform, input, scratch, output);
}
