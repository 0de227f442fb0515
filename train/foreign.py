"""RepVGG checkpoints from elsewhere: other key layouts become this project's, tensor by tensor, nothing is recomputed.

| ours | authors (DingXiaoH/RepVGG) | timm |
|---|---|---|
| stage1.0 | stage0 | stem |
| stage2.3 | stage1.3 | stages.0.3 |
| conv3x3, norm3x3 | rbr_dense.conv, rbr_dense.bn | conv_kxk.conv, conv_kxk.bn |
| conv1x1, norm1x1 | rbr_1x1.conv, rbr_1x1.bn | conv_1x1.conv, conv_1x1.bn |
| norm_identity | rbr_identity | identity |
| classifier | linear | head.fc |

timm's MobileOne blocks write conv_kxk.0 and conv_scale; with a single 3×3 branch they are the same block and load too.

Both train on images normalised per channel. This project's input is pixel / 255, so `fold_normalisation` moves mean and
deviation into the first block; that is exact wherever the kernel does not touch the padding (which is black here, mean there).
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from train.checkpoint import ModelDescription, build_network, check_finite, check_state, load_state
from train.errors import ArtefactError, ConfigError, UnsupportedLayer
from train.model import RepVGG
from train.norms import BatchNorm

WRAPPERS = ("state_dict", "model", "state_dict_ema", "model_state_dict")
PREFIXES = ("module.", "model.")
AUTHORS_BRANCHES = {
    "rbr_dense.conv": "conv3x3",
    "rbr_dense.bn": "norm3x3",
    "rbr_1x1.conv": "conv1x1",
    "rbr_1x1.bn": "norm1x1",
    "rbr_identity": "norm_identity",
}
TIMM_BRANCHES = {
    "conv_kxk.conv": "conv3x3",
    "conv_kxk.bn": "norm3x3",
    "conv_1x1.conv": "conv1x1",
    "conv_1x1.bn": "norm1x1",
    "conv_scale.conv": "conv1x1",
    "conv_scale.bn": "norm1x1",
    "identity": "norm_identity",
}
TENSOR = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
AUTHORS_KEY = re.compile(rf"stage(\d+)\.(?:(\d+)\.)?({'|'.join(map(re.escape, AUTHORS_BRANCHES))})\.{TENSOR}")
TIMM_KEY = re.compile(
    rf"(?:stem|stages\.(\d+)\.(\d+))\.(conv_kxk|conv_1x1|conv_scale|identity)(?:\.0)?(\.conv|\.bn)?\.{TENSOR}"
)
# what torch's unpickler raises on files that are cut, altered or no torch files
UNPICKLING_ERRORS = (
    pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile, ValueError, LookupError, TypeError, AttributeError,
)  # fmt: skip
MERGED = ("rbr_reparam", "reparam_conv")


def load_foreign(path: Path, description: ModelDescription) -> RepVGG:
    """The network of a checkpoint file in any of the three layouts, in evaluation mode; every fault is one clear error."""
    network = build_network(description).eval()
    state = {our_name(name, path): _float32(tensor) for name, tensor in read_tensors(path).items()}
    expected = network.state_dict()
    for name, tensor in expected.items():  # bookkeeping that carries no weights and that old files lack
        if name.endswith("num_batches_tracked") or name in ("logits_scale", "logits_zero_point"):
            state.setdefault(name, tensor)
    check_state(
        path, state, expected, origin="model.size or widths, depths and strides in the recipe fit this checkpoint"
    )
    network.load_state_dict(state)
    _check_variances(path, network)
    return network


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Name -> tensor of a .safetensors file or of a torch file that holds tensors only, wrappers and prefixes taken off."""
    if path.suffix == ".safetensors":
        return _without_prefix(load_state(path))
    state = _without_prefix(_state_of(_load_torch(path), path))
    check_finite(path, state)
    return state


def _load_torch(path: Path) -> Any:
    """The content of a torch file; its unpickler loads tensors and plain containers, and fails in many ways on the rest."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other pickle protocols; the error says all that matters
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: missing; name a .pth, .pt or .safetensors file") from error
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read ({error.strerror}); make it readable") from error
    except UNPICKLING_ERRORS as error:
        raise ArtefactError(
            f"{path}: not a whole torch file of tensors ({type(error).__name__}); it is truncated, altered, or holds Python "
            "objects, which are never loaded; save its state_dict alone"
        ) from error


def _state_of(content: Any, path: Path) -> dict[str, Tensor]:
    """The mapping of tensors, also where training facts stand beside it."""
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(_is_named_tensor(*entry) for entry in content.items()):
        raise ArtefactError(f"{path}: holds no mapping of tensors, a state_dict is one; save model.state_dict()")
    return dict(content)


def _is_named_tensor(name: object, value: object) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor)


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def our_name(name: str, path: Path) -> str:
    """The project's name of a tensor; the project's own names stay, `check_state` judges them."""
    if any(part in name for part in MERGED):
        raise UnsupportedLayer(
            f"{path}: tensor {name} belongs to an already merged net, allowed are training-time checkpoints with their "
            "branches; load the file from before switch_to_deploy"
        )
    if found := AUTHORS_KEY.fullmatch(name):
        return f"stage{int(found[1]) + 1}.{found[2] or 0}.{AUTHORS_BRANCHES[found[3]]}.{found[4]}"
    found = TIMM_KEY.fullmatch(name)
    branch = TIMM_BRANCHES.get(f"{found[3]}{found[4] or ''}") if found else None
    if found and branch:
        place = "stage1.0" if found[1] is None else f"stage{int(found[1]) + 2}.{found[2]}"
        return f"{place}.{branch}.{found[5]}"
    return re.sub(r"^(linear|head\.fc)\.", "classifier.", name)


def _float32(tensor: Tensor) -> Tensor:
    """Half precision widened, which is exact; other types as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _check_variances(path: Path, network: RepVGG) -> None:
    for name, module in network.named_modules():
        if isinstance(module, BatchNorm) and bool((module.running_var < 0).any()):
            raise ArtefactError(
                f"{path}: {name}.running_var is negative, allowed is >= 0; take an undamaged checkpoint"
            )


@torch.no_grad()
def fold_normalisation(network: RepVGG, mean: Sequence[float], deviation: Sequence[float]) -> None:
    """Let a net that was trained on (pixel / 255 − mean) / deviation take pixel / 255: in place, first block only."""
    block = network.blocks[0]
    channels = block.conv3x3.weight.shape[1]
    if not len(mean) == len(deviation) == channels or min(deviation) <= 0:
        raise ConfigError(
            f"checkpoint.input_mean and input_std: {len(mean)} and {len(deviation)} values, allowed are {channels} each, "
            "deviations > 0; give one per input channel"
        )
    for convolution, norm in ((block.conv3x3, block.norm3x3), (block.conv1x1, block.norm1x1)):
        if not isinstance(norm, BatchNorm):
            raise ConfigError("checkpoint.input_mean: only a net with batch norms is folded; remove the key")
        weight = convolution.weight.double() / torch.tensor(deviation, dtype=torch.float64)[:, None, None]
        shift = (weight * torch.tensor(mean, dtype=torch.float64)[:, None, None]).sum(dim=(1, 2, 3))
        convolution.weight.copy_(weight)
        norm.running_mean.copy_(norm.running_mean.double() + shift)
