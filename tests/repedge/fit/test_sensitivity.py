from __future__ import annotations

import json

import pytest

from repedge.fit import sensitivity
from repedge.fit.sensitivity import joint_loss, measure_losses, relative_losses


@pytest.fixture(scope="module")
def images(small_net):
    return small_net.calibration(96)[0]


@pytest.fixture(scope="module")
def losses(small_net, small_layers, images, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache") / "s.jsonl"
    return measure_losses(small_net.merged, small_layers, images, cache, quiet=True)


def test_every_layer_and_width_is_measured_and_fewer_bits_lose_more(losses, small_layers):
    assert set(losses) == {(name, bits) for name in small_layers.names for bits in range(2, 9)}
    for name in small_layers.names:
        assert 0 <= losses[name, 8] < losses[name, 2]


def test_an_interrupted_measurement_goes_on_where_it_stopped(
    small_net, small_layers, images, losses, tmp_path, monkeypatch
):
    cache = tmp_path / "s.jsonl"
    measure_losses(small_net.merged, small_layers, images, cache, quiet=True)
    lines = cache.read_text().splitlines()
    cache.write_text("\n".join(lines[:9]) + "\n" + lines[9][:20])
    measured = []
    original = sensitivity._loss
    monkeypatch.setattr(sensitivity, "_loss", lambda *given: measured.append(1) or original(*given))
    again = measure_losses(small_net.merged, small_layers, images, cache, quiet=True)
    assert again == losses
    assert len(measured) == len(lines) - 9


def test_other_images_are_another_measurement(small_net, small_layers, images, tmp_path):
    cache = tmp_path / "s.jsonl"
    measure_losses(small_net.merged, small_layers, images, cache, quiet=True)
    measure_losses(small_net.merged, small_layers, images[:32], cache, quiet=True)
    assert len({json.loads(line)["key"] for line in cache.read_text().splitlines()}) == 2


def test_losses_around_a_choice_sum_up_to_its_own(small_net, small_layers, images, tmp_path):
    bits = dict.fromkeys(small_layers.names, 3)
    joint = joint_loss(small_net.merged, small_layers, images, bits)
    around = measure_losses(small_net.merged, small_layers, images, tmp_path / "s.jsonl", around=bits, quiet=True)
    terms = relative_losses(around, bits, joint)
    assert sum(terms[layer] for layer in bits.items()) == pytest.approx(joint, rel=1e-12)
    changed = bits | {small_layers.names[0]: 8}
    predicted = sum(terms[layer] for layer in changed.items())
    assert predicted == pytest.approx(joint_loss(small_net.merged, small_layers, images, changed), rel=1e-12)
