"""The stored form of a layer: the same weights, at most the bytes of index and codebook."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.kernel_cases import random_layer
from convert.c_layers import layer_tables
from convert.integer_model import layer_weight_bytes
from convert.packing import unpack_indices
from convert.stored import IDENTITY, stored_codebook, stored_layer

SMALL, LARGE = (5, 5, 3, 8, 1), (5, 5, 16, 24, 1)  # 216 and 3,456 weights
PLAIN = {(bits, SMALL): bits >= 6 for bits in range(2, 9)} | {(bits, LARGE): bits == 8 for bits in range(2, 9)}


@pytest.mark.parametrize(("bits", "sizes"), PLAIN, ids=str)
def test_the_stored_layer_has_the_same_weights(bits, sizes):
    conv, _ = random_layer(np.random.default_rng(bits), sizes, bits)
    stored = stored_layer(conv)
    assert np.array_equal(stored.weight_ohwi, conv.weight_ohwi)
    assert (stored_codebook(stored) is None) == PLAIN[bits, sizes]


@pytest.mark.parametrize(("bits", "sizes"), PLAIN, ids=str)
def test_what_is_packed_decodes_to_the_weights(bits, sizes):
    conv, _ = random_layer(np.random.default_rng(bits), sizes, bits)
    tables, width = layer_tables(conv), stored_layer(conv).bit_width
    symbols = unpack_indices(tables["indices"], width, conv.indices[0].size)
    weights = tables["codebook"][symbols] if "codebook" in tables else symbols.view(np.int8)
    assert np.array_equal(weights.reshape(conv.indices.shape), conv.weight_ohwi)
    assert sum(table.nbytes for table in tables.values()) == layer_weight_bytes(conv)


def test_a_stored_layer_is_stored_as_it_is():
    conv, _ = random_layer(np.random.default_rng(1), SMALL, 7)
    once = stored_layer(conv)
    assert np.array_equal(stored_layer(once).indices, once.indices)


def test_the_identity_names_every_weight_by_its_byte():
    weights = np.arange(-127, 128).astype(np.int8)
    assert np.array_equal(IDENTITY[weights.view(np.uint8)], weights)
