"""The conversion of one checkpoint: merge, lower, write every format, read each back and compare it.

The folder gets `merged.safetensors`, `branches.safetensors`, `integer_model.safetensors`, `vectors.npz`, `model_float.onnx`,
`model_float.tflite`, `model_float16.tflite`, `model_integer.onnx`, `model_qdq.onnx`, `model_int8.tflite`,
`model_int4.tflite` (where a codebook lies on the int4 grid), the TVM module and the C tables in `c/`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from convert import reference
from convert.branches import FILE_NAME as BRANCHES_FILE
from convert.branches import branch_weights, save_branches
from convert.c_reader import verify_c_model
from convert.c_source import FOLDER_NAME as C_FOLDER
from convert.c_source import write_c_model
from convert.float_network import FloatNetwork
from convert.from_float import lower_float
from convert.from_integer import dequantized_network
from convert.from_qat import lower_qat
from convert.integer_model import IntegerModel
from convert.integer_model_file import FILE_NAME as MODEL_FILE
from convert.integer_model_file import load_integer_model, save_integer_model
from convert.merge import merge_network
from convert.onnx_float import FILE_NAME as ONNX_FILE
from convert.onnx_float import verify_float_onnx, write_float_onnx
from convert.onnx_integer import FILE_NAME as INTEGER_ONNX_FILE
from convert.onnx_integer import write_integer_onnx
from convert.onnx_qdq import FILE_NAME as QDQ_FILE
from convert.onnx_qdq import write_qdq_onnx
from convert.tflite_exact import FILE_NAME as INT8_FILE
from convert.tflite_exact import verify_tflite, write_tflite
from convert.tflite_float import FILE_NAME as FLOAT_FILE
from convert.tflite_float import HALF_FILE_NAME, verify_float_tflite, verify_half_tflite, write_float_tflite
from convert.tflite_int4 import FILE_NAME as INT4_FILE
from convert.tflite_int4 import write_int4_tflite
from convert.tvm_module import write_tvm_module
from convert.vectors import FILE_NAME as VECTORS_FILE
from convert.vectors import Vectors, save_vectors
from train.artefact import sha256_file, write_bytes
from train.checkpoint import checkpoint_path, load_description, load_network
from train.config import QuantizeConfig
from train.errors import UnsupportedLayer

Step = Callable[[str], AbstractContextManager[None]]
PROBE_IMAGES = 32  # float formats are compared on the first images of the test split


def convert_checkpoint(
    source: Path,
    folder: Path,
    *,
    test_images: NDArray[np.uint8],
    test_labels: NDArray[np.uint8],
    calibration_images: NDArray[np.uint8],
    quantize: QuantizeConfig,
    step: Step,
) -> dict[str, Any]:
    """Convert the training folder `source` into `folder`; returns the manifest's metrics."""
    with step("merge and lower"):
        lowered = merge_and_lower(source, quantize, calibration_images)
        save_merged(lowered.latent, folder / "merged.safetensors")
        if lowered.branches:
            save_branches(lowered.branches, folder / BRANCHES_FILE)
        save_integer_model(lowered.model, folder / MODEL_FILE)
        model = load_integer_model(folder / MODEL_FILE)
    with step(f"numpy reference on {len(test_images)} images"):
        logits = reference.run(model, test_images)
        save_vectors(Vectors(test_images, test_labels, logits), folder / VECTORS_FILE)
        metrics = _metrics(lowered.float_net, model, test_images, test_labels, logits)
    metrics["float_differences"] = _write_float(lowered.float_net, test_images[:PROBE_IMAGES], folder, step)
    _write_exact(model, folder, step)
    return metrics


@dataclass(frozen=True)
class Lowered:
    """`float_net` is the merged net of the float phase, `latent` the one that `model` was lowered from.

    `branches` is what `latent` was merged from; empty where that was not kept.
    """

    float_net: FloatNetwork
    latent: FloatNetwork
    model: IntegerModel
    branches: dict[str, NDArray[np.float32]]


