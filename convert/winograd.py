"""Proof, per layer, that integer Winograd convolution gives the convolution's own integers.

F(m×m, 3×3): a tile of m×m outputs y from a patch d of (m + 2)×(m + 2) inputs, V = B′dB, U = GgG′, Y = A′(Σ U·V)A over the
input channels, with whole numbers in B, G and A. The device takes doubled weights. Then Y = divisor · 2y modulo 2^32,
whatever overflows on the way: the device adds and multiplies modulo 2^32. What has to hold is
- U and V fit int16, as the products take them;
- Y gives 2y back: divisor = odd · 2^k, the odd factor is undone by its inverse modulo 2^32, and 2^k · 2y must fit int32;
- requantization's doubled accumulator fits int32, and no shift pushes the output's zero point out of int32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convert.integer_model import QuantizedConv

INT16 = 2**15
INT32 = 2**31
SHIFT_MAX = 22  # of requantization, to the right; above it a channel must be constant (repedge_winograd.c)


@dataclass(frozen=True)
class Transform:
    """F(outputs×outputs, 3×3) with `divisor` = A′(G1·B1)A of the identity: Y = divisor · y."""

    outputs: int
    input: NDArray[np.int64]  # B', (P, P)
    weights: NDArray[np.int64]  # G, (P, 3)
    output: NDArray[np.int64]  # A', (outputs, P)
    divisor: int

    @property
    def sum_limit(self) -> int:
        """|y| must stay below it: 2^k · 2y is an int32, where divisor = odd · 2^k."""
        return INT32 // (2 * (self.divisor & -self.divisor))


def _matrix(*rows: tuple[int, ...]) -> NDArray[np.int64]:
    return np.array(rows, np.int64)


F2 = Transform(
    outputs=2,
    input=_matrix((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
    weights=_matrix((2, 0, 0), (1, 1, 1), (1, -1, 1), (0, 0, 2)),
    output=_matrix((1, 1, 1, 0), (0, 1, -1, -1)),
    divisor=4,
)
F4 = Transform(
    outputs=4,
    input=_matrix(
        (4, 0, -5, 0, 1, 0),
        (0, -4, -4, 1, 1, 0),
        (0, 4, -4, -1, 1, 0),
        (0, -2, -1, 2, 1, 0),
        (0, 2, -1, -2, 1, 0),
        (0, 4, 0, -5, 0, 1),
    ),
    weights=_matrix((1, 0, 0), (1, 1, 1), (1, -1, 1), (1, 2, 4), (1, -2, 4), (0, 0, 1)),
    output=_matrix((6, -4, -4, 1, 1, 0), (0, -4, 4, 2, -2, 0), (0, -4, -4, 4, 4, 0), (0, -4, 4, 8, -8, 24)),
    divisor=576,
)


def winograd_obstacle(conv: QuantizedConv, transform: Transform) -> str | None:
    """Why the transform is not proven exact for a layer, or None where it is."""
    largest_v = largest_input(transform, conv.input.zero_point)
    if largest_v >= INT16:
        return f"its transformed inputs may reach {largest_v}, int16 holds {INT16 - 1}"
    largest_u = largest_weight(transform, conv.weight_ohwi)
    if largest_u >= INT16:
        return f"its transformed weights reach {largest_u}, int16 holds {INT16 - 1}"
    sums = largest_sums(conv)
    if int(sums.max()) >= transform.sum_limit:
        return f"its sums may reach {int(sums.max())}, the transform gives back those below {transform.sum_limit}"
    return _requantize_obstacle(conv, sums + np.abs(conv.bias.astype(np.int64)))


def largest_input(transform: Transform, zero_point: int) -> int:
    """Largest |V|, over all patches of int8 inputs less their zero point; also of inputs as 0 … 255, which the kernel takes."""
    factors = np.einsum("ix,jy->ijxy", transform.input, transform.input).reshape(len(transform.input) ** 2, -1)
    up, down = np.maximum(factors, 0).sum(axis=1), np.maximum(-factors, 0).sum(axis=1)
    largest = 0
    for low, high in ((-128 - zero_point, 127 - zero_point), (0, 255)):
        largest = max(largest, int((up * high - down * low).max()), int((down * high - up * low).max()))
    return largest


def largest_weight(transform: Transform, weight_ohwi: NDArray[np.int8]) -> int:
    """Largest |U| of these very weights, doubled, halfway values included."""
    halfway = np.einsum("iy,oyxc->oixc", transform.weights, 2 * weight_ohwi.astype(np.int64))
    whole = np.einsum("jx,oixc->oijc", transform.weights, halfway)
    return max(int(np.abs(halfway).max()), int(np.abs(whole).max()))


def largest_sums(conv: QuantizedConv) -> NDArray[np.int64]:
    """(O,): largest |sum of (input − zero point) · weight| over all inputs, bias left out; padding adds nothing."""
    weights = conv.weight_ohwi.astype(np.int64).reshape(conv.bias.size, -1)
    up, down = np.maximum(weights, 0).sum(axis=1), np.maximum(-weights, 0).sum(axis=1)
    low, high = -128 - conv.input.zero_point, 127 - conv.input.zero_point
    return np.maximum(up * high - down * low, down * high - up * low)


def _requantize_obstacle(conv: QuantizedConv, accumulators: NDArray[np.int64]) -> str | None:
    """Whether bounds on |accumulator|, (O,), let `2·accumulator` and the merged zero point stay inside int32."""
    multiplier, shift = conv.requantization
    if int(accumulators.max()) >= INT32 // 2:
        return f"its accumulators may reach {int(accumulators.max())}, allowed below {INT32 // 2}"
    if int(shift.max()) > 0:
        return f"its requantization shifts left by {int(shift.max())}"
    right = -shift.astype(np.int64)
    constant = (multiplier == 0) | (accumulators + 1 < np.int64(1) << np.maximum(right - 1, 0))
    if bool(((right > SHIFT_MAX) & ~constant).any()):
        return f"its requantization shifts right by {int(right.max())}, allowed up to {SHIFT_MAX}"
    if bool(((right == 0) & (multiplier != 0)).any()) and conv.clamp_min < conv.output.zero_point:
        return "without ReLU its requantization must shift"
    return None
