"""The int4-weight TFLite file in tflite-runtime, beside the int8 file in the same kernels."""

from __future__ import annotations

from convert.tflite_exact import FILE_NAME as INT8_FILE
from convert.tflite_exact import verify_tflite
from convert.tflite_int4 import FILE_NAME, int4_layers
from deploy.result import BackendResult, ConvertedModel, proven
from deploy.tflite_runtimes import run_runtime

BACKEND = "tflite_int4"
RUNTIME = "tflite_runtime"


def run_tflite_int4(converted: ConvertedModel) -> BackendResult:
    """Its logits against the reference, and in a notice its bytes and its difference from the int8 file.

    Where no layer is on the int4 grid there is no file, and only a notice comes back.
    """
    names = int4_layers(converted.model)
    staying = [layer.name for layer in converted.model.layers if layer.name not in names]
    if not names:
        return BackendResult(
            BACKEND,
            role="runtime",
            notices=("no file: no convolution's codebook lies on the int4 grid, -8 to 7, so all layers stay int8",),
        )
    path, int8_path = converted.folder / FILE_NAME, converted.folder / INT8_FILE
    verify_tflite(converted.model, path)
    logits = run_runtime(RUNTIME, path, converted.vectors.images)
    differing = int((logits != run_runtime(RUNTIME, int8_path, converted.vectors.images)).sum())
    notices = (
        f"{path.stat().st_size} bytes, the int8 file has {int8_path.stat().st_size}; "
        f"{differing} of {logits.size} logits differ from the int8 file's in the same kernels",
        f"int8 stay {', '.join(staying)}: the classifier, and codebooks off the int4 grid, -8 to 7",
    )
    return proven(BACKEND, converted.vectors, logits, role="runtime", notices=notices, file_bytes=path.stat().st_size)
