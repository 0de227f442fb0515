"""The weights inside Vela's output: walk the NPU's command stream and find where each kernel's weights lie in flash.

Vela replaces the net by one custom operator `ethos-u` whose first two inputs are the command stream and the flash
constants. Driver payload: magic `COP1`, then 32-bit words whose low byte is a tag; tag 2 is the command stream, its
length in words is (bits 8–15) · 2^16 + (bits 16–31). Commands are one word (bits 14–15 = 0: code in bits 0–9,
parameter in bits 16–31) or two (bits 14–15 = 1: the second word is an address or a length).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from convert.integer_model import Quantization
from train.errors import ArtefactError

MAGIC = b"COP1"
TAG_RECONFIGURE, TAG_COMMANDS = 1, 2
WORD_BYTES = 4

# One-word commands, from Arm's register description
OP_CONV, OP_DEPTHWISE, OP_DMA_START = 0x002, 0x003, 0x010
IFM_DEPTH_M1, OFM_DEPTH_M1, OFM_BLOCK_DEPTH_M1 = 0x104, 0x113, 0x117
KERNEL_WIDTH_M1, KERNEL_HEIGHT_M1, KERNEL_STRIDE = 0x120, 0x121, 0x122
IFM_ZERO_POINT, OFM_ZERO_POINT, ACTIVATION_MIN, ACTIVATION_MAX = 0x109, 0x118, 0x126, 0x127
ACCUMULATOR_FORMAT, WEIGHT_REGION, SCALE_REGION, WEIGHT_FORMAT = 0x124, 0x128, 0x129, 0x12E
DMA_SOURCE_REGION, DMA_TARGET_REGION = 0x130, 0x131
# Two-word commands
DMA_SOURCE, DMA_TARGET, DMA_LENGTH = 0x030, 0x031, 0x032
# (base, length) of each core's stream; Ethos-U85 has one stream of scales, and cores 2 and 3 where U65 has scales of core 1
WEIGHT_RANGES = ((0x020, 0x021), (0x090, 0x091))
SCALE_RANGES = ((0x022, 0x023), (0x092, 0x093))
U85_WEIGHT_RANGES = (*WEIGHT_RANGES, (0x092, 0x093), (0x094, 0x095))
U85_SCALE_RANGES = ((0x022, 0x023),)
MICRO_BLOCK_PIXELS = (1, 2, 4, 4, 8, 16)  # by bits 8 to 10 of Ethos-U85's ACCUMULATOR_FORMAT
STRIDE_BITS, PART_KERNEL_FIRST_BIT = 0b11, 1 << 2  # of KERNEL_STRIDE: x and y stride − 1, then the weight order

FLASH_REGION = 0


@dataclass(frozen=True)
class FlashRange:
    """Bytes of one stream: where they start in the flash constants, and how many."""

    offset: int
    length: int


@dataclass(frozen=True)
class KernelCall:
    """One convolution (or fully connected) command with its streams, one pair per core that has work."""

    command_offset: int  # bytes from the start of the command stream
    weights: tuple[FlashRange, ...]
    scales: tuple[FlashRange, ...]
    input_depth: int
    output_depth: int  # of this call: a layer may be cut into depth slices
    block_depth: int
    kernel_hw: tuple[int, int]
    stride: int
    part_kernel_first: bool
    weight_format: int  # 0 on Ethos-U55 and U65; see deploy.vela_order
    micro_block_pixels: int  # 1 on Ethos-U55 and U65
    zero_points: tuple[int, int]  # input, output
    clamp: tuple[int, int]  # lowest and highest output


@dataclass(frozen=True)
class VelaOutput:
    """Vela's TFLite file taken apart.

    `cpu_operators` names what did not go to the NPU (empty where all did), `npu_operators` Vela's own operators.
    """

    cpu_operators: tuple[str, ...]
    npu_operators: tuple[str, ...]
    commands_bytes: int
    flash: bytes
    calls: tuple[KernelCall, ...]
    input: Quantization | None = None
    output: Quantization | None = None


@dataclass(frozen=True)
class _Copy:
    """One DMA transfer between regions."""

    source: tuple[int, int]  # region, address
    target: tuple[int, int]
    length: int


def read_vela_output(path: Path, accelerator: str) -> VelaOutput:
    """Take Vela's file apart; `ArtefactError` where its form is not the one described above."""
    return parse_vela_output(path.read_bytes(), str(path), accelerator)


def parse_vela_output(content: bytes, source: str, accelerator: str) -> VelaOutput:
    """The same for the bytes of a file that was found in `source`."""
    try:
        return _take_apart(content, is_u85=accelerator.startswith("ethos-u85"))
    except (IndexError, TypeError, ValueError, struct.error, AttributeError) as error:
        raise ArtefactError(
            f"{source}: not a file of Vela's form ({error}); allowed is the output of the pinned ethos-u-vela; "
            "install that version and deploy again"
        ) from error


