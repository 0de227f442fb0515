"""Ways to choose: exact, greedy, and one width everywhere. Each gives one option per layer, or None where none fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields

from repedge.fit.solver import solve
from repedge.fit.table import Allocation, LayerOptions, Limits, Table, cost_of, within_arena
from train.config import QuantizeConfig

Allocate = Callable[[Table, Limits], Allocation | None]


def exact(table: Table, limits: Limits) -> Allocation | None:
    """The optimum."""
    return solve(table, limits)


def greedy(table: Table, limits: Limits) -> Allocation | None:
    """From the most bits down: always the step that costs the least loss for what it takes off the broken limits."""
    layers = within_arena(table, limits.arena_bytes)
    if any(not layer.options for layer in layers):
        return None
    places = [0] * len(layers)
    while not limits.fits(_at(layers, places)):
        steps = list(_steps(layers, places, limits))
        if not steps:
            return None
        _, number, place = min(steps)
        places[number] = place
    return _at(layers, places)


def _steps(layers: Table, places: list[int], limits: Limits) -> Iterator[tuple[float, int, int]]:
    """(loss per share of excess removed, layer, its new place) of each layer's next step down that removes some.

    Fewer bits need not be fewer bytes: small layers of many bits are stored as int8 whatever their width.
    """
    before = _excess(_at(layers, places), limits)
    for number, layer in enumerate(layers):
        for place in range(places[number] + 1, len(layer.options)):
            lower = [*places[:number], place, *places[number + 1 :]]
            removed = before - _excess(_at(layers, lower), limits)
            if removed > 0:
                higher, option = layer.options[places[number]], layer.options[place]
                yield (option.loss - higher.loss) / removed, number, place
                break


def _excess(allocation: Allocation, limits: Limits) -> float:
    """By how much the limits are broken, each as a share of itself."""
    found = cost_of(allocation)
    pairs = [(getattr(found, field.name), getattr(limits, field.name)) for field in fields(limits)]
    return sum(max(0, value - limit) / max(limit, 1) for value, limit in pairs if limit is not None)


def _at(layers: Table, places: list[int]) -> Allocation:
    return tuple(layer.options[place] for layer, place in zip(layers, places, strict=True))


def greedy_path(table: Table) -> list[Allocation]:
    """What greedy would choose for one weight limit after another, from the most bytes down."""
    path = [tuple(layer.options[0] for layer in table)]
    while True:
        limits = Limits(weight_bytes=cost_of(path[-1]).weight_bytes - 1)
        following = greedy(table, limits)
        if following is None:
            return path
        path.append(following)


def uniform_bits(names: tuple[str, ...], quantize: QuantizeConfig, bit_width: int) -> dict[str, int]:
    """One width for all inner layers; first and last layer keep the recipe's own."""
    bits = dict.fromkeys(names, bit_width)
    return bits | {names[0]: quantize.weights.first_bit_width, names[-1]: quantize.weights.last_bit_width}


def uniform(table: Table, limits: Limits, quantize: QuantizeConfig) -> Allocation | None:
    """The most bits that fit for all inner layers; where none do, for all layers alike."""
    layers: list[LayerOptions] = within_arena(table, limits.arena_bytes)
    if any(not layer.options for layer in layers):
        return None
    names = tuple(layer.name for layer in layers)
    widths = [option.bit_width for option in layers[0].options]
    choices = [uniform_bits(names, quantize, width) for width in widths]
    choices += [dict.fromkeys(names, width) for width in widths]
    found = (tuple(layer.at(bits[layer.name]) for layer in layers) for bits in choices)
    return next((allocation for allocation in found if limits.fits(allocation)), None)
