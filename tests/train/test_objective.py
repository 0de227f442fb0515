"""What a QAT step minimises: the float partner is the merged float net, BWRF is its equation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.train.small_networks import small_network
from train.config import DistillationConfig
from train.objective import BlockwiseReplacement, divergence, make_objective
from train.partner import Ensemble, FloatPartner, Mirrored
from train.qat import start_qat

IMAGES = torch.randint(0, 256, (6, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(6) % 5


@pytest.fixture(scope="module")
def pair():
    """(QAT network in training mode, its float partner)."""
    network = small_network()
    partner = FloatPartner(network)
    start_qat(network, IMAGES)
    return network.train(), partner


def test_partner_is_the_float_net():
    network = small_network().double()
    x = IMAGES.double() / 255
    torch.testing.assert_close(FloatPartner(network)(x), network(x), rtol=1e-9, atol=1e-9)


def test_partner_has_nothing_to_train_and_keeps_its_weights_when_the_network_moves():
    network = small_network()
    partner = FloatPartner(network)
    before = partner(IMAGES / 255)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    assert not list(partner.parameters())
    assert torch.equal(partner(IMAGES / 255), before)


def test_divergence_is_zero_for_equal_logits_and_its_gradient_reaches_the_student_only():
    teacher, student = torch.randn(4, 5, requires_grad=True), torch.randn(4, 5, requires_grad=True)
    assert divergence(teacher, teacher, 2.0).item() == pytest.approx(0, abs=1e-6)
    divergence(teacher, student, 2.0).backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


def test_without_distillation_the_loss_is_cross_entropy(pair):
    network, partner = pair
    objective = make_objective(DistillationConfig(), label_smoothing=0.1, partner=partner)
    expected = F.cross_entropy(network(IMAGES / 255), LABELS, label_smoothing=0.1)
    assert torch.equal(objective(network, IMAGES / 255, LABELS), expected)


def test_float_distillation_adds_the_weighted_divergence(pair):
    network, partner = pair
    config = DistillationConfig(kind="float", float_weight=0.7, temperature=3.0)
    logits = network(IMAGES / 255)
    expected = (F.cross_entropy(logits, LABELS) + 0.7 * divergence(partner(IMAGES / 255), logits, 3.0)) / 1.7
    found = make_objective(config, label_smoothing=0.0, partner=partner)(network, IMAGES / 255, LABELS)
    torch.testing.assert_close(found, expected)


def test_mixed_nets_are_quantized_prefixes_with_float_tails(pair):
    network, partner = pair
    wrapper = BlockwiseReplacement(partner, DistillationConfig(kind="bwrf"), 0.0)
    mixed, logits = wrapper.outputs(network, IMAGES / 255)
    assert len(mixed) == len(network.stages) - 1
    torch.testing.assert_close(logits, network(IMAGES / 255))
    prefix = network.stage_outputs(IMAGES / 255)[0]
    torch.testing.assert_close(mixed[0], partner.tail(prefix, stages_done=1))


def test_compiled_training_steps_compute_the_same_in_the_whole_net_and_stage_by_stage():
    network = small_network()
    start_qat(network, IMAGES)
    network.double().train()  # the mean-only norm makes sums nearly cancel, of which float32 keeps few digits
    partner = FloatPartner(network)
    images = IMAGES.double() / 255
    gradients = []
    for compiled in (False, True):
        if compiled:
            network.compile_training()
        wrapper = BlockwiseReplacement(partner, DistillationConfig(kind="bwrf"), 0.0)
        network.zero_grad()
        wrapper(network, images, LABELS).backward()
        network(images).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None])
    assert len(gradients[0]) > 10
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-5)


def test_bwrf_gradient_reaches_the_prefix_through_the_float_tail(pair):
    network, partner = pair
    mixed, _ = BlockwiseReplacement(partner, DistillationConfig(kind="bwrf"), 0.0).outputs(network, IMAGES / 255)
    network.zero_grad()
    mixed[0].sum().backward()
    assert network.blocks[0].conv3x3.weight.grad.abs().sum() > 0
    assert network.blocks[-1].conv3x3.weight.grad is None


def test_bwrf_loss_is_its_equation(pair):
    network, partner = pair
    config = DistillationConfig(kind="bwrf", float_weight=0.9, mixed_task_weight=0.4, mixed_weight=0.3, temperature=2.0)
    (mixed,), logits = BlockwiseReplacement(partner, config, 0.0).outputs(network, IMAGES / 255)
    teacher = partner(IMAGES / 255)
    expected = F.cross_entropy(logits, LABELS) + 0.4 * F.cross_entropy(mixed, LABELS)
    expected += 0.9 * (divergence(teacher, logits, 2.0) + divergence(teacher, mixed, 2.0))
    expected += 0.3 * divergence(mixed, logits, 2.0)
    found = make_objective(config, label_smoothing=0.0, partner=partner)(network, IMAGES / 255, LABELS)
    torch.testing.assert_close(found, expected / (1 + 0.4 + 2 * 0.9 + 0.3))


@pytest.mark.parametrize("kind", ["float", "bwrf"])
def test_a_teacher_of_another_size_replaces_the_partners_predictions(pair, kind):
    network, partner = pair
    teacher = FloatPartner(small_network(seed=7))
    config = DistillationConfig(kind=kind, teacher="zoo:other", mixed_task_weight=0.0, mixed_weight=0.0)
    found = make_objective(config, label_smoothing=0.0, partner=partner, teacher=teacher)(network, IMAGES / 255, LABELS)
    mixed, logits = BlockwiseReplacement(partner, config, 0.0).outputs(network, IMAGES / 255)
    outputs = [logits] if kind == "float" else [*mixed, logits]
    taught = sum(divergence(teacher(IMAGES / 255), output, 1.0) for output in outputs)
    torch.testing.assert_close(found, (F.cross_entropy(logits, LABELS) + taught) / (1 + len(outputs)))


def test_a_mirrored_teacher_says_the_same_of_an_image_and_of_its_mirror_image():
    teacher, images = FloatPartner(small_network(seed=7)), IMAGES / 255
    mirrored = Mirrored(teacher)
    torch.testing.assert_close(mirrored(images), (teacher(images) + teacher(images.flip(3))) / 2)
    torch.testing.assert_close(mirrored(images), mirrored(images.flip(3)))


def test_several_teachers_teach_the_mean_of_their_logits(pair):
    network, _ = pair
    members = [FloatPartner(small_network(seed=seed)) for seed in (7, 8)]
    teacher, images = Ensemble(members), IMAGES / 255
    torch.testing.assert_close(teacher(images), (members[0](images) + members[1](images)) / 2)
    config = DistillationConfig(kind="float", teacher=["zoo:a", "zoo:b"], float_weight=3.0)
    found = make_objective(config, label_smoothing=0.0, teacher=teacher)(network, images, LABELS)
    logits = network(images)
    taught = divergence(teacher(images), logits, 1.0)
    assert found.item() == pytest.approx((F.cross_entropy(logits, LABELS) + 3 * taught).item() / 4, rel=1e-5)


def test_teacher_runs_in_bf16_under_autocast():
    teacher = FloatPartner(small_network())
    with torch.autocast("cpu", torch.bfloat16):
        logits = teacher(IMAGES / 255)
    assert logits.dtype == torch.bfloat16
    assert not torch.equal(logits.float(), teacher(IMAGES / 255))
