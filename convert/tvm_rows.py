"""Convolutions on vector registers: rows of neighbouring input channels times rows of decoded weights.

A window's row of 3·I activations lies in one piece in the padded input, and so do its weights, 16 at a time. Where I is no
multiple of 16 the windows of a tile are first copied together, (9·I) in one piece, and the weights filled up with zeros.
The sums of a tile of pixels × channels stay in registers over the whole window.

Activations are used as stored, not less their zero point z: the bias takes −z·Σw instead, and the padding is z.

Scratch is the caller's: `padded` int8, the input in a border of zero points and 16 bytes that may be read past it, and
`strip` int8, the decoded weights of the output channels at work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm.script.ir_builder import tirx as T
from tvm.tirx import PrimFunc

from convert.integer_model import LayerShape, QuantizedConv
from convert.packing import row_bytes
from convert.tvm_decode import codebook_tables, plain_weights, unpacked_indices
from convert.tvm_kernels import Signature, build_kernel, constants_signature, has_left_shift, split_constants
from convert.tvm_schedule import Schedule, largest_divisor
from convert.tvm_vector import LANES, VECTOR_SETS, VectorSet, constant, load, spread, store

STRIP_BYTES_MAX = 16384  # of a strip that holds all output channels

At = Callable[[Any], Any]  # number of a vector along the window -> where it lies


@dataclass(frozen=True)
class RowsPlan:
    """Sizes of one kernel in int8 elements."""

    conv: QuantizedConv
    shape: LayerShape
    schedule: Schedule

    def __post_init__(self) -> None:
        _, width, channels = self.shape.output_hwc
        if width % self.schedule.pixels or channels % self.schedule.channels:
            raise ValueError(
                f"layer {self.shape.name}: tiles of {self.schedule.pixels} pixels and {self.schedule.channels} channels; "
                f"allowed are divisors of {width} and {channels}"
            )

    @property
    def in_channels(self) -> int:
        """Channels of the input, I."""
        return self.shape.input_hwc[2]

    @property
    def gathers(self) -> bool:
        """Whether windows are copied together."""
        return self.in_channels % LANES != 0

    @property
    def taps(self) -> int:
        """Weights of one output channel."""
        return 9 * self.in_channels

    @property
    def groups(self) -> int:
        """Vectors that hold them."""
        return -(-self.taps // LANES)

    @property
    def pitch(self) -> int:
        """One row of the padded input."""
        return (self.shape.input_hwc[1] + 2) * self.in_channels

    @property
    def padded(self) -> int:
        """The padded input."""
        return (self.shape.input_hwc[0] + 2) * self.pitch

    @property
    def strip_channels(self) -> int:
        """Output channels decoded at once: a tile's, or all of a gathering layer, so that a window is gathered once."""
        channels = self.shape.output_hwc[2]
        whole = self.gathers and channels * self.groups * LANES <= STRIP_BYTES_MAX
        return channels if whole else self.schedule.channels


