"""Exact counts of an emulated run, as the counting plugin (`deploy/plugin/count.c`) dumps them.

The dump, version 2, is text with one record per line; addresses are hexadecimal, all else decimal:

    repedge-count 2
    block START END INSTRUCTIONS BUCKET EXECUTIONS TAKEN      sorted by address, then bucket
    bucket K INSTRUCTIONS LOADS LOAD_BYTES STORES STORE_BYTES FLASH_READS FLASH_MISSES
    touch K START END                                         watched addresses that bucket K stored to; ranges ascend
    end INSTRUCTIONS STACK_LOWEST SEVERAL_CPUS                the last line; without it the dump is truncated

A program marks bucket k by storing into `prof_marks[k]` inside the function `prof_mark`: bucket k is layer k of the
integer model, bucket 63 all that is outside of the layers (start-up, reading images, writing logits).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from train.errors import ArtefactError, Mismatch

OUTSIDE = 63
LAYERS_MAX = OUTSIDE
MARKS_SYMBOL = "prof_marks"
MARK_FUNCTION = "prof_mark"


@dataclass(frozen=True)
class BlockCount:
    """Straight-line code `start` … `end` executed in one bucket; `taken` times the guest went on elsewhere than at `end`."""

    start: int
    end: int
    instructions: int
    bucket: int
    executions: int
    taken: int


@dataclass(frozen=True)
class BucketCount:
    """Totals of one bucket; `stored` are the ranges (first, past-the-last) of watched addresses that it stored to, ascending."""

    instructions: int
    loads: int = 0
    load_bytes: int = 0
    stores: int = 0
    store_bytes: int = 0
    flash_reads: int = 0
    flash_misses: int = 0
    stored: tuple[tuple[int, int], ...] = ()

    @property
    def touched(self) -> tuple[int, int] | None:
        """The first and past-the-last of the watched addresses that it stored to."""
        return (self.stored[0][0], self.stored[-1][1]) if self.stored else None


@dataclass(frozen=True)
class Profile:
    """One run. `stack_lowest` is the lowest stack address stored after the first mark, None where not watched."""

    blocks: tuple[BlockCount, ...]
    buckets: dict[int, BucketCount]
    instructions: int
    stack_lowest: int | None

    def __post_init__(self) -> None:
        counted = sum(block.instructions * block.executions for block in self.blocks)
        summed = sum(bucket.instructions for bucket in self.buckets.values())
        if not counted == summed == self.instructions:
            raise ValueError(f"blocks hold {counted} instructions, buckets {summed}, the total is {self.instructions}")

    def layer_instructions(self, layers: int) -> tuple[int, ...]:
        """Instructions of buckets 0 … layers − 1; `Mismatch` where a layer was never entered or one too many was."""
        inside = sorted(bucket for bucket in self.buckets if bucket != OUTSIDE)
        if inside != list(range(layers)):
            raise Mismatch(
                f"the run entered layers {inside}, the model has 0 to {layers - 1}; prof_mark must be called per layer"
            )
        return tuple(self.buckets[layer].instructions for layer in range(layers))

    def instructions_per_inference(self, layers: int, images: int) -> tuple[int, ...]:
        """Instructions per layer of one inference of a run over `images`; `Mismatch` where they do not divide exactly.

        They divide when no layer branches on data; otherwise profile a single image and name it.
        """
        totals = self.layer_instructions(layers)
        for layer, total in enumerate(totals):
            if total % images:
                raise Mismatch(
                    f"layer {layer}: {total} instructions over {images} images do not divide; "
                    "equal counts per image are expected; profile one image"
                )
        return tuple(total // images for total in totals)


def read_profile(path: Path) -> Profile:
    """Read a dump; `ArtefactError` where it is missing, truncated or of another version."""
    if not path.is_file():
        raise ArtefactError(
            f"{path}: the emulator wrote no counts; it must end by the program's own exit; run it again"
        )
    lines = [line.split() for line in path.read_text().splitlines()]
    if not lines or lines[0] != ["repedge-count", "2"] or lines[-1][:1] != ["end"]:
        raise ArtefactError(f"{path}: truncated or not a repedge-count 2 dump; run the emulator again")
    _, instructions, stack_lowest, several_cpus = lines[-1]
    if several_cpus != "0":
        raise ArtefactError(f"{path}: the program ran on several threads, counts are of one; run it on one thread")
    try:
        return Profile(
            blocks=tuple(_block(fields) for fields in lines[1:-1] if fields[0] == "block"),
            buckets=_buckets(lines[1:-1]),
            instructions=int(instructions),
            stack_lowest=int(stack_lowest, 16) or None,
        )
    except (ValueError, IndexError) as error:
        raise ArtefactError(f"{path}: damaged ({error}); run the emulator again") from error


def _block(fields: Sequence[str]) -> BlockCount:
    start, end = (int(field, 16) for field in fields[1:3])
    instructions, bucket, executions, taken = map(int, fields[3:])
    return BlockCount(start, end, instructions, bucket, executions, taken)


def _buckets(lines: Sequence[Sequence[str]]) -> dict[int, BucketCount]:
    stored: dict[int, list[tuple[int, int]]] = {}
    for fields in lines:
        if fields[0] == "touch":
            start, end = (int(field, 16) for field in fields[2:])
            stored.setdefault(int(fields[1]), []).append((start, end))
    return {int(fields[1]): _bucket(fields, stored) for fields in lines if fields[0] == "bucket"}


def _bucket(fields: Sequence[str], stored: Mapping[int, Sequence[tuple[int, int]]]) -> BucketCount:
    number, instructions, loads, load_bytes, stores, store_bytes, flash_reads, flash_misses = map(int, fields[1:])
    return BucketCount(
        instructions,
        loads,
        load_bytes,
        stores,
        store_bytes,
        flash_reads,
        flash_misses,
        tuple(stored.get(number, ())),
    )
