"""The table of a net: every layer's bit widths with their loss, their encoded bytes and what their kernel needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from convert.c_layers import layer_tables
from convert.float_network import FloatNetwork
from convert.integer_model import IntegerModel, LayerShape, QuantizedConv, QuantizedFullyConnected
from convert.kernel import KernelChoice
from convert.kernels import Prefer, arena_bytes, choose_alone
from convert.kernels_portable import PORTABLE
from convert.packing import packed_weight_bytes
from repedge.fit.post_trained import PostTrained
from repedge.fit.sensitivity import Losses
from repedge.fit.table import LayerOptions, Option
from train.model import CLASSIFIER

BYTES_PER_CHANNEL = 9  # bias and multiplier of 4 bytes, shift of one
Counts = Mapping[tuple[str, int], tuple[int, int]]  # (layer, bit width) -> instructions, cycles
Layer = QuantizedConv | QuantizedFullyConnected


@dataclass(frozen=True)
class KernelPlan:
    """How the deploy stage will choose kernels: core, preference, and the arena it aims for.

    A layer that cannot keep to `arena_wanted` takes its smallest kernel; one above `arena_limit` is out of the budget.
    """

    core: str | None = None
    prefer: Prefer = "flash"
    arena_wanted: int | None = None
    arena_limit: int | None = None

    def choice(self, layer: Layer, shape: LayerShape) -> KernelChoice | None:
        """The kernel of a layer; None of the classifier, and where the arena is too small for all of them."""
        if not isinstance(layer, QuantizedConv):
            return None
        wanted = choose_alone(layer, shape, self.core, prefer=self.prefer, ram_limit=self.arena_wanted)
        core = None if self.prefer == "flash" else self.core
        return wanted or choose_alone(layer, shape, core, prefer="ram", ram_limit=self.arena_limit)


def build_table(
    layers: PostTrained, losses: Losses, plan: KernelPlan, counts: Counts | None = None
) -> list[LayerOptions]:
    """The options of all layers, by descending bit width; one that no kernel fits into the arena is left out.

    Without losses or counts these are 0, for questions of size.
    """
    models = {bits: layers.uniform(bits) for bits in sorted(layers.plans, reverse=True)}
    table = []
    for number, shape in enumerate(layers.shapes()):
        options = []
        for bits, model in models.items():
            choice = plan.choice(model.layers[number], shape)
            if choice is not None or shape.kind != "conv":
                option = _option(model, number, shape, choice, losses.get((shape.name, bits), 0.0))
                instructions, cycles = (counts or {}).get((shape.name, bits), (0, 0))
                options.append(replace(option, instructions=instructions, cycles=cycles))
        table.append(LayerOptions(shape.name, tuple(options)))
    return table


def encoded_bytes(layer: Layer, choice: KernelChoice | None = None) -> int:
    """Bytes of the very tables that the C writer emits for a layer: indices, codebook, bias, multiplier, shift."""
    tables = layer_tables(layer, choice.kernel if choice else PORTABLE)
    return sum(table.nbytes for table in tables.values())


def sizes_by_shape(merged: FloatNetwork, bits: Mapping[str, int]) -> dict[str, int]:
    """Encoded bytes of every layer; they depend on shapes alone, so nothing has to be quantized to know them."""
    weights = {conv.name: conv.weight_oihw for conv in merged.convs} | {CLASSIFIER: merged.classifier_weight}
    return {
        name: packed_weight_bytes(len(weight), weight[0].size, bits[name]) + len(weight) * BYTES_PER_CHANNEL
        for name, weight in weights.items()
    }


def _option(model: IntegerModel, number: int, shape: LayerShape, choice: KernelChoice | None, loss: float) -> Option:
    layer = model.layers[number]
    # the first layer's input is the 8-bit image, every other one's what the layer before puts out
    activation_bits = model.convs[number - 1].activation_bits if number else 8
    return Option(
        bit_width=layer.bit_width,
        loss=loss,
        weight_bytes=encoded_bytes(layer),
        flash_bytes=encoded_bytes(layer, choice),
        bit_operations=shape.macs * layer.bit_width * activation_bits,
        arena_bytes=arena_bytes(shape, choice) if choice else 0,
    )
