"""YAML as people write it, with one rule more: a key that stands twice in a mapping is an error, not a lost value."""

from __future__ import annotations

from typing import Any

import yaml


class _UniqueKeys(yaml.SafeLoader):
    """A loader of plain values that refuses the second of two equal keys."""


def _mapping(loader: _UniqueKeys, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[Any, int] = {}
    for key_node, _ in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
            continue  # several `<<: *anchor` are one merge after the other
        key = loader.construct_object(key_node)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} in line {seen[key]} and again in line {line}; keep one of them", None
            )
        seen[key] = line
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_UniqueKeys.add_constructor("tag:yaml.org,2002:map", _mapping)


def parse_yaml(text: str) -> Any:
    """The content of a YAML document; `yaml.YAMLError` where it is none, or where a key stands twice.

    >>> parse_yaml("a: 1\\nb: [2, x]")
    {'a': 1, 'b': [2, 'x']}
    >>> parse_yaml("a: 1\\na: 2")
    Traceback (most recent call last):
    yaml.constructor.ConstructorError: key 'a' in line 1 and again in line 2; keep one of them
    """
    return yaml.load(text, Loader=_UniqueKeys)
