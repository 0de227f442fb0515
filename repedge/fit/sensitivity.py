"""How much each layer alone suffers at each bit width: the divergence of the outputs from the float net's.

KL(float ‖ one layer quantized) in nats, mean over calibration images, activations in float. Layers do not suffer
independently, so it can also be measured around a choice: all layers at its bits, one of them at another width. Every
figure is one line of a cache as soon as it is measured, so an interrupted measurement goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from convert.float_network import FloatNetwork
from repedge.fit.post_trained import PostTrained
from train.artefact import sha256_json
from train.progress import Progress

BATCH = 64
Losses = dict[tuple[str, int], float]  # (layer, bit width) -> nats


@dataclass(frozen=True)
class TorchNet:
    """The merged net in float32: kernels OIHW, the classifier last."""

    weights: list[Tensor]
    biases: list[Tensor]
    strides: list[int]

    @classmethod
    def of(cls, merged: FloatNetwork) -> TorchNet:
        """Copy the parameters, rounded to float32."""
        weights = [*(conv.weight_oihw for conv in merged.convs), merged.classifier_weight]
        biases = [*(conv.bias for conv in merged.convs), merged.classifier_bias]
        return cls([_float32(w) for w in weights], [_float32(b) for b in biases], [c.stride for c in merged.convs])

    def layer(self, number: int, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """One layer with ReLU (the classifier with the pooling before it), with another weight where one is given."""
        kernel = self.weights[number] if weight is None else weight
        if number == len(self.strides):
            return F.linear(x.mean(dim=(2, 3)), kernel, self.biases[number])
        return F.relu(F.conv2d(x, kernel, self.biases[number], stride=self.strides[number], padding=1))

    def rest(self, number: int, x: Tensor) -> Tensor:
        """Logits from the input of layer `number`."""
        for following in range(number, len(self.weights)):
            x = self.layer(following, x)
        return x


def _float32(value: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(value, np.float32))


def as_torch_weight(weight: NDArray[np.float64]) -> Tensor:
    """OHWI -> OIHW float32; OI stays."""
    return _float32(weight.transpose(0, 3, 1, 2) if weight.ndim == 4 else weight)


def cache_key(
    merged: FloatNetwork, layers: PostTrained, images: NDArray[np.uint8], around: dict[str, int] | None = None
) -> str:
    """Hash of all that the figures depend on."""
    parts = [*(conv.weight_oihw for conv in merged.convs), *(conv.bias for conv in merged.convs)]
    parts += [merged.classifier_weight, merged.classifier_bias]
    codebooks = {bits: [plan.codebook.tolist() for plan in plans] for bits, plans in layers.plans.items()}
    digests = [sha256_json([part.shape, part.astype("<f8").tobytes().hex()]) for part in parts]
    return sha256_json([digests, codebooks, sha256_json([images.shape, images.tobytes().hex()]), around])


@torch.no_grad()
def measure_losses(
    merged: FloatNetwork,
    layers: PostTrained,
    images: NDArray[np.uint8],
    cache: Path,
    *,
    around: dict[str, int] | None = None,
    quiet: bool,
) -> Losses:
    """The divergence of every layer at every bit width over uint8 `images` (N, H, W, C).

    The other layers are in float, or at the bits of `around`.
    """
    key = cache_key(merged, layers, images, around)
    losses = read_cache(cache, key)
    float_net, widths = TorchNet.of(merged), sorted(layers.plans, reverse=True)
    net = float_net if around is None else quantized_net(float_net, layers, around)
    known = sum((name, bits) in losses for name in layers.names for bits in widths)
    progress = Progress(len(layers.names) * len(widths), done_steps=known, quiet=quiet)
    inputs = _batches(images)
    targets = [F.log_softmax(float_net.rest(0, batch).double(), dim=1) for batch in inputs]
    cache.parent.mkdir(parents=True, exist_ok=True)
    try:
        for number, name in enumerate(layers.names):
            missing = [bits for bits in widths if (name, bits) not in losses]
            for bits in missing:
                loss = _loss(net, number, as_torch_weight(layers.weight(number, bits)), inputs, targets)
                losses[name, bits] = loss
                with cache.open("a") as handle:
                    handle.write(json.dumps({"key": key, "layer": name, "bits": bits, "kl": loss}) + "\n")
                progress.step()
            if missing:
                progress.epoch(f"  fit      sensitivity of {name}, {len(missing)} bit widths")
            inputs = [net.layer(number, batch) for batch in inputs]
    finally:
        progress.close()
    return losses


def relative_losses(around: Losses, bits: dict[str, int], joint: float) -> Losses:
    """Losses measured around a choice as terms of a sum that is `joint` at that choice."""
    share = joint / len(bits)
    return {(name, width): loss - joint + share for (name, width), loss in around.items()}


def _batches(images: NDArray[np.uint8]) -> list[Tensor]:
    pictures = torch.from_numpy(images).permute(0, 3, 1, 2).to(torch.float32).div(255)
    return list(pictures.contiguous().split(BATCH))


def _loss(net: TorchNet, number: int, weight: Tensor, inputs: Sequence[Tensor], targets: Sequence[Tensor]) -> float:
    return divergence([net.rest(number + 1, net.layer(number, batch, weight)) for batch in inputs], targets)


def divergence(logits: Sequence[Tensor], targets: Sequence[Tensor]) -> float:
    """Mean KL(target ‖ softmax of the logits) in nats; `targets` are float64 log-probabilities, batch by batch."""
    total = 0.0
    for found, target in zip(logits, targets, strict=True):
        difference = target - F.log_softmax(found.double(), dim=1)
        total += float((target.exp() * difference).sum())
    # rounding may leave a hair below zero
    return max(0.0, total / sum(len(target) for target in targets))


@torch.no_grad()
def joint_loss(merged: FloatNetwork, layers: PostTrained, images: NDArray[np.uint8], bits: dict[str, int]) -> float:
    """The divergence with all layers quantized at once, to compare the sum of the single ones with."""
    net, inputs = TorchNet.of(merged), _batches(images)
    targets = [F.log_softmax(net.rest(0, batch).double(), dim=1) for batch in inputs]
    quantized = quantized_net(net, layers, bits)
    return divergence([quantized.rest(0, batch) for batch in inputs], targets)


def quantized_net(net: TorchNet, layers: PostTrained, bits: dict[str, int]) -> TorchNet:
    """The net with every weight at its bit width."""
    weights = [as_torch_weight(layers.weight(number, bits[name])) for number, name in enumerate(layers.names)]
    return TorchNet(weights, net.biases, net.strides)


@torch.no_grad()
def cross_entropy(merged: FloatNetwork, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> float:
    """Mean cross-entropy of the float net in nats, on images that it was not trained with."""
    net = TorchNet.of(merged)
    logits = torch.cat([net.rest(0, batch) for batch in _batches(images)])
    return float(F.cross_entropy(logits.double(), torch.from_numpy(labels.astype(np.int64))))


def read_cache(cache: Path, key: str) -> Losses:
    """The figures measured so far for this key; lines of others and a last line cut short by a crash are left out."""
    losses: Losses = {}
    for text in cache.read_text().splitlines() if cache.is_file() else ():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if line["key"] == key:
            losses[line["layer"], line["bits"]] = line["kl"]
    return losses
