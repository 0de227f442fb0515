"""Program: `tflite_runner.py RUNTIME NET.tflite IMAGES.npy LOGITS.npy`, one int8 TFLite net in one interpreter.

A process of its own per runtime: each library brings its own copy of the kernels, and a crash stays there.
Images are int8 (N, H, W, C), logits int8 (N, classes).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BATCH = 32


def reference_interpreter(content: bytes) -> Any:
    """tflite-runtime with the reference kernels, whose rounding is the integer model's."""
    from tflite_runtime.interpreter import Interpreter, OpResolverType

    return Interpreter(model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)


def default_interpreter(content: bytes) -> Any:
    """tflite-runtime as most users have it."""
    from tflite_runtime.interpreter import Interpreter

    return Interpreter(model_content=content)


def litert_interpreter(content: bytes) -> Any:
    """ai-edge-litert, the successor; its default is XNNPACK."""
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_content=content)


def tensorflow_interpreter(content: bytes) -> Any:
    """TensorFlow's own; its default is XNNPACK."""
    import tensorflow

    return tensorflow.lite.Interpreter(model_content=content)


INTERPRETERS = {
    "tflite_ref": reference_interpreter,
    "tflite_runtime": default_interpreter,
    "litert": litert_interpreter,
    "tensorflow": tensorflow_interpreter,
}


def run_batches(interpreter: Any, images: NDArray[np.int8], *, batch: int = BATCH) -> NDArray[np.int8]:
    """Logits of all images; the last batch is filled up with zeros so that the input is resized once."""
    source = interpreter.get_input_details()[0]["index"]
    result = interpreter.get_output_details()[0]["index"]
    interpreter.resize_tensor_input(source, [batch, *images.shape[1:]])
    interpreter.allocate_tensors()
    parts = []
    for start in range(0, len(images), batch):
        given = images[start : start + batch]
        filled = np.zeros((batch, *images.shape[1:]), np.int8)
        filled[: len(given)] = given
        interpreter.set_tensor(source, filled)
        interpreter.invoke()
        parts.append(interpreter.get_tensor(result)[: len(given)])
    return np.concatenate(parts)


if __name__ == "__main__":
    os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="2")
    runtime, net, source_file, result_file = sys.argv[1:]
    np.save(result_file, run_batches(INTERPRETERS[runtime](Path(net).read_bytes()), np.load(source_file)))
