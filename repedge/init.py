"""`repedge init`: a commented recipe to start from, checked like any other before it is written."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from deploy.targets import load_target
from repedge.recipe import check_recipe
from train.artefact import write_text
from train.errors import ConfigError

DATA_LINES = {
    "digits": "  name: digits                       # shipped with RepEdge: 1,797 handwritten digits, 8x8",
    "cifar10": "  name: cifar10                      # --data-dir, $REPEDGE_DATA or ./data holds it; a run says how to get it",
    "idx": "  name: idx                          # MNIST-style files\n  path: mnist                        # their folder, inside the data folder",
    "folder": "  name: folder                       # images: PATH/train/<class>/*.png and PATH/test/<class>/*.png\n"
    "  path: my-images                    # inside the data folder\n"
    "  resize: [32, 32]                   # height, width of every image\n"
    "  # channels: 1                      # 1 = grey, 3 = RGB (default)",
}

TEMPLATE = """\
# A RepEdge recipe. `repedge run {file}` trains, converts, proves and reports; a second run redoes only what changed.
name: {name}                # the run's folder: runs/{name}
seed: 0

data:
{data}
  validation_share: 0.1              # taken from the training images
  augment: {{shift_pixels: 2}}         # also: horizontal_flip, rotate_degrees, scale, cutout_pixels

model:
{model}

train:
  float_phase: {{epochs: 20, learning_rate: 0.1, warmup_epochs: 1}}
  qat_phase: {{epochs: 10, learning_rate: 0.0015, warmup_epochs: 1}}   # AdamW

quantize:
  weights:
    bit_width: 4                     # 2 to 8: codebook indices in flash
    first_bit_width: 8               # first and last layer are small and sensitive
    last_bit_width: 8
  activations: {{bit_width: 8}}

deploy:
  targets: [{board}]    # `repedge targets` lists boards; a path names a board file of your own
  emulated_images: 200               # test images that the emulated board classifies

# The run ends with exit code 1 where a limit is broken. Uncomment what matters:
# budget:
#   accuracy: {{top1_min: 90, top1_loss_max: 1}}
#   targets:
#     {board}: {{{limits}}}
"""


def write_recipe(path: Path, *, data: str, board: str, force: bool = False) -> None:
    """Write the recipe, named after its file; an existing file is refused without `force`."""
    if path.exists() and not force:
        raise ConfigError(f"{path}: exists already; name another file, or use --force to replace it")
    text = recipe_text(path, data=data, board=board)
    check_recipe(yaml.safe_load(text), str(path))
    write_text(path, text)


def _run_name(path: Path) -> str:
    """The file's name as that of a run: small letters, digits, dots, dashes and underscores.

    >>> _run_name(Path("My net (2).yaml"))
    'my-net-2'
    """
    return re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower()).strip("-._") or "mine"


def recipe_text(path: Path, *, data: str, board: str) -> str:
    """The recipe as commented YAML."""
    target = load_target(board)
    limits = {"flash_bytes": "65536", "ram_bytes": "32768", "latency_ms": "50"}
    carried = {key: value for key, value in limits.items() if key not in target.unverified_limits()}
    small = "  widths: [16, 32, 64]               # one entry per stage: channels, blocks, stride of the first block\n"
    small += "  depths: [1, 2, 2]\n  strides: [1, 2, 2]"
    size = "  size: xs                           # xs, s or m, or widths, depths and strides of your own"
    return TEMPLATE.format(
        file=path,
        name=_run_name(path),
        data=DATA_LINES[data],
        model=small if data in ("digits", "idx") else size,
        board=board,
        limits=", ".join(f"{key}: {value}" for key, value in carried.items()),
    )
