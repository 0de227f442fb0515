"""Direct convolutions in one strip write their output where their input lay, and give the same logits."""

from __future__ import annotations

import numpy as np
import pytest

from convert.kernels import arena_bytes, choose_kernels, conv_choices
from convert.memory_plan import plan_memory
from convert.reference import run
from convert.vectors import Vectors
from deploy import cortex_m
from deploy.cortex_m import deploy_cortex_m
from deploy.result import ConvertedModel
from deploy.targets import load_target
from tests.need import need
from tests.random_models import random_images, random_model

IMAGES = 4
WANTED = ("dsp_first", "dsp_first", "dsp_first", "dsp_direct", "dsp_direct")
MODEL = random_model(8, input_hwc=(10, 9, 3), widths=(6, 6, 8, 8, 8), strides=(1,) * 5, bit_widths=(8, 4, 3, 6, 2))


def _choices(*_, **__):
    """Each layer's largest strip of the wanted kernel."""
    shapes = [shape for shape in MODEL.shapes() if shape.kind == "conv"]
    return tuple(
        next(choice for choice in conv_choices(conv, shape, "cortex-m4") if choice.kernel.name == name)
        for conv, shape, name in zip(MODEL.convs, shapes, WANTED, strict=True)
    )


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    """The model on the emulated core with the wanted kernels."""
    need("arm-none-eabi-gcc", "qemu-system-arm", "cmake", "make")
    folder = tmp_path_factory.mktemp("in_place")
    images = random_images(np.random.default_rng(7), IMAGES, MODEL.input_hwc)
    vectors = Vectors(images, np.zeros(IMAGES, np.uint8), run(MODEL, images))
    converted = ConvertedModel(folder / "convert", MODEL, vectors)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cortex_m, "choose_kernels", _choices)
        return deploy_cortex_m(converted, load_target("cortex-m4"), folder / "out", images=IMAGES)


def test_layers_of_equal_sizes_in_one_strip_are_in_place():
    placements = plan_memory(MODEL, _choices()).placements[:5]
    assert [placement.in_place for placement in placements] == [False, True, False, True, True]
    assert all(place.input_offset == place.output_offset for place in placements if place.in_place)


def test_model_in_place_equals_the_reference(deployed):
    assert deployed.exactness.logits_mismatched == 0
    assert deployed.exactness.saturated_share < 0.5


def test_smallest_arena_uses_kernels_in_place():
    model = random_model(2, input_hwc=(32, 32, 3), widths=(16, 16, 16), strides=(1, 1, 1), bit_widths=(4, 4, 4))
    choices = choose_kernels(model, "cortex-m4", prefer="ram")
    assert choices[1].in_place
    shape = next(shape for shape in model.shapes() if shape.name == "conv1")
    assert arena_bytes(shape, choices[1]) < 2 * 32 * 32 * 16
