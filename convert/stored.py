"""A layer as packed tables hold it: with its codebook, or plain, as `convert.packing` decides it.

The integer model and its file keep codebook and indices as training left them. What is packed (C tables, TVM, integer ONNX)
is the stored layer, and it is with this that read-back compares.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from convert.integer_model import QuantizedConv, QuantizedFullyConnected
from convert.packing import PLAIN_BITS, is_plain

Layer = TypeVar("Layer", bound=QuantizedConv | QuantizedFullyConnected)

# entry k is the byte k in two's complement; -128 is no weight, so nothing names its place
IDENTITY: NDArray[np.int8] = np.where(np.arange(256) == 128, 0, np.arange(256)).astype(np.uint8).view(np.int8)


def is_stored_plain(layer: QuantizedConv | QuantizedFullyConnected) -> bool:
    """Whether its packed symbols are the weights."""
    return is_plain(layer.indices.shape[0], layer.indices[0].size, layer.bit_width)


def stored_layer(layer: Layer) -> Layer:
    """The same weights, in the symbols that lie in flash: those of a plain layer are the weights' own bytes."""
    if not is_stored_plain(layer):
        return layer
    symbols = layer.codebook[layer.indices].view(np.uint8)
    return replace(layer, bit_width=PLAIN_BITS, codebook=IDENTITY, indices=symbols)


def stored_codebook(stored: QuantizedConv | QuantizedFullyConnected) -> NDArray[np.int8] | None:
    """The table beside a stored layer's rows: 2^b entries, those past the layer's own zero. None of a plain layer."""
    if stored.bit_width == PLAIN_BITS:
        return None
    return np.pad(stored.codebook, (0, 2**stored.bit_width - stored.codebook.size))
