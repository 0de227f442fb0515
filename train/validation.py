"""Pydantic's findings in the project's words: place, what was found, what is allowed, the nearest known key or word."""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

LONGEST_FOUND = 60  # characters of a wrong value that an error repeats

# type of pydantic's finding -> what would have been allowed
ALLOWED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number, without a unit",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number, without a unit",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "path_type": "a path",
    "tuple_type": "a list, as [a, b]",
    "list_type": "a list, as [a, b]",
    "dict_type": "a mapping, as {key: value}",
    "finite_number": "a finite number",
}
KIND = re.compile(r"(literal|list)\[.*|str")  # how pydantic names the kinds of value that one key allows
BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def explain(error: ValidationError, root: type[BaseModel]) -> str:
    """One indented line per problem of a section."""
    return "\n".join(f"  {_explain(problem, root)}" for problem in _merged(error.errors()))


def _merged(problems: Sequence[Any]) -> list[dict[str, Any]]:
    """The problems, those of several kinds of value allowed for one key as one: pydantic tells of each kind by itself."""
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for number, problem in enumerate(problems):
        place = tuple(part for part in problem["loc"] if not KIND.fullmatch(str(part)))
        several = place != problem["loc"] or problem["type"] == "literal_error"
        key = place if several else (*place, number)
        if key in merged and problem["type"] != "literal_error":
            merged[key] = merged[key] | {"or": _rule(problem).removeprefix("allowed is ")}
        elif key in merged:
            expected = f"{merged[key]['ctx']['expected']}, {problem['ctx']['expected']}"
            merged[key] = merged[key] | {"ctx": {"expected": expected}}
        else:
            merged[key] = {**problem, "loc": place}
    return list(merged.values())


def _explain(problem: Any, root: type[BaseModel]) -> str:
    place = ".".join(str(part) for part in problem["loc"]) or "top level"
    kind, found = problem["type"], problem["input"]
    if kind == "extra_forbidden":
        allowed = keys_at(root, problem["loc"][:-1])
        hint = _nearest(str(problem["loc"][-1]), allowed)
        return f"{place}: unknown key; {hint}allowed here: {', '.join(allowed)}"
    if kind == "missing":
        return f"{place}: missing; add this key"
    if kind == "value_error" and isinstance(found, Mapping | BaseModel):
        return f"{place}: {problem['ctx']['error']}"  # a rule over several keys names them itself
    if kind == "model_type":
        return f"{place}: found {_short(found)}; allowed is a section with the keys {', '.join(keys_at(root, problem['loc']))}"
    return f"{place}: found {_short(found)}; {_rule(problem)}{', or ' + problem['or'] if 'or' in problem else ''}"


def _rule(problem: Any) -> str:
    """What is allowed at the place of a problem, with the nearest word where words are."""
    kind, context = problem["type"], problem.get("ctx", {})
    if kind in BOUNDS:
        key, words = BOUNDS[kind]
        return f"allowed is {words} {context[key]}"
    if kind in ALLOWED:
        return f"allowed is {ALLOWED[kind]}"
    if kind == "too_short":
        return f"allowed is a list of at least {context['min_length']}"
    if kind == "literal_error":
        literals = re.findall(r"'([^']*)'", context["expected"])
        hint = _nearest(str(problem["input"]), literals)
        return f"{hint}allowed are {', '.join(literals) or context['expected']}"
    if kind == "string_pattern_mismatch":
        return f"allowed is text of the pattern {context['pattern']}"
    return str(problem["msg"]).removeprefix("Value error, ")


def _nearest(found: str, allowed: list[str]) -> str:
    """ "did you mean …? " for the nearest allowed word, or one that the found word ends; empty where none is near."""
    close = difflib.get_close_matches(found.lower(), allowed, n=1)
    close = close or [word for word in allowed if found and word.endswith((f"-{found.lower()}", f"_{found.lower()}"))]
    return f"did you mean {close[0]}? " if close else ""


def _short(found: Any) -> str:
    text = repr(found)
    return text if len(text) <= LONGEST_FOUND else f"{text[:LONGEST_FOUND]}…"


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