def rows_convolution(conv: QuantizedConv, shape: LayerShape, schedule: Schedule) -> PrimFunc:
    """Kernel (input, packed, codebook, bias, multiplier, shift, padded, strip, output) of a stored layer."""
    plan = RowsPlan(conv, shape, schedule)
    signature: Signature = (
        ("input", shape.input_hwc, "int8"),
        *constants_signature(shape.output_hwc[2], plan.taps, conv.bit_width),
        ("padded", (plan.padded + LANES,), "int8"),
        ("strip", (plan.strip_channels * plan.groups * LANES,), "int8"),
        ("output", shape.output_hwc, "int8"),
    )

    def emit(value: Any, *rest: Any) -> None:
        *constants, padded, weights, output = rest
        _emit_padding(plan, value, padded)
        strip = _Strip(plan, tuple(constants), weights)
        tile = _Tile(plan, strip, padded, output)
        with T.serial(0, shape.output_hwc[2] // plan.strip_channels) as number:
            first = number * plan.strip_channels
            strip.decode(first)
            with T.grid(shape.output_hwc[0], shape.output_hwc[1] // schedule.pixels) as (row, column):
                tile.emit(row, column, first)

    return build_kernel(signature, emit)


def _flat(buffer: Any, count: int, dtype: str = "int8") -> Any:
    """The same memory as one row of elements."""
    return T.decl_buffer((count,), dtype, data=buffer.data)


def _for_pieces(count: int, emit: Callable[[Any, int], None]) -> None:
    """Emit `emit(offset, lanes)` so that `count` bytes are covered; the last vector overlaps where 16 do not divide."""
    whole, rest = divmod(count, LANES)
    if whole > 1:
        with T.serial(0, whole) as piece:
            emit(piece * LANES, LANES)
    elif whole:
        emit(0, LANES)
    if rest and whole:
        emit(count - LANES, LANES)
    elif rest:
        for byte in range(rest):
            emit(byte, 1)


def _emit_padding(plan: RowsPlan, value: Any, padded: Any) -> None:
    """padded = the input in a border of its zero point."""
    height, width, channels = plan.shape.input_hwc
    line, last = width * channels, (height + 1) * plan.pitch
    flat = _flat(value, height * line)

    def fill(start: Any, count: int) -> None:
        zero_point = T.int8(plan.conv.input.zero_point)
        _for_pieces(count, lambda offset, lanes: store(padded, spread(zero_point, lanes), start + offset, lanes))

    fill(0, plan.pitch + channels)
    with T.serial(0, height) as row:
        start = (row + 1) * plan.pitch + channels

        def copy(offset: Any, lanes: int) -> None:
            store(padded, load(flat, row * line + offset, lanes), start + offset, lanes)

        _for_pieces(line, copy)
        fill(start + line, 2 * channels)
    fill(last + channels, plan.padded + LANES - last - channels)


class _Strip:
    """The decoded weights and the constants of the output channels at work."""

    def __init__(self, plan: RowsPlan, constants: tuple[Any, ...], weights: Any) -> None:
        self.plan, self.weights = plan, weights
        self.vectors: VectorSet = VECTOR_SETS[plan.schedule.vector]
        packed, self.codebook, (self.bias, self.multiplier, self.shift) = split_constants(constants)
        self.packed_bytes = plan.shape.output_hwc[2] * row_bytes(plan.taps, plan.conv.bit_width)
        self.packed = _flat(packed, self.packed_bytes, "uint8")
        count = plan.strip_channels
        self.corrected = T.alloc_buffer((count,), "int32", scope="local")  # bias − z·Σw
        self.right = T.alloc_buffer((count,), "int32", scope="local")  # min(shift, 0)
        self.left = T.alloc_buffer((count,), "int32", scope="local")  # max(shift, 0)
        self.sums = T.alloc_buffer((4,), "int32", scope="local")
        self.vector = T.alloc_buffer((LANES,), "int8", scope="local")

    def start(self, lane: Any, group: Any) -> Any:
        """Where a vector lies: those of a tile's channels side by side, then the next of each."""
        channels = self.plan.schedule.channels
        return ((lane // channels * self.plan.groups + group) * channels + lane % channels) * LANES

    def decode(self, first: Any) -> None:
        """Emit the decoding of the strip that begins at channel `first`."""
        whole, rest = divmod(self.plan.taps, LANES)
        with T.serial(0, self.plan.strip_channels) as lane:
            store(self.sums, spread(T.int32(0), 4), 0, 4)
            with T.serial(0, whole) as group:
                self._decode_vector(first + lane, lane, group, LANES)
            if rest:
                self._decode_vector(first + lane, lane, whole, rest)
            total = self.sums[0] + self.sums[1] + self.sums[2] + self.sums[3]
            zero_point = T.int32(self.plan.conv.input.zero_point)
            T.buffer_store(self.corrected, self.bias[first + lane] - zero_point * total, [lane])
            exponent = T.Cast("int32", self.shift[first + lane])
            T.buffer_store(self.right, T.min(exponent, 0), [lane])
            T.buffer_store(self.left, T.max(exponent, 0), [lane])

    def _decode_vector(self, channel: Any, lane: Any, group: Any, count: int) -> None:
        """16 weights of a channel; those past `count` become zero."""
        bit_width = self.plan.conv.bit_width
        start = channel * row_bytes(self.plan.taps, bit_width) + group * (2 * bit_width)
        weights = self._weights(start, bit_width, whole=self.plan.taps % LANES == 0)
        if count < LANES:
            weights = weights & constant([-1] * count + [0] * (LANES - count), "int8")
        store(self.vector, weights, 0)
        ones = spread(T.int8(1), LANES)
        store(self.sums, self.vectors.multiply_add(load(self.sums, 0, 4), load(self.vector, 0), ones), 0, 4)
        store(self.weights, load(self.vector, 0), self.start(lane, group))

    def _weights(self, start: Any, bit_width: int, *, whole: bool) -> Any:
        """int8x16: the weights whose symbols begin at byte `start` of the packed rows."""
        if self.codebook is None:
            return plain_weights(self.vectors, self.packed, self.packed_bytes, start, whole=whole)
        indices = unpacked_indices(self.vectors, self.packed, self.packed_bytes, start, bit_width, whole=whole)
        return self.vectors.look_up(codebook_tables(self.codebook, bit_width), indices)


class _Tile:
    """Pixels × channels of the output, whose sums are in registers."""

    def __init__(self, plan: RowsPlan, strip: _Strip, padded: Any, output: Any) -> None:
        self.plan, self.strip, self.padded = plan, strip, padded
        self.vectors: VectorSet = strip.vectors
        self.pixels, self.channels = plan.schedule.pixels, plan.schedule.channels
        height, width, channels = plan.shape.output_hwc
        self.output = _flat(output, height * width * channels // 4, "int32")
        self.totals = T.alloc_buffer((self.pixels * self.channels * 4,), "int32", scope="local")
        self.values = T.alloc_buffer((self.pixels * LANES,), "int8", scope="local")
        self.vector = T.alloc_buffer((LANES,), "int8", scope="local")
        self.results = T.alloc_buffer((self.pixels * 4,), "int32", scope="local")
        self.narrowed = T.alloc_buffer((2,), "int32", scope="local")
        if plan.gathers:
            self.windows = T.alloc_buffer((self.pixels * plan.groups * LANES + LANES,), "int8", scope="local")

    @property
    def _step(self) -> int:
        """From a pixel's window to the next one's in the padded input."""
        return self.plan.conv.stride * self.plan.in_channels

    def emit(self, row: Any, column: Any, first: Any) -> None:
        """Emit the tile at output row `row`, `column` tiles to the right, for the strip that begins at channel `first`."""
        corner = row * (self.plan.conv.stride * self.plan.pitch) + column * (self.pixels * self._step)
        pixel = row * self.plan.shape.output_hwc[1] + column * self.pixels
        if self.plan.gathers:
            self._gather(corner)
        tiles = self.plan.strip_channels // self.channels
        if tiles == 1:
            self._channels(corner, pixel, 0, first)
        else:
            with T.serial(0, tiles) as tile:
                self._channels(corner, pixel, tile * self.channels, first + tile * self.channels)

    def _gather(self, corner: Any) -> None:
        """Copy windows together; what is copied too far is overwritten by the next row or meets zero weights."""
        line = 3 * self.plan.in_channels
        for pixel in range(self.pixels):
            for row in range(3):
                for piece in range(0, line, LANES):
                    value = load(self.padded, corner + pixel * self._step + row * self.plan.pitch + piece)
                    store(self.windows, value, pixel * self.plan.groups * LANES + row * line + piece)

    def _channels(self, corner: Any, pixel: Any, lane: Any, channel: Any) -> None:
        """One tile; `lane` is its first channel in the strip, `channel` in the layer."""
        for number in range(self.pixels * self.channels):
            store(self.totals, spread(T.int32(0), 4), number * 4, 4)
        first, vectors, step = self.strip.start(lane, 0), self.plan.groups, self.channels * LANES
        if self.plan.gathers:
            self._sum(
                vectors,
                (self.windows, vectors * LANES, lambda number: number * LANES),
                lambda number: first + number * step,
            )
        else:
            with T.serial(0, 3) as row:
                start, weights = corner + row * self.plan.pitch, first + row * (vectors // 3 * step)
                self._sum(
                    vectors // 3,
                    (self.padded, self._step, lambda number: start + number * LANES),
                    lambda number: weights + number * step,
                )
        self._store_outputs(pixel, lane, channel)

    def _sum(self, count: int, values: tuple[Any, int, At], weights_at: At) -> None:
        """totals += `count` vectors along the window; `values` is (buffer, step between pixels, where a vector lies)."""
        unroll = largest_divisor(count, self.plan.schedule.unroll)
        with T.serial(0, count // unroll) as block:
            for number in range(unroll):
                self._multiply(values, block * unroll + number, weights_at(block * unroll + number))

    def _multiply(self, values: tuple[Any, int, At], number: Any, weights: Any) -> None:
        buffer, step, values_at = values
        for pixel in range(self.pixels):
            store(self.values, load(buffer, values_at(number) + pixel * step), pixel * LANES)
        for channel in range(self.channels):
            store(self.vector, load(self.strip.weights, weights + channel * LANES), 0)
            for pixel in range(self.pixels):
                place = self._place(pixel, channel)
                operands = load(self.values, pixel * LANES), load(self.vector, 0)
                store(self.totals, self.vectors.multiply_add(load(self.totals, place, 4), *operands), place, 4)

    def _place(self, pixel: int, channel: int) -> int:
        return (pixel * self.channels + channel) * 4

    def _store_outputs(self, pixel: Any, lane: Any, channel: Any) -> None:
        """Requantize, clamp and store the tile, four channels of two pixels at a time."""
        conv = self.plan.conv
        quarter = self.plan.shape.output_hwc[2] // 4
        for four in range(0, self.channels, 4):
            for number in range(self.pixels):
                store(self.results, self._requantized(number, four, lane, channel), number * 4, 4)
            for number in range(0, self.pixels, 2):
                pair = (number, min(number + 1, self.pixels - 1))
                narrowed = self.vectors.narrow(
                    [load(self.results, each * 4, 4) for each in pair],
                    conv.output.zero_point,
                    conv.clamp_min,
                    conv.clamp_max,
                )
                store(self.narrowed, T.reinterpret("int32x2", narrowed), 0, 2)
                for half, each in enumerate(sorted(set(pair))):
                    place = (pixel + each) * quarter + (channel + four) // 4
                    T.buffer_store(self.output, self.narrowed[half], [place])

    def _requantized(self, pixel: int, four: int, lane: Any, channel: Any) -> Any:
        """int32x4: four channels of a pixel, before zero point and clamps."""
        sums = self.vectors.channel_sums(
            [load(self.totals, self._place(pixel, four + number), 4) for number in range(4)]
        )
        total = sums + load(self.strip.corrected, lane + four, 4)
        if has_left_shift(self.plan.conv):
            total = self.vectors.shift_left(total, load(self.strip.left, lane + four, 4))
        high = self.vectors.high_multiply(total, load(self.strip.multiplier, channel + four, 4))
        return self.vectors.shift_right(high, load(self.strip.right, lane + four, 4))
