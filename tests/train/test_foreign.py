"""Checkpoints of the public key layouts: loaded tensor by tensor, merged exactly at 224×224, faults told clearly."""

from __future__ import annotations

import pickle

import pytest
import torch
from safetensors.torch import save_file

from convert.merge import merge_network
from train.checkpoint import ModelDescription, build_network, check_state
from train.config import ModelConfig, NormConfig
from train.errors import ArtefactError, ConfigError, UnsupportedLayer
from train.foreign import fold_normalisation, load_foreign, our_name
from train.layout import SIZES, blocks_of, layout_of, macs, parameters
from train.model import RepVGG
from train.partner import FloatPartner

SMALL = {"widths": (6, 6, 8, 12, 16), "depths": (1, 2, 4, 5, 1), "strides": (2,) * 5}
AUTHORS = {"conv3x3": "rbr_dense.conv", "norm3x3": "rbr_dense.bn", "conv1x1": "rbr_1x1.conv", "norm1x1": "rbr_1x1.bn"}
TIMM = {"conv3x3": "conv_kxk.conv", "norm3x3": "conv_kxk.bn", "conv1x1": "conv_1x1.conv", "norm1x1": "conv_1x1.bn"}


def described(model: ModelConfig, classes: int = 7) -> ModelDescription:
    names = tuple(map(str, range(classes)))
    return ModelDescription(class_names=names, input_hwc=(224, 224, 3), model=model, norm=NormConfig(kind="bn"))


@torch.no_grad()
def random_network(model: ModelConfig) -> RepVGG:
    """γ, β, μ and σ² at random, some σ² near zero."""
    torch.manual_seed(0)
    network = build_network(described(model)).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.uniform_(-1.0, 1.0)
            module.bias.normal_(0, 0.3)
            module.running_mean.normal_(0, 0.5)
            module.running_var.uniform_(0.5, 2.0)
            module.running_var[0] = 1e-7
    return network


def renamed(network: RepVGG, layout: str) -> dict[str, torch.Tensor]:
    """The network's tensors under the names of another project."""
    state = {}
    for name, tensor in network.state_dict().items():
        if name.startswith("logits_"):
            continue
        if name.startswith("classifier"):
            state[name.replace("classifier", "linear" if layout == "authors" else "head.fc")] = tensor.clone()
            continue
        stage, number, branch, rest = name.split(".", 3)
        stage_number = int(stage.removeprefix("stage"))
        if layout == "authors":
            place = "stage0" if stage_number == 1 else f"stage{stage_number - 1}.{number}"
            branch = {**AUTHORS, "norm_identity": "rbr_identity"}[branch]
        else:
            place = "stem" if stage_number == 1 else f"stages.{stage_number - 2}.{number}"
            branch = {**TIMM, "norm_identity": "identity"}[branch]
        state[f"{place}.{branch}.{rest}"] = tensor.clone()
    return state


