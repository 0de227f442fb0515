"""Run Arm's Vela on the exact int8 TFLite file and read the figures it writes.

Files in the output folder: `<net>_vela.tflite`, `<net>_summary_<system config>.csv`, `<net>_debug.xml`, `vela.log`.
"""

from __future__ import annotations

import csv
import importlib.util
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from deploy.targets import EthosUTarget
from train.artefact import write_text
from train.errors import ArtefactError, ConfigError, ToolFailed, ToolMissing

LOG_NAME = "vela.log"
CONFIG_FILE = "Arm/vela.ini"  # comes with Vela
TIMEOUT_S = 900
TAIL_LINES = 15


@dataclass(frozen=True)
class OperatorEstimate:
    """Vela's estimate of one layer: cycles, and bytes of SRAM while it runs."""

    cycles: int
    sram_bytes: int


@dataclass(frozen=True)
class VelaReport:
    """What Vela says of one net. `layer_of_command`: byte offset of a kernel in the command stream -> layer name."""

    path: Path
    clock_hz: float
    cycles: int
    sram_bytes: int
    dram_bytes: int
    off_chip_flash_bytes: int
    operators: dict[str, OperatorEstimate]
    layer_of_command: dict[int, str]


def run_vela(tflite: Path, target: EthosUTarget, folder: Path) -> VelaReport:
    """Compile for the target; every file Vela writes stays in `folder`."""
    if importlib.util.find_spec("ethosu") is None:
        raise ToolMissing(f"vela: not installed, target {target.name} needs it; pip install ethos-u-vela")
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "ethosu.vela", str(tflite.resolve())),
        *("--accelerator-config", target.accelerator),
        *("--config", CONFIG_FILE),
        *("--system-config", target.system_config),
        *("--memory-mode", target.memory_mode),
        *("--output-dir", "."),
        "--enable-debug-db",
    ]
    finished = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT_S, check=False
    )
    log = finished.stdout.decode(errors="replace")
    write_text(folder / LOG_NAME, log)
    path = folder / f"{tflite.stem}_vela.tflite"
    if finished.returncode != 0 or not path.is_file():
        tail = "\n".join(log.splitlines()[-TAIL_LINES:])
        raise ToolFailed(f"vela: ended with {finished.returncode}, 0 is allowed; see {folder / LOG_NAME}\n{tail}")
    summary = folder / f"{tflite.stem}_summary_{target.system_config}.csv"
    return read_report(path, summary, folder / f"{tflite.stem}_debug.xml", target)


def read_report(path: Path, summary_path: Path, debug_path: Path, target: EthosUTarget) -> VelaReport:
    """The figures of one run; `ArtefactError` where a file is not of the pinned version's form."""
    try:
        (summary,) = csv.DictReader(summary_path.read_text().splitlines())
        tables = debug_tables(debug_path.read_text())
        names = {row["id"]: row["name"] for row in tables["perf"]}
        report = VelaReport(
            path=path,
            clock_hz=float(summary["core_clock"]),
            cycles=int(float(summary["cycles_total"])),
            sram_bytes=_kib(summary["sram_memory_used"]),
            dram_bytes=_kib(summary["dram_memory_used"]),
            off_chip_flash_bytes=_kib(summary["off_chip_flash_memory_used"]),
            operators=_operators(tables["perf"]),
            layer_of_command={int(row["offset"]): names[row["scheduled_id"]] for row in tables["queue"]},
        )
    except (KeyError, ValueError, OSError) as error:
        raise ArtefactError(
            f"{summary_path.parent}: Vela's report is not of the pinned version's form ({error}); "
            "install the pinned ethos-u-vela"
        ) from error
    if report.clock_hz != target.clock_hz:
        raise ConfigError(
            f"target {target.name}: clock_hz {target.clock_hz}, {target.system_config} has {report.clock_hz:.0f}; "
            "give that clock or another system_config"
        )
    return report


def debug_tables(text: str) -> dict[str, list[dict[str, str]]]:
    """The tables of Vela's debug file: CSV inside CDATA, one per `<table name=…>`."""
    found = re.findall(r'<table name="(\w+)">\s*<!\[CDATA\[\s*(.*?)\]\]>', text, re.DOTALL)
    return {name: list(csv.DictReader(body.splitlines())) for name, body in found}


def _operators(rows: list[dict[str, str]]) -> dict[str, OperatorEstimate]:
    """Cycles summed and SRAM's peak by layer: a fused ReLU is a row of its own with zeros."""
    result: dict[str, OperatorEstimate] = {}
    for row in rows:
        before = result.get(row["name"], OperatorEstimate(0, 0))
        result[row["name"]] = OperatorEstimate(
            before.cycles + int(row["op_cycles"]), max(before.sram_bytes, int(row["staging_usage"]))
        )
    return result


def _kib(value: str) -> int:
    return round(float(value) * 1024)
