/* kernel_runner CASES RESULTS: runs layers on the host, the Winograd kernels with their plain C
 * steps. CASES: uint32 count, then as many cases as kernel_case.h describes. */
#include "../kernel_case.h"
#include "case_files.h"

static repedge_convolve_t *convolution(uint8_t kernel)
{
    switch (kernel) {
    case REPEDGE_KERNEL_PORTABLE:
        return repedge_conv3x3_s8;
    case REPEDGE_KERNEL_DSP_WINOGRAD2:
        return repedge_conv3x3_s8_winograd2;
    case REPEDGE_KERNEL_DSP_WINOGRAD4:
        return repedge_conv3x3_s8_winograd4;
    default:
        exit(EXIT_KERNEL);
    }
}

static void run_case(case_files_t files, uint32_t number)
{
    int32_t *const facts = read_exactly(files, CASE_FACTS * sizeof(int32_t));
    repedge_layer_t layer = case_layer(facts);
    void *tables[CASE_TABLES];
    for (uint32_t k = 0; k < CASE_TABLES; ++k) {
        tables[k] = read_exactly(files, case_table_bytes(facts, k));
    }
    case_attach(&layer, (const void *const *)tables);
    layer.convolve = layer.kind == REPEDGE_CONV3X3 ? convolution(layer.kernel) : NULL;
    int8_t *const input = read_exactly(files, case_volume(layer.input));
    int8_t *const scratch = malloc(layer.scratch_bytes);
    int8_t *const output = malloc(case_volume(layer.output));
    const repedge_status_t status = case_run(&layer, input, scratch, output);
    if (status != REPEDGE_OK) {
        fprintf(stderr, "kernel_runner: case %u is refused with status %d\n", (unsigned)number,
                (int)status);
        exit(EXIT_REFUSED + (int)status);
    }
    write_and_free(files, output, case_volume(layer.output));
    free(scratch);
    free(input);
    for (uint32_t k = 0; k < CASE_TABLES; ++k) {
        free(tables[k]);
    }
    free(facts);
}

int main(int argc, char **argv)
{
    const case_files_t files = open_files(argc, argv);
    uint32_t *const count = read_exactly(files, sizeof *count);
    for (uint32_t number = 0; number < *count; ++number) {
        run_case(files, number);
    }
    free(count);
    return close_files(files);
}
