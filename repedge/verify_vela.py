"""`inspect --verify` for Vela's output: its TFLite file, or the C array made from it, decoded and compared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from convert.integer_model import IntegerModel
from convert.tflite_exact import FILE_NAME
from deploy.targets import EthosUTarget, load_target
from deploy.vela_decode import check_streams, coded_ranges, decode_streams
from deploy.vela_run import read_report
from deploy.vela_stream import VelaOutput, parse_vela_output
from train.errors import ArtefactError, Mismatch, ToolFailed


def compare_vela(path: Path, model: IntegerModel) -> None:
    """`Mismatch` names the layer that differs; the target is the folder's name, Vela's reports lie beside the file."""
    target = load_target(path.resolve().parent.name)
    if not isinstance(target, EthosUTarget):
        raise ArtefactError(
            f"{path}: lies in the folder of {target.name}, which is no Ethos-U; keep it where Vela wrote it"
        )
    is_array = path.suffix == ".c"
    stem = Path(FILE_NAME).stem if is_array else path.name.removesuffix("_vela.tflite")
    summary = path.with_name(f"{stem}_summary_{target.system_config}.csv")
    tflite = path.with_name(f"{stem}_vela.tflite")
    report = read_report(tflite, summary, path.with_name(f"{stem}_debug.xml"), target)
    content = array_bytes(path.read_text()) if is_array else path.read_bytes()
    output = parse_vela_output(content, str(path), target.accelerator)
    try:
        check_streams(model, output, report.layer_of_command, target.accelerator)
    except ToolFailed as error:
        layer = _undecodable_layer(output, report.layer_of_command, target.accelerator)
        raise Mismatch(f"{path}: layer {layer}: a weight stream can no longer be decoded; deploy again") from error


def array_bytes(text: str) -> bytes:
    """The bytes of the C array in `text`; `ValueError` where it is cut or a number is no byte."""
    match = re.search(r"=\s*\{([\s\d,]*)\};", text)
    if match is None:
        raise ValueError("no closed array of numbers")
    return bytes(int(number) for number in re.findall(r"\d+", match[1]))


def _undecodable_layer(output: VelaOutput, layer_of_command: Mapping[int, str], accelerator: str) -> str:
    """The first layer whose streams the codec refuses on their own."""
    for call in output.calls:
        ranges = {str(part.offset): part for part in coded_ranges([call], accelerator)}
        streams = {key: np.frombuffer(output.flash, np.uint8, part.length, part.offset) for key, part in ranges.items()}
        try:
            decode_streams(streams)
        except ToolFailed:
            return layer_of_command[call.command_offset]
    return "unknown"
