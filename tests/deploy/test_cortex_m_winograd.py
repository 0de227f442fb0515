"""A whole model on the emulated Cortex-M4 with Winograd kernels, one of them working in place."""

from __future__ import annotations

import numpy as np

from convert.kernel import KernelChoice
from convert.kernels import conv_choices
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
WANTED = ("dsp_first", "dsp_winograd4", "dsp_winograd4_whole", "dsp_winograd2_halves")
MODEL = random_model(
    8, input_hwc=(18, 15, 3), widths=(8, 16, 12, 16), strides=(1, 1, 1, 1), bit_widths=(8, 4, 3, 6), activation_bits=6
)


def _choices(*_, **__) -> tuple[KernelChoice, ...]:
    """Each layer's first choice of the wanted kernel."""
    shapes = [shape for shape in MODEL.shapes() if shape.kind == "conv"]
    return tuple(
        next(choice for choice in conv_choices(conv, shape, "cortex-m4") if choice.kernel.name == name)
        for conv, shape, name in zip(MODEL.convs, shapes, WANTED, strict=True)
    )


def test_in_place_layer_leaves_its_output_where_its_input_lay():
    plan = plan_memory(MODEL, _choices())
    in_place = plan.placements[2]
    assert [placement.in_place for placement in plan.placements[:4]] == [False, False, True, False]
    assert in_place.input_offset == in_place.output_offset == 0
    assert in_place.scratch_offset == in_place.tensor_bytes == max(in_place.input_bytes, in_place.output_bytes)
    assert plan.arena_bytes == max(placement.arena_bytes for placement in plan.placements)


def test_model_equals_the_reference(tmp_path, monkeypatch):
    need("arm-none-eabi-gcc", "qemu-system-arm", "cmake", "make")
    monkeypatch.setattr(cortex_m, "choose_kernels", _choices)
    images = random_images(np.random.default_rng(7), IMAGES, MODEL.input_hwc)
    vectors = Vectors(images, np.zeros(IMAGES, np.uint8), run(MODEL, images))
    converted = ConvertedModel(tmp_path / "convert", MODEL, vectors)
    result = deploy_cortex_m(converted, load_target("cortex-m4"), tmp_path / "out", images=IMAGES)
    assert result.exactness.logits_mismatched == 0
    assert result.exactness.saturated_share < 0.5
    assert tuple(layer["kernel"] for layer in result.target["layers"][:4]) == WANTED
