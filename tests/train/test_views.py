"""Views: each image's few augmentations come round again, and the teacher sees each of them once."""

from __future__ import annotations

import pytest
import torch

from tests.train.small_networks import small_network
from tests.train.test_objective import IMAGES
from train.augment import apply_draws, draw
from train.config import AugmentConfig, DistillationConfig
from train.partner import FloatPartner, Mirrored, ViewTeacher


class Counting(FloatPartner):
    """A teacher that counts the images it sees."""

    seen = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen += len(images)
        return super().forward(images)


def test_teacher_sees_each_view_of_an_image_once_and_repeats_what_it_said():
    teacher, images = Counting(small_network()), IMAGES / 255
    taught = ViewTeacher(teacher, views=2, images=len(images), classes=5)
    expected = [FloatPartner(small_network())(view) for view in (images, images.flip(3))]
    for numbers, seen in [([0, 2, 3], 3), ([3, 4], 4), ([5, 4, 1, 0], 6)]:
        taught.select(0, torch.tensor(numbers))
        torch.testing.assert_close(taught(images[numbers]), expected[0][numbers])
        assert teacher.seen == seen
    first = taught.logits[0].clone()
    taught.select(1, torch.arange(6))
    torch.testing.assert_close(taught(images.flip(3)), expected[1])
    assert teacher.seen == 12
    taught.select(0, torch.arange(6))
    assert torch.equal(taught(torch.zeros_like(images)), first)
    assert teacher.seen == 12


def test_draws_of_some_images_change_them_as_those_of_all_do():
    config = AugmentConfig(shift_pixels=2, horizontal_flip=True, rotate_degrees=10, scale=0.1, cutout_pixels=3)
    images = torch.rand(20, 2, 9, 7, generator=torch.Generator().manual_seed(0))
    draws = draw(config, 20, generator=torch.Generator().manual_seed(1))
    order = torch.randperm(20, generator=torch.Generator().manual_seed(2))[:7]
    some = apply_draws(images[order], config, draws.of(order))
    torch.testing.assert_close(some, apply_draws(images, config, draws)[order])


@pytest.mark.parametrize("views", [None, 2])
def test_a_mirrored_teacher_is_heard_through_views_too(views):
    teacher = Mirrored(FloatPartner(small_network(seed=7)))
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    found = teacher if views is None else ViewTeacher(teacher, views=views, images=4, classes=5)
    if isinstance(found, ViewTeacher):
        found.select(0, torch.arange(4))
    torch.testing.assert_close(found(images), teacher(images))


@pytest.mark.parametrize(("name", "value"), [("views", 4), ("mirror", True)])
def test_options_of_a_teacher_without_distillation_are_refused(name, value):
    with pytest.raises(ValueError, match=rf"distillation\.{name} is given but kind is none"):
        DistillationConfig(**{name: value})
