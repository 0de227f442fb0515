"""The numpy interpreter of the integer model: the truth that every back end is compared with.

Accumulators are computed as float64 matrix products, which are exact here: |accumulator| < 2^53 for any allowed layer.
Shapes: images uint8 (N, H, W, C); activations int8 (N, H, W, C); logits int8 (N, classes).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from convert.integer_model import IntegerModel, QuantizedConv, QuantizedFullyConnected
from convert.requantize import requantize

Int8 = NDArray[np.int8]
BATCH = 64


def quantize_images(images: NDArray[np.uint8]) -> Int8:
    """int8 = pixel − 128."""
    return (images.astype(np.int16) - 128).astype(np.int8)


def run(model: IntegerModel, images: NDArray[np.uint8], *, batch: int = BATCH) -> Int8:
    """Logits (N, classes) of uint8 images (N, H, W, C)."""
    parts = [_run_batch(model, images[start : start + batch]) for start in range(0, len(images), batch)]
    return np.concatenate(parts) if parts else np.zeros((0, model.classifier.indices.shape[0]), np.int8)


def trace(model: IntegerModel, images: NDArray[np.uint8]) -> Iterator[tuple[str, Int8]]:
    """(layer name, output) of every layer in order, for comparing back ends layer by layer."""
    value = quantize_images(images)
    for conv in model.convs:
        value = convolve(conv, value)
        yield conv.name, value
    value = average_pool(value)
    yield "pool", value
    yield model.classifier.name, fully_connected(model.classifier, value)


def _run_batch(model: IntegerModel, images: NDArray[np.uint8]) -> Int8:
    *_, (_, logits) = trace(model, images)
    return logits


def accumulate(conv: QuantizedConv, value: Int8) -> NDArray[np.int64]:
    """int32 accumulators, bias included: (N, H', W', O) in int64."""
    _, height, width, _ = value.shape
    # padding holds the zero point, that is 0 once it is subtracted
    centred = np.pad(value.astype(np.float64) - conv.input.zero_point, ((0, 0), (1, 1), (1, 1), (0, 0)))
    out_height, out_width = conv.output_size(height, width)
    weight = conv.weight_ohwi.astype(np.float64)
    total = np.zeros((value.shape[0], out_height, out_width, weight.shape[0]))
    for ky in range(3):
        for kx in range(3):
            rows = slice(ky, ky + conv.stride * (out_height - 1) + 1, conv.stride)
            columns = slice(kx, kx + conv.stride * (out_width - 1) + 1, conv.stride)
            total += centred[:, rows, columns] @ weight[:, ky, kx].T
    return total.astype(np.int64) + conv.bias


def convolve(conv: QuantizedConv, value: Int8) -> Int8:
    """(N, H, W, I) -> (N, H', W', O): accumulate, requantize, add the zero point, clamp."""
    multiplier, shift = conv.requantization
    result = requantize(accumulate(conv, value), multiplier, shift) + conv.output.zero_point
    return np.clip(result, conv.clamp_min, conv.clamp_max).astype(np.int8)


def average_pool(value: Int8) -> Int8:
    """(N, H, W, C) -> (N, C): sum / count over the raw int8 values, half away from zero; quantization unchanged."""
    count = value.shape[1] * value.shape[2]
    total = value.astype(np.int64).sum(axis=(1, 2))
    rounded = (np.abs(total) + count // 2) // count
    return (np.sign(total) * rounded).astype(np.int8)


def fully_connected(layer: QuantizedFullyConnected, value: Int8) -> Int8:
    """(N, I) -> (N, O) logits."""
    centred = value.astype(np.float64) - layer.input.zero_point
    total = (centred @ layer.weight_oi.astype(np.float64).T).astype(np.int64) + layer.bias
    multiplier, shift = layer.requantization
    result = requantize(total, multiplier, shift) + layer.output.zero_point
    return np.clip(result, -128, 127).astype(np.int8)


def predict(logits: Int8) -> NDArray[np.int64]:
    """Class of each row; ties go to the lowest index."""
    return logits.argmax(axis=1)


def top1(logits: Int8, labels: NDArray[np.integer]) -> float:
    """Top-1 accuracy in percent."""
    return 100.0 * float((predict(logits) == labels).mean())
