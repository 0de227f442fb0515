"""The zoo's quantized nets for benchmarks: whatever CIFAR-10 ones its index names, and what back ends build from.

A net added to the zoo is in the next run of `make prove-zoo`, `make bench-formats` and `make bench-tvm`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.firmware import load_net
from convert.tflite_exact import FILE_NAME as TFLITE_NAME
from convert.tflite_exact import write_tflite
from convert.tvm_module import write_tvm_module
from deploy.result import ConvertedModel
from train.errors import ConfigError
from train.zoo import ZOO, ZooModel, load_index


def zoo_models() -> list[ZooModel]:
    """The quantized CIFAR-10 models, the smallest net first; those of equal shape by name."""
    found = [model for model in load_index().models if model.data == "cifar10" and model.weight_bits is not None]
    if not found:
        raise ConfigError("zoo: no quantized CIFAR-10 model in its index; name a run, or train a model and add it")
    return sorted(found, key=lambda model: (model.macs, model.name))


def zoo_folders() -> list[Path]:
    """Their folders."""
    return [ZOO / model.name for model in zoo_models()]


def converted_net(folder: Path, work: Path, *, images: int, data_dir: Path | None = None) -> ConvertedModel:
    """A run's or zoo model's net in a convert folder of its own below `work`: TVM module, exact TFLite file, vectors."""
    net = load_net(folder, work, data_dir, images=images)
    converted = replace(net, folder=work / folder.name / "convert", vectors=net.vectors.first(images))
    write_tvm_module(converted.model, converted.folder)
    write_tflite(converted.model, converted.folder / TFLITE_NAME)
    return converted
