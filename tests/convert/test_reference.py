"""The numpy interpreter against loops written out by hand, and the model's file."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from convert.integer_model_file import load_integer_model, save_integer_model
from convert.reference import accumulate, average_pool, quantize_images, run, trace
from tests.random_models import random_images, random_model
from train.errors import ArtefactError


def naive_accumulate(conv, value):
    """Python loops over one image: padding holds the zero point."""
    height, width, channels = value.shape
    out_height, out_width = conv.output_size(height, width)
    out = np.zeros((out_height, out_width, conv.indices.shape[0]), np.int64)
    weight = conv.weight_ohwi.astype(int)
    for y, x, o in np.ndindex(*out.shape):
        total = int(conv.bias[o])
        for ky, kx, i in np.ndindex(3, 3, channels):
            iy, ix = y * conv.stride + ky - 1, x * conv.stride + kx - 1
            if 0 <= iy < height and 0 <= ix < width:
                total += (int(value[iy, ix, i]) - conv.input.zero_point) * int(weight[o, ky, kx, i])
        out[y, x, o] = total
    return out


@pytest.mark.parametrize("hwc", [(8, 8, 1), (5, 7, 3)])
def test_accumulators_equal_loops_written_out(hwc):
    model = random_model(3, input_hwc=hwc, widths=(4, 5, 6), strides=(1, 2, 2), bit_widths=(8, 4, 2))
    image = random_images(np.random.default_rng(0), 1, hwc)
    value = quantize_images(image)
    for conv, (_, output) in zip(model.convs, trace(model, image), strict=False):
        assert np.array_equal(accumulate(conv, value)[0], naive_accumulate(conv, value[0]))
        value = output


def test_pooling_rounds_half_away_from_zero():
    value = np.array([[3, 2], [0, 0], [-3, -2]], np.int8).reshape(3, 1, 2, 1)
    assert average_pool(value)[:, 0].tolist() == [3, 0, -3]


@pytest.mark.parametrize("activation_bits", [8, 4, 2])
def test_random_models_are_not_saturated(activation_bits):
    model = random_model(1, activation_bits=activation_bits)
    images = random_images(np.random.default_rng(1), 100, model.input_hwc)
    logits = run(model, images)
    assert ((logits == -128) | (logits == 127)).mean() < 0.5
    for conv, (_, output) in zip(model.convs, trace(model, images), strict=False):
        assert output.max() <= conv.clamp_max
        assert ((output > conv.clamp_min) & (output < conv.clamp_max)).mean() > (0.3 if activation_bits > 2 else 0.15)


def test_batches_do_not_change_the_logits():
    model = random_model(2)
    images = random_images(np.random.default_rng(2), 9, model.input_hwc)
    assert np.array_equal(run(model, images, batch=4), run(model, images, batch=9))


def test_the_file_gives_the_same_model_back(tmp_path):
    model = random_model(4, activation_bits=4, per_channel=False)
    save_integer_model(model, tmp_path / "m.safetensors")
    loaded = load_integer_model(tmp_path / "m.safetensors")
    images = random_images(np.random.default_rng(0), 8, model.input_hwc)
    assert np.array_equal(run(loaded, images), run(model, images))
    assert loaded.input == model.input
    assert all(a.output == b.output for a, b in zip(loaded.layers, model.layers, strict=True))


def test_a_truncated_file_is_one_clear_error(tmp_path):
    path = tmp_path / "m.safetensors"
    save_integer_model(random_model(4), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArtefactError, match="truncated or not a safetensors file"):
        load_integer_model(path)


def test_a_nan_scale_names_its_layer(tmp_path):
    path = tmp_path / "m.safetensors"
    save_integer_model(random_model(4), path)
    from safetensors import safe_open

    with safe_open(path, "numpy") as handle:
        metadata = handle.metadata()
    tensors = load_file(path)
    tensors["conv2.weight_scale"][0] = np.nan
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(ArtefactError, match="layer conv2: weight_scale holds NaN"):
        load_integer_model(path)
