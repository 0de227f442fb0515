"""Checkpoints: what was saved is loaded, and every fault is one clear error."""

from __future__ import annotations

import resource
import signal

import numpy as np
import pytest
import torch

from tests.train.small_networks import MODEL, small_network
from train.checkpoint import (
    ModelDescription,
    checkpoint_path,
    load_network,
    load_state,
    save_description,
    save_network,
    save_state,
)
from train.errors import ArtefactError, UnsupportedLayer
from train.qat import finish_qat, start_qat


@pytest.fixture
def folder(tmp_path):
    """A training folder with both checkpoints of a random net."""
    images = torch.randint(0, 256, (16, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    save_description(tmp_path, ModelDescription(class_names=tuple("abcde"), input_hwc=(8, 8, 3), model=MODEL))
    network = small_network()
    save_network(tmp_path, network)
    start_qat(network, images)
    finish_qat(network, images)
    save_network(tmp_path, network)
    return tmp_path


def alter(folder, name: str, change) -> None:
    path = checkpoint_path(folder, "float")
    state = load_state(path)
    state[name] = change(state[name])
    save_state(path, {key: value for key, value in state.items() if value is not None})


@pytest.mark.parametrize("phase", ["float", "qat"])
def test_loaded_network_holds_what_was_saved_in_evaluation_mode(folder, phase):
    network = load_network(folder, phase)
    state = load_state(checkpoint_path(folder, phase))
    assert not network.training
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


def test_loaded_qat_network_exports_the_weights_of_its_last_forward(folder):
    network = load_network(folder, "qat")
    before = [layer.weight_quantizer.export() for layer in (*network.blocks, network.classifier)]
    network(torch.rand(2, 3, 8, 8))
    for block, exported in zip(network.blocks, before, strict=False):
        used = block.weight_quantizer(block.merged_kernel()[0]).detach().numpy()
        assert np.array_equal(exported.codebook[exported.indices].astype(np.float32) * exported.scale, used)


def test_logits_lie_on_the_calibrated_int8_grid(folder):
    network = load_network(folder, "qat")
    level = network(torch.rand(8, 3, 8, 8)) / network.logits_scale + network.logits_zero_point
    torch.testing.assert_close(level, level.round(), rtol=0, atol=1e-4)
    assert level.abs().max() <= 128


def test_truncated_checkpoint_is_an_error(folder):
    path = checkpoint_path(folder, "float")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArtefactError, match=r"float\.safetensors: not a whole safetensors file"):
        load_network(folder, "float")


def test_missing_checkpoint_is_an_error(folder):
    checkpoint_path(folder, "qat").unlink()
    with pytest.raises(ArtefactError, match=r"qat\.safetensors: missing"):
        load_network(folder, "qat")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_or_infinite_weight_names_the_tensor(folder, value):
    alter(folder, "stage1.1.conv3x3.weight", lambda tensor: tensor.index_fill(0, torch.tensor([2]), value))
    with pytest.raises(ArtefactError, match=r"stage1\.1\.conv3x3\.weight holds 54 NaN or infinite"):
        load_network(folder, "float")


def test_missing_tensor_is_named(folder):
    alter(folder, "classifier.bias", lambda tensor: None)
    with pytest.raises(ArtefactError, match=r"missing tensors \['classifier\.bias'\]"):
        load_network(folder, "float")


def test_unexpected_tensor_is_named(folder):
    state = load_state(checkpoint_path(folder, "float"))
    save_state(checkpoint_path(folder, "float"), {**state, "stage7.0.bias": torch.zeros(1)})
    with pytest.raises(ArtefactError, match=r"unexpected tensors \['stage7\.0\.bias'\]"):
        load_network(folder, "float")


def test_grouped_convolution_is_an_unsupported_layer(folder):
    alter(folder, "stage2.1.conv3x3.weight", lambda tensor: tensor[:, :4])
    with pytest.raises(UnsupportedLayer, match=r"stage2\.1\.conv3x3 is a grouped convolution \(2 groups"):
        load_network(folder, "float")


def test_other_kernel_size_is_an_unsupported_layer(folder):
    alter(folder, "stage2.1.conv3x3.weight", lambda tensor: torch.zeros(8, 8, 5, 5))
    with pytest.raises(UnsupportedLayer, match=r"stage2\.1\.conv3x3 has a 5x5 kernel, allowed 3x3"):
        load_network(folder, "float")


def test_other_shape_is_an_error(folder):
    alter(folder, "classifier.weight", lambda tensor: tensor[:3])
    with pytest.raises(ArtefactError, match=r"classifier\.weight has shape \(3, 8\), the network needs \(5, 8\)"):
        load_network(folder, "float")


def test_other_type_is_an_error(folder):
    alter(folder, "classifier.weight", lambda tensor: tensor.double())
    with pytest.raises(ArtefactError, match=r"classifier\.weight is torch\.float64"):
        load_network(folder, "float")


def test_broken_description_is_an_error(folder):
    (folder / "model.json").write_text("{")
    with pytest.raises(ArtefactError, match=r"model\.json: not a model description"):
        load_network(folder, "float")


def test_a_write_that_the_system_refuses_keeps_the_old_file(tmp_path):
    save_state(tmp_path / "net.safetensors", {"a": torch.ones(3)})
    former = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, former[0][1]))  # as a disk with 1,000 bytes left
    try:
        with pytest.raises(OSError, match="File too large"):
            save_state(tmp_path / "net.safetensors", {"a": torch.ones(3000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former[0])
        signal.signal(signal.SIGXFSZ, former[1])
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]
    assert load_state(tmp_path / "net.safetensors")["a"].tolist() == [1, 1, 1]
