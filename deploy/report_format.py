"""How the report writes numbers: grouped digits, KiB where a person reads sizes, bands, and the mark of each class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MISSING = "–"
MARKS = {"exact": "=", "measured": "±", "estimated": "≈"}
MEANINGS = {
    "exact": "counted bit for bit: logits, bytes of flash and RAM, instructions; a second run gives the same number",
    "measured": "taken on a sample or on this host: accuracy with its 95\u00a0% interval, differences of foreign runtimes",
    "estimated": "a documented model with its band, not a stopwatch: cycles and milliseconds on a board, NPU cycles",
}
STAGES = {
    "float_train": "float, trained",
    "merged": "float, branches merged",
    "qat": "fake-quantised (QAT)",
    "numpy": "integer model (numpy reference)",
    "host_c": "C on the host",
    "tflite_ref": "TFLite reference kernels",
    "tvm_host": "TVM on the host",
    "onnx_integer": "integer ONNX graph, onnxruntime",
    "onnxruntime_qdq": "QDQ ONNX graph, onnxruntime",
    "onnxruntime_qdq_unoptimized": "QDQ ONNX graph, onnxruntime without optimisation",
    "tflite_runtime_default": "tflite-runtime, default kernels",
    "tflite_int4": "int4 weights, tflite-runtime, default kernels",
    "onnx2tf_int8": "baseline: onnx2tf's int8 of the float net",
    "litert_default": "LiteRT, default kernels",
    "tensorflow_default": "TensorFlow's interpreter, default kernels",
    "tflite_ref_aarch64": "TFLite reference kernels, aarch64 (emulated)",
    "tflite_runtime_default_aarch64": "tflite-runtime, default kernels, aarch64 (emulated)",
}


def stage_title(name: str) -> str:
    """A stage or back end in words: known names from the table, else `firmware_<target>` as "firmware on <target>".

    >>> stage_title("firmware_cortex-m4")
    'firmware on cortex-m4 (emulated)'
    """
    if name in STAGES:
        return STAGES[name]
    tool, _, target = name.partition("_")
    if tool == "firmware" and target:
        return f"firmware on {target} (emulated)"
    if tool == "tvm" and target:
        return f"TVM on {target} (emulated)"
    return name.replace("_", " ")


def count(value: float | None) -> str:
    """An integer with grouped digits; a dash where there is none."""
    return MISSING if value is None else f"{value:,.0f}"


def size(value: int | None) -> str:
    """Bytes in the largest binary unit that keeps three digits; exact bytes stand beside it elsewhere.

    >>> size(15938), size(131072), size(900), size(1 << 20)
    ('15.6 KiB', '128 KiB', '900 B', '1 MiB')
    """
    if value is None:
        return MISSING
    for unit, factor in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= factor:
            return f"{value / factor:.3g} {unit}" if value / factor < 1000 else f"{value / factor:,.0f} {unit}"
    return f"{value} B"


def percent(value: float | None, digits: int = 2) -> str:
    """Percent with fixed digits; a share that is not zero never reads as 0."""
    if value is None:
        return MISSING
    text = f"{value:.{digits}f} %"
    smallest = 10.0**-digits
    return f"< {smallest:.{digits}f} %" if 0 < value < smallest / 2 else text


def decimal(value: float | None, digits: int = 3) -> str:
    """A real number with `digits` significant digits, without exponent for everyday magnitudes."""
    if value is None:
        return MISSING
    text = f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:#.{digits}g}".rstrip(".")
    return text if "e" in text else text.replace("-", "−")


def band_range(band: Mapping[str, Any] | None) -> str:
    """ "low – high" of an estimate; "no band given" where both ends are one figure."""
    if band is None:
        return MISSING
    if band["low"] == band["high"]:
        return "no band given"
    return f"{decimal(band['low'])} – {decimal(band['high'])}"


def band_middle(band: Mapping[str, Any] | None) -> str:
    """The middle of an estimate, or its range where it has none."""
    if band is None:
        return MISSING
    middle = band.get("mid")
    return band_range(band) if middle is None else decimal(middle)


def quantity(value: float, unit: str) -> str:
    """A limit's value in its unit, exact to the byte and to the instruction."""
    if unit in ("bytes", "instructions"):
        return f"{value:,.0f} {'B' if unit == 'bytes' else 'instr.'}"
    if unit in ("percent", "points"):
        digits = f"{value:.2f}" if value == 0 or abs(value) >= 0.005 else decimal(value)
        return f"{digits} {'%' if unit == 'percent' else unit}"
    return f"{decimal(value)} {unit}"
