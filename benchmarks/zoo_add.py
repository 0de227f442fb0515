"""Adds a finished training run to the zoo: its folder in `zoo/<name>/` and its entry in `zoo/index.json`.

    python -m benchmarks.zoo_add RUN --as cifar10-m-w4a8 [--force]

A name is <data>-<size>-<float|w<bits>a<bits>>[-variant]; data and bits are checked against the run. A quantized model keeps
its float net and the integer model that its QAT checkpoint lowers to; latent weights and optimizer state stay behind.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

from convert.integer_model import IntegerModel
from convert.integer_model_file import save_integer_model
from convert.stage import merge_and_lower
from repedge.recipe import Recipe, check_recipe, load_recipe
from repedge.stages import RECIPE_FILE, fresh_folder
from train.artefact import MANIFEST_NAME, Manifest, read_manifest, sha256_file, write_json, write_manifest, write_text
from train.checkpoint import INTEGER_MODEL_FILE, checkpoint_path, load_description
from train.errors import ArtefactError, ConfigError, PipelineError
from train.layout import macs, parameters
from train.log import LOG_FILE
from train.zoo import INDEX_FILE, PREFIX, ZOO, ZooIndex, ZooModel, load_index

NAME = re.compile(
    r"(?P<data>[a-z0-9]+)-(?P<size>[a-z0-9]+)-(?P<bits>float|w(?P<weights>\d)a(?P<activations>\d))(?P<variant>-[a-z0-9.-]+)?"
)
LARGEST_BYTES = 1_500_000
FLOAT_FILE = "float.safetensors"


def add_run(run: Path, name: str, *, zoo: Path = ZOO, force: bool = False) -> ZooModel:
    """Copy what the zoo keeps of a run folder and write the index anew."""
    index = load_index(zoo)
    if any(model.name == name for model in index.models) and not force:
        raise ConfigError(f"zoo: {name} exists already; choose another name, or --force to replace it")
    manifest, recipe = read_manifest(run / "train", verify=True), load_recipe(run / RECIPE_FILE)
    match = _check_name(name, recipe, is_quantized=_is_quantized(run / "train"))
    with fresh_folder(zoo / name) as folder:
        model = _fill(run / "train", folder, is_quantized=match["weights"] is not None)
        kept = _kept_metrics(manifest, is_quantized=model is not None)
        written = write_manifest(
            folder,
            stage="train",
            key=manifest.key,
            recipe_sha256=manifest.recipe_sha256,
            metrics={**kept, "provenance": _provenance(recipe, run, manifest)},
            tool_versions=manifest.tool_versions,
        )
        # the time of the training, so that adding it again gives the same bytes
        stamped = written.model_copy(update={"created_utc": manifest.created_utc})
        write_json(folder / MANIFEST_NAME, stamped.model_dump())
        write_text(folder / RECIPE_FILE, _portable(recipe, name).to_yaml())
        _check_size(folder, name)
    entry = _entry(zoo / name, manifest, recipe, match, model)
    models = [other for other in index.models if other.name != name]
    write_json(zoo / INDEX_FILE, ZooIndex(models=tuple(sorted([*models, entry], key=lambda m: m.name))).model_dump())
    return entry


def _is_quantized(training: Path) -> bool:
    return checkpoint_path(training, "qat").is_file() or (training / INTEGER_MODEL_FILE).is_file()


def _check_name(name: str, recipe: Recipe, *, is_quantized: bool) -> re.Match[str]:
    """The parts of a name that agrees with the run."""
    bits = f"w{recipe.quantize.weights.bit_width}a{recipe.quantize.activations.bit_width}" if is_quantized else "float"
    size = recipe.model.size or "<size>"
    match = NAME.fullmatch(name)
    wanted = f"{recipe.data.name}-{size}-{bits}"
    agrees = match is not None and match["data"] == recipe.data.name and match["bits"] == bits
    if match is None or not agrees or (recipe.model.size not in (None, match["size"])):
        raise ConfigError(f"zoo: name {name} does not fit this run; allowed is {wanted}, or {wanted}-<variant>")
    return match


def _fill(training: Path, folder: Path, *, is_quantized: bool) -> IntegerModel | None:
    """Checkpoints, description and log; returns the integer model of a quantized net."""
    for file in (FLOAT_FILE, "model.json", LOG_FILE):
        if not (training / file).is_file():
            raise ArtefactError(f"{training / file}: missing; a finished training has one; train again")
        shutil.copyfile(training / file, folder / file)
    if not is_quantized:
        return None
    quantize = load_description(training).quantize
    model = merge_and_lower(training, quantize, calibration_images=None).model
    save_integer_model(model, folder / INTEGER_MODEL_FILE)
    return model


def _kept_metrics(manifest: Manifest, *, is_quantized: bool) -> dict[str, Any]:
    if not manifest.metrics.get("accuracy"):
        raise ArtefactError(
            "the training did not measure the test split; the zoo states test accuracy; train with repedge"
        )
    wanted = "qat" if is_quantized else "float_train"
    if wanted not in manifest.metrics["accuracy"]:
        raise ArtefactError(f"the training's manifest has no accuracy of {wanted}; train again")
    return manifest.metrics


def _provenance(recipe: Recipe, run: Path, manifest: Manifest) -> dict[str, Any]:
    """When and by which code it was trained, and the models that it started from, with their own recipes and accuracy."""
    sources = {}
    for source in recipe.sources():
        if source.startswith(PREFIX):
            continue
        folder = Path(source) / "train" if (Path(source) / "train").is_dir() else Path(source)
        theirs = read_manifest(folder)
        sources[_portable_source(source)] = {
            "key": theirs.key,
            "accuracy": theirs.metrics.get("accuracy"),
            "files": {file: entry.sha256 for file, entry in theirs.files.items() if file.endswith(".safetensors")},
            "recipe": load_recipe(folder.parent / RECIPE_FILE).training().model_dump(mode="json")
            if (folder.parent / RECIPE_FILE).is_file()
            else None,
        }
    return {"trained_utc": manifest.created_utc, "run": run.resolve().name, "sources": sources}


def _portable(recipe: Recipe, name: str) -> Recipe:
    """The recipe under the zoo's name; sources are named by run, not by this machine's folders."""
    content = recipe.model_dump(mode="json")
    content["name"] = name
    train = content["train"]
    for key in ("start_from", "continue_from"):
        train[key] = _portable_source(train[key]) if train[key] else None
    for phase in ("float_phase", "qat_phase"):
        distillation = train[phase]["distillation"]
        named = distillation["teacher"]
        if named:
            distillation["teacher"] = (
                _portable_source(named) if isinstance(named, str) else [_portable_source(source) for source in named]
            )
    if recipe.data.path is not None and recipe.data.path.is_absolute():
        raise ConfigError(f"zoo: data.path {recipe.data.path} is absolute, allowed is a path inside the data folder")
    return check_recipe(yaml.safe_load(yaml.safe_dump(content)), name)


def _portable_source(source: str) -> str:
    """`zoo:NAME` as it is; a folder becomes runs/<its name>."""
    if source.startswith(PREFIX):
        return source
    folder = Path(source).resolve()
    return f"runs/{folder.parent.name if folder.name == 'train' else folder.name}"


def _check_size(folder: Path, name: str) -> None:
    size = sum(path.stat().st_size for path in folder.iterdir())
    if size > LARGEST_BYTES:
        raise ConfigError(f"zoo: {name} takes {size:,} bytes, allowed are {LARGEST_BYTES:,}; train a narrower net")


def _entry(
    folder: Path, manifest: Manifest, recipe: Recipe, match: re.Match[str], model: IntegerModel | None
) -> ZooModel:
    """The model's line in the index."""
    metrics, description = manifest.metrics, load_description(folder)
    kind = "float_train" if model is None else "qat"
    validation = {name: facts["top1"] for name, facts in metrics.get("validation", {}).items()}
    input_hwc, classes = description.input_hwc, len(description.class_names)
    files = {path.name: sha256_file(path) for path in sorted(folder.iterdir())}
    return ZooModel(
        name=folder.name,
        data=recipe.data.name,
        data_sha256=metrics["dataset"]["sha256"],
        size=match["size"],
        weight_bits=None if model is None else recipe.quantize.weights.bit_width,
        activation_bits=None if model is None else recipe.quantize.activations.bit_width,
        top1_test=metrics["accuracy"][kind]["top1"],
        top1_validation=validation.get(kind),
        top1_float=metrics["accuracy"]["float_train"]["top1"],
        top1_float_validation=validation.get("float_train"),
        test_images=metrics["accuracy"][kind]["images"],
        weight_bytes=None if model is None else model.weight_bytes,
        parameters=parameters(recipe.model, input_hwc=input_hwc, classes=classes),
        macs=macs(recipe.model, input_hwc=input_hwc, classes=classes),
        seed=recipe.seed,
        recipe=f"zoo/{folder.name}/{RECIPE_FILE}",
        command=f"repedge train zoo/{folder.name}/{RECIPE_FILE}",
        log=f"zoo/{folder.name}/{LOG_FILE}",
        created_utc=manifest.created_utc,
        sha256=files[FLOAT_FILE if model is None else INTEGER_MODEL_FILE],
        files=files,
    )


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo_add", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder with a finished training")
    parser.add_argument("--as", dest="name", required=True, metavar="NAME")
    parser.add_argument("--zoo", type=Path, default=ZOO)
    parser.add_argument("--force", action="store_true", help="replace a model of that name")
    options = parser.parse_args(arguments)
    try:
        entry = add_run(options.run, options.name, zoo=options.zoo, force=options.force)
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(
        f"added {entry.name}: test {entry.top1_test:.2f} %, weight_bytes {entry.weight_bytes}, sha256 {entry.sha256[:12]}…"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
