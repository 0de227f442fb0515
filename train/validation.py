"""Pydantic's findings in the project's words: place, what was found, what is allowed, the nearest known key."""

from __future__ import annotations

import difflib
import typing
from typing import Any

from pydantic import BaseModel, ValidationError


def explain(error: ValidationError, root: type[BaseModel]) -> str:
    """One indented line per problem of a section."""
    return "\n".join(f"  {_explain(problem, root)}" for problem in error.errors())


def _explain(problem: Any, root: type[BaseModel]) -> str:
    place = ".".join(str(part) for part in problem["loc"]) or "top level"
    if problem["type"] == "extra_forbidden":
        allowed = keys_at(root, problem["loc"][:-1])
        close = difflib.get_close_matches(str(problem["loc"][-1]), allowed, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return f"{place}: unknown key; {hint}allowed here: {', '.join(allowed)}"
    if problem["type"] == "missing":
        return f"{place}: missing; add this key"
    return f"{place}: found {problem['input']!r}; {problem['msg']}"


def keys_at(root: Any, location: tuple[str | int, ...]) -> list[str]:
    """The keys allowed at a place below a section, through optional values, mappings and sequences."""
    section = root
    for part in location:
        section = _section(section)
        if section is None:
            return []
        if isinstance(section, type) and issubclass(section, BaseModel):
            field = section.model_fields.get(str(part))
            section = field.annotation if field else None
        else:
            section = typing.get_args(section)[-1]
    section = _section(section)
    return list(section.model_fields) if isinstance(section, type) and issubclass(section, BaseModel) else []


def _section(annotation: Any) -> Any:
    """The model, or the mapping or sequence of models, that an annotation allows; None where it allows none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (dict, list, tuple):
        return annotation
    found = (_section(argument) for argument in typing.get_args(annotation))
    return next((item for item in found if item is not None), None)
