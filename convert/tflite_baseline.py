"""The baseline a user would otherwise get: onnx2tf's own full-integer quantization of the merged float net.

Post-training, uniform int8 weights per channel, activation ranges from calibration images. Nothing in it is ours.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from convert.integer_model import Quantization
from convert.tflite_float import run_onnx2tf
from train.artefact import write_bytes

FILE_NAME = "onnx2tf_int8.tflite"
LOG_NAME = "onnx2tf_int8.log"
CALIBRATION_IMAGES = 200


def write_baseline(onnx_path: Path, path: Path, calibration_images: NDArray[np.uint8]) -> None:
    """Quantize the float ONNX net with the first training images, uint8 (N, H, W, C); the log stays beside the file."""
    with tempfile.TemporaryDirectory(prefix="repedge-onnx2tf-") as name:
        calibration = Path(name) / "calibration.npy"
        np.save(calibration, calibration_images[:CALIBRATION_IMAGES].astype(np.float32) / np.float32(255))
        write_bytes(path, run_onnx2tf(onnx_path, Path(name), path.parent / LOG_NAME, str(calibration)))


def input_quantization(path: Path) -> Quantization:
    """How the file wants its input."""
    graph = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0).subgraphs[0]
    parameters = graph.tensors[graph.inputs[0]].quantization
    return Quantization(np.float32(parameters.scale[0]), int(parameters.zeroPoint[0]))


def quantize_input(images: NDArray[np.uint8], quantization: Quantization) -> NDArray[np.int8]:
    """uint8 pixels as the file's int8 input."""
    levels = np.rint(images.astype(np.float64) / 255 / float(quantization.scale)) + quantization.zero_point
    return np.clip(levels, -128, 127).astype(np.int8)
