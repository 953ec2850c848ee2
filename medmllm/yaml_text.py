"""YAML as people expect it: `1e-3` is a number, `no` is a word, and a key given twice is an error.

PyYAML reads YAML 1.1, where `1e-3` is a string, `no` is false, `010` is eight and `12:30` is 750; here the scalars of
YAML 1.2's core schema hold, for reading and for writing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable
from typing import Any

import yaml

SCALARS = {
    "null": ("~nN", r"~|null|Null|NULL|"),
    "bool": ("tTfF", r"true|True|TRUE|false|False|FALSE"),
    "int": ("-+0123456789", r"[-+]?(0|[1-9][0-9_]*)"),
    "float": (
        "-+.0123456789",
        r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    ),
}


def resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """First character -> the scalar types that may start with it, as PyYAML keeps them."""
    table: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for name, (first, pattern) in SCALARS.items():
        for character in [*first, ""] if name == "null" else first:
            table.setdefault(character, []).append((f"tag:yaml.org,2002:{name}", re.compile(f"(?:{pattern})$")))
    return table


class Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = resolvers()

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers = resolvers()


def parse(text: str) -> Any:
    """The plain values that a YAML text stands for.

    Raises:
        yaml.YAMLError: no YAML, or a key given twice.
    """
    return yaml.load(text, Loader)


def write(value: Any) -> str:
    """YAML that `parse` reads back as `value`, keys in their order."""
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, width=math.inf, allow_unicode=True)
