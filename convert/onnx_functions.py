"""ONNX functions of the integer graph: each is made of standard operators, so any ONNX runtime can inline it.

Activations are uint8 = int8 + 128 inside the graph, weights too: ConvInteger takes uint8, and products of two unsigned
operands are summed exactly on every processor (signed weights saturate in 16 bit on x86 without VNNI).
Element types of Cast are ONNX's numbers: 2 uint8, 6 int32, 7 int64, 13 uint64.
"""

from __future__ import annotations

import onnx
from onnx import parser

DOMAIN = "repedge"

# Packed rows of convert/packing.py with a codebook -> the layer's weights + 128.
# Bit k of a row is bit (k mod b) of index (k div b): bytes fall apart into bits, b bits make an index, the codebook does the rest.
# row_bits: bits of a row without its padding; grouping: [0, -1, b]; powers: [1, 2, ... 2^(b-1)]; shape: OHWI or (O, I).
DECODE_WEIGHTS = """
<domain: "repedge", opset_import: ["" : 17]>
DecodeWeights <row_bits, grouping, powers, shape, order> (packed, codebook) => (weight)
{
    bit = Constant <value = int64[8] {1, 2, 4, 8, 16, 32, 64, 128}> ()
    two = Constant <value_int: int = 2> ()
    last_axis = Constant <value_ints: ints = [-1]> ()
    bytes = Cast <to = 7> (packed)
    columns = Unsqueeze (bytes, last_axis)
    shifted = Div (columns, bit)
    bits = Mod (shifted, two)
    flat = Constant <value_ints: ints = [0, -1]> ()
    rows = Reshape (bits, flat)
    start = Constant <value_ints: ints = [0]> ()
    stop = Constant <value_ints: ints = @row_bits> ()
    axis = Constant <value_ints: ints = [1]> ()
    used = Slice (rows, start, stop, axis)
    groups = Constant <value_ints: ints = @grouping> ()
    grouped = Reshape (used, groups)
    weights_of_bits = Constant <value_ints: ints = @powers> ()
    indices = MatMul (grouped, weights_of_bits)
    entries = Gather (codebook, indices)
    sizes = Constant <value_ints: ints = @shape> ()
    shaped = Reshape (entries, sizes)
    ordered = Transpose <perm: ints = @order> (shaped)
    wide = Cast <to = 6> (ordered)
    offset = Constant <value = int32 {128}> ()
    raised = Add (wide, offset)
    weight = Cast <to = 2> (raised)
}
"""

# Plain rows of convert/packing.py, whose bytes are the weights in two's complement -> the layer's weights + 128.
PLAIN_WEIGHTS = """
<domain: "repedge", opset_import: ["" : 17]>
PlainWeights <shape, order> (packed) => (weight)
{
    bytes = Cast <to = 6> (packed)
    sizes = Constant <value_ints: ints = @shape> ()
    shaped = Reshape (bytes, sizes)
    ordered = Transpose <perm: ints = @order> (shaped)
    offset = Constant <value = int32 {128}> ()
    raised = Add (ordered, offset)
    range = Constant <value = int32 {256}> ()
    wrapped = Mod (raised, range)
    weight = Cast <to = 2> (wrapped)
}
"""

# accumulator << max(shift, 0), wrapped to int32 as on the targets.
SHIFT_LEFT = """
<domain: "repedge", opset_import: ["" : 17]>
ShiftLeft (accumulator, shift) => (shifted)
{
    value = Cast <to = 7> (accumulator)
    wide_shift = Cast <to = 7> (shift)
    zero = Constant <value_int: int = 0> ()
    left = Max (wide_shift, zero)
    left_unsigned = Cast <to = 13> (left)
    one = Constant <value = uint64 {1}> ()
    factor_unsigned = BitShift <direction = "LEFT"> (one, left_unsigned)
    factor = Cast <to = 7> (factor_unsigned)
    product = Mul (value, factor)
    half_range = Constant <value_int: int = 2147483648> ()
    range = Constant <value_int: int = 4294967296> ()
    raised = Add (product, half_range)
    wrapped = Mod (raised, range)
    shifted = Sub (wrapped, half_range)
}
"""

# TFLite's double rounding in int64, then zero point and clamp.
# The saturating rounding doubling high multiply is floor((a * m + 2^30) / 2^31) for m >= 0; Div truncates, so 2^62 makes
# its numerator positive first. The rounding shift is half away from zero, as is adding sign * half and truncating.
REQUANTIZE = """
<domain: "repedge", opset_import: ["" : 17]>
Requantize <zero_point, lowest, highest> (accumulator, multiplier, shift) => (output)
{
    value = Cast <to = 7> (accumulator)
    factor = Cast <to = 7> (multiplier)
    product = Mul (value, factor)
    nudge = Constant <value_int: int = 4611686019501129728> ()
    nudged = Add (product, nudge)
    two_31 = Constant <value_int: int = 2147483648> ()
    high_raised = Div (nudged, two_31)
    high = Sub (high_raised, two_31)
    wide_shift = Cast <to = 7> (shift)
    zero = Constant <value_int: int = 0> ()
    negative_or_zero = Min (wide_shift, zero)
    right = Neg (negative_or_zero)
    right_unsigned = Cast <to = 13> (right)
    one = Constant <value = uint64 {1}> ()
    divisor_unsigned = BitShift <direction = "LEFT"> (one, right_unsigned)
    divisor = Cast <to = 7> (divisor_unsigned)
    two = Constant <value_int: int = 2> ()
    half = Div (divisor, two)
    sign = Sign (high)
    signed_half = Mul (sign, half)
    biased = Add (high, signed_half)
    rounded = Div (biased, divisor)
    unsigned = Constant <value_int: int = 128> ()
    zero_point_value = Constant <value_int: int = @zero_point> ()
    lowest_value = Constant <value_int: int = @lowest> ()
    highest_value = Constant <value_int: int = @highest> ()
    offset = Add (zero_point_value, unsigned)
    floor = Add (lowest_value, unsigned)
    top = Add (highest_value, unsigned)
    moved = Add (rounded, offset)
    clamped = Clip (moved, floor, top)
    output = Cast <to = 2> (clamped)
}
"""

# Global average of the signed values, half away from zero: (N, C, H, W) -> (N, C). count: H * W.
AVERAGE_POOL = """
<domain: "repedge", opset_import: ["" : 17]>
AveragePool <count> (input) => (output)
{
    value = Cast <to = 7> (input)
    unsigned = Constant <value_int: int = 128> ()
    centred = Sub (value, unsigned)
    axes = Constant <value_ints: ints = [2, 3]> ()
    total = ReduceSum <keepdims = 0> (centred, axes)
    pixels = Constant <value_int: int = @count> ()
    two = Constant <value_int: int = 2> ()
    half = Div (pixels, two)
    sign = Sign (total)
    signed_half = Mul (sign, half)
    biased = Add (total, signed_half)
    mean = Div (biased, pixels)
    raised = Add (mean, unsigned)
    output = Cast <to = 2> (raised)
}
"""


def integer_functions() -> list[onnx.FunctionProto]:
    """DecodeWeights, PlainWeights, ShiftLeft, Requantize and AveragePool of the domain `repedge`."""
    texts = (DECODE_WEIGHTS, PLAIN_WEIGHTS, SHIFT_LEFT, REQUANTIZE, AVERAGE_POOL)
    return [parser.parse_function(text) for text in texts]
