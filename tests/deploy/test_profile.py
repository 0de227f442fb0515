from __future__ import annotations

import pytest

from deploy.profile import BlockCount, BucketCount, Profile, read_profile
from train.errors import ArtefactError, Mismatch

DUMP = """repedge-count 2
block 100 108 4 0 10 9
block 100 108 4 63 1 1
block 108 10a 1 1 6 6
bucket 0 40 5 20 6 24 3 1
touch 0 20000010 20000018
touch 0 2000001c 20000020
bucket 1 6 0 0 0 0 0 0
bucket 63 4 1 4 0 0 0 0
end 50 20000400 0
"""


def _dump(tmp_path, text):
    path = tmp_path / "profile.txt"
    path.write_text(text)
    return path


def test_dump_is_read_whole(tmp_path):
    profile = read_profile(_dump(tmp_path, DUMP))
    assert profile == Profile(
        blocks=(
            BlockCount(0x100, 0x108, 4, 0, 10, 9),
            BlockCount(0x100, 0x108, 4, 63, 1, 1),
            BlockCount(0x108, 0x10A, 1, 1, 6, 6),
        ),
        buckets={
            0: BucketCount(40, 5, 20, 6, 24, 3, 1, ((0x20000010, 0x20000018), (0x2000001C, 0x20000020))),
            1: BucketCount(6),
            63: BucketCount(4, 1, 4),
        },
        instructions=50,
        stack_lowest=0x20000400,
    )


def test_counts_divide_by_images_exactly(tmp_path):
    assert read_profile(_dump(tmp_path, DUMP)).instructions_per_inference(2, 2) == (20, 3)


def test_counts_that_do_not_divide_are_refused(tmp_path):
    with pytest.raises(Mismatch, match="layer 0: 40 instructions over 3 images"):
        read_profile(_dump(tmp_path, DUMP)).instructions_per_inference(2, 3)


def test_a_layer_that_was_not_entered_is_refused(tmp_path):
    with pytest.raises(Mismatch, match=r"layers \[0, 1\], the model has 0 to 2"):
        read_profile(_dump(tmp_path, DUMP)).layer_instructions(3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (DUMP[:120], "truncated"),
        ("", "truncated"),
        (DUMP.replace("end 50", "end 51"), "damaged"),
        (DUMP.replace("block 108 10a", "block 108 zz"), "damaged"),
        (DUMP.replace("0400 0", "0400 1"), "several threads"),
    ],
)
def test_a_bad_dump_is_one_clear_error(text, message, tmp_path):
    with pytest.raises(ArtefactError, match=message):
        read_profile(_dump(tmp_path, text))


def test_a_missing_dump_is_an_error(tmp_path):
    with pytest.raises(ArtefactError, match="wrote no counts"):
        read_profile(tmp_path / "none.txt")
