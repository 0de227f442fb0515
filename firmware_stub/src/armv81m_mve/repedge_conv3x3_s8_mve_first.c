#include "repedge_kernels.h"
void repedge_conv3x3_s8_mve_first(const repedge_layer_t *layer, const int8_t *input,
                                  int8_t *scratch, int8_t *output)
{
    repedge_conv3x3_s8(layer, input, scratch, output);
}
