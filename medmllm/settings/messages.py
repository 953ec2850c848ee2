"""Problems of a configuration, in words, each with the nearest valid value."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel

from graphalign.names import nearest
from medmllm.errors import did_you_mean
from medmllm.settings.schema import Config

KINDS = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be a finite number",
    "too_short": "must have at least {min_length} entry",
    "string_pattern_mismatch": "must match {pattern}",
}


class Problem(NamedTuple):
    """One thing that is wrong, and the dotted key that it is wrong with."""

    key: str
    message: str


def describe_all(errors: Sequence[Mapping[str, Any]]) -> list[Problem]:
    """Pydantic's errors in our words, without those that only follow from others.

    A list with a wrong entry counts as short of that entry; the entry's own error says it all.
    """
    places = [error["loc"] for error in errors]
    parents = {place[:depth] for place in places for depth in range(len(place))}
    return [problem_from(error) for error in errors if error["type"] != "too_short" or error["loc"] not in parents]


def problem_from(error: Mapping[str, Any]) -> Problem:
    """One of pydantic's errors in our words."""
    kind, place, value, context = error["type"], error["loc"], error["input"], error.get("ctx", {})
    key = ".".join(map(str, place)) or "config"
    if kind == "extra_forbidden":
        return Problem(key, unknown(place, value))
    if kind == "json_invalid":
        return Problem(key, context["error"])
    if kind == "missing":
        return Problem(key, "is missing")
    if kind in ("model_type", "model_attributes_type"):
        return Problem(key, section_needed(key, place, value))
    if value is None:
        return Problem(key, "must not be null")
    if kind == "literal_error":
        return Problem(key, one_of(value, choices(place)))
    if kind == "value_error":
        return Problem(key, str(context["error"]))
    if isinstance(context.get("le"), (int, float)):
        context = {**context, "le": f"{context['le']:{',' if isinstance(context['le'], int) else 'g'}}"}
    known = KINDS[kind].format(**context) if kind in KINDS else error["msg"]
    share = re.fullmatch(r"(\d+(?:\.\d+)?) ?%", value) if isinstance(value, str) and kind.startswith("float_") else None
    return Problem(
        key, f"{known} (got {value!r})" + (f"; a share is written as {float(share[1]) / 100:g}" if share else "")
    )


def unknown(place: tuple[str | int, ...], value: object) -> str:
    *above, name = map(str, place)
    what = "unknown section" if isinstance(value, dict) else "unknown key"
    sibling = nearest(name, names(tuple(above)))
    prefix = "".join(f"{part}." for part in above)
    elsewhere = " or ".join(key for key in keys() if key.rpartition(".")[2] == name)
    near = prefix + sibling if sibling else elsewhere or nearest(prefix + name, keys())
    return f"{what}; did you mean {near}?" if near else what


def section_needed(key: str, place: tuple[str | int, ...], value: object) -> str:
    return f"is a section, not a value (got {value!r}); set its keys, as in {key}.{names(place)[0]}=..."


def one_of(value: object, allowed: list[str]) -> str:
    return f"must be one of {', '.join(allowed)} (got {value!r}){_hint(str(value), allowed)}"


def _hint(name: str, known: Iterable[str]) -> str:
    near = did_you_mean(name, known)
    return f"; {near}" if near else ""


def section_at(place: tuple[str | int, ...]) -> type[BaseModel] | None:
    """The model at a place; the element's model inside a list; None below a plain value or an unknown key."""
    model: type[BaseModel] | None = Config
    for part in place:
        if str(part).isdigit():
            continue
        field = model.model_fields.get(str(part)) if model else None
        model = next(models(field.annotation), None) if field else None
    return model


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The sections in a field's type, as in `tuple[StageConfig, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models(inner)


def names(place: tuple[str | int, ...]) -> list[str]:
    model = section_at(place)
    return list(model.model_fields) if model else []


def keys(model: type[BaseModel] = Config, prefix: str = "") -> list[str]:
    """Every section and key of the configuration, dotted."""
    found = []
    for name, field in model.model_fields.items():
        found.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += keys(field.annotation, f"{prefix}{name}.")
    return found


def choices(place: tuple[str | int, ...]) -> list[str]:
    """The values that a field of fixed choices takes."""
    *above, name = [part for part in place if not isinstance(part, int)]
    model = section_at(tuple(above))
    annotation = model.model_fields[str(name)].annotation if model else None
    return [str(value) for value in literals(annotation)]


def literals(annotation: Any) -> Iterator[object]:
    for inner in get_args(annotation):
        if isinstance(inner, (str, int, bool)):
            yield inner
        else:
            yield from literals(inner)
