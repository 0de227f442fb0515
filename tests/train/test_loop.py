"""The training stage: what it leaves, that it repeats itself, and that an interruption changes nothing."""

from __future__ import annotations

import json
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import train.loop
from train.artefact import read_manifest, sha256_file
from train.checkpoint import load_network
from train.compiling import compile_failures
from train.config import (
    AugmentConfig,
    DataConfig,
    ModelConfig,
    NormConfig,
    PhaseConfig,
    QatPhaseConfig,
    TrainConfig,
    TrainingRecipe,
)
from train.dataset import Dataset
from train.errors import ArtefactError, ConfigError, ToolFailed, TrainingDiverged
from train.loop import train_model
from train.optimizer import make_optimizer
from train.partner import FloatPartner
from train.split import make_splits, split_validation
from train.validation import explain

EPOCHS = 3


def recipe(**phase: Any) -> TrainingRecipe:
    optimizer, qat = phase.pop("float_optimizer", "sgd"), phase.pop("qat", {})
    settings = {"batch_size": 16, "learning_rate": 0.05, **phase}
    return TrainingRecipe(
        seed=3,
        data=DataConfig(augment=AugmentConfig(shift_pixels=1, rotate_degrees=5, horizontal_flip=True, cutout_pixels=2)),
        model=ModelConfig(widths=(4, 8), depths=(1, 2), strides=(1, 2)),
        train=TrainConfig(
            float_phase=PhaseConfig(epochs=EPOCHS, warmup_epochs=1, optimizer=optimizer, **settings),
            qat_phase=QatPhaseConfig(epochs=EPOCHS, **{**settings, **qat}),
            threads=1,
        ),
    )


