"""What lies in a firmware image's flash, decoded and compared with the integer model: the last step of a weight's way."""

from __future__ import annotations

import numpy as np

from convert.c_layers import layer_symbol
from convert.c_reader import decode_indices
from convert.integer_model import IntegerModel, QuantizedConv, QuantizedFullyConnected
from convert.kernel import KernelChoice
from convert.memory_plan import MemoryPlan
from convert.stored import stored_codebook, stored_layer
from deploy.elf_symbols import ElfImage
from train.errors import Mismatch

LITTLE_INT32 = np.dtype("<i4")


def check_elf_weights(image: ElfImage, model: IntegerModel, plan: MemoryPlan) -> None:
    """Compare each layer's indices, codebook, bias, multiplier and shift; `Mismatch` names the first that differs."""
    choices = {placement.shape.name: placement.choice for placement in plan.placements}
    for layer in model.layers:
        for name, (found, expected) in _decode_layer(image, layer, choices[layer.name]).items():
            if not np.array_equal(found, expected):
                raise Mismatch(
                    f"layer {layer.name}: {name} in {image.path} differs from the integer model; "
                    "equal bytes are expected; build the firmware again"
                )


def _decode_layer(
    image: ElfImage, layer: QuantizedConv | QuantizedFullyConnected, choice: KernelChoice | None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Table name -> (decoded from flash, expected)."""
    stored = stored_layer(layer)
    codebook = stored_codebook(stored)
    multiplier, shift = layer.requantization
    packed = _table(image, layer.name, "indices", np.dtype(np.uint8))
    indices = decode_indices(packed, stored, choice)
    found = (
        {} if codebook is None else {"codebook": (_table(image, layer.name, "codebook", np.dtype(np.int8)), codebook)}
    )
    return found | {
        # of another size, it cannot be equal
        "indices": (packed if indices is None else indices, stored.indices),
        "bias": (_table(image, layer.name, "bias", LITTLE_INT32), layer.bias),
        "multiplier": (_table(image, layer.name, "multiplier", LITTLE_INT32), multiplier),
        "shift": (_table(image, layer.name, "shift", np.dtype(np.int8)), shift),
    }


def _table(image: ElfImage, layer: str, table: str, dtype: np.dtype) -> np.ndarray:
    content = image.read(image.symbol(f"{layer_symbol(layer)}_{table}"))
    return np.frombuffer(content, dtype)
