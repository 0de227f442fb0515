"""Muon: orthogonal directions, kernels held at one size, the parts of a network that it reaches."""

import pytest
import torch

from train.config import ModelConfig, NormConfig, PhaseConfig, QatPhaseConfig, QuantizeConfig, TrainingRecipe
from train.model import RepVGG
from train.muon import Muon, orthogonalise
from train.optimizer import make_optimizer


@pytest.mark.parametrize("shape", [(3, 16, 27), (2, 64, 32), (1, 24, 24)])
def test_orthogonalise_keeps_singular_vectors_and_evens_singular_values_out(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, _, vt = torch.linalg.svd(matrices, full_matrices=False)
    inner = u.transpose(1, 2) @ orthogonalise(matrices) @ vt.transpose(1, 2)
    values = inner.diagonal(dim1=1, dim2=2)
    assert torch.allclose(inner, torch.diag_embed(values), atol=1e-9)
    large = values[torch.linalg.svdvals(matrices) > 0.05 * matrices.norm(dim=(1, 2))[:, None]]
    assert len(large) > 10 and float(large.min()) > 0.6 and float(large.max()) < 1.3


def test_orthogonalise_ignores_scale_and_keeps_zero():
    matrix = torch.randn(1, 8, 9, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(orthogonalise(matrix), orthogonalise(1e-4 * matrix), atol=1e-5)
    assert not orthogonalise(torch.zeros(1, 8, 9)).any()


def test_step_turns_each_kernel_by_the_rate_from_norm_root_of_its_rows():
    kernels = [torch.nn.Parameter(torch.randn(8, 4, 3, 3) * scale) for scale in (0.01, 30.0)]
    other = torch.nn.Parameter(torch.ones(3))
    optimizer = Muon(
        [{"params": kernels, "orthogonal": True, "weight_decay": 9.0}, {"params": [other], "weight_decay": 0.5}],
        lr=0.1,
        momentum=0.9,
    )
    starts = [kernel.detach() * (8**0.5 / kernel.detach().norm()) for kernel in kernels]
    for parameter in (*kernels, other):
        parameter.grad = torch.randn(parameter.shape) if parameter.ndim > 1 else torch.full((3,), 2.0)
    expected = [0.1 * orthogonalise(1.9 * kernel.grad.reshape(1, 8, 36)).reshape(8, 4, 3, 3) for kernel in kernels]
    optimizer.step()
    for kernel, start, step in zip(kernels, starts, expected, strict=True):
        assert torch.allclose(kernel, start - step, atol=1e-5)
    assert torch.allclose(other, torch.full((3,), 1 - 0.1 * 1.9 * 2.5))


def test_kernels_are_orthogonalised_the_rest_is_not_and_all_is_held_once():
    network = RepVGG(ModelConfig(size="xs"), NormConfig(), QuantizeConfig(), input_channels=3, classes=10)
    optimizer = make_optimizer(network, PhaseConfig(epochs=1, optimizer="muon"), codebook_factor=1.0)
    kernels, classifier, others = (group["params"] for group in optimizer.param_groups)
    assert [group["orthogonal"] for group in optimizer.param_groups] == [True, False, False]
    assert {parameter.ndim for parameter in kernels} == {4} and len(kernels) == 2 * len(network.blocks)
    assert [tuple(parameter.shape) for parameter in classifier] == [(10, 64)]
    held = [*kernels, *classifier, *others]
    assert {id(parameter) for parameter in held} == {id(parameter) for parameter in network.parameters()}
    assert len(held) == len(list(network.parameters()))


def test_muon_is_refused_where_no_norm_follows_the_kernels():
    phases = {"float_phase": {"epochs": 1, "optimizer": "muon"}, "qat_phase": {"epochs": 0}}
    with pytest.raises(ValueError, match=r"muon holds kernels at one size.*allowed with it are sgd and adamw"):
        TrainingRecipe(model={"size": "xs"}, norm={"kind": "mimic"}, train=phases)
    with pytest.raises(ValueError, match="'sgd' or 'adamw'"):
        QatPhaseConfig(epochs=1, optimizer="muon")
