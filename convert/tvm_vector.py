"""128-bit vector instructions of ARM cores as TensorIR expressions, one class per instruction set.

Every operation is exact and says what it computes; two sets that have an operation give the same integers. A vector of
16 weights and one of 16 activations are multiplied into four int32 partial sums, `channel_sums` adds those up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from tvm.script.ir_builder import tirx as T

LANES = 16  # int8 values of a vector


def load(buffer: Any, start: Any, lanes: int = LANES) -> Any:
    """`lanes` neighbouring elements of a flat buffer."""
    return buffer[T.ramp(start, 1, lanes) if lanes > 1 else start]


def store(buffer: Any, value: Any, start: Any, lanes: int = LANES) -> None:
    """Emit the store of a vector into a flat buffer."""
    T.buffer_store(buffer, value, [T.ramp(start, 1, lanes) if lanes > 1 else start])


def constant(values: Sequence[int], dtype: str) -> Any:
    """A vector of compile-time integers."""
    scalars = [T.Cast(dtype, T.int32(int(value))) for value in values]
    return T.Shuffle(scalars, [T.int32(lane) for lane in range(len(scalars))])


def spread(value: Any, lanes: int) -> Any:
    """A vector of equal elements."""
    return T.broadcast(value, lanes) if lanes > 1 else value


class VectorSet(Protocol):
    """What the kernels need of an instruction set."""

    def multiply_add(self, total: Any, values: Any, weights: Any) -> Any:
        """int32x4 `total` plus the 16 products of two int8x16, four to a lane in some order."""

    def channel_sums(self, totals: Sequence[Any]) -> Any:
        """int32x4: lane k is the sum of the four lanes of `totals[k]`."""

    def high_multiply(self, value: Any, multiplier: Any) -> Any:
        """int32x4 (value · multiplier + 2^30) >> 31, saturating where both are −2^31."""

    def shift_left(self, value: Any, left: Any) -> Any:
        """int32x4 << left (0 to 30), wrapping."""

    def shift_right(self, value: Any, negative: Any) -> Any:
        """int32x4 / 2^−negative (−31 to 0), halves away from zero."""

    def narrow(self, pixels: Sequence[Any], zero_point: int, low: int, high: int) -> Any:
        """int8x8: two int32x4 plus the zero point, clamped."""

    def look_up(self, tables: Sequence[Any], positions: Any) -> Any:
        """int8x16: elements of the int8x16 tables, one after the other, at uint8x16 positions within them."""


def _halves(vector: Any, dtype: str) -> tuple[Any, Any]:
    return T.vectorlow(dtype, vector), T.vectorhigh(dtype, vector)


class Neon64:
    """AArch64 Advanced SIMD: Cortex-A53, A72."""

    def multiply_add(self, total: Any, values: Any, weights: Any) -> Any:
        """SMULL, SMLAL2, SADALP: no weight is below −127, so two products fit int16."""
        pairs = zip(_halves(values, "int8x8"), _halves(weights, "int8x8"), strict=True)
        low, high = (T.call_llvm_pure_intrin("int16x8", "llvm.aarch64.neon.smull", *pair) for pair in pairs)
        return total + T.call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.saddlp", low + high)

    def channel_sums(self, totals: Sequence[Any]) -> Any:
        """A tree of pairwise additions."""
        first, second = (self._pairwise(totals[k], totals[k + 1]) for k in (0, 2))
        return self._pairwise(first, second)

    def _pairwise(self, left: Any, right: Any) -> Any:
        return T.call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.addp", left, right)

    def high_multiply(self, value: Any, multiplier: Any) -> Any:
        """SQRDMULH."""
        return T.call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.sqrdmulh", value, multiplier)

    def shift_left(self, value: Any, left: Any) -> Any:
        """SSHL."""
        return T.call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.sshl", value, left)

    def shift_right(self, value: Any, negative: Any) -> Any:
        """SRSHL rounds halves up; one less for negatives that are shifted takes them away from zero."""
        away = (value & negative) >> spread(T.int32(31), 4)
        lowered = T.call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.sqadd", value, away)
        return T.call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.srshl", lowered, negative)

    def narrow(self, pixels: Sequence[Any], zero_point: int, low: int, high: int) -> Any:
        """Saturation on the way is monotonic and outside of the clamps, so it changes no result."""
        halves = [T.call_llvm_pure_intrin("int16x4", "llvm.aarch64.neon.sqxtn", pixel) for pixel in pixels]
        both = T.vectorcombine("int16x8", *halves)
        moved = T.call_llvm_pure_intrin("int16x8", "llvm.aarch64.neon.sqadd", both, spread(T.int16(zero_point), 8))
        narrowed = T.call_llvm_pure_intrin("int8x8", "llvm.aarch64.neon.sqxtn", moved)
        return T.min(T.max(narrowed, spread(T.int8(low), 8)), spread(T.int8(high), 8))

    def look_up(self, tables: Sequence[Any], positions: Any) -> Any:
        """TBL over up to four vectors, then TBX: a position past a table gives 0 or leaves what is there."""
        first, *others = [tables[start : start + 4] for start in range(0, len(tables), 4)]
        found = T.call_llvm_pure_intrin("int8x16", f"llvm.aarch64.neon.tbl{len(first)}", *first, positions)
        for number, group in enumerate(others, start=1):
            moved = positions - spread(T.uint8(64 * number), LANES)  # wraps past every table below
            found = T.call_llvm_pure_intrin("int8x16", f"llvm.aarch64.neon.tbx{len(group)}", found, *group, moved)
        return found


class Neon64Dot(Neon64):
    """AArch64 with the dot product extension: Cortex-A76."""

    def multiply_add(self, total: Any, values: Any, weights: Any) -> Any:
        """SDOT: 16 products into four lanes."""
        return T.call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.sdot", total, values, weights)


class Neon32:
    """Armv7-A NEON: Cortex-A7. Pairwise additions, narrowing and look-ups work on half vectors."""

    def multiply_add(self, total: Any, values: Any, weights: Any) -> Any:
        """VMULL.S8, VMLAL.S8, VPADAL.S16."""
        pairs = zip(_halves(values, "int8x8"), _halves(weights, "int8x8"), strict=True)
        low, high = (T.call_llvm_pure_intrin("int16x8", "llvm.arm.neon.vmulls", *pair) for pair in pairs)
        return T.call_llvm_pure_intrin("int32x4", "llvm.arm.neon.vpadals", total, low + high)

    def channel_sums(self, totals: Sequence[Any]) -> Any:
        """VPADD of half vectors."""
        sums = [self._pairwise(*_halves(total, "int32x2")) for total in totals]
        return T.vectorcombine("int32x4", self._pairwise(sums[0], sums[1]), self._pairwise(sums[2], sums[3]))

    def _pairwise(self, left: Any, right: Any) -> Any:
        return T.call_llvm_pure_intrin("int32x2", "llvm.arm.neon.vpadd", left, right)

    def high_multiply(self, value: Any, multiplier: Any) -> Any:
        """VQRDMULH."""
        return T.call_llvm_pure_intrin("int32x4", "llvm.arm.neon.vqrdmulh", value, multiplier)

    def shift_left(self, value: Any, left: Any) -> Any:
        """VSHL by a register."""
        return T.call_llvm_pure_intrin("int32x4", "llvm.arm.neon.vshifts", value, left)

    def shift_right(self, value: Any, negative: Any) -> Any:
        """VRSHL rounds halves up; one less for negatives that are shifted takes them away from zero."""
        away = (value & negative) >> spread(T.int32(31), 4)
        lowered = T.call_llvm_pure_intrin("int32x4", "llvm.sadd.sat", value, away)
        return T.call_llvm_pure_intrin("int32x4", "llvm.arm.neon.vrshifts", lowered, negative)

    def narrow(self, pixels: Sequence[Any], zero_point: int, low: int, high: int) -> Any:
        """As on AArch64."""
        halves = [T.call_llvm_pure_intrin("int16x4", "llvm.arm.neon.vqmovns", pixel) for pixel in pixels]
        both = T.vectorcombine("int16x8", *halves)
        moved = T.call_llvm_pure_intrin("int16x8", "llvm.sadd.sat", both, spread(T.int16(zero_point), 8))
        narrowed = T.call_llvm_pure_intrin("int8x8", "llvm.arm.neon.vqmovns", moved)
        return T.min(T.max(narrowed, spread(T.int8(low), 8)), spread(T.int8(high), 8))

    def look_up(self, tables: Sequence[Any], positions: Any) -> Any:
        """VTBL over up to four half vectors, then VTBX, for each half of the positions."""
        halves = [half for table in tables for half in _halves(table, "int8x8")]
        return T.vectorcombine("int8x16", *(self._look_up_half(halves, half) for half in _halves(positions, "uint8x8")))

    def _look_up_half(self, halves: Sequence[Any], positions: Any) -> Any:
        first, *others = [halves[start : start + 4] for start in range(0, len(halves), 4)]
        found = T.call_llvm_pure_intrin("int8x8", f"llvm.arm.neon.vtbl{len(first)}", *first, positions)
        for number, group in enumerate(others, start=1):
            moved = positions - spread(T.uint8(32 * number), 8)
            found = T.call_llvm_pure_intrin("int8x8", f"llvm.arm.neon.vtbx{len(group)}", found, *group, moved)
        return found


VECTOR_SETS: dict[str, VectorSet] = {"neon": Neon64(), "neon_dot": Neon64Dot(), "neon32": Neon32()}