def assert_merges_at_224(network: RepVGG) -> None:
    exact = network.double().eval()
    images = torch.rand((1, 3, 224, 224), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found = exact(images), FloatPartner(exact)(images)
    # float64 rounds to 1e-16; thousands of terms in each of some twenty layers leave 1e-10 of the logits' magnitude
    assert float((found - expected).abs().max()) <= 1e-10 * float(expected.abs().max())


@pytest.mark.parametrize("layout", ["authors", "timm"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_checkpoint_of_a_public_layout_is_loaded_and_merges_exactly(tmp_path, layout, suffix, groups):
    model = ModelConfig(**SMALL, groups=groups)
    network = random_network(model)
    path = tmp_path / f"net{suffix}"
    state = renamed(network, layout)
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    loaded = load_foreign(path, described(model))
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in network.state_dict().items())
    assert_merges_at_224(loaded)


def test_a_true_a0_merges_exactly(tmp_path):
    model = ModelConfig(size="a0")
    path = tmp_path / "RepVGG-A0-train.pth"
    torch.save(renamed(random_network(model), "authors"), path)
    assert_merges_at_224(load_foreign(path, described(model)))


def test_known_keys_of_both_layouts_get_the_projects_names(tmp_path):
    pairs = {
        "stage0.rbr_dense.conv.weight": "stage1.0.conv3x3.weight",
        "stage3.13.rbr_1x1.bn.running_var": "stage4.13.norm1x1.running_var",
        "stage2.1.rbr_identity.bias": "stage3.1.norm_identity.bias",
        "linear.weight": "classifier.weight",
        "stem.conv_1x1.bn.running_mean": "stage1.0.norm1x1.running_mean",
        "stages.0.1.conv_kxk.0.conv.weight": "stage2.1.conv3x3.weight",
        "stages.0.1.conv_kxk.1.conv.weight": "stages.0.1.conv_kxk.1.conv.weight",  # MobileOne's second branch
        "stages.0.1.conv_scale.bn.weight": "stage2.1.norm1x1.weight",
        "stages.2.13.identity.weight": "stage4.13.norm_identity.weight",
        "head.fc.bias": "classifier.bias",
    }
    assert {name: our_name(name, tmp_path) for name in pairs} == pairs


def test_official_sizes_have_the_published_parameters_and_macs():
    # RepVGG paper, table 4: millions of parameters of the merged net, billions of multiply-accumulates, ImageNet
    published = {"a0": (8.30, 1.4), "a1": (12.78, 2.4), "a2": (25.49, 5.1), "b0": (14.33, 3.1), "b1": (51.82, 11.8)}
    published |= {
        "b1g2": (41.36, 8.8),
        "b1g4": (36.12, 7.3),
        "b2": (80.31, 18.4),
        "b2g4": (55.77, 11.3),
        "b3": (110.96, 26.2),
    }
    for size, (millions, billions) in published.items():
        config = ModelConfig(size=size)
        assert parameters(config, input_hwc=(224, 224, 3), classes=1000) / 1e6 == pytest.approx(millions, abs=0.02)
        assert macs(config, input_hwc=(224, 224, 3), classes=1000) / 1e9 == pytest.approx(billions, abs=0.06)


def test_every_second_block_of_a_grouped_size_is_grouped():
    groups = [block.groups for block in blocks_of(SIZES["b1g4"], 3)]
    assert groups == [1, 1] + [4, 1] * 13
    assert layout_of(ModelConfig(size="b1")).groups == 1


def test_a_training_wrapper_and_a_parallel_prefix_are_taken_off(tmp_path):
    network = random_network(ModelConfig(**SMALL))
    state = {f"module.{name}": tensor for name, tensor in renamed(network, "timm").items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "net.pth")
    loaded = load_foreign(tmp_path / "net.pth", described(ModelConfig(**SMALL)))
    assert torch.equal(loaded.classifier.weight, network.classifier.weight)


def test_half_precision_is_widened_exactly(tmp_path):
    state = {
        name: t.half() if t.is_floating_point() else t
        for name, t in renamed(random_network(ModelConfig(**SMALL)), "timm").items()
    }
    torch.save(state, tmp_path / "net.pth")
    loaded = load_foreign(tmp_path / "net.pth", described(ModelConfig(**SMALL)))
    assert torch.equal(loaded.classifier.weight, state["head.fc.weight"].float())


FAULTS = {
    "NaN": (lambda s: s["linear.weight"].fill_(float("nan")), ArtefactError, r"linear\.weight holds 112 NaN"),
    "unknown key": (lambda s: s.update({"stage9.0.se.weight": torch.zeros(1)}), ArtefactError, r"unexpected tensors .*se\.weight"),
    "missing key": (lambda s: s.pop("stage1.0.rbr_dense.conv.weight"), ArtefactError, r"missing tensors .*stage2\.0\.conv3x3"),
    "merged": (lambda s: s.update({"stage1.0.rbr_reparam.weight": torch.zeros(1)}), UnsupportedLayer, "already merged"),
    "other width": (lambda s: s.update({"linear.weight": torch.zeros(9, 16)}), ArtefactError, r"shape \(9, 16\).*\n?.*recipe fit"),
    "negative variance": (lambda s: s["stage0.rbr_dense.bn.running_var"].fill_(-1), ArtefactError, "running_var is negative"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_checkpoint_is_one_clear_error(tmp_path, fault):
    change, error, message = FAULTS[fault]
    state = renamed(random_network(ModelConfig(**SMALL)), "authors")
    change(state)
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(error, match=message):
        load_foreign(tmp_path / "net.pth", described(ModelConfig(**SMALL)))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_truncated_file_is_told(tmp_path, suffix):
    path = tmp_path / f"net{suffix}"
    state = renamed(random_network(ModelConfig(**SMALL)), "authors")
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ArtefactError, match="truncated"):
        load_foreign(path, described(ModelConfig(**SMALL)))


@pytest.mark.parametrize("content", [b"", b"hello world", pickle.dumps({"a": [1, 2]}), b"PK\x03\x04 and no archive"])
def test_a_file_that_torch_did_not_write_is_told(tmp_path, content):
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(ArtefactError, match=r"not a whole torch file of tensors|no mapping of tensors"):
        load_foreign(tmp_path / "net.pth", described(ModelConfig(**SMALL)))


def test_a_mapping_without_names_is_told(tmp_path):
    torch.save({1: torch.ones(3)}, tmp_path / "net.pth")
    with pytest.raises(ArtefactError, match="no mapping of tensors"):
        load_foreign(tmp_path / "net.pth", described(ModelConfig(**SMALL)))


def test_python_objects_in_a_checkpoint_are_never_loaded(tmp_path):
    torch.save({"state_dict": ModelConfig(**SMALL)}, tmp_path / "net.pth")
    with pytest.raises(ArtefactError, match="Python objects, which are never loaded"):
        load_foreign(tmp_path / "net.pth", described(ModelConfig(**SMALL)))


def test_folded_normalisation_is_exact_away_from_the_padding():
    network = random_network(ModelConfig(**SMALL)).double()
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    images = torch.rand((1, 3, 32, 32), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shift, scale = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (mean, deviation))
    normalised = (images - shift) / scale
    with torch.no_grad():
        expected = network.blocks[0].branch_sum(normalised)[:, :, 1:, 1:]
        fold_normalisation(network, mean, deviation)
        found = network.blocks[0].branch_sum(images)[:, :, 1:, 1:]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_a_deviation_per_channel_is_demanded():
    with pytest.raises(ConfigError, match="allowed are 3 each"):
        fold_normalisation(random_network(ModelConfig(**SMALL)), (0.5,), (0.5,))


def test_grouped_nets_merge_into_grouped_kernels():
    network = random_network(ModelConfig(**SMALL, groups=2))
    merged = merge_network(network, (224, 224, 3))
    assert [conv.groups for conv in merged.convs][:4] == [1, 1, 2, 1]
    assert merged.convs[2].weight_oihw.shape == (6, 3, 3, 3)


def test_own_names_are_left_to_the_checks(tmp_path):
    network = random_network(ModelConfig(**SMALL))
    save_file({k: v.clone() for k, v in network.state_dict().items()}, tmp_path / "net.safetensors")
    check_state(
        tmp_path,
        load_foreign(tmp_path / "net.safetensors", described(ModelConfig(**SMALL))).state_dict(),
        network.state_dict(),
    )
