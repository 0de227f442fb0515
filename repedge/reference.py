"""docs/reference.md: the command line, the recipe, target files and report.json, written from their own definitions.

`python -m repedge.reference docs/reference.md` (`make docs`); a test holds the page to what it would write now.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from deploy.report_schema import SCHEMA_FILE
from deploy.targets import CortexATarget, CortexMTarget, EthosUTarget
from repedge.cli import build_parser
from repedge.recipe import Recipe
from train import errors
from train.artefact import write_text

STAGES = ("train", "convert", "deploy", "report")  # which take all that run takes
TITLES: dict[str, type[BaseModel]] = {"cortex_m": CortexMTarget, "cortex_a": CortexATarget, "ethos_u": EthosUTarget}


def reference_page() -> str:
    """The whole page as Markdown."""
    parts = [
        "# Reference",
        "Written by `make docs` from the code's own definitions; do not edit. What the numbers of a report mean is in "
        "[numbers.md](numbers.md).",
        "## Commands",
        *_commands(),
        "## Recipe",
        "One YAML file; every key may be left out but those marked as needed. `--set key.sub=value` overrides one. "
        "An unknown key is an error that names the nearest known one.",
        *_sections(Recipe, "", set()),
        "## Target files",
        "A board of one's own is a YAML file, named by its path under `deploy.targets`; [boards.md](boards.md) has an example.",
        *(part for kind, section in TITLES.items() for part in _target(kind, section)),
        "## report.json",
        f"Its schema is [`deploy/{SCHEMA_FILE.name}`](../deploy/{SCHEMA_FILE.name}), JSON Schema 2020-12. At the top level:",
        _report_table(),
        "## Errors and exit codes",
        "Every error says what was found, what is allowed and what to do.",
        _error_table(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _commands() -> Iterator[str]:
    parser = build_parser()
    verbs = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    common: list[tuple[str, str]] = []
    texts = {action.dest: action.help for action in verbs._choices_actions}
    for name, verb in verbs.choices.items():
        yield f"### repedge {name}"
        text = texts[name] or ""
        yield f"{text[:1].upper()}{text[1:]}."
        rows = [(_flags(action), action.help or "") for action in verb._actions if action.dest != "help"]
        own = [row for row in rows if row not in common] if name in STAGES else rows
        if name in STAGES:
            yield f"Takes what `repedge run` takes{', and:' if own else '.'}"
        if own:
            yield _table(("argument", ""), own)
        common = rows if name == "run" else common


def _flags(action: argparse.Action) -> str:
    """How an argument is written."""
    value = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else str(action.metavar or action.dest)
    if not action.option_strings:
        return f"`{value}`" if action.nargs != "*" else f"`[{value} …]`"
    flag = ", ".join(action.option_strings)
    return f"`{flag}`" if action.nargs == 0 else f"`{flag} {value}`"


def _sections(section: type[BaseModel], path: str, seen: set[type[BaseModel]]) -> Iterator[str]:
    """A table per section, outermost first; the sections inside follow, each once."""
    seen.add(section)
    if path:
        yield f"### {_cell(path)}"
        yield _summary(section)
    yield _table(
        ("key", "type", "default", ""), [_field(path, name, field) for name, field in section.model_fields.items()]
    )
    for name, field in section.model_fields.items():
        inner = _inner(field.annotation)
        if inner is not None and inner not in seen:
            key = f"{path}.{name}" if path else name
            yield from _sections(inner, f"{key}.<name>" if _is_mapping(field.annotation) else key, seen)


def _target(kind: str, section: type[BaseModel]) -> Iterator[str]:
    yield f"### kind: {kind}"
    yield _summary(section)
    rows = [_field("", name, field) for name, field in section.model_fields.items() if name != "kind"]
    yield _table(("key", "type", "default", ""), rows)


def _summary(section: type[BaseModel]) -> str:
    return " ".join((inspect.getdoc(section) or "").split())


def _field(path: str, name: str, field: Any) -> tuple[str, str, str, str]:
    limits = [
        f"{word} {getattr(item, key)}" for item in field.metadata for key, word in _LIMITS.items() if hasattr(item, key)
    ]
    text = "; ".join(part for part in (field.description or "", ", ".join(limits)) if part)
    inner = _inner(field.annotation)
    kind = f"section, see {path}.{name}".replace("see .", "see ") if inner else _type(field.annotation)
    return f"`{name}`", kind, "" if inner else _default(field), text


_LIMITS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def _default(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "needed"
    if value is None:
        return "–"
    return f"`{json.dumps(value, default=str)}`"


def _type(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(argument) for argument in arguments if argument is not type(None))
    if origin in (tuple, list):
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"mapping to {_type(arguments[1])}"
    return {"str": "text", "Path": "path", "bool": "true, false"}.get(annotation.__name__, annotation.__name__)


def _inner(annotation: Any) -> type[BaseModel] | None:
    """The section that a key holds, itself or as the values of a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_inner(argument) for argument in typing.get_args(annotation))
    return next((section for section in found if section is not None), None)


def _is_mapping(annotation: Any) -> bool:
    return typing.get_origin(annotation) is dict


def _report_table() -> str:
    schema: Mapping[str, Any] = json.loads(SCHEMA_FILE.read_text())
    rows = []
    for name, entry in schema["properties"].items():
        keys = ", ".join(f"`{key}`" for key in entry.get("properties", {}))
        text = "; ".join(part for part in (entry.get("description", ""), f"keys {keys}" if keys else "") if part)
        rows.append((f"`{name}`", "" if name in schema["required"] else "optional", text))
    return _table(("key", "", ""), rows)


def _error_table() -> str:
    classes = [
        value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, errors.PipelineError)
    ]
    rows = [(f"`{kind.__name__}`", str(kind.exit_code), " ".join((kind.__doc__ or "").split())) for kind in classes]
    return _table(("error", "exit code", ""), rows)


def _table(columns: tuple[str, ...], rows: list[Any]) -> str:
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text for a table: no line breaks, no bars, nothing that Markdown would take for a tag."""
    return re.sub(r"<([^<>]+)>", r"\\<\1\\>", text.replace("|", "\\|").replace("\n", " ").replace("%%", "%"))


if __name__ == "__main__":
    write_text(Path(sys.argv[1]), reference_page())
