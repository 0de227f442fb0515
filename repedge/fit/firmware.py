"""What an integer model really takes on a microcontroller: its firmware is linked, and run under emulation where counts matter."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from convert import reference
from convert.integer_model import IntegerModel
from convert.kernels import Prefer
from convert.vectors import Vectors
from deploy.cortex_m import RamLimits, firmware_memory, profile_image, target_plan, write_tables
from deploy.cortex_m_entry import region_use
from deploy.cycles import estimate_cycles, latency_ms, sum_estimates
from deploy.disassembly import disassemble
from deploy.elf_sizes import ARENA_SYMBOL, measure_image
from deploy.elf_symbols import read_elf
from deploy.elf_weights import check_elf_weights
from deploy.firmware_build import build_firmware
from deploy.store_trace import check_stores
from deploy.targets import CortexMTarget
from repedge.fit.build_table import encoded_bytes
from repedge.stages import source_hash
from train.artefact import sha256_json, write_json


@dataclass(frozen=True)
class Measured:
    """Bytes are exact, instructions of one image too (None where it was not run); latency is the estimate's upper end."""

    weight_bytes: int
    flash_bytes: int
    ram_bytes: int
    arena_bytes: int
    instructions: int | None
    latency_ms: float | None
    regions: dict[str, dict[str, int]]
    layers: tuple[dict[str, Any], ...]

    def report_entry(self) -> dict[str, Any]:
        """The keys of report.json's `targets` that a budget is checked against."""
        high = self.latency_ms
        return {
            "flash_bytes": {"total": self.flash_bytes},
            "ram_bytes": {"total": self.ram_bytes},
            "regions": self.regions,
            "instructions": self.instructions,
            "latency_ms_estimated": None if high is None else {"high": high},
            "layers": list(self.layers),
        }


@dataclass(frozen=True)
class Bench:
    """How candidates are measured for one target; everything is written below `folder`."""

    target: CortexMTarget
    folder: Path
    probe: Vectors  # one image; its logits do not matter
    runs: bool  # also under emulation

    def measure(self, model: IntegerModel, name: str, *, prefer: Prefer, ram_limit_bytes: int | None) -> Measured:
        """Link the firmware of a model as the deploy stage does, into `folder/name`; what was measured is not measured again."""
        key = sha256_json(
            [
                model_hash(model),
                self.target.model_dump(mode="json"),
                [prefer, ram_limit_bytes, self.runs],
                sha256_json(self.probe.images.tolist()),
                source_hash("deploy", "firmware_stub", "convert"),
            ]
        )
        cache = self.folder / name / "measured.json"
        if cache.is_file():
            known = json.loads(cache.read_text())
            if known.pop("key") == key:
                return Measured(**known | {"layers": tuple(known["layers"])})
        measured = self._measure(model, name, prefer, ram_limit_bytes)
        write_json(cache, {"key": key, **asdict(measured)})
        return measured

    def _measure(self, model: IntegerModel, name: str, prefer: Prefer, ram_limit_bytes: int | None) -> Measured:
        out = self.folder / name
        plan = target_plan(model, self.target, prefer=prefer, limits=RamLimits(budgeted=ram_limit_bytes))
        tables = write_tables(model, plan, out / "model")
        elf = build_firmware(tables, self.target.core, out / "build", memory=firmware_memory(self.target))
        image = read_elf(elf)
        check_elf_weights(image, model, plan)
        sizes = measure_image(image)
        rows: list[dict[str, Any]] = [
            {"name": placement.shape.name, "ram_bytes": placement.arena_bytes} for placement in plan.placements
        ]
        for row, layer_bytes in zip(rows, _table_bytes(model, [row["name"] for row in rows]), strict=True):
            row["flash_bytes"] = layer_bytes
        instructions = latency = None
        if self.runs:
            vectors = Vectors(self.probe.images, self.probe.labels, reference.run(model, self.probe.images))
            profile = profile_image(self.target, elf, out, vectors=vectors)
            check_stores(profile, image.symbol(ARENA_SYMBOL).address, plan)
            code = disassemble(elf, self.target.core, out / "disassembly.txt")
            cycles = estimate_cycles(profile, code, self.target, len(rows))
            counts = profile.layer_instructions(len(rows))
            instructions = sum(counts)
            latency = latency_ms(sum_estimates(cycles), self.target.clock_hz).high
            for row, count, estimate in zip(rows, counts, cycles, strict=True):
                row |= {"instructions": count, "cycles_estimated": estimate.mid, "cycles_high": round(estimate.high)}
        return Measured(
            weight_bytes=model.weight_bytes,
            flash_bytes=sizes.flash.total,
            ram_bytes=sizes.ram.total,
            arena_bytes=sizes.ram.arena,
            instructions=instructions,
            latency_ms=latency,
            regions=region_use(self.target, sizes),
            layers=tuple(rows),
        )


def model_hash(model: IntegerModel) -> str:
    """Hash of everything that the tables are made of."""
    digest = hashlib.sha256()
    for layer in model.layers:
        digest.update(repr((layer.name, layer.bit_width, layer.input, layer.output, layer.indices.shape)).encode())
        for values in (layer.codebook, layer.indices, layer.weight_scale, layer.bias):
            digest.update(values.tobytes())
    return digest.hexdigest()


def _table_bytes(model: IntegerModel, names: list[str]) -> list[int]:
    """Encoded bytes per row; 0 of the pool, which has no tables."""
    known = {layer.name: encoded_bytes(layer) for layer in model.layers}
    return [known.get(name, 0) for name in names]
