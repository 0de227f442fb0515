/* requantize_driver CASES RESULTS: uint32 count, then as many accumulators, multipliers and shifts
 * (int32, little-endian); the results are int32. */
#include "../../firmware_stub/port/host/case_files.h"
#include "repedge_requantize.h"

int main(int argc, char **argv)
{
    const case_files_t files = open_files(argc, argv);
    uint32_t *const count = read_exactly(files, sizeof *count);
    const size_t bytes = *count * sizeof(int32_t);
    int32_t *const accumulator = read_exactly(files, bytes);
    int32_t *const multiplier = read_exactly(files, bytes);
    int32_t *const shift = read_exactly(files, bytes);
    for (uint32_t k = 0; k < *count; ++k) {
        accumulator[k] = repedge_requantize(accumulator[k], multiplier[k], shift[k]);
    }
    write_and_free(files, accumulator, bytes);
    free(multiplier);
    free(shift);
    free(count);
    return close_files(files);
}
