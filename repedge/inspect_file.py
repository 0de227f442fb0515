"""What any artefact of a run is and holds: facts as a nested mapping, printed as a tree or as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from convert.integer_model import IntegerModel, QuantizedConv, layer_weight_bytes
from convert.integer_model_file import load_integer_model
from convert.vectors import load_vectors
from repedge.inspect_run import inspect_folder
from train.artefact import MANIFEST_NAME, read_manifest, sha256_file, verify_files
from train.errors import ArtefactError

Facts = dict[str, Any]
ALTERED = "ALTERED: its SHA-256 is not the one the {stage} stage wrote down; run the stage again"


def inspect_path(path: Path) -> Facts:
    """Facts of one file, of an artefact folder by its manifest, or of a run's folder."""
    if path.is_dir():
        if not (path / MANIFEST_NAME).is_file():
            return inspect_folder(path)
        return inspect_manifest(path / MANIFEST_NAME)
    if not path.is_file():
        raise ArtefactError(f"{path}: no such file or folder; give one that repedge wrote")
    facts = _guarded(reader_of(path), path)
    return {"file": path.name, "size_bytes": path.stat().st_size, **against_manifest(path), **facts}


def reader_of(path: Path) -> Callable[[Path], Facts]:
    """The reader of a file's kind."""
    for suffix, reader in READERS.items():
        if path.name.endswith(suffix):
            return reader
    with path.open("rb") as handle:
        if handle.read(4) == b"\x7fELF":  # programs have no ending
            return inspect_elf
    raise ArtefactError(f"{path}: no reader for this kind of file; known endings are {', '.join(READERS)}")


def against_manifest(path: Path) -> Facts:
    """Whether a file is still the one that its stage wrote; nothing where no manifest beside it lists the file."""
    if not (path.parent / MANIFEST_NAME).is_file():
        return {}
    try:
        manifest = read_manifest(path.parent)
    except ArtefactError as error:  # the file itself may still be good
        return {"manifest": f"not readable: {error}"}
    entry = manifest.files.get(path.name)
    if entry is None:
        return {}
    same = sha256_file(path) == entry.sha256
    return {"manifest": f"unaltered since the {manifest.stage} stage" if same else ALTERED.format(stage=manifest.stage)}


def _guarded(reader: Callable[[Path], Facts], path: Path) -> Facts:
    try:
        return reader(path)
    except ArtefactError:
        raise
    except Exception as error:  # each format's library raises its own
        raise ArtefactError(
            f"{path}: damaged or not of its kind ({type(error).__name__}: {error}); write it again"
        ) from error


def inspect_manifest(path: Path) -> Facts:
    """The manifest, after every file it lists was checked."""
    manifest = read_manifest(path.parent)
    verify_files(path.parent, manifest)
    files = {name: f"{entry.size_bytes} bytes, sha256 {entry.sha256[:12]}…" for name, entry in manifest.files.items()}
    return {
        "kind": f"manifest of a finished {manifest.stage} stage; all {len(files)} files are unaltered",
        "created_utc": manifest.created_utc,
        "key": manifest.key,
        "metrics": manifest.metrics,
        "files": files,
        "tool_versions": manifest.tool_versions,
    }


