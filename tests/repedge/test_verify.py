"""`inspect --verify`: an untouched file passes; flipped weights, a wrong scale and a cut file are told by layer."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from convert.c_layers import layer_tables
from convert.c_source import write_c_model
from convert.integer_model_file import FILE_NAME as MODEL_FILE
from convert.integer_model_file import save_integer_model
from convert.kernel import pack_in_order
from convert.onnx_integer import write_integer_onnx
from convert.onnx_qdq import write_qdq_onnx
from convert.reference import run
from convert.tflite_exact import pack_int4, write_tflite
from convert.tflite_int4 import write_int4_tflite
from convert.tvm_module import write_tvm_module
from convert.vectors import Vectors
from deploy.cortex_m import target_plan, write_tables
from deploy.firmware_build import build_firmware
from deploy.host_c import run_host_c
from deploy.result import ConvertedModel
from deploy.targets import load_target
from deploy.tvm_build import build_library, host_target
from repedge.cli import main
from tests.need import need
from tests.random_models import model_on_int4_grid, random_images
from train.artefact import write_manifest

MODEL = model_on_int4_grid(31, layers=("conv2",))
WEIGHTS, SCALED = MODEL.convs[2], MODEL.convs[1]  # the layers that are damaged
PACKED = layer_tables(WEIGHTS)["indices"].tobytes()
MULTIPLIER = layer_tables(SCALED)["multiplier"].tobytes()
# with the core's own kernels, whose indices lie in another order
PLAN = target_plan(MODEL, load_target("cortex-m4"))
KERNEL = next(placement.choice.kernel for placement in PLAN.placements if placement.shape.name == "conv2")
IN_KERNEL_ORDER = pack_in_order(WEIGHTS.indices, WEIGHTS.bit_width, KERNEL.order).tobytes()
OIHW = np.ascontiguousarray(WEIGHTS.weight_ohwi.transpose(0, 3, 1, 2)).tobytes()


@dataclass(frozen=True)
class Artefact:
    """A file below the run, where its weights and scales are found, and how a value in it is changed."""

    path: str
    weights: bytes
    scale: bytes
    change: Callable[[bytes, bytes], bytes]


def change_byte(content: bytes, needle: bytes) -> bytes:
    position = content.index(needle) + len(needle) // 2
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


def change_number(content: bytes, needle: bytes) -> bytes:
    """The last digit of the first number of the C array `needle`."""
    start = re.search(re.escape(needle) + rb"\[\d+\] = \{\s*-?\d*", content).end() - 1
    return content[:start] + (b"1" if content[start : start + 1] == b"0" else b"0") + content[start + 1 :]


def change_tensor(content: bytes, needle: bytes) -> bytes:
    """One bit of the base64 tensor that ends with `needle`."""
    for text in re.findall(rb'"ffi\.Tensor","data":"([^"]*)"', content):
        blob = base64.b64decode(text)
        if blob.endswith(needle):
            return content.replace(text, base64.b64encode(change_byte(blob, needle)))
    raise AssertionError("no such tensor")


ARTEFACTS = {
    "tflite": Artefact(
        "convert/model_int8.tflite", WEIGHTS.weight_ohwi.tobytes(), SCALED.weight_scale.tobytes(), change_byte
    ),
    "tflite_int4": Artefact(
        "convert/model_int4.tflite",
        pack_int4(WEIGHTS.weight_ohwi).tobytes(),
        SCALED.weight_scale.tobytes(),
        change_byte,
    ),
    "onnx_integer": Artefact("convert/model_integer.onnx", PACKED, MULTIPLIER, change_byte),
    "onnx_qdq": Artefact("convert/model_qdq.onnx", OIHW, SCALED.weight_scale.tobytes(), change_byte),
    "c": Artefact("convert/c/model_data.c", b"model_conv2_indices", b"model_conv1_multiplier", change_number),
    "c_cortex_m4": Artefact(
        "deploy/cortex-m4/model/model_data.c", b"model_conv2_indices", b"model_conv1_multiplier", change_number
    ),
    "tvm": Artefact("convert/tvm/module.json", PACKED, MULTIPLIER, change_tensor),
    "so": Artefact("deploy/host/tvm/librepedge_model.so", PACKED, MULTIPLIER, change_byte),
    "so_packed": Artefact("deploy/host/tvm/librepedge_packed.so", PACKED, MULTIPLIER, change_byte),
    "host": Artefact("deploy/host/c/repedge_host", PACKED, MULTIPLIER, change_byte),
    "elf": Artefact("deploy/cortex-m4/build/repedge.elf", IN_KERNEL_ORDER, MULTIPLIER, change_byte),
}
kinds = pytest.mark.parametrize("artefact", ARTEFACTS.values(), ids=ARTEFACTS)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory) -> Path:
    need("cmake", "arm-none-eabi-gcc", "cc")
    folder = tmp_path_factory.mktemp("run")
    convert = folder / "convert"
    save_integer_model(MODEL, convert / MODEL_FILE)
    write_tflite(MODEL, convert / "model_int8.tflite")
    write_int4_tflite(MODEL, convert / "model_int4.tflite")
    write_integer_onnx(MODEL, convert / "model_integer.onnx")
    write_qdq_onnx(MODEL, convert / "model_qdq.onnx")
    write_c_model(MODEL, convert / "c", source_hash="test")
    write_tvm_module(MODEL, convert)
    write_manifest(convert, stage="convert", key="k")
    images = random_images(np.random.default_rng(0), 2, MODEL.input_hwc)
    converted = ConvertedModel(convert, MODEL, Vectors(images, np.zeros(2, np.uint8), run(MODEL, images)))
    build_library(converted, replace(host_target(), packed=True), folder / "deploy/host/tvm")
    run_host_c(converted, folder / "deploy/host/c")
    write_manifest(folder / "deploy/host", stage="deploy", key="k")
    tables = write_tables(MODEL, PLAN, folder / "deploy/cortex-m4/model")
    build_firmware(tables, "cortex-m4", folder / "deploy/cortex-m4/build")
    shutil.rmtree(folder / "deploy/cortex-m4/build/build")
    write_manifest(folder / "deploy/cortex-m4", stage="deploy", key="k")
    return folder


@pytest.fixture
def damaged(finished_run, tmp_path) -> Callable[[Artefact, bytes], list[str]]:
    """The arguments that verify a copy of the artefact with other content, away from any manifest."""

    def copy(artefact: Artefact, content: bytes) -> list[str]:
        source = finished_run / artefact.path
        shutil.copytree(source.parent, tmp_path / "copy", ignore=shutil.ignore_patterns("manifest.json"))
        path = tmp_path / "copy" / source.name
        path.write_bytes(content)
        return ["inspect", str(path), "--verify", "--model", str(finished_run)]

    return copy


@kinds
def test_an_untouched_file_passes(finished_run, artefact, capsys):
    assert main(["inspect", str(finished_run / artefact.path), "--verify", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["layers"] == [layer.name for layer in MODEL.layers]
    assert facts["manifest"].startswith("SHA-256 as in")


@kinds
def test_a_flipped_weight_names_the_layer(finished_run, damaged, artefact, capsys):
    content = (finished_run / artefact.path).read_bytes()
    assert main(damaged(artefact, artefact.change(content, artefact.weights))) == 1
    assert "layer conv2" in capsys.readouterr().err


@kinds
def test_a_wrong_scale_names_the_layer(finished_run, damaged, artefact, capsys):
    content = (finished_run / artefact.path).read_bytes()
    assert main(damaged(artefact, artefact.change(content, artefact.scale))) == 1
    assert "layer conv1" in capsys.readouterr().err


@pytest.mark.parametrize("share", [0.3, 0.98])
@kinds
def test_a_cut_file_names_a_layer(finished_run, damaged, artefact, share, capsys):
    content = (finished_run / artefact.path).read_bytes()
    assert main(damaged(artefact, content[: int(share * len(content))])) == 1
    assert re.search(r"layer (conv\d|classifier)\b", capsys.readouterr().err)


def test_the_program_holds_its_kernels_order():
    assert IN_KERNEL_ORDER != PACKED


def test_a_cut_in_the_tables_names_the_first_layer_that_is_lost(finished_run, damaged, capsys):
    artefact = ARTEFACTS["c"]
    content = (finished_run / artefact.path).read_bytes()
    assert main(damaged(artefact, content[: content.index(b"model_conv3_bias")])) == 1
    assert "layer conv3 is the first that is not whole" in capsys.readouterr().err


def test_a_byte_outside_the_weights_is_caught_by_the_manifest(finished_run, tmp_path, capsys):
    shutil.copytree(finished_run, tmp_path / "run")
    path = tmp_path / "run" / ARTEFACTS["elf"].path
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # in the section table: alignment of the last section
    path.write_bytes(content)
    assert main(["inspect", str(path), "--verify"]) == 1
    assert str(path) in capsys.readouterr().err


def test_a_changed_kernel_of_the_tvm_module_names_its_layer(finished_run, damaged, capsys):
    artefact = ARTEFACTS["tvm"]
    content = (finished_run / artefact.path).read_bytes()
    top = b'{"type":"int","data":127}'
    assert top in content
    assert main(damaged(artefact, content.replace(top, top.replace(b"127", b"126"), 1))) == 1
    assert "layer conv" in capsys.readouterr().err


def test_an_altered_model_is_not_a_reference(finished_run, tmp_path, capsys):
    shutil.copytree(finished_run, tmp_path / "run")
    model = tmp_path / "run" / "convert" / MODEL_FILE
    content = bytearray(model.read_bytes())
    content[-3] ^= 1
    model.write_bytes(content)
    assert main(["inspect", str(tmp_path / "run/convert/model_int8.tflite"), "--verify"]) == 1
    assert "the integer model itself was altered" in capsys.readouterr().err


def change_tensor_of_model(content: bytes, name: str) -> bytes:
    """One bit in the middle of a tensor of a safetensors file."""
    length = int.from_bytes(content[:8], "little")
    start, end = json.loads(content[8 : 8 + length])[name]["data_offsets"]
    place = 8 + length + (start + end) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def test_the_model_itself_passes(finished_run, capsys):
    assert main(["inspect", str(finished_run / "convert" / MODEL_FILE), "--verify", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["compared"] == "model_int8.tflite, model_integer.onnx"


@pytest.mark.parametrize("given", [False, True], ids=["by what was written", "by another model"])
@pytest.mark.parametrize("tensor", ["conv2.indices", "conv2.weight_scale", "conv2.bias"])
def test_an_altered_model_names_the_layer(finished_run, tmp_path, tensor, given, capsys):
    shutil.copytree(finished_run / "convert", tmp_path / "convert", ignore=shutil.ignore_patterns("manifest.json"))
    path = tmp_path / "convert" / MODEL_FILE
    path.write_bytes(change_tensor_of_model(path.read_bytes(), tensor))
    extra = ["--model", str(finished_run)] if given else []
    assert main(["inspect", str(path), "--verify", *extra]) == 1
    assert "layer conv2" in capsys.readouterr().err


def test_a_cut_model_names_a_layer(finished_run, tmp_path, capsys):
    content = (finished_run / "convert" / MODEL_FILE).read_bytes()
    (tmp_path / MODEL_FILE).write_bytes(content[:-100])
    assert main(["inspect", str(tmp_path / MODEL_FILE), "--verify"]) == 1
    assert re.search(r"layer (conv\d|classifier) is the first that is not whole", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.tflite", "--verify"], "no such file"),
        (["{run}/convert/model_int8.tflite", "--verify", "--model", "nowhere"], "give the file, a convert folder"),
        (["{run}/convert/manifest.json", "--verify"], "holds no integers of the model"),
        (["{run}/convert/model_int8.tflite", "--model", "x"], "add --verify"),
    ],
)
def test_wrong_usage_is_exit_2(finished_run, arguments, message, capsys):
    assert main(["inspect", *(text.format(run=finished_run) for text in arguments)]) == 2
    assert message in capsys.readouterr().err


def test_a_file_outside_a_run_needs_its_model(finished_run, tmp_path, capsys):
    path = shutil.copy(finished_run / "convert/model_int8.tflite", tmp_path)
    assert main(["inspect", str(path), "--verify"]) == 2
    assert "give --model PATH" in capsys.readouterr().err
    assert main(["inspect", str(path), "--verify", "--model", str(finished_run / "convert")]) == 0
