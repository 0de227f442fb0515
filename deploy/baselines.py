"""Baselines beside our formats: other tools' quantization of the same float net, run on the same images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convert.onnx_float import FILE_NAME as ONNX_FILE
from convert.tflite_baseline import FILE_NAME, input_quantization, quantize_input, write_baseline
from convert.tflite_exact import FILE_NAME as INT8_FILE
from deploy.exactness import accuracy_entry
from deploy.result import BackendResult, ConvertedModel
from deploy.tflite_runtimes import run_quantized

RUNTIME = "tflite_runtime"


def run_onnx2tf_int8(converted: ConvertedModel, folder: Path, calibration_images: NDArray[np.uint8]) -> BackendResult:
    """onnx2tf's full-integer file in tflite-runtime: accuracy on the test split and bytes.

    Its scales are its own, so its logits cannot be compared with the integer model's.
    """
    path = folder / FILE_NAME
    write_baseline(converted.folder / ONNX_FILE, path, calibration_images)
    pixels = quantize_input(converted.vectors.images, input_quantization(path))
    accuracy = accuracy_entry(run_quantized(RUNTIME, path, pixels), converted.vectors.labels)
    ours = accuracy_entry(converted.vectors.logits, converted.vectors.labels)
    sizes = path.stat().st_size, (converted.folder / INT8_FILE).stat().st_size, converted.model.weight_bytes
    notice = (
        f"baseline, post-training int8 of the float net: {accuracy['top1']:.2f} % top-1 and {sizes[0]} bytes; the integer "
        f"model has {ours['top1']:.2f} % and {sizes[1]} bytes as exact TFLite, {sizes[2]} bytes of weights packed"
    )
    return BackendResult(
        "onnx2tf_int8", accuracy=accuracy, role="runtime", notices=(notice,), file_bytes=path.stat().st_size
    )


BASELINES = {"onnx2tf_int8": run_onnx2tf_int8}