def inspect_safetensors(path: Path) -> Facts:
    """An integer model in full; any other checkpoint by its tensors."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as handle:
        if "integer_model" in (handle.metadata() or {}):
            return integer_model_facts(load_integer_model(path))
        tensors = {name: handle.get_tensor(name) for name in sorted(handle.keys())}
    return {
        "kind": "float tensors: a checkpoint or the merged net",
        "parameters": int(sum(tensor.size for tensor in tensors.values())),
        "not_finite": sum(int((~np.isfinite(t)).sum()) for t in tensors.values() if t.dtype.kind == "f"),
        "tensors": {name: _tensor_text(tensor) for name, tensor in tensors.items()},
    }


def _tensor_text(tensor: np.ndarray) -> str:
    text = f"{tensor.dtype}{list(tensor.shape)}"
    return text + (f"  {tensor.min():.4g} … {tensor.max():.4g}" if tensor.size else "")


def integer_model_facts(model: IntegerModel) -> Facts:
    """Sizes of the whole model and one entry per layer."""
    shapes = {shape.name: shape for shape in model.shapes()}
    layers = {}
    for layer in model.layers:
        shape = shapes[layer.name]
        layers[layer.name] = {
            "op": f"3x3 convolution, stride {layer.stride}, ReLU"
            if isinstance(layer, QuantizedConv)
            else "fully connected",
            "shape": f"{'x'.join(map(str, shape.input_hwc))} -> {'x'.join(map(str, shape.output_hwc))}",
            "bit_width": layer.bit_width,
            "codebook": layer.codebook.tolist() if layer.codebook.size <= 32 else f"{layer.codebook.size} entries",
            "weight_scale": "per tensor" if layer.weight_scale.size == 1 else "per channel",
            "output": f"scale {layer.output.scale:.6g}, zero point {layer.output.zero_point}",
            "macs": shape.macs,
            "weight_bytes": layer_weight_bytes(layer),
        }
    return {
        "kind": "integer model, the contract of all back ends",
        "input": f"{'x'.join(map(str, model.input_hwc))} int8 = pixel - 128",
        "classes": list(model.class_names),
        "parameters": model.parameters,
        "macs": model.macs,
        "weight_bytes": model.weight_bytes,
        "layers": layers,
    }


def inspect_vectors(path: Path) -> Facts:
    """Test vectors."""
    vectors = load_vectors(path)
    return {
        "kind": "test vectors: images, labels and the reference's logits",
        "images": f"{vectors.images.dtype}{list(vectors.images.shape)}",
        "logits": f"{vectors.logits.dtype}{list(vectors.logits.shape)}",
        "reference_top1_percent": 100 * float((vectors.logits.argmax(axis=1) == vectors.labels).mean()),
    }


def inspect_tflite(path: Path) -> Facts:
    """Operators and tensors of a TFLite file."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    graph = model.subgraphs[0]
    operators = _names_by_value(schema.BuiltinOperator)
    types = _names_by_value(schema.TensorType)
    codes = [operators.get(code.builtinCode, str(code.builtinCode)) for code in model.operatorCodes]
    return {
        "kind": "TFLite model",
        "description": (model.description or b"").decode(),
        "operators": [codes[operator.opcodeIndex] for operator in graph.operators],
        "tensors": {
            tensor.name.decode(): f"{types[tensor.type]}{[] if tensor.shape is None else list(tensor.shape)}"
            for tensor in graph.tensors
        },
    }


def _names_by_value(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def inspect_onnx(path: Path) -> Facts:
    """Nodes and weights of an ONNX graph."""
    import onnx

    model = onnx.load(str(path))
    onnx.checker.check_model(model)
    return {
        "kind": "ONNX model",
        "opset": model.opset_import[0].version,
        "nodes": [node.op_type for node in model.graph.node],
        "initializers": {item.name: list(item.dims) for item in model.graph.initializer},
    }


def inspect_elf(path: Path) -> Facts:
    """Machine and sections of a firmware image or shared library."""
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as handle:
        elf = ELFFile(handle)
        sections = {s.name: s["sh_size"] for s in elf.iter_sections() if s["sh_flags"] & 2 and s["sh_size"]}
        return {"kind": f"ELF {elf['e_type'][3:].lower()} for {elf.get_machine_arch()}", "sections_bytes": sections}


def inspect_json(path: Path) -> Facts:
    """A manifest, a report, or any JSON."""
    if path.name == MANIFEST_NAME:
        return inspect_manifest(path)
    content = json.loads(path.read_text())
    kind = "report of a run" if path.name == "report.json" else "JSON"
    return {"kind": kind, "content": content}


def inspect_log(path: Path) -> Facts:
    """A training log: how many lines, the first and the last."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {
        "kind": "training log, one JSON object per epoch",
        "lines": len(lines),
        "first": lines[:1],
        "last": lines[-1:],
    }


def inspect_text(path: Path) -> Facts:
    """Text that speaks for itself: its kind and first lines."""
    kinds = {
        ".yaml": "YAML: a recipe, target or budget",
        ".c": "generated C tables",
        ".h": "C header",
        ".html": "report",
        ".md": "report",
    }
    lines = path.read_text(errors="replace").splitlines()
    return {"kind": kinds.get(path.suffix, "text"), "lines": len(lines), "begins": lines[:12]}


READERS: dict[str, Callable[[Path], Facts]] = {
    ".safetensors": inspect_safetensors,
    ".npz": inspect_vectors,
    ".tflite": inspect_tflite,
    ".onnx": inspect_onnx,
    ".elf": inspect_elf,
    ".so": inspect_elf,
    ".o": inspect_elf,
    ".jsonl": inspect_log,
    ".json": inspect_json,
    ".yaml": inspect_text,
    ".c": inspect_text,
    ".h": inspect_text,
    ".html": inspect_text,
    ".md": inspect_text,
    ".log": inspect_text,
    ".txt": inspect_text,
    ".csv": inspect_text,
    ".xml": inspect_text,
}
