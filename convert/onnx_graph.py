"""Building and reading ONNX graphs: named constants, nodes that are named by their output, checked files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from convert.onnx_float import IR_VERSION, OPSET
from train.errors import ArtefactError

ValueInfo = tuple[str, int, list[int | str]]  # name, element type, shape


class OnnxGraph:
    """Nodes and constants in order; a node is named by its only output."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """Add a constant; its name comes back."""
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, operator: str, inputs: list[str], output: str, *, domain: str = "", **attributes: object) -> str:
        """Add a node; the name of its output comes back."""
        self.nodes.append(helper.make_node(operator, inputs, [output], output, domain=domain, **attributes))
        return output

    def finish(
        self, *, source: ValueInfo, result: ValueInfo, functions: Sequence[onnx.FunctionProto] = ()
    ) -> onnx.ModelProto:
        """The checked model."""
        values = [helper.make_tensor_value_info(*info) for info in (source, result)]
        domains = sorted({function.domain for function in functions})
        model = helper.make_model(
            helper.make_graph(self.nodes, self.name, values[:1], values[1:], self.initializers),
            functions=list(functions),
            opset_imports=[helper.make_opsetid("", OPSET), *(helper.make_opsetid(domain, 1) for domain in domains)],
            producer_name="repedge",
        )
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)
        return model


def read_onnx(path: Path) -> onnx.ModelProto:
    """A checked ONNX file; `ArtefactError` where it is missing or damaged."""
    if not path.is_file():
        raise ArtefactError(f"{path}: no such file; the convert stage writes it")
    try:
        model = onnx.load_model_from_string(path.read_bytes())
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf and the checker each raise their own
        raise ArtefactError(f"{path}: truncated or not an ONNX file ({error}); run the convert stage again") from error
    return model
