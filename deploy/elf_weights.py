"""What lies in a firmware image's flash, decoded and compared with the integer model: the last step of a weight's way."""

from __future__ import annotations

import numpy as np

from convert.c_layers import layer_symbol
from convert.integer_model import IntegerModel, QuantizedConv, QuantizedFullyConnected
from convert.packing import row_bytes, unpack_indices
from deploy.elf_symbols import ElfImage
from train.errors import Mismatch

LITTLE_INT32 = np.dtype("<i4")


def check_elf_weights(image: ElfImage, model: IntegerModel) -> None:
    """Compare each layer's indices, codebook, bias, multiplier and shift; `Mismatch` names the first that differs."""
    for layer in model.layers:
        for name, (found, expected) in _decode_layer(image, layer).items():
            if not np.array_equal(found, expected):
                raise Mismatch(
                    f"layer {layer.name}: {name} in {image.path} differs from the integer model; "
                    "equal bytes are expected; build the firmware again"
                )


def _decode_layer(
    image: ElfImage, layer: QuantizedConv | QuantizedFullyConnected
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Table name -> (decoded from flash, expected)."""
    channels, count = layer.indices.shape[0], layer.indices[0].size
    multiplier, shift = layer.requantization
    packed = _table(image, layer.name, "indices", np.dtype(np.uint8))
    if packed.size != channels * row_bytes(count, layer.bit_width):
        indices = packed  # of another size, so it cannot be equal
    else:
        indices = unpack_indices(packed.reshape(channels, -1), layer.bit_width, count)
    return {
        "indices": (indices, layer.indices.reshape(channels, count)),
        "codebook": (_table(image, layer.name, "codebook", np.dtype(np.int8))[: layer.codebook.size], layer.codebook),
        "bias": (_table(image, layer.name, "bias", LITTLE_INT32), layer.bias),
        "multiplier": (_table(image, layer.name, "multiplier", LITTLE_INT32), multiplier),
        "shift": (_table(image, layer.name, "shift", np.dtype(np.int8)), shift),
    }


def _table(image: ElfImage, layer: str, table: str, dtype: np.dtype) -> np.ndarray:
    content = image.read(image.symbol(f"{layer_symbol(layer)}_{table}"))
    return np.frombuffer(content, dtype)