def merge_and_lower(
    source: Path, quantize: QuantizeConfig, calibration_images: NDArray[np.uint8] | None = None
) -> Lowered:
    """Merge both phases' checkpoints; lower the QAT one, or the float one where there was no QAT.

    A source that holds an integer model instead of a QAT checkpoint (the zoo's do) is taken verbatim. Calibration
    images serve float checkpoints only.
    """
    description = load_description(source)
    has_qat, is_integer = checkpoint_path(source, "qat").is_file(), (source / MODEL_FILE).is_file()
    float_net = None
    if checkpoint_path(source, "float").is_file() or not (has_qat or is_integer):
        float_network = load_network(source, "float")
        float_net = merge_network(float_network, description.input_hwc)
        check_dense(float_net)
    if is_integer and not has_qat:
        model = load_integer_model(source / MODEL_FILE)
        latent = dequantized_network(model)
        return Lowered(float_net or latent, latent, model, {})
    if not has_qat:
        assert float_net is not None
        images = np.empty((0, *description.input_hwc), np.uint8) if calibration_images is None else calibration_images
        model = lower_float(float_net, quantize, images, description.class_names)
        return Lowered(float_net, float_net, model, branch_weights(float_network))
    network = load_network(source, "qat")
    latent = merge_network(network, description.input_hwc)
    check_dense(latent)
    model = lower_qat(network, latent, description.class_names)
    return Lowered(float_net or latent, latent, model, branch_weights(network))


def check_dense(network: FloatNetwork) -> None:
    """Raise at the first grouped convolution: such a net is proved to merge, but the integer model has none."""
    for conv in network.convs:
        if conv.groups != 1:
            raise UnsupportedLayer(
                f"layer {conv.name}: a grouped convolution ({conv.groups} groups), allowed are dense ones; it merged exactly, "
                "but is not lowered; take a size without g (b1 instead of b1g2)"
            )


def save_merged(merged: FloatNetwork, path: Path) -> None:
    """float32 tensors `<layer>.weight` (OIHW, OI) and `<layer>.bias`."""
    tensors = {}
    for conv in merged.convs:
        tensors[f"{conv.name}.weight"] = np.ascontiguousarray(conv.weight_oihw, np.float32)
        tensors[f"{conv.name}.bias"] = conv.bias.astype(np.float32)
    tensors["classifier.weight"] = np.ascontiguousarray(merged.classifier_weight, np.float32)
    tensors["classifier.bias"] = merged.classifier_bias.astype(np.float32)
    write_bytes(path, save(tensors))


def _metrics(
    merged: FloatNetwork,
    model: IntegerModel,
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    logits: NDArray[np.int8],
) -> dict[str, Any]:
    """Accuracy of the merged float net and of the reference, and how often they agree."""
    batches = [images[start : start + reference.BATCH] for start in range(0, len(images), reference.BATCH)]
    float_classes = np.concatenate([merged.run(batch).argmax(axis=1) for batch in batches])
    return {
        "accuracy": {
            "merged": {"top1": 100.0 * float((float_classes == labels).mean()), "images": len(labels)},
            "numpy": {"top1": reference.top1(logits, labels), "images": len(labels)},
        },
        "agreement_float_numpy_percent": 100.0 * float((float_classes == reference.predict(logits)).mean()),
        "macs": model.macs,
        "parameters": model.parameters,
    }


def _write_float(merged: FloatNetwork, images: NDArray[np.uint8], folder: Path, step: Step) -> dict[str, float]:
    """Float ONNX and TFLite; returns the largest difference of each from the net it must be."""
    with step("float ONNX"):
        write_float_onnx(merged, folder / ONNX_FILE)
        onnx_difference = verify_float_onnx(merged, folder / ONNX_FILE, images)
    with step("float TFLite by onnx2tf"):
        write_float_tflite(folder / ONNX_FILE, folder / FLOAT_FILE, folder / HALF_FILE_NAME)
        tflite_difference = verify_float_tflite(merged, folder / ONNX_FILE, folder / FLOAT_FILE, images)
        half_difference = verify_half_tflite(merged, folder / HALF_FILE_NAME, images)
    return {"onnx": onnx_difference, "tflite": tflite_difference, "tflite_float16": half_difference}


def _write_exact(model: IntegerModel, folder: Path, step: Step) -> None:
    """ONNX, int8 TFLite, TVM module and C tables, each read back and compared with the model."""
    with step("integer and QDQ ONNX"):
        write_integer_onnx(model, folder / INTEGER_ONNX_FILE)
        write_qdq_onnx(model, folder / QDQ_FILE)
    with step("exact int8 TFLite"):
        write_tflite(model, folder / INT8_FILE)
        verify_tflite(model, folder / INT8_FILE)
        write_int4_tflite(model, folder / INT4_FILE)
    with step("TVM module"):
        write_tvm_module(model, folder)
    with step("C tables"):
        write_c_model(model, folder / C_FOLDER, source_hash=sha256_file(folder / MODEL_FILE))
        verify_c_model(model, folder / C_FOLDER)