@pytest.fixture(autouse=True, scope="module")
def small_dataset():
    """Three classes of 8×8 noise around different grey levels: 90 training and 30 test images."""
    rng = np.random.default_rng(0)
    labels = (np.arange(120) % 3).astype(np.uint8)
    images = (rng.integers(0, 80, (120, 8, 8, 1)) + 80 * labels[:, None, None, None]).astype(np.uint8)
    dataset = Dataset("noise", ("a", "b", "c"), images[:90], labels[:90], images[90:], labels[90:])
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.loop, "load_dataset", lambda config, data_dir: dataset)
        yield dataset
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(small_dataset, tmp_path_factory):
    """The folder of one uninterrupted training."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder)
    return folder


def run(folder, *, resume: bool = False, key: str = "key", **phase: Any):
    return train_model(recipe(**phase), folder, key=key, recipe_sha256="", resume=resume, quiet=True)


def interrupt_after(monkeypatch, saves: int) -> None:
    """Raise KeyboardInterrupt once `saves` epochs were kept."""
    original, count = train.loop.save_position, iter(range(saves))

    def save(*arguments, **keywords):
        original(*arguments, **keywords)
        if next(count, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr(train.loop, "save_position", save)


def count_images_seen(monkeypatch) -> list[int]:
    """[images that float partners have seen]."""
    original, seen = FloatPartner.forward, [0]

    def forward(self, images):
        seen[0] += len(images)
        return original(self, images)

    monkeypatch.setattr(FloatPartner, "forward", forward)
    return seen


def test_finished_folder_holds_both_checkpoints_logs_and_the_metrics(whole, small_dataset):
    manifest = read_manifest(whole, verify=True)
    assert sorted(manifest.files) == [
        "float.safetensors",
        "log.jsonl",
        "model.json",
        "qat.safetensors",
        "tensorboard/events.out.tfevents.train",
    ]
    assert manifest.metrics["accuracy"]["qat"]["images"] == 30
    assert manifest.metrics["accuracy"]["float_train"]["top1"] > 60
    assert manifest.metrics["dataset"] == {
        "name": "noise",
        "split_sizes": {"train": 90, "test": 30},
        "sha256": small_dataset.sha256,
    }
    lines = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    assert [(line["phase"], line["epoch"]) for line in lines] == [
        (phase, epoch) for phase in ("float", "qat") for epoch in (1, 2, 3)
    ]


def test_final_network_is_frozen_and_exports_what_it_computes(whole):
    network = load_network(whole, "qat")
    for block in network.blocks:
        assert block.weight_quantizer.frozen
        exported = block.weight_quantizer.export()
        used = block.weight_quantizer(block.merged_kernel()[0]).detach().numpy()
        assert np.array_equal(exported.codebook[exported.indices].astype(np.float32) * exported.scale, used)


@pytest.mark.parametrize("epochs_kept", [2, EPOCHS, EPOCHS + 1, 2 * EPOCHS], ids=lambda kept: f"after-{kept}-epochs")
def test_interrupted_and_resumed_training_ends_with_the_same_bytes(whole, tmp_path, monkeypatch, epochs_kept):
    with monkeypatch.context() as patch:
        interrupt_after(patch, epochs_kept - 1)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    assert not (tmp_path / "manifest.json").exists()
    run(tmp_path, resume=True)
    for name in ("float.safetensors", "qat.safetensors", "model.json"):
        assert sha256_file(tmp_path / name) == sha256_file(whole / name), name
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2 * EPOCHS


def test_an_interrupt_before_the_manifest_loses_no_training(whole, tmp_path, monkeypatch):
    def interrupted(*arguments, **keywords):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train.loop, "write_manifest", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    (tmp_path / ".resume.safetensors.abcd_123.safetensors").write_text("of a killed process")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 0)  # fails the test if an epoch is trained again
        run(tmp_path, resume=True)
    assert sha256_file(tmp_path / "qat.safetensors") == sha256_file(whole / "qat.safetensors")
    assert read_manifest(tmp_path, verify=True).files.keys() == read_manifest(whole).files.keys()
    assert not list(tmp_path.glob("*resume*"))


def test_an_interrupt_after_the_manifest_leaves_a_finished_training(whole, tmp_path, monkeypatch):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    (tmp_path / "resume.safetensors").write_text("state")
    assert run(tmp_path, resume=True) == read_manifest(whole)
    assert not (tmp_path / "resume.safetensors").exists()


def test_resume_with_another_recipe_is_an_error(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 0)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    with pytest.raises(ArtefactError, match="state of another recipe"):
        run(tmp_path, resume=True, key="other")


def test_resume_of_a_finished_training_changes_nothing(whole):
    first = read_manifest(whole)
    assert run(whole, resume=True) == first == read_manifest(whole, verify=True)


def test_training_with_muon_resumes_to_the_same_bytes(tmp_path, monkeypatch):
    run(tmp_path / "whole", float_optimizer="muon")
    with monkeypatch.context() as patch:
        interrupt_after(patch, EPOCHS - 2)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "resumed", float_optimizer="muon")
    run(tmp_path / "resumed", float_optimizer="muon", resume=True)
    folders = [tmp_path / name for name in ("whole", "resumed")]
    assert sha256_file(folders[0] / "float.safetensors") == sha256_file(folders[1] / "float.safetensors")
    assert read_manifest(folders[0]).metrics["accuracy"]["float_train"]["top1"] > 60


def test_views_come_round_and_a_resumed_training_keeps_what_the_teacher_said(tmp_path, monkeypatch):
    taught = {"distillation": {"kind": "float", "views": 2}}
    seen = count_images_seen(monkeypatch)
    run(tmp_path / "whole", qat=taught)
    assert 80 <= seen[0] / 2 <= 90  # two views of 90 images in batches of 16; the odd images may wait for their turn
    with monkeypatch.context() as patch:
        interrupt_after(patch, EPOCHS + 1)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "resumed", qat=taught)
    seen[0] = 0
    run(tmp_path / "resumed", qat=taught, resume=True)
    assert seen[0] <= 10
    folders = [tmp_path / name for name in ("whole", "resumed")]
    assert sha256_file(folders[0] / "qat.safetensors") == sha256_file(folders[1] / "qat.safetensors")
    run(tmp_path / "other", qat={"distillation": {"kind": "float"}})
    assert sha256_file(tmp_path / "other" / "qat.safetensors") != sha256_file(folders[0] / "qat.safetensors")


def test_diverging_loss_is_an_error_with_a_remedy_and_leaves_no_manifest(tmp_path):
    with pytest.raises(TrainingDiverged, match=r"float phase, step .*learning_rate"):
        run(tmp_path, learning_rate=1e30)
    assert not (tmp_path / "manifest.json").exists()


def test_unknown_device_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="--device nonsense"):
        train_model(recipe(), tmp_path, key="", recipe_sha256="", device="nonsense")


def test_weight_decay_reaches_kernels_only(whole):
    network = load_network(whole, "qat")
    groups = make_optimizer(network, PhaseConfig(epochs=1), codebook_factor=0.1).param_groups
    assert all(parameter.ndim > 1 for parameter in groups[0]["params"])
    assert [group["weight_decay"] > 0 for group in groups] == [True, False, False]
    assert len(groups[1]["params"]) == len(network.blocks) + 1


def test_validation_split_is_stratified_seeded_and_disjoint():
    labels = (np.arange(100) % 4).astype(np.uint8)
    training, validation = split_validation(labels, share=0.2, seed=1)
    assert np.bincount(labels[validation]).tolist() == [5, 5, 5, 5]
    assert sorted([*training, *validation]) == list(range(100))
    assert np.array_equal(validation, split_validation(labels, share=0.2, seed=1)[1])
    assert not np.array_equal(validation, split_validation(labels, share=0.2, seed=2)[1])


def test_splits_hold_the_images_of_the_training_split_only(small_dataset):
    splits = make_splits(recipe(), small_dataset, "cpu")
    assert len(splits.train_labels) + len(splits.validation_labels) == 90


METHODS = [
    {"norm": {"kind": "mimic"}, "weights": {"method": "heq"}, "distillation": {"kind": "bwrf"}},
    {"norm": {"kind": "qarep"}, "weights": {"method": "dkm"}, "distillation": {"kind": "float"}},
    {"norm": {"kind": "bn", "penalty": 0.01}, "weights": {"method": "apot"}},
    {"norm": {"kind": "sigma_floor"}, "weights": {"method": "uniq"}},
    {  # without the mean-only norm, which the others have: here every layer's weights have to oscillate
        "norm": {"kind": "oabn"},
        "weights": {"method": "cluster", "bit_width": 2, "oscillation_threshold": 0.002},
        "mean_norm_until": 0.0,
    },
]


def recipe_of(method: dict) -> TrainingRecipe:
    content = recipe(learning_rate=0.005).model_dump(mode="json")
    content["norm"] = method["norm"]
    content["quantize"]["weights"] = method["weights"]
    content["quantize"]["mean_norm_until"] = method.get("mean_norm_until", 0.5)
    for phase in ("float_phase", "qat_phase"):
        content["train"][phase]["epochs"] = 2
    content["train"]["qat_phase"]["distillation"] = method.get("distillation", {})
    return TrainingRecipe.model_validate(content)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["weights"]["method"])
def test_every_method_resumes_to_the_same_bytes_and_exports_what_it_computes(tmp_path, monkeypatch, method):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    train_model(recipe_of(method), whole, key="key", recipe_sha256="", quiet=True)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            train_model(recipe_of(method), parts, key="key", recipe_sha256="", quiet=True)
    train_model(recipe_of(method), parts, key="key", recipe_sha256="", quiet=True, resume=True)
    assert sha256_file(parts / "qat.safetensors") == sha256_file(whole / "qat.safetensors")
    for block in load_network(whole, "qat").blocks:
        exported = block.weight_quantizer.export()
        used = block.weight_quantizer(block.merged_kernel()[0]).detach().numpy()
        assert np.array_equal(exported.codebook[exported.indices].astype(np.float32) * exported.scale, used)
        if "oscillation_threshold" in method["weights"]:
            assert block.weight_quantizer.oscillation.held.any()


def test_a_float_net_of_another_training_replaces_the_float_phase(whole, tmp_path):
    train_model(recipe(), tmp_path, key="key", recipe_sha256="", quiet=True, float_from=whole, measure_test=False)
    for name in ("float.safetensors", "qat.safetensors"):
        assert sha256_file(tmp_path / name) == sha256_file(whole / name)
    assert read_manifest(tmp_path).metrics["accuracy"] == {}


def test_a_float_net_of_another_norm_is_refused(whole, tmp_path):
    other = recipe().model_copy(update={"norm": NormConfig(kind="bn")})
    with pytest.raises(ArtefactError, match="its float net has another norm than this recipe"):
        train_model(other, tmp_path, key="key", recipe_sha256="", quiet=True, float_from=whole)


def taught_recipe(teacher, **float_phase) -> TrainingRecipe:
    content = recipe().model_dump(mode="json")
    content["train"]["float_phase"] |= {"epochs": 1, "distillation": {"kind": "float", "teacher": str(teacher)}}
    content["train"]["qat_phase"] |= {"epochs": 1, "distillation": {"kind": "bwrf", "teacher": str(teacher)}}
    content["train"]["float_phase"] |= float_phase
    return TrainingRecipe.model_validate(content)


def test_both_phases_learn_from_a_teacher_and_resume_to_the_same_bytes(whole, tmp_path, monkeypatch):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    train_model(taught_recipe(whole, precision="bf16"), first, key="key", recipe_sha256="", quiet=True)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 0)
        with pytest.raises(KeyboardInterrupt):
            train_model(taught_recipe(whole, precision="bf16"), second, key="key", recipe_sha256="", quiet=True)
    train_model(taught_recipe(whole, precision="bf16"), second, key="key", recipe_sha256="", quiet=True, resume=True)
    for name in ("float.safetensors", "qat.safetensors"):
        assert sha256_file(first / name) == sha256_file(second / name) != sha256_file(whole / name)


def test_a_list_of_one_teacher_is_that_teacher_and_a_second_one_changes_what_is_learnt(whole, tmp_path):
    hashes = []
    first, second = str(whole), str(tmp_path / "one")
    for name, teachers in (("one", [first]), ("string", first), ("two", [first, second])):
        folder = tmp_path / name
        folder.mkdir()
        taught = taught_recipe(whole).model_dump(mode="json")
        for phase in ("float_phase", "qat_phase"):
            taught["train"][phase]["distillation"]["teacher"] = teachers
        recipe = TrainingRecipe.model_validate(taught)
        assert recipe.sources() == sorted({teachers} if isinstance(teachers, str) else set(teachers))
        train_model(recipe, folder, key="key", recipe_sha256="", quiet=True)
        hashes.append(sha256_file(folder / "qat.safetensors"))
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(
    ("teachers", "allowed"),
    [([], "found []; allowed is text, or a list of at least 1"), (3, "found 3; allowed is text, or a list, as [a, b]")],
)
def test_what_names_no_teacher_is_one_line(teachers, allowed):
    taught = recipe().model_dump(mode="json")
    taught["train"]["float_phase"]["distillation"] = {"kind": "float", "teacher": teachers}
    with pytest.raises(ValidationError) as raised:
        TrainingRecipe.model_validate(taught)
    assert explain(raised.value, TrainingRecipe) == f"  train.float_phase.distillation.teacher: {allowed}"


def test_a_teacher_of_other_classes_is_refused(whole, tmp_path):
    description = json.loads((whole / "model.json").read_text())
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    (teacher / "model.json").write_text(json.dumps({**description, "class_names": ["a", "b", "d"]}))
    with pytest.raises(ConfigError, match="its class_names is"):
        train_model(taught_recipe(teacher), tmp_path, key="key", recipe_sha256="", quiet=True)


@pytest.mark.parametrize(
    "distillation", [{"kind": "float"}, {"kind": "bwrf", "teacher": "zoo:x"}, {"teacher": "zoo:x"}]
)
def test_a_float_phase_that_cannot_learn_so_is_refused(distillation):
    content = recipe().model_dump(mode="json")
    content["train"]["float_phase"]["distillation"] = distillation
    with pytest.raises(ValueError, match=r"allowed is kind float with a teacher|set distillation\.kind"):
        TrainingRecipe.model_validate(content)


def test_a_float_phase_that_continues_begins_with_the_weights_of_the_other_training(whole, tmp_path):
    config = recipe(learning_rate=1e-12)
    phases = config.train.model_copy(update={"continue_from": str(whole), "qat_phase": QatPhaseConfig(epochs=0)})
    config = config.model_copy(update={"train": phases})
    train_model(config, tmp_path / "on", key="key", recipe_sha256="", quiet=True)
    before = load_network(whole, "float").classifier.weight
    assert torch.allclose(load_network(tmp_path / "on", "float").classifier.weight, before, atol=1e-6)
    assert not torch.equal(before, torch.zeros_like(before))


def test_bf16_training_stays_close_to_float32_and_keeps_float32_parameters(whole, tmp_path):
    run(tmp_path, precision="bf16")
    losses = []
    for folder in (whole, tmp_path):
        lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        losses.append([line["loss"] for line in lines if line["phase"] == "float"])
    # bfloat16 carries 8 bits; a few dozen steps from the same start drift by a few of its roundings
    assert np.allclose(losses[0], losses[1], rtol=0.05, atol=0.05)
    assert losses[0] != losses[1]
    assert {tensor.dtype for tensor in load_network(tmp_path, "float").parameters()} == {torch.float32}


def test_a_step_that_cannot_be_compiled_is_one_error():
    torch._dynamo.reset()
    with compile_failures():  # nothing else is caught
        pass
    with pytest.raises(RuntimeError, match="other"), compile_failures():
        raise RuntimeError("other")

    def broken(graph, inputs):
        raise OSError(28, "No space left on device")

    step = torch.compile(torch.nn.functional.relu, backend=broken)
    message = r"No space left on device.*; give TORCHINDUCTOR_CACHE_DIR a folder"
    with pytest.raises(ToolFailed, match=message), compile_failures():
        step(torch.ones(2))


def test_compile_without_a_compiler_or_pythons_headers_is_told_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr("train.compiling.sysconfig.get_path", lambda name: str(tmp_path))
    monkeypatch.setattr("train.compiling.shutil.which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(ConfigError, match=r"found no Python.h in .*; install libpython3-dev or set compile: false"):
        train_model(recipe(compile=True), tmp_path / "run", key="k", recipe_sha256="r", quiet=True)
    monkeypatch.setattr("train.compiling.shutil.which", lambda name: None)
    with pytest.raises(ConfigError, match=r"found neither g\+\+ nor clang\+\+"):
        train_model(recipe(compile=True), tmp_path / "other", key="k", recipe_sha256="r", quiet=True)
