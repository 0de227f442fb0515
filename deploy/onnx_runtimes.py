"""onnxruntime on this machine: the integer graph as proof, the QDQ graph as a measurement of what float rounding does.

`onnx_integer` must give the reference's logits, all of them. The QDQ graph is requantized in float32, with one rounding
where TFLite has two, and averages with ties to even: the share of differing logits is reported, never hidden.
"""

from __future__ import annotations

from convert import onnx_integer, onnx_qdq
from deploy.result import BackendResult, ConvertedModel, proven
from train.errors import Mismatch

QDQ_BACKENDS = {"onnxruntime_qdq": True, "onnxruntime_qdq_unoptimized": False}  # name -> graph optimisation


def run_onnx(converted: ConvertedModel) -> list[BackendResult]:
    """The integer graph and the QDQ graph, over the whole test split; `Mismatch` where the proof fails."""
    return [run_integer(converted), *run_qdq(converted)]


def run_integer(converted: ConvertedModel) -> BackendResult:
    """The integer graph, whose file is compared with the integer model first."""
    path = converted.folder / onnx_integer.FILE_NAME
    onnx_integer.verify_integer_onnx(converted.model, path)
    logits = onnx_integer.run_integer_onnx(path, converted.vectors.images)
    result = proven("onnx_integer", converted.vectors, logits)
    if result.exactness is not None and result.exactness.logits_mismatched:
        raise Mismatch(
            f"onnx_integer: {result.exactness.logits_mismatched} of {result.exactness.logits_compared} logits differ from "
            "the reference, allowed 0; the runtime's integer operators are not the standard's; "
            "install the pinned onnxruntime and run convert again"
        )
    return result


def run_qdq(converted: ConvertedModel) -> list[BackendResult]:
    """The QDQ graph with onnxruntime's graph optimisation and without."""
    path = converted.folder / onnx_qdq.FILE_NAME
    onnx_qdq.verify_qdq_onnx(converted.model, path)
    results = []
    for name, optimize in QDQ_BACKENDS.items():
        logits = onnx_qdq.run_qdq_onnx(converted.model, path, converted.vectors.images, optimize=optimize)
        results.append(proven(name, converted.vectors, logits, role="runtime"))
    return results
