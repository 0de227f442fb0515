"""Both exporters of torch write the merged net, and onnxruntime computes it within float32's rounding."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest

from convert import onnx_torch
from convert.onnx_torch import EXPORTERS, export_with_torch, verify_exporters
from tests.random_float_networks import random_float_network
from tests.random_models import random_images
from train.errors import Mismatch

NETWORK = random_float_network(9, input_hwc=(11, 8, 3))
IMAGES = random_images(np.random.default_rng(0), 5, NETWORK.input_hwc)


def test_onnxruntime_computes_both_exports_within_float32_rounding():
    differences = verify_exporters(NETWORK, IMAGES)
    assert set(differences) == {"torchscript", "dynamo"}
    assert max(differences.values()) < 1e-3 * np.abs(NETWORK.run(IMAGES)).max()


def test_another_net_is_a_mismatch_that_names_its_exporter(monkeypatch):
    other = dataclasses.replace(NETWORK, classifier_bias=NETWORK.classifier_bias + 0.01)
    original = onnx_torch.torch_network
    monkeypatch.setattr(onnx_torch, "torch_network", lambda network: original(other))
    with pytest.raises(Mismatch, match=r"torch\.onnx, torchscript: logits differ"):
        verify_exporters(NETWORK, IMAGES)


def test_torchscripts_operators_are_those_of_our_graph(tmp_path):
    export_with_torch(NETWORK, tmp_path / "net.onnx", EXPORTERS[0])
    kinds = [node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node]
    assert kinds == ["Conv", "Relu"] * 3 + ["GlobalAveragePool", "Flatten", "Gemm"]
