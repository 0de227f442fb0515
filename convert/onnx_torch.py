"""The merged float net through torch's own ONNX exporters, TorchScript and dynamo: a check on our graph, and on theirs.

`convert.onnx_float` builds its graph node by node. The same net as a torch module goes through both exporters here, and
each file must compute what the net does. Their bytes are not kept in a run: dynamo's take ten seconds and hold paths.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from convert.float_network import FloatNetwork, float32_bound
from convert.onnx_float import OPSET, check_difference, run_onnx

Exporter = Literal["torchscript", "dynamo"]
EXPORTERS: tuple[Exporter, ...] = ("torchscript", "dynamo")
DYNAMO_OPSET = 18  # the lowest that exporter writes


def torch_network(network: FloatNetwork) -> nn.Sequential:
    """The merged net as a torch module, input (N, C, H, W) in 0 … 1, parameters float32."""
    modules: list[nn.Module] = []
    for conv in network.convs:
        outputs, inputs = conv.weight_oihw.shape[:2]
        module = nn.Conv2d(inputs, outputs, 3, conv.stride, 1)
        _set(module, conv.weight_oihw, conv.bias)
        modules += [module, nn.ReLU()]
    classifier = nn.Linear(*reversed(network.classifier_weight.shape))
    _set(classifier, network.classifier_weight, network.classifier_bias)
    return nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten(), classifier).eval()


def _set(module: nn.Conv2d | nn.Linear, weight: NDArray[np.float64], bias: NDArray[np.float64]) -> None:
    assert module.bias is not None
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(weight.astype(np.float32)))
        module.bias.copy_(torch.from_numpy(bias.astype(np.float32)))


def export_with_torch(network: FloatNetwork, path: Path, exporter: Exporter) -> None:
    """Write the exporter's file: input `image` with a dynamic batch, output `logits`, all in one file."""
    height, width, channels = network.input_hwc
    example = torch.zeros(2, channels, height, width)  # a batch of 1 would be taken for a constant
    is_dynamo = exporter == "dynamo"
    axes = {"dynamic_shapes": ({0: torch.export.Dim("N")},)} if is_dynamo else {"dynamic_axes": {"image": {0: "N"}}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is the older of the two
        torch.onnx.export(
            torch_network(network),
            (example,),
            path,
            input_names=["image"],
            output_names=["logits"],
            opset_version=DYNAMO_OPSET if is_dynamo else OPSET,
            dynamo=is_dynamo,
            verbose=False,
            **({"external_data": False} if is_dynamo else {}),
            **axes,
        )


def verify_exporters(network: FloatNetwork, images: NDArray[np.uint8]) -> dict[Exporter, float]:
    """Exporter -> largest |onnxruntime − float64 run|; `Mismatch` where float32's rounding does not explain it."""
    rounded = network.rounded_to_float32()
    bound, expected = float32_bound(rounded, images), rounded.run(images)
    differences: dict[Exporter, float] = {}
    with tempfile.TemporaryDirectory(prefix="repedge-onnx-") as name:
        for exporter in EXPORTERS:
            path = Path(name) / f"{exporter}.onnx"
            export_with_torch(network, path, exporter)
            differences[exporter] = check_difference(f"torch.onnx, {exporter}", run_onnx(path, images), expected, bound)
    return differences