def _take_apart(content: bytes, *, is_u85: bool) -> VelaOutput:
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    names = {value: key for key, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    codes = [model.operatorCodes[operator.opcodeIndex].builtinCode for operator in graph.operators]
    cpu_operators = tuple(names[code] for code in codes if code != schema.BuiltinOperator.CUSTOM)
    custom = [graph.operators[n] for n, code in enumerate(codes) if code == schema.BuiltinOperator.CUSTOM]
    if len(custom) != 1:
        return VelaOutput((*cpu_operators, *["CUSTOM"] * (len(custom) - 1)), (), 0, b"", ())
    payload, flash = (model.buffers[graph.tensors[index].buffer].data.tobytes() for index in custom[0].inputs[:2])
    words = command_words(payload)
    own_name = model.operatorCodes[custom[0].opcodeIndex].customCode.decode()
    quantizations = (_quantization(graph.tensors[indices[0]]) for indices in (graph.inputs, graph.outputs))
    calls = tuple(_kernel_calls(words, is_u85=is_u85))
    return VelaOutput(cpu_operators, (own_name,), len(payload), flash, calls, *quantizations)


def _quantization(tensor: schema.TensorT) -> Quantization:
    return Quantization(np.float32(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0]))


def command_words(payload: bytes) -> tuple[int, ...]:
    """The command stream's 32-bit words out of the driver payload."""
    if payload[:4] != MAGIC:
        raise ValueError(f"payload starts with {payload[:4]!r}")
    position = len(MAGIC)
    while position < len(payload):
        (word,) = struct.unpack_from("<I", payload, position)
        tag = word & 0xFF
        if tag == TAG_COMMANDS:
            count = ((word >> 8 & 0xFF) << 16) | (word >> 16)
            return struct.unpack_from(f"<{count}I", payload, position + WORD_BYTES)
        position += WORD_BYTES * (3 if tag == TAG_RECONFIGURE else 1)
    raise ValueError("no command stream in the payload")


def _kernel_calls(words: tuple[int, ...], *, is_u85: bool) -> Iterator[KernelCall]:
    """Run through the commands, keeping every register and every DMA transfer."""
    state: dict[int, int] = {}
    wide: dict[int, int] = {}
    copies: list[_Copy] = []
    position = 0
    while position < len(words):
        word = words[position]
        code, parameter = word & 0x3FF, word >> 16
        if word >> 14 & 3 == 1:
            wide[code] = words[position + 1] | (parameter & 0xFF) << 32  # addresses have up to 40 bits
            position += 2
            continue
        if code == OP_DMA_START:
            copies.append(_dma_copy(state, wide))
        elif code == OP_DEPTHWISE:
            raise ValueError("a depthwise kernel")
        elif code == OP_CONV:
            yield _kernel_call(position * WORD_BYTES, state, wide, copies, is_u85)
        else:
            state[code] = parameter
        position += 1


def _dma_copy(state: dict[int, int], wide: dict[int, int]) -> _Copy:
    regions = state[DMA_SOURCE_REGION], state[DMA_TARGET_REGION]
    if any(region > 7 for region in regions):
        raise ValueError("a DMA transfer that is not one run of bytes between two regions")
    return _Copy((regions[0], wide[DMA_SOURCE]), (regions[1], wide[DMA_TARGET]), wide[DMA_LENGTH])


def _kernel_call(
    offset: int, state: dict[int, int], wide: dict[int, int], copies: list[_Copy], is_u85: bool
) -> KernelCall:
    def ranges(region: int, registers: tuple[tuple[int, int], ...]) -> tuple[FlashRange, ...]:
        given = [(wide[base], wide[length]) for base, length in registers if wide.get(length, 0)]
        return tuple(FlashRange(_flash_offset(state[region], base, length, copies), length) for base, length in given)

    return KernelCall(
        command_offset=offset,
        weights=ranges(WEIGHT_REGION, U85_WEIGHT_RANGES if is_u85 else WEIGHT_RANGES),
        scales=ranges(SCALE_REGION, U85_SCALE_RANGES if is_u85 else SCALE_RANGES),
        input_depth=state[IFM_DEPTH_M1] + 1,
        output_depth=state[OFM_DEPTH_M1] + 1,
        block_depth=state[OFM_BLOCK_DEPTH_M1] + 1,
        kernel_hw=(state[KERNEL_HEIGHT_M1] + 1, state[KERNEL_WIDTH_M1] + 1),
        stride=1 + bool(state[KERNEL_STRIDE] & STRIDE_BITS),
        part_kernel_first=bool(state[KERNEL_STRIDE] & PART_KERNEL_FIRST_BIT),
        weight_format=state.get(WEIGHT_FORMAT, 0),
        micro_block_pixels=MICRO_BLOCK_PIXELS[state[ACCUMULATOR_FORMAT] >> 8 & 0b111] if is_u85 else 1,
        zero_points=(_signed(state[IFM_ZERO_POINT]), _signed(state[OFM_ZERO_POINT])),
        clamp=(_signed(state[ACTIVATION_MIN]), _signed(state[ACTIVATION_MAX])),
    )


def _signed(parameter: int) -> int:
    """A 16-bit two's complement parameter."""
    return parameter - 0x10000 if parameter & 0x8000 else parameter


def _flash_offset(region: int, base: int, length: int, copies: list[_Copy]) -> int:
    """Follow the latest DMA transfers back to flash."""
    for copy in reversed(copies):
        if copy.target[0] != region or base >= copy.target[1] + copy.length or base + length <= copy.target[1]:
            continue
        skipped = base - copy.target[1]
        if skipped < 0 or skipped + length > copy.length:
            raise ValueError("a weight stream put together from two DMA transfers")
        region, base = copy.source[0], copy.source[1] + skipped
        if region == FLASH_REGION:
            break
    if region != FLASH_REGION:
        raise ValueError(f"a weight stream in region {region} that no DMA transfer has filled")
    return base
