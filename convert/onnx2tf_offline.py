"""Program: `onnx2tf_offline.py NET.onnx NET.tflite [CALIBRATION.npy]`, a conversion that cannot reach the network.

Without calibration images the result is float32, and beside it NET_float16.tflite with half-precision parameters; with
them it is onnx2tf's own full-integer quantization, a baseline.

It runs as a process of its own, because importing TensorFlow takes seconds and changes global state. onnx2tf gives a
Keras net, TensorFlow's converter the files: onnx2tf's own output would add a SavedModel, twice the time. Its strict mode
(trial transpositions judged on sample images) is off: the caller compares the result with onnxruntime, which is the
stricter check. An attempt to reach the network fails, and ends the whole conversion with exit status 1 even where the
library that tried goes on without.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

ATTEMPTS: list[str] = []
BLOCKED_EVENTS = frozenset({"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"})


def block_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook: opening a connection or looking up a name is an error, and is kept in `ATTEMPTS`."""
    if event in BLOCKED_EVENTS:
        ATTEMPTS.append(f"{event} {arguments[1:]}")
        raise PermissionError(f"{event} {arguments[1:]}: the conversion needs no network, and none is allowed")


def convert_offline(source: Path, target: Path) -> None:
    """ONNX file -> float32 and float16 TFLite files with an NHWC input of batch 1."""
    import onnx2tf
    import tensorflow

    keras_model = onnx2tf.convert(
        input_onnx_file_path=str(source),
        output_folder_path=str(target.parent / "onnx2tf"),
        batch_size=1,
        not_use_onnxsim=True,
        disable_strict_mode=True,
        disable_model_save=True,
        verbosity="warn",
    )
    target.write_bytes(tensorflow.lite.TFLiteConverter.from_keras_model(keras_model).convert())
    half = tensorflow.lite.TFLiteConverter.from_keras_model(keras_model)
    half.optimizations = [tensorflow.lite.Optimize.DEFAULT]
    half.target_spec.supported_types = [tensorflow.float16]
    target.with_name(f"{target.stem}_float16.tflite").write_bytes(half.convert())


def quantize_offline(source: Path, target: Path, calibration: Path) -> None:
    """ONNX file -> int8 TFLite file as onnx2tf makes it; calibration images are float32 (N, H, W, C) in 0 … 1."""
    import onnx2tf

    folder = target.parent / "onnx2tf"
    onnx2tf.convert(
        input_onnx_file_path=str(source),
        output_folder_path=str(folder),
        batch_size=1,
        not_use_onnxsim=True,
        disable_strict_mode=True,
        output_signaturedefs=True,
        output_integer_quantized_tflite=True,
        custom_input_op_name_np_data_path=[["image", str(calibration), 0.0, 1.0]],
        verbosity="warn",
    )
    target.write_bytes((folder / f"{source.stem}_full_integer_quant.tflite").read_bytes())


def fail_after_attempts() -> None:
    """End with exit status 1 where anything tried to reach the network."""
    if ATTEMPTS:
        sys.exit(f"the conversion tried to reach the network: {'; '.join(ATTEMPTS)}")


if __name__ == "__main__":
    os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="2")
    sys.addaudithook(block_network)
    net, result, *images = map(Path, sys.argv[1:])
    if images:
        quantize_offline(net, result, images[0])
    else:
        convert_offline(net, result)
    fail_after_attempts()
