"""The merged float net as float32 and float16 TFLite files: ONNX through onnx2tf, offline, checked by running them."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convert import onnx2tf_offline
from convert.float_network import FloatNetwork, float32_bound
from convert.onnx_float import check_difference, run_onnx
from train.artefact import write_bytes, write_text
from train.errors import ToolFailed, ToolMissing

FILE_NAME = "model_float.tflite"
HALF_FILE_NAME = "model_float16.tflite"
LOG_NAME = "onnx2tf.log"
TIMEOUT_S = 600
TAIL_LINES = 15

# onnx2tf looks for this file in its working folder and downloads it otherwise, for every net with a 3-channel image
# input, even where it is not used. Its values do not enter a float conversion.
CALIBRATION_NAME = "calibration_image_sample_data_20x128x128x3_float32.npy"
CALIBRATION_SHAPE = (20, 128, 128, 3)
DEAD_PROXY = "http://127.0.0.1:9"  # the discard port: nothing listens there


def write_float_tflite(onnx_path: Path, path: Path, half_path: Path) -> None:
    """Convert: float32 to `path`, float16 parameters to `half_path`; the log is kept beside the first."""
    with tempfile.TemporaryDirectory(prefix="repedge-onnx2tf-") as name:
        content = run_onnx2tf(onnx_path, Path(name), path.parent / LOG_NAME)
        write_bytes(half_path, (Path(name) / "model_float16.tflite").read_bytes())
        write_bytes(path, content)


def run_onnx2tf(onnx_path: Path, folder: Path, log_path: Path, *arguments: str) -> bytes:
    """The TFLite file that `convert.onnx2tf_offline` makes in `folder`, which is thrown away; its log is kept."""
    for package in ("onnx2tf", "tensorflow"):
        if importlib.util.find_spec(package) is None:
            raise ToolMissing(f"{package}: not installed, TFLite files of the float net need it; pip install {package}")
    np.save(folder / CALIBRATION_NAME, np.zeros(CALIBRATION_SHAPE, np.float32))
    return_code, log = _run_converter(onnx_path.resolve(), folder, *arguments)
    write_text(log_path, log)
    converted = folder / "model.tflite"
    if return_code != 0 or not converted.is_file():
        tail = "\n".join(log.splitlines()[-TAIL_LINES:])
        raise ToolFailed(f"onnx2tf: ended with {return_code}, 0 is allowed; see {log_path}\n{tail}")
    return converted.read_bytes()


def _run_converter(onnx_path: Path, folder: Path, *arguments: str) -> tuple[int, str]:
    """(exit status, output) of the conversion in `folder`; -P keeps this room's modules out of its import path."""
    script = Path(onnx2tf_offline.__file__).resolve()
    command = [sys.executable, "-P", str(script), str(onnx_path), str(folder / "model.tflite"), *arguments]
    environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    environment |= {"http_proxy": DEAD_PROXY, "https_proxy": DEAD_PROXY, "PYTHONHASHSEED": "0"}
    try:
        result = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolFailed(f"onnx2tf: not finished after {TIMEOUT_S} s, that is its limit; try it by hand") from error
    return result.returncode, _without_times(result.stdout.decode(errors="replace"), folder)


def _without_times(log: str, folder: Path) -> str:
    """The log without time stamps, process numbers and the temporary folder, so that two runs keep equal bytes."""
    stamped = re.compile(r"^([IWEF])\d{4} [\d:.]+\s+\d+ ", re.MULTILINE)
    dated = re.compile(r"^\d{4}-\d\d-\d\d [\d:.,]+: ", re.MULTILINE)
    return dated.sub("", stamped.sub(r"\1 ", log)).replace(str(folder), ".")


def run_float_tflite(path: Path, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits (N, classes) of tflite-runtime for uint8 images (N, H, W, C)."""
    from tflite_runtime.interpreter import Interpreter

    interpreter = Interpreter(model_content=path.read_bytes())
    source = interpreter.get_input_details()[0]["index"]
    result = interpreter.get_output_details()[0]["index"]
    interpreter.resize_tensor_input(source, images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source, images.astype(np.float32) / np.float32(255))
    interpreter.invoke()
    return interpreter.get_tensor(result)


def verify_float_tflite(network: FloatNetwork, onnx_path: Path, path: Path, images: NDArray[np.uint8]) -> float:
    """Largest |TFLite − onnxruntime| over these images; `Mismatch` where float32's rounding does not explain it.

    Each of the two is within `float32_bound` of the float64 run, hence within twice that of the other.
    """
    bound = 2 * float32_bound(network.rounded_to_float32(), images)
    return check_difference(str(path), run_float_tflite(path, images), run_onnx(onnx_path, images), bound)


def verify_half_tflite(network: FloatNetwork, path: Path, images: NDArray[np.uint8]) -> float:
    """Largest |TFLite − float64 run of the net rounded to half precision|; `Mismatch` where float32's rounding does not
    explain it: only parameters are rounded, runtimes expand them and compute in float32.
    """
    rounded = network.rounded_to_float16()
    bound = float32_bound(rounded, images)
    return check_difference(str(path), run_float_tflite(path, images), rounded.run(images), bound)
