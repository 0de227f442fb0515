/* Requantization with TFLite's two roundings, in integers; convert/requantize.py is its numpy twin.
 */
#ifndef REPEDGE_REQUANTIZE_H
#define REPEDGE_REQUANTIZE_H

#include <stdint.h>

/* value * 2^shift with the bits above 31 lost, as on every target; never undefined. */
static inline int32_t repedge_shift_left(int32_t value, uint32_t shift)
{
    return (int32_t)((uint32_t)value << shift);
}

/* round(a * b / 2^31) for b >= 0, half up. That is TFLite's saturating rounding doubling high
 * multiply: for a * b < 0 it adds 1 - 2^30 and truncates towards zero, which is the same number,
 * and its one saturating case needs b = INT32_MIN. */
static inline int32_t repedge_doubling_high_multiply(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * b + ((int64_t)1 << 30)) >> 31);
}

/* value / 2^exponent, half away from zero; exponent 0..31. */
static inline int32_t repedge_rounding_shift_right(int32_t value, uint32_t exponent)
{
    const int32_t mask = (int32_t)(((uint32_t)1 << exponent) - 1u);
    const int32_t threshold = (mask >> 1) + (value < 0 ? 1 : 0);
    return (value >> exponent) + ((value & mask) > threshold ? 1 : 0);
}

/* round(accumulator * multiplier * 2^(shift - 31)); multiplier >= 0, shift -31..30. */
static inline int32_t repedge_requantize(int32_t accumulator, int32_t multiplier, int32_t shift)
{
    const uint32_t left = shift > 0 ? (uint32_t)shift : 0u;
    const uint32_t right = shift > 0 ? 0u : (uint32_t)-shift;
    const int32_t high =
        repedge_doubling_high_multiply(repedge_shift_left(accumulator, left), multiplier);
    return repedge_rounding_shift_right(high, right);
}

/* sum + bias; it wraps where the sum leaves int32, as the reference does. */
static inline int32_t repedge_add_bias(int32_t sum, int32_t bias)
{
    return (int32_t)((uint32_t)sum + (uint32_t)bias);
}

/* clamp(value + zero_point) without leaving int32: the limits move instead of the value. */
static inline int8_t repedge_clamp_s8(int32_t value, int32_t zero_point, int32_t clamp_min,
                                      int32_t clamp_max)
{
    if (value < clamp_min - zero_point) {
        return (int8_t)clamp_min;
    }
    if (value > clamp_max - zero_point) {
        return (int8_t)clamp_max;
    }
    return (int8_t)(value + zero_point);
}

#endif
