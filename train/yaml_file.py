"""YAML that people write: read as UTF-8, and strict where PyYAML is lenient, because a key given twice hides the first."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from train.errors import ConfigError

MERGE_TAG = "tag:yaml.org,2002:merge"


class _StrictLoader(yaml.SafeLoader):
    """The safe loader; a key that stands twice in one mapping is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[Hashable, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == MERGE_TAG:  # its keys may be overridden
                continue
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if not isinstance(key, Hashable):  # the loader itself says so
                continue
            if key in lines:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key} stands twice, in lines {lines[key]} and {line}; remove one", None
                )
            lines[key] = line
        return super().construct_mapping(node, deep)


def parse_yaml(text: str | bytes) -> Any:
    """The content of a YAML text; `yaml.YAMLError` where it is none or a key stands twice.

    >>> parse_yaml("a: 1")
    {'a': 1}
    """
    return yaml.load(text, _StrictLoader)


def read_yaml_mapping(path: Path, what: str, remedy: str) -> dict[str, Any]:
    """The mapping in a YAML file; `what` ("recipe") and `remedy` are for the one clear error of every other file."""
    if path.is_dir():
        raise ConfigError(f"{what} {path}: a folder, allowed is a YAML file; {remedy}")
    try:
        content = parse_yaml(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigError(f"{what} {path}: no such file; {remedy}") from error
    except OSError as error:
        raise ConfigError(f"{what} {path}: cannot be read ({error.strerror}); make it readable, or {remedy}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{what} {path}: not valid YAML ({error}); correct the file, or {remedy}") from error
    if not isinstance(content, dict):
        held = "nothing" if content is None else f"a {type(content).__name__}"
        raise ConfigError(f"{what} {path}: holds {held}, allowed is a mapping of sections; {remedy}")
    return content
