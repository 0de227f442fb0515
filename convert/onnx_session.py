"""An onnxruntime session of a file on this machine's processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def open_session(path: Path, *, optimize: bool = True) -> Any:
    """A session with onnxruntime's default graph optimisation, or with none."""
    import onnxruntime  # takes a while to import, and only running a graph needs it

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # idle threads sleep instead of spinning, which costs others on a busy machine dearly
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
