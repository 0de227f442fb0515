"""What quantization did to the weights: signal-to-noise ratio, histograms before and after, and outliers.

`merged` is the float32 weight after the branch merge, `quantized` the codebook entry times the weight scale; both OIHW or OI.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from convert.integer_model import IntegerModel, QuantizedConv, QuantizedFullyConnected
from train.errors import ArtefactError

MERGED_FILE = "merged.safetensors"
BINS = 48
OUTLIER_STD = 4.0
# two roundings, of the weight and of the scale it was divided by, and the least-squares factor between them
FLOAT32_NOISE = (4 * 2.0**-24) ** 2

Float64 = NDArray[np.float64]


def load_merged_weights(path: Path, model: IntegerModel) -> dict[str, Float64]:
    """Layer name -> merged weight (OIHW or OI), checked against the shapes of the integer model."""
    try:
        tensors = load_file(path)
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: no such file; the convert stage writes it") from error
    except SafetensorError as error:
        raise ArtefactError(f"{path}: truncated or damaged ({error}); run the convert stage again") from error
    weights = {}
    for layer in model.layers:
        key, shape = f"{layer.name}.weight", dequantize(layer).shape
        if key not in tensors or tensors[key].shape != shape:
            found = tensors[key].shape if key in tensors else "nothing"
            raise ArtefactError(f"{path}: {key} is {found}, the integer model has {shape}; run the convert stage again")
        weights[layer.name] = tensors[key].astype(np.float64)
    return weights


def dequantize(layer: QuantizedConv | QuantizedFullyConnected) -> Float64:
    """The real weights the integer layer stands for, in the float net's layout (OIHW or OI)."""
    if isinstance(layer, QuantizedConv):
        integers = layer.weight_ohwi.transpose(0, 3, 1, 2).astype(np.float64)  # (O, 3, 3, I) -> (O, I, 3, 3)
    else:
        integers = layer.weight_oi.astype(np.float64)
    scale = np.broadcast_to(layer.weight_scale.astype(np.float64), (integers.shape[0],))
    return integers * scale.reshape(-1, *([1] * (integers.ndim - 1)))


def rebase_factor(merged: Float64, quantized: Float64) -> float:
    """The factor that brings `merged` to the integer model's units, by least squares; 1.0 where it is undetermined.

    Below 8 activation bits lowering re-bases the scales of a ReLU net layer by layer, so the weights of the float net
    and of the integer model differ by one positive factor per layer.
    """
    power = float((merged**2).sum())
    factor = float((merged * quantized).sum()) / power if power > 0 else 1.0
    return factor if factor > 0 else 1.0


def snr_db(merged: Float64, quantized: Float64) -> float | None:
    """Signal-to-noise ratio of the quantized weights in dB; None when they are equal or the signal is zero.

    Equal up to the rounding of `merged`, which is float32: each weight is within 2^-24 of its own size.
    """
    signal = float((merged**2).sum())
    noise = float(((merged - quantized) ** 2).sum())
    return 10.0 * math.log10(signal / noise) if noise > FLOAT32_NOISE * signal > 0 else None


def weight_histogram(name: str, merged: Float64, quantized: Float64, branches: Float64 | None = None) -> dict[str, Any]:
    """One layer's entry of report.json's `histograms`: shared bin edges, the counts, and the outliers.

    `branches` are the folded weights before the merge, of all branches; None where the layer has none or they are not known.
    """
    tensors = [tensor for tensor in (merged, quantized, branches) if tensor is not None]
    low, high = (float(end(tensor.min() if end is min else tensor.max() for tensor in tensors)) for end in (min, max))
    if high <= low:  # a constant layer still gets a bin of some width
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BINS + 1)
    return {
        "name": name,
        "bin_edges": edges.tolist(),
        "branch_counts": None if branches is None else np.histogram(branches, edges)[0].tolist(),
        "merged_counts": np.histogram(merged, edges)[0].tolist(),
        "quantized_counts": np.histogram(quantized, edges)[0].tolist(),
        "outliers": outliers(merged),
    }


def outliers(weight: Float64) -> dict[str, Any]:
    """max|W| over the standard deviation, kurtosis (3 for a normal distribution), weights beyond 4 standard deviations."""
    centred = weight - weight.mean()
    deviation = float(centred.std())
    if deviation == 0:
        return {"mean": float(weight.mean()), "std": 0.0, "max_over_std": 0.0, "kurtosis": 0.0, "beyond_4_std": 0}
    return {
        "mean": float(weight.mean()),
        "std": deviation,
        "max_over_std": float(np.abs(weight).max()) / deviation,
        "kurtosis": float(((centred / deviation) ** 4).mean()),
        "beyond_4_std": int((np.abs(centred) > OUTLIER_STD * deviation).sum()),
    }
